"""What a result of benchmarks.evaluation holds; environment and timing as in schema.py."""

from pathlib import Path
from typing import Literal, Self

from pydantic import NonNegativeInt, PositiveInt, model_validator

from benchmarks.data_schema import Origin
from benchmarks.schema import Run, Settings, Strict, Text, Timing

Subject = Literal["stage", "segmenter", "update", "words", "groupvit"]


class EvaluationRow(Strict):
    """One implementation on one subject: measured, or skipped with the reason.

    `images` are those of one call; `sizes` are pixels, words and classes. `peak_extra_bytes` is
    what torch holds at most beyond what it held before the call, None where it was not asked for.
    """

    subject: Subject
    implementation: str
    origin: Origin
    images: PositiveInt
    sizes: dict[str, PositiveInt]
    timing: Timing | None
    peak_extra_bytes: NonNegativeInt | None
    skipped: Text | None

    @model_validator(mode="after")
    def _measured_or_skipped(self) -> Self:
        if (self.timing is None) == (self.skipped is None):
            raise ValueError(
                f"timing, skipped: expected one of them, came {self.timing} and "
                f"{self.skipped!r}; give the time or the reason"
            )
        return self

    @property
    def images_per_s(self) -> float | None:
        """None in a skipped row."""
        return self.images / self.timing.median_s if self.timing else None


class EvaluationResult(Run):
    """One run on one machine."""

    schema_version: Literal[1]
    suite: Literal["evaluation"]
    settings: Settings
    rows: tuple[EvaluationRow, ...]


def read_evaluation_result(path: Path) -> EvaluationResult:
    """Read and validate a result file.

    Raises:
        ValueError: the file is not a result; the message names the field.
    """
    return EvaluationResult.model_validate_json(path.read_text(encoding="utf-8"))
