"""What a study may vary: the parameters, their ranges, and when a parameter is there at all.

A dimension is written as a list of choices, or as a mapping:

    model.dropout: [0.0, 0.1, 0.2]
    train.grad_clip: [0.5, 1.0, null]
    model.hidden_size: {low: 64, high: 256, step: 64}
    train.learning_rate: {low: 1.0e-4, high: 5.0e-3, log: true}
    train.momentum: {low: 0.5, high: 0.99, when: {train.optimizer: sgd}}
"""

import json
import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Scalar = bool | int | float | str | None


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number, but got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"must be finite, but got {value}")
    return value


Number = Annotated[int | float, BeforeValidator(_number)]


class Dimension(BaseModel):
    """A parameter to vary.

    Attributes
    ----------
    choices : list or None
        Values to choose from; of any type that YAML has.
    low, high : int or float
        Ends of a range, both included; whole numbers make an integer range.
    step : int or float, optional
        Distance between neighbouring values.
    log : bool
        Equal factors are equally likely, instead of equal distances.
    when : dict
        The parameter is varied only where each of these others has the value (or one of the list) given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    choices: list[Any] | None = Field(None, min_length=1)
    low: Number | None = None
    high: Number | None = None
    step: Annotated[Number, Field(gt=0)] | None = None
    log: bool = False
    when: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _whole(self) -> "Dimension":
        ends = (self.low, self.high)
        if (self.choices is None) == (ends == (None, None)):
            raise ValueError("give either choices or low and high")
        if self.choices is not None:
            self._check_choices()
        else:
            self._check_range()
        return self

    def _check_choices(self) -> None:
        if self.step is not None or self.log:
            raise ValueError("step and log belong to a range, but choices are given")
        for choice in self.choices:
            check_value(choice)
        if len({label(choice) for choice in self.choices}) < len(self.choices):
            raise ValueError(f"a choice is given twice in {self.choices}; 1, 1.0 and true count as the same")

    def _check_range(self) -> None:
        if self.low is None or self.high is None:
            raise ValueError("a range needs both low and high")
        if self.low > self.high:
            raise ValueError(f"low {self.low} lies above high {self.high}: the range is empty")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs low above 0, but got {self.low}")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other")
        if self.integer and self.step is not None and not isinstance(self.step, int):
            raise ValueError(f"low and high are whole numbers, so step must be too, but got {self.step}")

    @property
    def integer(self) -> bool:
        """Whether this is a range of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def finite(self) -> bool:
        """Whether the values can be counted."""
        return self.choices is not None or self.integer or self.step is not None

    @property
    def highest(self) -> float:
        """The largest value of a range that its steps reach."""
        if self.step is None:
            return self.high
        low, high, step = (Decimal(str(number)) for number in (self.low, self.high, self.step))
        reached = low + (high - low) // step * step
        return int(reached) if self.integer else float(reached)

    def distribution(self) -> BaseDistribution:
        """Optuna's own form of it; choices that Optuna cannot hold become JSON text."""
        if self.choices is not None:
            return CategoricalDistribution([label(choice) for choice in self.choices])
        if self.integer:
            return IntDistribution(self.low, self.highest, log=self.log, step=self.step or 1)
        return FloatDistribution(float(self.low), float(self.highest), log=self.log, step=self.step)

    def value(self, held: Scalar) -> Any:
        """The value that Optuna's form of it stands for."""
        if self.choices is None:
            return held
        return next(choice for choice in self.choices if label(choice) == held)

    def levels(self, count: int) -> list[Any]:
        """All choices; of a range `count` values, evenly spaced from end to end and rounded to what is allowed."""
        if self.choices is not None:
            return list(self.choices)
        return spread(self, self.low, self.high, count)

    def ends(self) -> list[Any]:
        """The values that show whether every value fits: all choices, or both ends."""
        return list(self.choices) if self.choices is not None else [self.low, self.highest]

    def all_values(self) -> list[Any]:
        """Every value, where they can be counted."""
        if self.choices is not None:
            return list(self.choices)
        step = self.step or 1
        return [_fit(self, self.low + place * step) for place in range(round((self.highest - self.low) / step) + 1)]


def spread(dimension: Dimension, low: float, high: float, count: int) -> list[Any]:
    """At most `count` values of a range's part from low to high, evenly spaced (in the logarithm if it says log)."""
    if count == 1 or low == high:
        raw = [math.sqrt(low * high) if dimension.log else (low + high) / 2]
    elif dimension.log:
        raw = [low * (high / low) ** (index / (count - 1)) for index in range(count)]
    else:
        raw = [low + (high - low) * index / (count - 1) for index in range(count)]
    return list(dict.fromkeys(_fit(dimension, value) for value in raw))


def _fit(dimension: Dimension, value: float) -> float:
    step = dimension.step or (1 if dimension.integer else None)
    if step is not None:
        value = dimension.low + round((value - dimension.low) / step) * step
    value = round(value) if dimension.integer else _tidy(value)
    value = min(max(value, dimension.low), dimension.highest)
    return value if dimension.integer else float(value)


def _tidy(value: float) -> float:
    return float(f"{value:.12g}")


def label(choice: Any) -> Scalar:
    """A value as Optuna can hold it: lists and mappings become JSON text."""
    return choice if isinstance(choice, Scalar) else json.dumps(choice)


def check_value(value: Any) -> Any:
    """The value itself, unless it is one that a ledger cannot hold.

    Raises
    ------
    ValueError
        If it, or something in it, is a date, NaN or the like.
    """
    try:
        kept = json.loads(json.dumps(value)) == value
    except (TypeError, ValueError):
        kept = False
    if not kept:
        raise ValueError(
            f"got {value!r}, but a value is a number, text, true, false, null, or a list or mapping of them; put a "
            "date in quotes"
        )
    return value


def _from_list(value: Any) -> Any:
    return {"choices": value} if isinstance(value, list) else value


Space = dict[str, Annotated[Dimension, BeforeValidator(_from_list)]]


def is_active(dimension: Dimension, settings: Mapping[str, Any]) -> bool:
    """Whether the conditions of a dimension hold under the settings so far."""
    return all(
        settings.get(key) in wanted if isinstance(wanted, list) else settings.get(key) == wanted
        for key, wanted in dimension.when.items()
    )


def points(space: Mapping[str, Dimension], settings: Mapping[str, Any], levels: int) -> Iterator[dict[str, Any]]:
    """Every point of a grid, in the order in which the last parameter changes fastest.

    Parameters
    ----------
    space : mapping of str to Dimension
        The parameters to vary; those whose conditions do not hold are left out of a point.
    settings : mapping of str to value
        Values of all other parameters, for conditions to look at.
    levels : int
        How many values a range is cut into.
    """
    if not space:
        yield {}
        return
    (name, dimension), *others = space.items()
    if not is_active(dimension, settings):
        yield from points(dict(others), settings, levels)
        return
    for value in dimension.levels(levels):
        for point in points(dict(others), {**settings, name: value}, levels):
            yield {name: value, **point}


def size(space: Mapping[str, Dimension], levels: int) -> int:
    """Points of a grid at most: the product of the numbers of values."""
    return math.prod(len(dimension.levels(levels)) for dimension in space.values())
