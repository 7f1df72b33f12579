"""Every hyperparameter: its type, its unit, what cannot work and what is advised; read from `params.yaml` and checked.

Two kinds of mistakes are found before any work is done: values that are no good by themselves (`load` asks pydantic)
and values that do not go together (`conflicts`). Both come as one line each, all of them at once. Advised ranges only
warn: a hidden size of 8 or an hour-long recording is unusual, not wrong.

`python -m tonesift.params > params.schema.json` writes the JSON schema that editors check `params.yaml` with.
"""

import json
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from tonesift import yamlfile
from tonesift.errors import InputError, shown
from tonesift.families import COMMON, FAMILIES

# Every number has an upper bound, far beyond what anyone runs: sizes fit in 64 bits, squares in a float32.
LARGEST = 1e15
LOUDEST, FAINTEST = 1e6, 1e-6  # amplitudes
QUIETEST = 1e-9  # noise, where there is any
Positive = Annotated[float, Field(gt=0, le=LARGEST, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False)]
Hertz = Annotated[float, Field(ge=1e-6, le=1e9, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Seconds = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10**6)]
Size = Annotated[int, Field(ge=1, le=10**5)]
Few = Annotated[int, Field(ge=1, le=1000)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
TONES = 1000
Frequencies = Annotated[list[Hertz], Field(min_length=1, max_length=TONES)]
Phase = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Amplitude = Annotated[float, Field(ge=0, le=LOUDEST, allow_inf_nan=False)]
Drawn = Annotated[float, Field(ge=FAINTEST, le=LOUDEST, allow_inf_nan=False)]
Finite = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
Range = Annotated[list[Drawn], Field(min_length=2, max_length=2)]  # lowest and highest
SecondsRange = Annotated[list[Seconds], Field(min_length=2, max_length=2)]
Exponent = Annotated[float, Field(ge=0, le=4)]


def _field(description: str, advised: tuple[float, float] | None = None, **rules: Any) -> Any:
    """Field with a description (unit first) and, where there is one, the range it is advised to stay in."""
    if advised is None:
        return Field(description=description, **rules)
    return Field(
        description=f"{description}; advised {advised[0]:g}-{advised[1]:g}",
        json_schema_extra={"advised": list(advised)},
        **rules,
    )


class Section(BaseModel):
    """A section of `params.yaml`: fixed once read; a number in quotes is a mistake, an unknown key as well."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Conditions(Section):
    """Section `data.conditions`: what recordings go through beside white noise; each is off at 0 or null.

    `docs/conditions.md` has the formulas. The rest of a condition, such as its time constant, changes nothing while it
    is off. All of it may be left out.
    """

    drift: Annotated[float, Field(ge=0, le=0.15)] = _field(
        "standard deviation of each tone's relative frequency, an Ornstein-Uhlenbeck process", (0, 0.05), default=0.0
    )
    drift_time: Seconds = _field("seconds, time constant of the drift", (0.1, 100), default=1.0)
    wander: Annotated[float, Field(ge=0, le=3)] = _field(
        "standard deviation of each tone's log amplitude, an Ornstein-Uhlenbeck process", (0, 0.5), default=0.0
    )
    wander_time: Seconds = _field("seconds, time constant of the wander", (0.1, 100), default=0.5)
    phase_walk: Annotated[float, Field(ge=0, le=1e3)] = _field(
        "radians per root second, random walk of each tone's phase", (0, 1), default=0.0
    )
    dwell: Seconds | None = _field(
        "seconds, mean time that a tone is on, and off, with amplitude and phase drawn anew at each onset", default=None
    )
    tone_range: Annotated[list[Hertz], Field(min_length=2, max_length=2)] | None = _field(
        "Hz, lowest and highest: as many tones as data.frequencies has, log-uniform, other ones in every recording",
        default=None,
    )
    tone_distance: NotNegative = _field("Hz between tones of a random set, at least", default=1.5)
    amplitude_ranges: Annotated[list[Range], Field(min_length=1, max_length=TONES)] | None = _field(
        "lowest and highest amplitude of each tone, in place of data.amplitude_range", default=None
    )
    jitter_amplitude: Share = _field(
        "share of its amplitude by which a tone in the mixture is off at most, drawn at every sample", default=0.0
    )
    jitter_phase: Annotated[float, Field(ge=0, le=180)] = _field(
        "degrees by which a tone in the mixture is off at most, drawn at every sample", default=0.0
    )
    tail_scale: Range | None = _field(
        "scale of noise of Student's t, beside data.noise_std: log-uniform from lowest to highest", default=None
    )
    tail_freedom: Annotated[float, Field(ge=1, le=1e6)] = _field("degrees of freedom of Student's t", default=1.5)
    burst_share: Share = _field("share of the time in which white noise and Student's t are louder", default=0.0)
    burst_length: SecondsRange = _field("seconds that a burst lasts, lowest and highest", default=[0.02, 0.15])
    burst_factor: Drawn = _field("by which noise is louder in a burst", default=10.0)
    coloured: Range | None = _field(
        "standard deviation of noise of spectrum 1/f^a: log-uniform from lowest to highest", default=None
    )
    coloured_exponent: Annotated[list[Exponent], Field(min_length=2, max_length=2)] = _field(
        "a, lowest and highest", default=[0.8, 2.0]
    )
    background: Annotated[str, Field(min_length=1, max_length=1000)] | None = _field(
        "file with a signal at data.sampling_rate to add stretches of: its first two thirds train, the rest tests",
        default=None,
    )
    background_gain: Range = _field("of a stretch: log-uniform from lowest to highest", default=[1.0, 1.0])
    outlier_share: Share = _field("share of samples that are noise alone", default=0.0)
    outlier_std: Amplitude = _field("standard deviation of these", default=2.0)
    clip: Range | None = _field("level that the mixture is clipped at, lowest and highest", default=None)
    gap_share: Share = _field("share of samples that are missing", default=0.0)
    gap_length: SecondsRange = _field("seconds that a gap lasts, lowest and highest", default=[0.02, 0.5])

    @property
    def on(self) -> tuple[str, ...]:
        """Names of the conditions that are on."""
        return tuple(name for name in SWITCHES if getattr(self, name))

    def needs(self, *names: str) -> bool:
        """Whether one of these is on."""
        return not set(names).isdisjoint(self.on)


MOVING = ("drift", "wander", "phase_walk", "dwell")  # what a tone is not the sine it began as with
DRAWN = ("tone_range", "amplitude_ranges")  # what is drawn once for a recording
DAMAGE = (
    *("jitter_amplitude", "jitter_phase", "tail_scale", "burst_share", "coloured", "background"),
    *("outlier_share", "clip", "gap_share"),
)  # what the mixture suffers and the tones do not
SWITCHES = (*MOVING, *DRAWN, *DAMAGE)
OFF = {"recurrent_dropout": "0.0", "memory": "null"}  # what turns an option of a network off that is no switch
DRIFTS = 6  # standard deviations that a frequency is reckoned to drift at most


class Data(Section):
    """Section `data`: the recordings that stage `generate` makes."""

    task: Literal["fixed", "general"] = _field(
        "fixed: phases and amplitudes as listed; general: both drawn anew for every recording"
    )
    frequencies: Frequencies = _field("Hz, one for each tone, all different, below sampling_rate / 2", (0.1, 100))
    phases: list[Phase] = _field("degrees, one for each tone (task fixed)", (0, 360), max_length=TONES)
    amplitudes: list[Amplitude] = _field("one for each tone (task fixed)", max_length=TONES)
    amplitude_range: Annotated[list[Drawn], Field(min_length=2, max_length=2)] = _field(
        "lowest and highest amplitude to draw (task general)"
    )
    noise_std: Amplitude = _field("standard deviation of the noise, 0 or from 1e-9 up", (0.01, 0.5))
    duration: Seconds = _field("seconds, length of each recording", (5, 60))
    sampling_rate: Hertz = _field("Hz", (100, 10_000))
    train_recordings: Count = _field("recordings to train and validate on")
    test_recordings: Count = _field("recordings to test on")
    train_seed: Seed = _field("seed of the training recordings")
    test_seed: Seed = _field("seed of the test recordings")
    conditions: Conditions = Field(default_factory=Conditions)

    @property
    def samples(self) -> int:
        """Samples N of each recording."""
        return round(self.duration * self.sampling_rate)


class Prepare(Section):
    """Section `prepare`: windows, split and scaling."""

    sequence_length: Count = _field("steps in a window, of model.hop samples each", (25, 200))
    step_size: Count = _field("samples between the starts of neighbouring windows", (1, 50))
    split: Literal["block", "random"] = _field(
        "block: validate on a contiguous block or on whole recordings; random: window by window (leaks)"
    )
    val_split: Fraction = _field("share of the data to validate on", (0.05, 0.2))
    folds: Annotated[int, Field(ge=2, le=10**6)] = _field("number of blocks for cross-validation")
    fold: Count | None = _field("block to validate on, 1 to folds; null: the last val_split of the data")
    scaling: Literal["none", "standard", "minmax", "robust"] = _field("of the mixture, fitted on the training part")
    seed: Seed = _field("seed of the random split")


class Model(Section):
    """Section `model`: the network. Every parameter is given; a family reads its own and those of every family."""

    family: Literal[tuple(FAMILIES)] = _field("kind of network, a module of tonesift.networks")
    num_layers: Few = _field("layers on top of each other; blocks of transformer and tcn", (1, 6))
    dropout: Share = _field("share dropped behind each layer", (0, 0.5))
    conditioning: Literal["selector", "heads"] = _field(
        "selector: the input names the tone wanted; heads: the output is all tones"
    )
    hop: Size = _field("samples in a step, read and given together: the filter's latency", (1, 20))
    hidden_size: Size = _field("units in each layer (lstm, gru, tcn)", (32, 512))
    layer_norm: bool = _field("normalise what each layer gives (lstm, gru, tcn); the transformer always does")
    bidirectional: bool = _field("read each window from behind as well (lstm, gru): no longer causal")
    recurrent_dropout: Share = _field("share of the weights between hidden values dropped (lstm, gru)", (0, 0.5))
    memory: Annotated[int, Field(ge=2, le=10**6)] | None = _field(
        "longest time in steps that units begin with (lstm, gru); null: about half is forgotten in a step",
        (20, 1000),
        default=None,
    )
    model_dim: Size = _field("values in each step (transformer), a multiple of num_heads", (256, 1024))
    num_heads: Size = _field("heads of attention (transformer)", (4, 16))
    ff_dim: Size = _field("units between the layers of a block (transformer)", (1024, 4096))
    positions: Literal["learned", "rotary"] = _field("how attention knows distances (transformer)")
    context: Size = _field("steps that attention reaches back (transformer), the present one included", (25, 500))
    kernel_size: Few = _field("steps that a convolution reads (tcn)", (2, 7))

    @property
    def used(self) -> tuple[str, ...]:
        """Names of the parameters that its family reads."""
        own = (*COMMON, *FAMILIES[self.family].options)
        return tuple(name for name in type(self).model_fields if name in (*own, "family", "conditioning", "hop"))


class Train(Section):
    """Section `train`: how the network learns."""

    epochs: Count = _field("at most", (5, 200))
    stateful: bool = _field("carry the state on along the recording instead of resetting it with every window")
    stream_steps: Size = _field("steps in an epoch where the state is carried on", (10, 500))
    batch_size: Count = _field("windows, or streams side by side, in a step", (8, 256))
    fresh_noise: bool = _field("new noise of data.noise_std at every reading in place of the recorded")
    jitter: NotNegative = _field("standard deviation of new noise on top at every reading", (0, 0.2))
    shortest: Annotated[float, Field(gt=0, le=1)] = _field(
        "share of prepare.sequence_length from which each batch's length is drawn; 1: always the whole", (0.25, 1)
    )
    optimizer: Literal["adam", "adamw", "sgd"] = _field("adam, adamw, or sgd with momentum")
    learning_rate: Positive = _field("step size, where it is highest", (1e-5, 1e-2))
    momentum: Share = _field("of sgd")
    layer_decay: Annotated[float, Field(gt=0, le=1)] = _field(
        "learning rate of each layer as a share of the next one's, from the head down; 1: the same everywhere", (0.5, 1)
    )
    weight_decay: NotNegative = _field("L2 penalty (adamw: decoupled)", (0, 1e-3))
    grad_clip: Positive | None = _field("largest norm of the gradient; null: none", (0.5, 5))
    gradient_noise: NotNegative = _field(
        "standard deviation of noise on the gradient at the first step, less with every step", (0, 0.1)
    )
    scheduler: Literal["plateau", "one-cycle", "none"] = _field(
        "plateau: shrink the step when the validation loss stalls; one-cycle: up, then down to nearly nothing"
    )
    warmup: Share = _field("share of all steps over which the step size rises", (0, 0.5))
    scheduler_factor: Fraction = _field("by which the step shrinks", (0.1, 0.9))
    scheduler_patience: Annotated[int, Field(ge=0, le=10**6)] = _field("epochs without gain before it shrinks", (3, 10))
    early_stop_patience: Count = _field("epochs without gain before training stops", (5, 30))
    fused: bool = _field("update all weights in one call")
    precision: Literal["float32", "bfloat16"] = _field(
        "of the network in training; bfloat16 where the processor has it"
    )
    seed: Seed = _field("seed of weights, order, dropout and new noise")
    ensemble: Few = _field("networks trained from as many seeds, from train.seed up, and averaged", (1, 10))
    shards: Few = _field("pieces a batch is cut into on a CPU, each on a thread of its own; part of the result's bits")
    arithmetic: Literal["portable", "native"] = _field(
        "portable: the same bits on every x86-64 processor with AVX2; native: the quickest code of this processor"
    )
    device: Literal["cpu", "cuda", "auto"] = _field(
        "auto: cuda where there is one and arithmetic is native; only cpu gives the same bits"
    )


class Evaluate(Section):
    """Section `evaluate`: how the model is judged."""

    detail: Literal["scores", "full"] = _field(
        "scores: the figures experiments are compared by; full: also the classical filters, robustness and all pictures"
    )
    batch_size: Count = _field("windows in one pass through the model; more is faster and takes more memory")
    streams: Size = _field("streams to judge a carried state on, from starts drawn over one period", (16, 256))
    device: Literal["cpu", "cuda", "auto"] = _field("auto: cuda where there is one")


class Params(Section):
    """The whole of `params.yaml`."""

    data: Data
    prepare: Prepare
    model: Model
    train: Train
    evaluate: Evaluate

    @property
    def window_samples(self) -> int:
        """Samples in a window: `prepare.sequence_length` counts steps."""
        return self.prepare.sequence_length * self.model.hop


def load(path: str | Path, *sections: str) -> list[Any]:
    """Read and check the whole file, and give the sections asked for.

    Parameters
    ----------
    path : str or Path
        YAML file with every section of `Params`.
    *sections : str
        Names of what is wanted: sections, or single parameters ("model.hop").

    Returns
    -------
    list of Section or value
        One for each name, in that order.

    Raises
    ------
    InputError
        With one line for each mistake: key, value, rule.
    """
    values = yamlfile.read(Path(path))
    try:
        found, mistakes = dict(Params.model_validate(values)), []
    except ValidationError as error:
        mistakes = [_explain(details) for details in error.errors()]
        found = _sound_sections(values, {details["loc"][0] for details in error.errors() if details["loc"]})
    mistakes += conflicts(*(found.get(name) for name in ("data", "prepare", "model", "train")))
    if mistakes:
        raise InputError("\n".join(f"{path}: {mistake}" for mistake in mistakes))
    return [attrgetter(name)(SimpleNamespace(**found)) for name in sections]


def _sound_sections(values: Any, unsound: set[int | str]) -> dict[str, Section]:
    """Sections without a mistake of their own."""
    if not isinstance(values, dict):
        return {}
    names = [name for name in Params.model_fields if name in values and name not in unsound]
    return {name: Params.model_fields[name].annotation.model_validate(values[name]) for name in names}


def _explain(details: ErrorDetails) -> str:
    key = ".".join(str(part) for part in details["loc"]) or "the file"
    if details["type"] == "missing":
        return f"{key}: missing, but every parameter must be given"
    if details["type"] == "extra_forbidden":
        return f"{key}: unknown parameter (a typing error?)"
    rule = details["msg"][0].lower() + details["msg"][1:]
    return f"{key}: got {shown(details['input'])}, but {rule}"


def conflicts(data: Data | None, prepare: Prepare | None, model: Model | None, train: Train | None) -> list[str]:
    """Settings that are fine by themselves but cannot work together, one sentence for each; None is not looked at."""
    found = _data_conflicts(data) if data else []
    if prepare and train and train.stateful and prepare.split == "random":
        found.append(
            "train.stateful: a stream needs neighbouring windows, but prepare.split is 'random': set it to block"
        )
    found += _model_conflicts(model) if model else []
    found += _front_conflicts(model, train) if model and train else []
    found += _set_conflicts(data, model) if data and model else []
    if model and train and model.bidirectional and train.stateful:
        found.append(
            "model.bidirectional: a window is read from behind as well, but train.stateful carries a state on into "
            "the future: set it to false"
        )
    found += _reach_conflicts(data, model) if data and model else []
    found += _noise_conflicts(data.conditions) if data and train and train.fresh_noise else []
    found += _portable_conflicts(train) if train else []
    found += _fold_conflicts(prepare) if prepare else []
    return found + _window_conflicts(data, prepare, model.hop) if data and prepare and model else found


def _data_conflicts(data: Data) -> list[str]:
    found = [
        f"data.frequencies: got {frequency:g} Hz, but a tone must lie below half of data.sampling_rate "
        f"({data.sampling_rate / 2:g} Hz)"
        for frequency in data.frequencies
        if frequency >= data.sampling_rate / 2
    ]
    if len(set(data.frequencies)) < len(data.frequencies):
        found.append(f"data.frequencies: got {shown(data.frequencies)}, but every tone needs a frequency of its own")
    for name in ("phases", "amplitudes"):
        values = getattr(data, name)
        if data.task == "fixed" and len(values) != len(data.frequencies):
            found.append(
                f"data.{name}: got {len(values)} values, but data.frequencies has {len(data.frequencies)}: "
                "give one for each tone"
            )
    if data.task == "fixed" and data.amplitudes and min(data.amplitudes) < FAINTEST:
        found.append(
            f"data.amplitudes: got {shown(data.amplitudes)}, but a tone needs an amplitude above 0, {FAINTEST:g} at "
            "least, to be told apart"
        )
    if 0 < data.noise_std < QUIETEST:
        found.append(f"data.noise_std: got {data.noise_std:g}, but it must be 0, or {QUIETEST:g} at least")
    if data.amplitude_range[0] > data.amplitude_range[1]:
        found.append(f"data.amplitude_range: got {data.amplitude_range}, but the lowest must come first")
    return found + (_condition_conflicts(data, data.conditions) if data.conditions.on else [])


def _condition_conflicts(data: Data, conditions: Conditions) -> list[str]:
    found = [*_ranges_upside_down(conditions), *_too_quick(data, conditions), *_too_high(data, conditions)]
    if data.task == "fixed":
        found += [
            f"{name}: amplitudes and phases are drawn, but data.task is 'fixed': set it to general"
            for name in ("dwell", *DRAWN)
            if conditions.needs(name)
        ]
    ranges, tones = conditions.amplitude_ranges, len(data.frequencies)
    if ranges and len(ranges) != tones:
        found.append(f"amplitude_ranges: got {len(ranges)} ranges, but data.frequencies has {tones}: give one each")
    if conditions.burst_share and not (data.noise_std or conditions.tail_scale):
        found.append("burst_share: there is no noise to be louder: set data.noise_std or tail_scale above 0")
    return [f"data.conditions.{sentence}" for sentence in found]


def _ranges_upside_down(conditions: Conditions) -> list[str]:
    names = (
        *("tone_range", "tail_scale", "burst_length", "coloured", "coloured_exponent", "background_gain", "clip"),
        *("gap_length",),
    )
    ranges = [(name, getattr(conditions, name)) for name in names if getattr(conditions, name)]
    ranges += [("amplitude_ranges", each) for each in conditions.amplitude_ranges or ()]
    return [f"{name}: got {each}, but the lowest must come first" for name, each in ranges if each[0] > each[1]]


def _too_quick(data: Data, conditions: Conditions) -> list[str]:
    """What is over before the next sample."""
    times = {"drift": "drift_time", "wander": "wander_time", "dwell": "dwell"}
    found = {name: getattr(conditions, name) for switch, name in times.items() if conditions.needs(switch)}
    for switch, name in (("burst_share", "burst_length"), ("gap_share", "gap_length")):
        if conditions.needs(switch):
            found[name] = min(getattr(conditions, name))
    return [
        f"{name}: got {seconds:g} s, but a sample lasts {1 / data.sampling_rate:g} s (1 / data.sampling_rate): it must "
        "last that long at least"
        for name, seconds in found.items()
        if seconds * data.sampling_rate < 1
    ]


def _too_high(data: Data, conditions: Conditions) -> list[str]:
    """Tones that are, or drift to where they are, at half the sampling rate or beyond."""
    found, half = [], data.sampling_rate / 2
    highest = max(data.frequencies)
    if conditions.tone_range:
        low, highest = conditions.tone_range
        tones = len(data.frequencies)
        if highest >= half:
            found.append(f"tone_range: got {highest:g} Hz, but a tone must lie below half of data.sampling_rate")
        if (tones - 1) * conditions.tone_distance > highest - low:
            found.append(
                f"tone_distance: got {conditions.tone_distance:g} Hz, but {tones} tones do not fit into "
                f"{conditions.tone_range} Hz (tone_range) so far apart"
            )
    if highest < half <= highest * (1 + DRIFTS * conditions.drift):
        found.append(
            f"drift: got {conditions.drift:g}, which takes {highest:g} Hz beyond half of data.sampling_rate "
            f"({half:g} Hz) within {DRIFTS} standard deviations: sample faster, or drop the tone"
        )
    return found


def _noise_conflicts(conditions: Conditions) -> list[str]:
    """What fresh noise would take out of the mixture."""
    lost = [name for name in DAMAGE if conditions.needs(name)]
    return [
        "train.fresh_noise: the network would learn from the tones in white noise, and see nothing of "
        f"data.conditions.{name}: set it to false"
        for name in lost[:1]
    ]


def _model_conflicts(model: Model) -> list[str]:
    family = FAMILIES[model.family]
    found = [
        f"model.{name}: got {getattr(model, name)}, but family {model.family} has no such option: set it to "
        f"{OFF.get(name, 'false')}"
        for name in family.refuses
        if getattr(model, name)
    ]
    if model.family == "transformer":
        size, rest = divmod(model.model_dim, model.num_heads)
        if rest:
            found.append(
                f"model.model_dim: got {model.model_dim}, but it must be a multiple of model.num_heads "
                f"({model.num_heads})"
            )
        elif model.positions == "rotary" and size % 2:
            found.append(
                f"model.model_dim: got {model.model_dim}, which gives each of {model.num_heads} heads {size} values, "
                "but rotary positions need an even number: change it or model.num_heads"
            )
    return found


def _front_conflicts(model: Model, train: Train) -> list[str]:
    """What a network that corrects filters cannot do: it reads what filters made of the recordings, once."""
    if not FAMILIES[model.family].front:
        return []
    wanted = {"stateful": True, "fresh_noise": False, "jitter": 0.0}
    return [
        f"train.{name}: got {getattr(train, name)!r}, but family {model.family} corrects filters that were run over "
        f"the recordings: set it to {str(value).lower()}"
        for name, value in wanted.items()
        if getattr(train, name) != value
    ]


def _set_conflicts(data: Data, model: Model) -> list[str]:
    """A network that gives all tones at once knows which they are."""
    if not (FAMILIES[model.family].front and model.conditioning == "heads" and data.conditions.tone_range):
        return []
    return [
        "model.conditioning: got 'heads', but every recording has tones of its own (data.conditions.tone_range): set "
        "it to selector"
    ]


def _portable_conflicts(train: Train) -> list[str]:
    """What computes differently on different processors."""
    if train.arithmetic != "portable":
        return []
    elsewhere = {"precision": "bfloat16", "device": "cuda", "fused": False}
    return [
        f"train.{name}: got {value!r}, which gives other bits on other processors, but train.arithmetic is "
        "'portable': set that to native"
        for name, value in elsewhere.items()
        if getattr(train, name) == value
    ]


def _reach_conflicts(data: Data, model: Model) -> list[str]:
    """A block of the tcn whose taps lie further apart than a recording is long reads nothing but its present step."""
    steps = max(data.samples // model.hop, 2)
    most = (steps - 1).bit_length()
    if model.family != "tcn" or model.kernel_size == 1 or model.num_layers <= most:
        return []
    return [
        f"model.num_layers: got {model.num_layers}, but the taps of tcn's last block would lie "
        f"2^{model.num_layers - 1} steps apart, and a recording has {steps}: set it to {most} at most"
    ]


def _fold_conflicts(prepare: Prepare) -> list[str]:
    found = []
    if prepare.fold is not None and prepare.fold > prepare.folds:
        found.append(f"prepare.fold: got {prepare.fold}, but there are {prepare.folds} folds (prepare.folds)")
    if prepare.fold is not None and prepare.split == "random":
        found.append("prepare.fold: folds are contiguous blocks, but prepare.split is 'random': set it to block")
    return found


def _window_conflicts(data: Data, prepare: Prepare, hop: int) -> list[str]:
    if prepare.sequence_length * hop > data.samples:
        steps = f" steps of {hop}" if hop > 1 else ""
        return [
            f"prepare.sequence_length: got {prepare.sequence_length}{steps}, but a recording has "
            f"{data.samples} samples (data.duration x data.sampling_rate)"
        ]
    return [] if _fold_conflicts(prepare) else _empty_part(data, prepare, hop)


def _empty_part(data: Data, prepare: Prepare, hop: int) -> list[str]:
    validation, training, needed, unit = _part_sizes(data, prepare, prepare.sequence_length * hop)
    if min(validation, training) >= needed:
        return []
    part, size = ("validation", validation) if validation < needed else ("training", training)
    key = "val_split" if prepare.fold is None else "folds"
    return [
        f"prepare.{key}: got {getattr(prepare, key)}, which leaves {max(size, 0)} {unit} for {part}, but it needs "
        f"{needed}: change it, or make longer or more recordings"
    ]


def _part_sizes(data: Data, prepare: Prepare, length: int) -> tuple[int, int, int, str]:
    """Sizes of validation and training part, the least that works, and what they are counted in."""
    if prepare.split == "random":
        windows = data.train_recordings * ((data.samples - length) // prepare.step_size + 1)
        validation = round(prepare.val_split * windows)
        return validation, windows - validation, 1, "windows"
    several = data.train_recordings > 1
    units = data.train_recordings if several else data.samples
    if prepare.fold is None:
        validation = max(1, round(prepare.val_split * units))
        segment = units - validation
    else:
        validation = units // prepare.folds
        begin, end = ((prepare.fold - 1) * units // prepare.folds, prepare.fold * units // prepare.folds)
        segment = units - validation if several else max(begin, units - end)
    return (validation, segment, 1, "recordings") if several else (validation, segment - length, length, "samples")


def advice(section: Section, label: str = "") -> list[str]:
    """Settings of a section that leave the advised range, one sentence for each; what is not used is passed over."""
    found, used = [], section.used if isinstance(section, Model) else ()
    label = label or type(section).__name__.lower()
    for name, field in type(section).model_fields.items():
        if isinstance(getattr(section, name), Section):
            found += advice(getattr(section, name), f"{label}.{name}")
        extra = field.json_schema_extra
        if not isinstance(extra, dict) or (used and name not in used):
            continue
        low, high = extra["advised"]
        value = getattr(section, name)
        values = value if isinstance(value, list) else [value]
        if any(value is not None and not low <= value <= high for value in values):
            found.append(f"{label}.{name} is {value}: the advised range is {low:g} to {high:g}")
    return found


def schema() -> str:
    """JSON schema of `params.yaml`, as text."""
    return json.dumps(Params.model_json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    print(schema(), end="")
