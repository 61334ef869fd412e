"""What a result file of benchmarks.data holds; environment, settings and timing as in schema.py."""

from pathlib import Path
from typing import Literal, Self

from pydantic import PositiveFloat, PositiveInt, model_validator

from benchmarks.schema import Run, Settings, Strict, Text, Timing

Subject = Literal["decode", "loader", "multicrop", "looks", "flip", "affine"]
Origin = Literal["vilseg", "peer"]


class ImagesUsed(Strict):
    """The files that were decoded; `quality` is None where they were given and not drawn."""

    source: Literal["world", "given"]
    count: PositiveInt
    mean_width: PositiveFloat
    mean_height: PositiveFloat
    mean_bytes: PositiveFloat
    quality: PositiveInt | None


class DataRow(Strict):
    """One implementation on one subject: measured, or skipped with the reason.

    `images` are those of one call, `sizes` the sides of what comes out in pixels.
    `limit_images_per_s` is the rate of `limit`: decoding the same files by Pillow and nothing
    else, or moving the bytes of inputs and outputs once. `processor` is None on a GPU, whose
    events are `wall`.
    """

    subject: Subject
    implementation: str
    origin: Origin
    images: PositiveInt
    sizes: dict[str, PositiveInt]
    wall: Timing | None
    processor: Timing | None
    limit: Literal["raw decode", "copy"]
    limit_images_per_s: PositiveFloat
    skipped: Text | None

    @model_validator(mode="after")
    def _measured_or_skipped(self) -> Self:
        if (self.wall is None) == (self.skipped is None) or (self.processor and self.skipped):
            raise ValueError(
                "wall, processor, skipped: expected times or a reason, came "
                f"{self.wall}, {self.processor} and {self.skipped!r}; give one of them"
            )
        return self

    @property
    def images_per_s(self) -> float | None:
        """Images a second of one core, or of the GPU; None in a skipped row."""
        timing = self.processor or self.wall
        return self.images / timing.median_s if timing else None


class DataResult(Run):
    """One run on one machine."""

    schema_version: Literal[1]
    suite: Literal["data"]
    settings: Settings
    copy_bytes_per_s: PositiveFloat
    images: ImagesUsed
    rows: tuple[DataRow, ...]

    @model_validator(mode="after")
    def _both_clocks_on_the_cpu(self) -> Self:
        on_cpu = self.environment.device == "cpu"
        for row in self.rows:
            if row.wall is not None and (row.processor is not None) != on_cpu:
                raise ValueError(
                    f"processor: expected a time on the CPU and None on a GPU, came "
                    f"{row.processor} on {self.environment.device} for {row.implementation}; "
                    "measure again"
                )
        return self


def read_data_result(path: Path) -> DataResult:
    """Read and validate a result file.

    Raises:
        ValueError: the file is not a result; the message names the field.
    """
    return DataResult.model_validate_json(path.read_text(encoding="utf-8"))
