"""The model card: what the network is, what it was trained on, how well it does, and where it must not be used.

Markdown for the model's folder, made from the model file's metadata and from the evaluation's tables, so that no
figure in it is typed by hand. Equal metadata give equal text; it holds no time stamp.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from string import Template
from typing import Any

from tabulate import tabulate

from tonesift import params
from tonesift.families import FAMILIES
from tonesift.metadata import Metadata

Row = Mapping[str, Any]
NONE = "–"  # in cells without a figure
FOUND = "auto"  # the filter that finds its settings itself, in rows of conditions
UNTESTED = "coloured or impulsive noise, drifting frequencies, "
SPECIAL = "\\`*_{}[]<>|#~"

SNIPPET = Template("""\
```python
from tonesift.streaming.tonefilter import ToneFilter

tones = ToneFilter.load("$path")
outputs = tones.push(samples)  # sampled at $rate Hz, any number of them, as they come: outputs have shape (K, n)
rest = tones.finish()  # what still waited for the end of a step
```

Or on files: `python -m tonesift filter INPUT --model $path -o OUTPUT`.""")


def render(
    metadata: Metadata,
    rows: Sequence[Row],
    comparison: Sequence[Row],
    conditions: Sequence[Row] = (),
    *,
    path: str = "models/model.safetensors",
    digest: str | None = None,
) -> str:
    """Model card as Markdown.

    Parameters
    ----------
    metadata : Metadata
        The model file's own.
    rows : sequence of mapping
        Rows of `tones.csv`, all tones first; empty if the model was not judged yet.
    comparison : sequence of mapping
        Estimators with 'name', 'label', 'context', 'causal', 'told', 'r2', 'mse'; may be empty.
    conditions : sequence of mapping
        Rows of `conditions.csv`: 'condition', and R² of 'network' and of other estimators; may be empty.
    path : str
        Where the model file is, from the top of the repository.
    digest : str, optional
        First digits of its MD5, by which `dvc.lock` names it.
    """
    sections = [
        [_title(metadata), *_what(metadata, path, digest)],
        ["## Data it was trained on", *_data(metadata)],
        ["## Training", *_training(metadata)],
        ["## Figures", *_figures(metadata, rows, comparison)] if rows or comparison else [],
        ["## Limits of use", *_limits(metadata, conditions)],
        ["## How to use it", "From the top of the repository:", SNIPPET.substitute(path=path, rate=_rate(metadata))],
        ["## Licence", "MIT, as the rest of the repository; see the file `LICENSE` at its top."],
    ]
    return "\n\n".join(block for section in sections for block in section) + "\n"


def _what(metadata: Metadata, path: str, digest: str | None) -> list[str]:
    network, count, whole = metadata.model, metadata.train.ensemble, metadata.summary.parameters
    named = f", MD5 `{digest}…`" if digest else ""
    several = f"The mean of {count} networks, trained from as many seeds. Each has " if count > 1 else ""
    reads = "forwards only" if metadata.causal else "each window both ways, so it is not causal"
    return [
        f"{several}{_shape(network)}, dropout {network.dropout:g} behind each, a linear head: {whole:,} parameters"
        f"{' together' if several else ''}, in float32. {_step(metadata)} It reads {reads}, with a latency of "
        f"{_samples(metadata.latency)} ({_duration(metadata, metadata.latency)}).",
        f"File: `{path}` (safetensors, runs no code when loaded{named}); everything said here about data and training "
        "is in its metadata.",
    ]


def _shape(network: params.Model) -> str:
    """The network's layers, in words."""
    label, layers = FAMILIES[network.family].label, network.num_layers
    if network.family == "transformer":
        return (
            f"{layers} {label} blocks of {network.model_dim} values, {network.num_heads} heads and "
            f"{network.ff_dim} units between their layers, {network.positions} positions, attention over "
            f"{network.context} steps"
        )
    parts = [f"{layers} {label} {'blocks' if network.family == 'tcn' else 'layers'} of {network.hidden_size} units"]
    if network.family == "tcn":
        parts.append(f"kernels of {network.kernel_size} steps")
    if network.bidirectional:
        parts.append("in each of two directions")
    if network.layer_norm:
        parts.append("layer normalisation behind each")
    if network.recurrent_dropout:
        parts.append(f"recurrent dropout {network.recurrent_dropout:g}")
    if network.memory:
        parts.append(f"memories of up to {network.memory} steps to begin with")
    return ", ".join(parts)


def _title(metadata: Metadata) -> str:
    label, count = FAMILIES[metadata.model.family].label, metadata.train.ensemble
    name = f"{'an' if label == 'LSTM' else 'a'} {label} that pulls" if count == 1 else f"{count} {label}s that pull"
    return f"# tonesift: {name} tones out of a mixture"


def _step(metadata: Metadata) -> str:
    """What goes in and comes out at each step."""
    network, tones = metadata.model, len(metadata.frequencies)
    read, given = ("a sample", "sample") if network.hop == 1 else (_samples(network.hop), "samples")
    if network.conditioning == "heads":
        given_of = f"all {tones} tones" if tones > 1 else "the tone"
        return f"Input at each step is {read} of the mixture, output the same {given} of {given_of}."
    return (
        f"Input at each step is {read} of the mixture and a one-hot selector of the tone wanted "
        f"({network.hop + tones} features), output the wanted tone's {given}."
    )


def _samples(count: int) -> str:
    return f"{count} sample{'s' if count > 1 else ''}"


def _data(metadata: Metadata) -> list[str]:
    waveforms = {
        "fixed": "Task `fixed`: every recording has the same phases and amplitudes and differs in its noise alone.",
        "general": "Task `general`: every recording has amplitudes and phases of its own, drawn at random.",
    }
    return [
        f"Synthetic: the mean of {_sines(metadata)} of {_frequencies(metadata)} and white Gaussian noise "
        f"of standard deviation {metadata.noise_std:g}, sampled at {_rate(metadata)} Hz. "
        f"{waveforms.get(metadata.task, '')}".rstrip(),
        _read(metadata),
    ]


def _read(metadata: Metadata) -> str:
    """How the recordings were read in training."""
    length, settings = metadata.window_samples, metadata.train
    noise = " The noise was drawn anew at every reading." if settings.fresh_noise else ""
    if settings.stateful:
        return (
            f"Read as {settings.batch_size} streams side by side from random starts, the state carried on; "
            f"gradients go back {length} samples ({_duration(metadata, length)}).{noise}"
        )
    return f"Windows of {length} samples ({_duration(metadata, length)}), each once for every tone.{noise}"


def _training(metadata: Metadata) -> list[str]:
    settings, summary, build = metadata.train, metadata.summary, metadata.build
    kept = f"epoch {summary.best_epoch} of {summary.step}, the one of lowest validation loss"
    validation, train = summary.validation, summary.train
    return [
        f"Mean squared error at every sample; optimizer {settings.optimizer}, learning rate "
        f"{settings.learning_rate:g}, batches of {settings.batch_size}, weight decay "
        f"{settings.weight_decay:g}, at most {settings.epochs} epochs. Kept is {kept}: validation loss "
        f"{validation.loss:.4g} (R² {validation.r2:.3f}), training loss {train.loss:.4g} as it learnt.",
        f"Made with PyTorch {build['torch']}, {_arithmetic(build)}; seed {settings.seed}.",
    ]


def _arithmetic(build: Mapping[str, str]) -> str:
    if build["arithmetic"] == "portable":
        return "in portable arithmetic: the same bits on every x86-64 processor with AVX2"
    return f"in the native arithmetic of a processor of the kind {build['processor']}"


def _figures(metadata: Metadata, rows: Sequence[Row], comparison: Sequence[Row]) -> list[str]:
    blocks = ["On test recordings of the same kind with noise the network has never seen:"] if rows else []
    if rows:
        header = ("tone", "R²", "MSE", "RMSE", "Pearson's r", "SNR gain, dB")
        keys = (("r2", ".3f"), ("mse", ".4f"), ("rmse", ".3f"), ("correlation", ".3f"), ("snr_gain_db", ".1f"))
        cells = [[_tone(row), *(_text(row.get(key), form) for key, form in keys)] for row in rows]
        blocks.append(_table(header, cells, numbers=5))
    if comparison:
        header = ("estimator", "told", "context", "causal", "R²", "after 1 s", "MSE")
        ordered = sorted(comparison, key=lambda row: -_rank(row))
        blocks += ["Beside others, best first:", _table(header, [_estimator(row) for row in ordered], numbers=3)]
    return blocks


def _estimator(row: Row) -> list[str]:
    words = [escape(str(row.get(key) or NONE)) for key in ("label", "told")]
    words += [escape(context(row)), escape(str(row.get("causal") or NONE))]
    cells = [
        *words,
        *(_text(row.get(key), form) for key, form in (("r2", ".3f"), ("r2_settled", ".3f"), ("mse", ".4f"))),
    ]
    return [f"**{cell}**" for cell in cells] if row["name"] == "network" else cells


def context(row: Row) -> str:
    """What an estimator may read before it answers, and how many samples at a time where that is more than one."""
    at_a_time = f", {row['hop']} samples at a time" if str(row.get("hop") or 1) != "1" else ""
    return f"{row.get('context') or NONE}{at_a_time}"


def _limits(metadata: Metadata, conditions: Sequence[Row]) -> list[str]:
    waveforms = {
        "fixed": "- **Only these waveforms.** Phases and amplitudes were the same in all of training: with others the "
        "output is wrong, and nothing warns of it.",
        "general": "- **Only amplitudes from the range trained on.** Phases may be any.",
    }
    points = [
        f"- **Only these frequencies at this sampling rate**: {_frequencies(metadata)} at {_rate(metadata)} Hz. "
        "Another frequency or rate needs a network of its own.",
        waveforms.get(metadata.task, ""),
        _memory(metadata),
        f"- **Noise**: white and Gaussian, of standard deviation {metadata.noise_std:g} beside the mean of the tones. "
        "At other levels it still assumes this one.",
        "- **Scaling**: the mixture must be the mean of the tones, not their sum, in the units of training.",
        *_under(conditions),
        f"- **Not tested on**: recordings of the real world, {'' if conditions else UNTESTED}several channels.",
    ]
    return ["\n".join(point for point in points if point)]


def _under(conditions: Sequence[Row]) -> list[str]:
    """What is left of it under the conditions that recordings bring, as a point of the list."""
    if not conditions:
        return []
    each = [
        f"{row['condition']} {_text(row['network'], '.2f')}"
        + (f" ({_text(row[FOUND], '.2f')})" if row.get(FOUND) not in (None, "") else "")
        for row in conditions
    ]
    return [
        "- **What recordings bring** and it was not trained on: R² after 1 s, in brackets that of a filter told the "
        f"frequencies alone (`tonesift filter --tones`): {', '.join(each)}."
    ]


def _memory(metadata: Metadata) -> str:
    """What becomes of the state, as a point of the list."""
    if metadata.train.stateful:
        return (
            "- **It needs a beginning**: the state is carried on for as long as there are samples, and the first ones "
            "are the poorest. After a gap begin anew."
        )
    length, lowest = metadata.window_samples, min(metadata.frequencies)
    share = 100 * length * lowest / metadata.sampling_rate
    return (
        f"- **The state is reset every {length} samples** ({_duration(metadata, length)}, {share:.3g} % of a period of "
        f"{lowest:g} Hz): what came before is not used, and the first samples of a window are the poorest. It was not "
        "trained to carry its state on."
    )


def _frequencies(metadata: Metadata) -> str:
    *others, last = [f"{frequency:g}" for frequency in metadata.frequencies]
    return f"{', '.join(others)} and {last} Hz" if others else f"{last} Hz"


def _sines(metadata: Metadata) -> str:
    count = len(metadata.frequencies)
    return f"{count} sine{'s' if count > 1 else ''}"


def _rate(metadata: Metadata) -> str:
    return f"{metadata.sampling_rate:.10g}"


def _duration(metadata: Metadata, samples: int) -> str:
    return f"{1000 * samples / metadata.sampling_rate:.4g} ms"


def _tone(row: Row) -> str:
    frequency = row.get("frequency_hz")
    return escape(str(row["tone"])) if frequency in (None, "") else f"{float(frequency):g} Hz"


def _rank(row: Row) -> float:
    number = float(row["r2"]) if row.get("r2") not in (None, "") else math.nan
    return -math.inf if math.isnan(number) else number


def _text(value: Any, form: str) -> str:
    """A figure as text; a dash where there is none."""
    if value is None or value == "" or not math.isfinite(float(value)):
        return NONE
    return format(float(value), form)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: int) -> str:
    """Markdown table whose last `numbers` columns are set flush right."""
    align = ["left"] * (len(header) - numbers) + ["right"] * numbers
    return tabulate(rows, header, tablefmt="pipe", colalign=align, disable_numparse=True)


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return "".join(f"\\{sign}" if sign in SPECIAL else sign for sign in " ".join(text.split()))
