# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The analysis: tones in noise, from the model to the figures
#
# What the signal is, what a score means, how good anybody could be, why a well-known score was a mistake, which filters
# there are, and how sure the results are. The page is run, not written once: `make report` runs every cell, and what is
# printed and drawn below a cell is what it gave. A cell that disagrees with a committed figure fails. A figure in the
# text is a link to the committed file that it comes from, and is compared with it. The code of each cell unfolds.
#
# In Jupyter with Jupytext, [this file](analysis.py) opens as a notebook.

# %%
import json
import sys
from pathlib import Path

ROOT = Path.cwd() if Path("params.yaml").exists() else Path.cwd().parent
sys.path.insert(0, str(ROOT))

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from tonesift import params

plt.rcParams |= {"figure.figsize": (9, 2.8), "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#9aa1ab"
(data,) = params.load(ROOT / "params.yaml", "data")
K, rate, sigma = len(data.frequencies), data.sampling_rate, data.noise_std
NAMES = [f"{frequency:g} Hz" for frequency in data.frequencies]


def shown(table, index, digits=3):
    """A table with names for its rows."""
    return table.set_index(index).round(digits).rename_axis(columns=index).rename_axis(index=None)


# %% [markdown]
# ## The signal
#
# Sample $n$ of tone $k$, and of the mixture of all $K$ tones:
#
# $$
# s_k(n) = A_k \sin\left(2\pi \frac{f_k}{f_s} n + \varphi_k\right), \qquad
# x(n) = \frac{1}{K}\sum_{k=1}^{K} s_k(n) + \varepsilon(n), \qquad \varepsilon(n) \sim N(0, \sigma^2)
# $$
#
# with independent noise of standard deviation [0.1](../params.yaml#data.noise_std), at
# [1000](../params.yaml#data.sampling_rate) samples a second. The task is to give every $s_k(n)$ as the samples come in.
# There are two tasks. On the **fixed** one, phases and amplitudes are always the same: there is one waveform, and only
# the noise is new. On the **general** one, every recording has phases and amplitudes of its own, and only the
# frequencies are known.
#
# Over whole periods a tone has the power $A_k^2/2$. Tones of different frequencies are orthogonal, so powers add:
#
# $$
# P_k = \frac{A_k^2}{2}, \qquad P_x = \frac{1}{K^2}\sum_k P_k + \sigma^2, \qquad
# \mathrm{SNR} = 10 \log_{10} \frac{\sum_k P_k}{K^2\sigma^2}\ \mathrm{dB}
# $$
#
# The mean over $K$ makes the task harder than it looks: each tone stands in the mixture with the share $1/K$ of its
# amplitude, beside three others that are noise to whoever wants this one.

# %%
n = np.arange(data.samples)
angles = 2 * np.pi * np.outer(data.frequencies, n) / rate + np.radians(data.phases)[:, None]
tones = np.array(data.amplitudes)[:, None] * np.sin(angles)
mixture = tones.mean(axis=0) + sigma * np.random.default_rng(1).standard_normal(len(n))

power = np.mean(tones**2, axis=1)
assert np.allclose(power, np.square(data.amplitudes) / 2)
assert np.isclose(np.mean(tones.mean(axis=0) ** 2), power.sum() / K**2)
whole = 10 * np.log10(power.sum() / (K * sigma) ** 2)
one = 10 * np.log10(power[0] / (power[1:].sum() + (K * sigma) ** 2))
print(
    f"power of each tone {power[0]:.2f}; SNR of the mixture {whole:.1f} dB; of the first tone, others as noise, {one:.1f} dB"
)

figure, ax = plt.subplots()
ax.plot(n[:1000] / rate, mixture[:1000], color=GREY, linewidth=0.7, label="mixture")
for name, tone in zip(NAMES, tones, strict=True):
    ax.plot(n[:1000] / rate, tone[:1000], linewidth=0.9, label=name)
ax.set(title="One period: the mixture and its tones", xlabel="seconds", ylim=(-1.1, 1.5))
ax.legend(ncols=5, frameon=False, loc="upper right")

# %% [markdown]
# ## What R² says
#
# $$
# R^2 = 1 - \frac{\sum_n \left(\hat s(n) - s(n)\right)^2}{\sum_n \left(s(n) - \bar s\right)^2}
#     = 1 - \frac{\mathrm{MSE}}{P}
# $$
#
# It is the share of a tone's power that the output gets right: one for the exact tone, zero for silence, and below zero
# for what is worse than silence. Two other scores say the same in other words, and one says less:
#
# - $\mathrm{MSE} = (1 - R^2)\,P$.
# - The output's signal-to-noise ratio is $-10\log_{10}(1 - R^2)$ dB.
# - Pearson's $r$ forgives a wrong gain and a wrong mean: $r^2 = \max_{a,b} R^2(a\hat s + b) \ge R^2$. A large $r$
#   beside a small R² says that an output is badly scaled, and a filter that halves a tone has $r = 1$.
#
# The committed network has R² [0.992](../metrics/evaluate/metrics.json#test.r2) on test, a mean squared error of
# [0.00387](../metrics/evaluate/metrics.json#test.mse) and $r$ of
# [0.996](../metrics/evaluate/metrics.json#test.correlation). The cell holds the committed table against the identities.

# %%
scores = pd.read_csv(ROOT / "metrics/evaluate/tones.csv")
assert np.allclose(scores.mse, (1 - scores.r2) * power.mean(), rtol=2e-3)
assert np.allclose(scores.snr_db, -10 * np.log10(1 - scores.r2), atol=0.01)
assert (scores.correlation**2 >= scores.r2 - 1e-6).all()
shown(scores[["tone", "r2", "mse", "correlation", "snr_db", "snr_gain_db"]], "tone", 4)

# %% [markdown]
# ## Why a reset window is bounded
#
# The tuning guide that this exercise comes from cuts the recording into windows of
# [50](../studies/bases/guide.yaml#prepare.sequence_length) samples and starts the network afresh in each. However large
# the network, and however long it is trained, there is a bound on its R².
#
# **What is unknown.** On the fixed task the waveform is known, and repeats after $P = 1000$ samples, the common period
# of the tones. A window begins at an offset $o$ in that period, anywhere with the same chance, and nobody is told
# where. Write $m(i) = \frac1K \sum_k s_k(i)$ for the clean mixture. After samples $y_1 \dots y_t$ the posterior is
#
# $$
# w_t(o) = \Pr(o \mid y_1 \dots y_t) \propto \exp\left(-\frac{1}{2\sigma^2}\sum_{i=1}^{t}\left(y_i - m(o+i)\right)^2\right)
# $$
#
# **What is best.** For any estimator $g$ that has read $y_1 \dots y_t$, with $\mathbb{E}_t$ for the posterior mean and
# $\mathrm{Var}_t$ for the posterior variance,
#
# $$
# \mathbb{E}_t\left(s_k(o+t) - g\right)^2 = \mathrm{Var}_t\, s_k(o+t) + \left(\mathbb{E}_t\, s_k(o+t) - g\right)^2
# $$
#
# The last term is zero for $g = \mathbb{E}_t\, s_k(o+t) = \sum_o w_t(o)\, s_k(o+t)$ and positive for any other: the
# posterior mean is the best estimator there is, and its error is the expected posterior variance. Over a window of $T$
# samples,
#
# $$
# \mathrm{MSE}_k \ge \frac{1}{T}\sum_{t=1}^{T} \mathbb{E}\, \mathrm{Var}_t\, s_k(o+t)
# $$
#
# **Why it is large.** A false offset $q$ is told from the true one by the distance
# $d_t^2 = \sum_{i \le t} \left(m(q+i) - m(o+i)\right)^2$: the logarithm of their likelihood ratio is normal, with mean
# $-d_t^2/2\sigma^2$ and variance $d_t^2/\sigma^2$, so that the false one looks better with probability
#
# $$
# \Pr\left(w_t(q) > w_t(o)\right) = Q\left(\frac{d_t}{2\sigma}\right), \qquad
# Q(z) = \frac{1}{\sqrt{2\pi}} \int_z^\infty e^{-u^2/2}\, du
# $$
#
# In a twentieth of a period the mixture makes one short move, which it makes in a similar way at other offsets where
# the tones behind it are quite different. Only more samples raise $d_t$.
#
# The expectation over noise has no closed form, so it is simulated: windows at every offset, noise drawn anew, and the
# posterior *variance* averaged instead of squared errors, which takes most of the chance out of the answer
# (Rao-Blackwell). [limits.py](../tonesift/estimators/limits.py) is the version that the pipeline uses, with a proof for
# the candidates that it drops; the cell below is the formula as it stands, and has to agree.

# %%
PERIOD = 1000
period = tones[:, :PERIOD]
assert np.allclose(tones[:, PERIOD : 2 * PERIOD], period)


def window_bound(samples, sigma, draws=2, seed=1):
    """R² that no estimator exceeds in windows of so many samples, with its standard error; from windows at every offset."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        offsets, candidates = np.arange(PERIOD)[:, None], np.arange(PERIOD)
        log_weight = np.zeros((PERIOD, PERIOD))
        variance = np.zeros((K, PERIOD))
        for t in range(samples):
            waves = period[:, (candidates + t) % PERIOD]
            mean = waves.mean(axis=0)
            observed = mean[offsets] + sigma * generator.standard_normal((PERIOD, 1))
            log_weight -= (observed - mean) ** 2 / (2 * sigma**2)
            weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
            weight /= weight.sum(axis=1, keepdims=True)
            variance += (weight @ (waves**2).T - (weight @ waves.T) ** 2).T
        found.append(1 - variance.mean(axis=0) / samples / power.mean())
    each = np.array(found)  # every offset has as many windows, so that only the noise is left to chance
    return each.mean(), np.sqrt(each.var(axis=0, ddof=1).mean() / each.size)


lengths = pd.read_csv(ROOT / "studies/guide-sequence-length/trials.csv")
rows = []
for samples, committed, reached in zip(
    lengths["params.prepare.sequence_length"],
    lengths["metrics/evaluate/metrics.json:limit.r2"],
    lengths["metrics/evaluate/metrics.json:test.r2"],
    strict=True,
):
    bound, error = window_bound(samples, sigma)
    assert abs(bound - committed) < 4 * np.sqrt(2) * error, (samples, bound, committed)  # both are simulated
    rows.append((samples, f"{bound:.3f} ± {error:.3f}", f"{committed:.3f}", f"{reached:.3f}"))
columns = ["samples in a window", "bound, this cell", "bound, pipeline", "network of the guide"]
shown(pd.DataFrame(rows, columns=columns), "samples in a window")

# %% [markdown]
# The pipeline's bounds are simulated too, and about as sure as those of this cell. With
# [50](../studies/bases/guide.yaml#prepare.sequence_length) samples nobody gets beyond an R² of
# [0.588](baseline.csv#r2&name=limit&context=50+samples), with half as many beyond
# [0.470](../studies/guide-sequence-length/trials.csv#metrics/evaluate/metrics.json:limit.r2&index=0), with twice as many
# beyond [0.706](../studies/guide-sequence-length/trials.csv#metrics/evaluate/metrics.json:limit.r2&index=2). The guide's
# network, trained without its leak, reaches [0.531](baseline.csv#r2&name=network): most of what there is. No search over
# its layers and rates can find what the window does not hold. What helps is context: with the state carried on, ten
# samples at a time, the bound is [0.995](../metrics/evaluate/metrics.json#limit.r2).
#
# Try it. The upper picture is one window: the mixture, one of its tones, and the posterior mean as the samples come in.
# The lower one is the posterior at the window's end: a peak for every place in the period that is still possible.


# %%
class Page(str):
    """HTML to show as it is."""

    _repr_html_ = str.__str__


facts = {"frequencies": data.frequencies, "phases": data.phases, "rate": rate, "period": PERIOD, "noise": sigma}
facts |= {"samples": 50, "names": NAMES}
Page((ROOT / "docs/window.html").read_text(encoding="utf-8").replace("FACTS", json.dumps(facts)))

# %% [markdown]
# ## The leak of a random split
#
# The guide's windows lie one sample apart and are split at random. A validation window then has neighbours in the
# training set that hold all of its samples but one. If a share $v$ of the windows is held out, a sample lies in
# $L$ windows, and no training window holds it with probability about $v^L$: never. So the validation set has no noise of
# its own, and a network that learns the training noise by heart is rewarded for it.
#
# A memoriser shows how far that goes. It learns nothing about tones: it looks up the last ten samples in all pieces of
# the training windows, and answers with the tone that stood there.

# %%
from scipy.spatial import cKDTree

(guide,) = params.load(ROOT / "studies/bases/guide.yaml", "prepare")
LENGTH, PIECE = guide.sequence_length, 10
generator = np.random.default_rng(2)
new_mixture = tones.mean(axis=0) + sigma * generator.standard_normal(len(n))  # a test recording
starts = np.arange(len(n) - LENGTH + 1)


def pieces(signal, ends):
    """The ten samples up to each place."""
    return signal[ends[:, None] - np.arange(PIECE)]


def memoriser(training, ends, signal):
    """R² of looking pieces up that lie within training windows."""
    known = np.unique(training[:, None] + np.arange(PIECE - 1, LENGTH))
    _, nearest = cKDTree(pieces(mixture, known)).query(pieces(signal, ends))
    error = tones[:, known[nearest]] - tones[:, ends]
    return 1 - np.mean(error**2) / power.mean()


held = round(guide.val_split * len(starts))
shuffled = generator.permutation(starts)
splits = {"random": (shuffled[held:], shuffled[:held]), "block": (starts[: -held - LENGTH], starts[-held:])}
rows = [
    (name, memoriser(training, validation + LENGTH - 1, mixture), memoriser(training, starts + LENGTH - 1, new_mixture))
    for name, (training, validation) in splits.items()
]
(_, random, random_new), (_, block, block_new) = rows
assert random > 0.99 > 0.43 > max(random_new, block, block_new)
assert abs(block - block_new) < 0.1
shown(pd.DataFrame(rows, columns=["split", "R² on validation", "R² on new noise"]), "split")

# %% [markdown]
# Under the random split the memoriser is perfect on validation, where nobody who has ten samples gets beyond
# [0.429](../metrics/evaluate/context.csv#limit&position=10), and worse than silence on new noise. Split by contiguous
# blocks, with a gap of one window, its two scores are alike. That is a test for leaks that needs no suspicion: **a validation score better
# than the bound is a leak**. The guide tells a validation loss of [0.081](guide-claims.yaml#split.random), where no
# estimator gets below a mean squared error of [0.206](baseline.csv#mse&name=limit&context=50+samples).
#
# A leak is an opportunity, not a certainty. In [study guide-split](../studies/guide-split/report.md) windows lie ten
# samples apart and the network has no time to learn them by heart: both splits end at a test R² of
# [0.516](../studies/guide-split/trials.csv#metrics/evaluate/metrics.json:test.r2&params.prepare.split=block) and
# [0.516](../studies/guide-split/trials.csv#metrics/evaluate/metrics.json:test.r2&params.prepare.split=random). With every
# window and all epochs the leak costs nearly a third of R²: [the log](LOG.md) has that run.
#
# ## The network
#
# An LSTM reads ten samples a step, here the vector $x_t$, and carries two vectors from step to step, its output $h_t$ and
# its memory $c_t$:
#
# $$
# \begin{array}{ll}
# i_t = \sigma(W_i x_t + U_i h_{t-1} + b_i) & f_t = \sigma(W_f x_t + U_f h_{t-1} + b_f) \\
# o_t = \sigma(W_o x_t + U_o h_{t-1} + b_o) & g_t = \tanh(W_g x_t + U_g h_{t-1} + b_g) \\
# c_t = f_t \odot c_{t-1} + i_t \odot g_t & h_t = o_t \odot \tanh c_t
# \end{array}
# $$
#
# with $\sigma(z) = 1/(1 + e^{-z})$ (no longer the noise) and $\odot$ element by element. The memory is what lets it
# bridge a period: $\partial c_t/\partial c_{t-1} = f_t$ along the direct path, so a gate near one carries a gradient
# through many steps, where a plain recurrent network multiplies by the same matrix again and again. Layers stand on top
# of each other; a linear head gives all four tones for the ten samples of the step, from $h_t$ of the last layer.
#
# With $H$ units, $d$ inputs to a layer and two bias vectors, as PyTorch has them, a layer has $4H(d + H + 2)$ parameters;
# the network has [194 344](../metrics/train/metrics.json#parameters).

# %%
import torch

(model,) = params.load(ROOT / "params.yaml", "model")
H, layers, hop = model.hidden_size, model.num_layers, model.hop
count = sum(4 * H * (inputs + H + 2) for inputs in [hop] + [H] * (layers - 1)) + (H + 1) * hop * K
assert count == json.loads((ROOT / "metrics/train/metrics.json").read_text())["parameters"]


def lstm(steps, W, U, b):
    """Outputs of a layer, a step at a time: the equations above."""
    h, c, outputs = np.zeros(U.shape[1]), np.zeros(U.shape[1]), []
    for x in steps:
        i, f, g, o = np.split(W @ x + U @ h + b, 4)
        i, f, o = (1 / (1 + np.exp(-z)) for z in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
        outputs.append(h)
    return np.array(outputs)


torch.manual_seed(1)
layer = torch.nn.LSTM(hop, 16).double()
W, U, b, b2 = (weight.detach().numpy() for weight in layer.parameters())
steps = mixture[:1000].reshape(-1, hop)
difference = np.abs(lstm(steps, W, U, b + b2) - layer(torch.from_numpy(steps))[0].detach().numpy()).max()
assert difference < 1e-12
print(f"parameters by the formula: {count}; the equations differ from PyTorch's LSTM by {difference:.0e} at most")

# %% [markdown]
# **Carrying the state on** costs nothing in running: a stream is one long window. In training, the recording is read by
# many streams at once, each going on from the state it had, and gradients reach back over a limited number of steps
# (truncated back-propagation). The picture is what that buys: R² at each sample since the start, mean over
# [64](../params.yaml#evaluate.streams) streams of the test recording.

# %%
context = pd.read_csv(ROOT / "metrics/evaluate/context.csv")
figure, ax = plt.subplots()
for column, colour, label in (
    ("limit", GREEN, "best possible"),
    ("network", ORANGE, "LSTM"),
    ("kalman", BLUE, "Kalman"),
):
    ax.plot(context.position, 1 - context[column], color=colour, linewidth=1, label=label)
ax.axvline(LENGTH, color=GREY, linewidth=0.8, linestyle=":")
ax.annotate("the guide's window ends", (LENGTH, 1e-4), xytext=(6, 0), textcoords="offset points", color="#5a6270")
ax.set(title="What is left to get right: 1 - R² at each sample since the start", xlabel="samples read", yscale="log")
ax.legend(frameon=False)
at = context.set_index("position")
print(
    *(
        f"after {place} samples: LSTM {at.network[place]:.3f}, Kalman {at.kalman[place]:.3f}"
        for place in (50, 200, 1000)
    ),
    sep="\n",
)

# %% [markdown]
# ## The classical filters, derived
#
# A tone of known frequency and unknown amplitude and phase is linear in two numbers:
#
# $$
# s_k(n) = \sin(\omega_k n)\, A_k\cos\varphi_k + \cos(\omega_k n)\, A_k\sin\varphi_k = u_k(n)^\top \theta_k,
# \qquad \omega_k = 2\pi f_k/f_s
# $$
#
# All $2K$ of them in one vector $\theta$, and all $u_k(n)$ in one vector $u(n)$:
# $x(n) = \frac1K u(n)^\top\theta + \varepsilon(n)$. If phases are uniform, the components of $\theta$ are uncorrelated,
# with mean zero and variance $\tau^2 = \mathbb{E} A^2/2$.
#
# **Wiener.** Of all linear estimates $\hat s = a^\top x$ from the samples $x = (x(1), \dots, x(n))$, the best has an error
# that is uncorrelated with every sample: if it were not, a little of that sample would lower it.
#
# $$
# \mathbb{E}\left(s - a^\top x\right) x^\top = 0 \quad\Rightarrow\quad
# a = \left(\mathbb{E}\, x x^\top\right)^{-1} \mathbb{E}\, x s, \qquad
# \mathbb{E}\, x x^\top = \frac{\tau^2}{K^2} U U^\top + \sigma^2 I
# $$
#
# where row $n$ of $U$ is $u(n)^\top$. It takes the solution of $n$ equations; with the samples of a limited past it is a
# filter of finite impulse response.
#
# **Kalman.** The same estimate, sample by sample, in constant memory. Given mean $\hat\theta$ and covariance $C$ so far,
# with $v = u(n)/K$ for short,
#
# $$
# g = \frac{C v}{v^\top C v + \sigma^2}, \qquad
# \hat\theta \leftarrow \hat\theta + g\left(x(n) - v^\top\hat\theta\right), \qquad C \leftarrow C - g\, v^\top C
# $$
#
# The state does not move, so there is no prediction step. Inverting the covariance shows what is added up:
# $C^{-1} \leftarrow C^{-1} + v v^\top/\sigma^2$, every sample its own piece of information.
#
# **How fast.** After $n$ samples, many periods, the sum is $\frac{n}{2 K^2 \sigma^2} I$, and each of a tone's two numbers
# has the variance $2K^2\sigma^2/n$. Half of each counts, on average over the phase:
#
# $$
# \mathrm{MSE} \approx \frac{2 K^2 \sigma^2}{n}, \qquad 1 - R^2 \approx \frac{4 K^2 \sigma^2}{n\, \mathbb{E} A^2}
# $$
#
# The error of a filter that knows the frequencies falls as $1/n$ for ever. Nobody who knows no more than they can do
# better by linear means.

# %%
from tonesift.estimators import filters

U = np.stack([f(2 * np.pi * np.outer(n[:2000], data.frequencies) / rate) for f in (np.sin, np.cos)], axis=2)
second_moment = np.mean(np.square(data.amplitudes))
tau2 = second_moment / 2


def kalman(signal):
    """Estimates (n, K), and the error expected of each, from the three lines above."""
    theta, C, estimates, errors = np.zeros(2 * K), tau2 * np.eye(2 * K), [], []
    for x, u in zip(signal, U, strict=False):
        v = u.reshape(-1) / K
        g = C @ v / (v @ C @ v + sigma**2)
        theta, C = theta + g * (x - v @ theta), C - np.outer(g, v @ C)
        estimates.append((u * theta.reshape(K, 2)).sum(axis=1))
        errors.append([u[k] @ C[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] @ u[k] for k in range(K)])
    return np.array(estimates), np.array(errors)


estimates, expected = kalman(mixture[:2000])
theirs = filters.kalman(mixture[None, :2000], rate, data.frequencies, noise_std=sigma, second_moment=second_moment)
assert np.allclose(estimates.T, theirs[0], atol=1e-9)

last = 300  # Wiener's equations, for the last sample of the first 300
rows = U[:last].reshape(last, -1)
weights = np.linalg.solve(tau2 / K**2 * rows @ rows.T + sigma**2 * np.eye(last), mixture[:last])
wiener = (U[last - 1] * (tau2 / K * rows.T @ weights).reshape(K, 2)).sum(axis=1)
assert np.allclose(wiener, estimates[last - 1], atol=1e-9)

generator = np.random.default_rng(3)
drawn = np.sqrt(tau2) * generator.standard_normal((200, K, 2))  # recordings of the prior
true = np.einsum("nki,rki->rkn", U, drawn)
heard = true.mean(axis=1) + sigma * generator.standard_normal((200, 2000))
given = filters.kalman(heard, rate, data.frequencies, noise_std=sigma, second_moment=second_moment)
measured = np.mean((given - true) ** 2, axis=(0, 1))
assert np.allclose(
    measured[500:].reshape(-1, 500).mean(axis=1), expected.mean(axis=1)[500:].reshape(-1, 500).mean(axis=1), rtol=0.1
)

figure, ax = plt.subplots()
ax.plot(measured, color=BLUE, linewidth=1, label="measured, 200 recordings")
ax.plot(expected.mean(axis=1), color=ORANGE, linewidth=1, label="expected, from C")
ax.plot(n[100:2000], 2 * (K * sigma) ** 2 / n[100:2000], color="black", linestyle=":", linewidth=1, label="2 K² σ² / n")
ax.set(title="Mean squared error of the Kalman filter", xlabel="samples read", yscale="log")
ax.legend(frameon=False)
print(
    f"after {len(measured)} samples: expected {expected[-1].mean():.2e}, by the formula {2 * (K * sigma) ** 2 / 2000:.2e}"
)

# %% [markdown]
# In reset windows the Wiener and the Kalman filter are one estimate, and the committed comparison has one figure for both:
# [0.303](baseline.csv#r2&name=wiener&context=50+samples) and [0.303](baseline.csv#r2&name=kalman&context=50+samples). The
# posterior mean is ahead with [0.581](baseline.csv#r2&name=posterior_mean&context=50+samples), because it knows the
# waveform: the phases of all tones move together, one number is unknown instead of eight.
#
# ## How sure the figures are
#
# Errors of neighbouring samples are alike. For a series with autocorrelation $\rho_j$ the variance of a mean over $N$
# samples is not $\gamma_0/N$ but
#
# $$
# \mathrm{Var}\,\bar e = \frac{\gamma_0}{N}\left(1 + 2\sum_{j=1}^{N-1}\left(1 - \frac{j}{N}\right)\rho_j\right)
# $$
#
# The network's errors on the slowest tone have $\rho_1$ of
# [0.88](../metrics/evaluate/uncertainty.csv#autocorrelation&tone=1+Hz), on the fastest
# [0.962](../metrics/evaluate/uncertainty.csv#autocorrelation&tone=7+Hz): ten thousand samples are worth some hundreds.
# Resampling single samples would promise intervals that are far too narrow. A **block bootstrap** resamples whole
# stretches, long enough that what is left between them is chance: here [10](../metrics/evaluate/uncertainty.csv#blocks&tone=all)
# blocks of [1000](../metrics/evaluate/uncertainty.csv#block_samples&tone=all) samples, a period each. The cell counts how
# often intervals that promise nineteen in twenty hold the truth, for a series whose truth is known.

# %%
generator = np.random.default_rng(4)
series, length, block, rho = 500, 4000, 200, 0.96
noise = generator.standard_normal((series, length)) * np.sqrt(1 - rho**2)
noise[:, 0] /= np.sqrt(1 - rho**2)
errors = np.zeros_like(noise)
errors[:, 0] = noise[:, 0]
for place in range(1, length):
    errors[:, place] = rho * errors[:, place - 1] + noise[:, place]

lags = np.arange(1, length)
formula = (1 + 2 * ((1 - lags / length) * rho**lags).sum()) / length
assert np.isclose(errors.mean(axis=1).var(), formula, rtol=4 * np.sqrt(2 / series))
half = 1.96 * errors.std(axis=1) / np.sqrt(length)
single = np.mean(np.abs(errors.mean(axis=1)) < half)
means = errors.reshape(series, -1, block).mean(axis=2)
resampled = means[:, generator.integers(means.shape[1], size=(1000, means.shape[1]))].mean(axis=2)
low, high = np.percentile(resampled, [2.5, 97.5], axis=1)
blocks = np.mean((low < 0) & (high > 0))
assert single < 0.5 < 0.85 < blocks < 0.98
print(f"{length} samples with neighbours alike by {rho} are worth {1 / formula:.0f} independent ones")
print(f"intervals that hold the truth: single samples {single:.0%}, blocks of {block} {blocks:.0%}, promised 95%")

# %% [markdown]
# The blocks fall a little short of their promise, as they do with few blocks;
# [uncertainty.py](../tonesift/full_evaluation/uncertainty.py) widens the percentiles for that, and says what that
# achieves. So done, the R² of the test recording, read once from its own start, is
# [0.998](../metrics/evaluate/uncertainty.csv#r2&tone=all), and its interval reaches from
# [0.996](../metrics/evaluate/uncertainty.csv#low&tone=all) to [0.999](../metrics/evaluate/uncertainty.csv#high&tone=all).
#
# **Which is better** is asked on the same blocks, pair by pair, since both estimators met the same noise. A p-value says
# how surprising the difference would be if there were none; it says nothing about size, and with few blocks it has a
# floor: of $B$ signs all alike, Wilcoxon's signed-rank test makes $2/2^B$. An **effect size** says how consistent the
# difference is. The rank-biserial correlation is the weight of ranks on one side less that on the other, from minus one to
# one; Kendall's $W$ is one if all blocks rank the tones alike; $\eta^2$ is the share of the blocks' variance that lies
# between tones:
#
# $$
# r_{rb} = \frac{W_+ - W_-}{W_+ + W_-}, \qquad
# W = \frac{12\sum_k (\bar R_k - \frac{K+1}{2})^2}{K(K^2-1)}, \qquad
# \eta^2 = \frac{SS_{\mathrm{between}}}{SS_{\mathrm{total}}}
# $$

# %%
paired = pd.read_csv(ROOT / "metrics/evaluate/paired.csv").set_index("rival")
floor = 2 / 2 ** paired.blocks.iloc[0]
unanimous = paired[paired.rank_biserial.abs() == 1]
assert np.allclose(unanimous.wilcoxon_p, floor, rtol=1e-4)
assert (paired.wilcoxon_p >= floor * 0.9999).all()
shown(paired[["label", "mse_difference", "low", "high", "wilcoxon_p", "rank_biserial", "t_p"]], "label", 4)

# %% [markdown]
# Positive differences favour the network. Against the Kalman filter the two tests tell a story that neither tells alone.
# The mean difference is positive, [0.00407](../metrics/evaluate/paired.csv#mse_difference&rival=kalman), and its interval
# holds zero; the ranks go the other way, [−0.636](../metrics/evaluate/paired.csv#rank_biserial&rival=kalman). In the first
# second the network is far ahead, for it knows the waveform; in most later ones the filter is a little ahead,
# for its error falls for ever. One number cannot say who is better: it depends on when.
#
# The tones differ for certain: the blocks rank them nearly alike, $W$ of
# [0.964](../metrics/evaluate/uncertainty.csv#tones_effect_size&tone=all), and tone by tone R² goes from
# [0.9993](../metrics/evaluate/uncertainty.csv#r2&tone=1+Hz) for the slowest to
# [0.996](../metrics/evaluate/uncertainty.csv#r2&tone=7+Hz) for the fastest.
#
# A recording's blocks say nothing about other trainings. [Five seeds](../studies/fixed-seeds/report.md) do: the least R²
# after the first second is [0.9986](../studies/fixed-seeds/trials.csv#metrics/evaluate/metrics.json:settled.r2&over=min),
# the largest [0.9987](../studies/fixed-seeds/trials.csv#metrics/evaluate/metrics.json:settled.r2&over=max).
#
# ## Results
#
# Every estimator on the same streams of the test recording, from the first sample on, and what each was told. The best
# possible is that of ten samples at a time, as the network reads them.

# %%
comparison = pd.read_csv(ROOT / "metrics/evaluate/comparison.csv")
shown(comparison[["label", "r2", "r2_settled", *(f"r2_tone_{k + 1}" for k in range(K)), "told"]], "label").fillna("")

# %% [markdown]
# | wanted | reached |
# |---|---|
# | each tone's mean squared error below a hundredth | worst tone [0.00564](../metrics/evaluate/metrics.json#test.worst_tone_mse), after a second [0.00146](../metrics/evaluate/metrics.json#settled.worst_tone_mse) |
# | error on test over that on training windows near one | [0.938](../metrics/evaluate/metrics.json#test.train_ratio) |
# | the same over folds | [five folds](../studies/family-folds/report.md): after a second, mean R² [0.998](../studies/family-folds/trials.csv#metrics/evaluate/metrics.json:settled.r2&label=LSTM) |
# | the general task | five seeds, after a second: mean R² [0.9985](../studies/general-seeds/trials.csv#metrics/evaluate/metrics.json:settled.r2&over=mean), worst tone's error [0.00192](../studies/general-seeds/trials.csv#metrics/evaluate/metrics.json:settled.worst_tone_mse&over=max) at the most |
# | robustness | below |

# %%
wanted = json.loads((ROOT / "metrics/evaluate/metrics.json").read_text())
assert wanted["test"]["worst_tone_mse"] < 0.01
assert 0.9 < wanted["test"]["train_ratio"] < 1.1

TITLES = {
    "noise_std": "noise, standard deviation",
    "amplitude": "amplitude, times",
    "phase_offset_deg": "phase of a tone, degrees",
}
figure, axes = plt.subplots(1, 3, sharey=True)
figure.suptitle("R² where the recording is not what was trained on")
for ax, (name, title) in zip(axes, TITLES.items(), strict=True):
    curve = pd.read_csv(ROOT / f"metrics/evaluate/robustness/{name}.csv")
    ax.plot(curve.value, curve.network, color=ORANGE, marker=".", label="LSTM")
    ax.plot(curve.value, curve.kalman, color=BLUE, marker=".", label="Kalman")
    ax.set(xlabel=title, ylim=(-0.1, 1.05))
axes[0].legend(frameon=False)

# %% [markdown]
# ## Discussion
#
# - **Context first.** From [0.531](baseline.csv#r2&name=network) to [0.992](../metrics/evaluate/metrics.json#test.r2): what
#   made the difference was not a better network but more of the past. Networks of
#   [four families](results.md#families) with as many parameters end close together:
#   [0.9925](families.csv#r2&family=LSTM), [0.9927](families.csv#r2&family=GRU),
#   [0.9926](families.csv#r2&family=Transformer), [0.9931](families.csv#r2&family=TCN).
# - **A score needs its bound.** [0.531](baseline.csv#r2&name=network) looks poor and is most of
#   [0.588](baseline.csv#r2&name=limit&context=50+samples); the claimed [0.35](guide-claims.yaml#hidden-size.128) looks
#   like a start and is the end of a road.
# - **What the network has learnt is one waveform.** With a tone's phase off by thirty degrees its R² is
#   [0.882](../metrics/evaluate/robustness/phase_offset_deg.csv#network&value=30.0), where the filter, which knows no
#   waveform, keeps [0.992](../metrics/evaluate/robustness/phase_offset_deg.csv#kalman&value=30.0); at half the amplitude
#   its output is worse than silence, [−0.468](../metrics/evaluate/robustness/amplitude.csv#network&value=0.5). On the
#   general task, trained on many recordings, it becomes a filter.
# - **On its own ground the classical filter wins in the end.** After the first second the Kalman filter has
#   [0.9997](../metrics/evaluate/comparison.csv#r2_settled&name=kalman), the network
#   [0.9986](../metrics/evaluate/comparison.csv#r2_settled&name=network). It was told the frequencies, the noise and the
#   prior, and the noise is white. Where these fail, other filters and networks are worth their price:
#   [conditions](conditions.md), [noise that leaves nothing to learn](course.md), [filters of named tones](filters.md).
# - **What this does not show.** One synthetic family of signals, one noise, one recording to test on; the intervals above
#   are those of its noise, not of other waveforms.
#
# ## How to reproduce it
#
# ```console
# $ make repro     # data, training, evaluation: the committed bits
# $ make report    # this page, the report and all documents, from the repository's files
# $ make guide     # the guide's tables, hours
# ```
#
# [The pipeline](pipeline.md) says what makes the bits the same; [results](results.md), [the guide's
# tables](guide-tables.md) and [the log](LOG.md) have the measurements in full.
#
# ## References
#
# - [S. M. Kay, Fundamentals of Statistical Signal Processing: Estimation Theory, 1993](https://dl.acm.org/doi/10.5555/151045)
# - [S. Hochreiter, J. Schmidhuber, Long Short-Term Memory, 1997](https://doi.org/10.1162/neco.1997.9.8.1735)
# - [R. E. Kalman, A New Approach to Linear Filtering and Prediction Problems, 1960](https://doi.org/10.1115/1.3662552)
# - [H. R. Künsch, The Jackknife and the Bootstrap for General Stationary Observations, 1989](https://doi.org/10.1214/aos/1176347265)
