"""What a model file says of its network: one typed object, made and checked where the file is written or read."""

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from tonesift import params
from tonesift.checked import damaged
from tonesift.families import FAMILIES


class Part(BaseModel):
    """Part of the metadata: fixed once made, of the types that it says."""

    model_config = ConfigDict(frozen=True, strict=True, validate_by_name=True, validate_by_alias=True)


class Figures(Part):
    """Mean squared error, R^2 and Pearson's r."""

    loss: float
    r2: float
    correlation: float


class Summary(Part):
    """What a training came to: the epoch that was kept, of how many (`step`), and its figures.

    Those of an ensemble are its own on validation, and `members`, its networks' means; `gain` is what averaging gained.
    """

    best_epoch: int
    step: int
    parameters: int
    train: Figures
    validation: Figures
    members: dict[str, Figures] | None = None
    gain: float | None = None


class Metadata(Part):
    """What a model file says of its network: made and checked once, where the file is written or read.

    Attributes
    ----------
    model, train : params.Model, params.Train
        Parameters it was made and trained with.
    sampling_rate, frequencies, noise_std, second_moment, task
        Of the recordings it was trained on, as in `recordings.Facts`.
    window_samples, step_size : int
        Samples in a window, and between the starts of neighbours. The file calls the first `sequence_length`, as
        `params.yaml` does, where it counts steps.
    center, scale : float
        The network is fed (mixture - center) / scale.
    build : dict
        What decides the bits beyond the parameters, from `arithmetic.build`.
    summary : Summary
        What the training came to.
    tones : int or None
        K, where every recording had tones of its own; `frequencies` is empty then.
    tone_range : (float, float) or None
        Hz, lowest and highest of these.
    whitening : tuple of float
        How the background of the training recordings predicts itself, where they have one and filters are corrected.
    """

    model: params.Model
    train: params.Train
    sampling_rate: params.Hertz
    frequencies: Annotated[tuple[params.Hertz, ...], Field(max_length=params.TONES)]
    noise_std: params.Amplitude
    second_moment: params.Positive
    task: str
    window_samples: Annotated[int, Field(ge=1, alias="sequence_length")]
    step_size: params.Count
    center: params.Finite
    scale: params.Positive
    build: dict[str, str]
    summary: Summary
    tones: Annotated[int, Field(ge=1, le=params.TONES)] | None = Field(None, validate_default=True)
    tone_range: tuple[params.Hertz, params.Hertz] | None = Field(None, validate_default=True)
    whitening: Annotated[tuple[params.Finite, ...], Field(max_length=100)] = ()

    @field_validator("frequencies")
    @classmethod
    def _is_told(cls, frequencies: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        if frequencies or ("model" in info.data and FAMILIES[info.data["model"].family].front):
            return frequencies
        raise ValueError("a model of this family knows the frequencies of its tones")

    @field_validator("tones", "tone_range")
    @classmethod
    def _is_there(cls, found: object, info: ValidationInfo) -> object:
        if found is None and not info.data.get("frequencies"):
            raise ValueError("a model of any tones tells how many it was trained on, and their range")
        return found

    @property
    def count(self) -> int:
        """K, tones in a recording that it was trained on."""
        return len(self.frequencies) or self.tones or 0

    @property
    def causal(self) -> bool:
        """Whether no output depends on a later step."""
        return not self.model.bidirectional

    @property
    def reset_samples(self) -> int | None:
        """Samples after which the state is reset; None where it is carried on."""
        return None if self.train.stateful else self.window_samples

    @property
    def latency(self) -> int:
        """Samples read before the first of them is answered: a step, or the whole window if that is read both ways."""
        return self.model.hop if self.causal else self.window_samples

    def as_json(self) -> dict[str, Any]:
        """As the file holds it."""
        # unset: a single network's summary says nothing of members, not that there are none
        return self.model_dump(by_alias=True, exclude_unset=True)


def read_metadata(content: dict[str, Any], path: str | Path, remedy: str) -> Metadata:
    """Metadata out of a file's JSON. What files of other times say beyond it is passed over.

    Raises
    ------
    InputError
        If something is missing or wrong.
    """
    if isinstance(content.get("train"), dict):
        content["train"].setdefault("arithmetic", "native")  # what it was before there was a choice
    try:
        return Metadata.model_validate_json(json.dumps(content), extra="ignore")
    except ValidationError as error:
        raise damaged(error, path, remedy) from error
