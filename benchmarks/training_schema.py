"""What a result of benchmarks.training holds; environment and timing as in schema.py."""

from pathlib import Path
from typing import Literal, Self

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from benchmarks.schema import Clock, Run, Strict, Timing


class EncoderTime(Strict):
    """An encoder on what it sees in a step: forward alone, and with the backward pass it has."""

    forward: Timing
    step: Timing


class Caching(Strict):
    """The contrastive step of `batch` pairs, plain and in chunks: most bytes held at once."""

    batch: PositiveInt
    chunk: PositiveInt
    plain_bytes: PositiveInt
    cached_bytes: PositiveInt


class Scaling(Strict):
    """Seconds of a step of `batch` images, of all processes together, by the wall clock."""

    processes: PositiveInt
    batch: PositiveInt
    step_s: PositiveFloat

    @property
    def images_per_s(self) -> float:
        return self.batch / self.step_s


class TrainingRow(Strict):
    """A configuration.

    `parts` are seconds of a step, the mean of `steps`, and add up to `step_s`. `encoders` are the
    same encoders called alone, on views and texts of the same size. `flop` is that of a step,
    `flop_per_s` what a square product of the same dtype reaches on this device. `caching` and
    `scaling` are empty where they were skipped.
    """

    name: str
    overrides: tuple[str, ...]
    batch: PositiveInt
    parameters: PositiveInt
    steps: PositiveInt
    parts: dict[str, NonNegativeFloat]
    step_s: PositiveFloat
    encoders: dict[str, EncoderTime]
    flop: PositiveInt
    flop_per_s: PositiveFloat
    caching: Caching | None
    scaling: tuple[Scaling, ...]

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        whole = sum(self.parts.values())
        if abs(whole - self.step_s) > 1e-6 * self.step_s:
            raise ValueError(
                f"parts: expected a sum of {self.step_s} s, came {whole}; give every part"
            )
        return self

    @property
    def images_per_s(self) -> float:
        return self.batch / self.step_s

    @property
    def bare_s(self) -> float:
        """Seconds of the encoders alone."""
        return sum(time.step.median_s for time in self.encoders.values())

    @property
    def overhead(self) -> float:
        """Share of a step that is not the encoders' work; below 0 where they were slow alone."""
        return 1 - self.bare_s / self.step_s

    @property
    def utilisation(self) -> float:
        """FLOP a second of the step over those of a square product: MFU of what is measured."""
        return self.flop / self.step_s / self.flop_per_s


class TrainingResult(Run):
    """One run on one machine."""

    schema_version: Literal[1]
    suite: Literal["training"]
    quick: bool
    clock: Clock
    rows: tuple[TrainingRow, ...]


def read_training_result(path: Path) -> TrainingResult:
    """The result in a file; pydantic's ValidationError, a ValueError, names what is wrong."""
    return TrainingResult.model_validate_json(path.read_text("utf-8"))
