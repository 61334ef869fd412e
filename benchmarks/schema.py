"""What a result file holds; a file that lacks a field, or has one too many, is refused."""

import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    FiniteFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

Device = Literal["cpu", "cuda"]
Work = Literal["forward", "forward_backward"]
Layout = Literal["channel_first", "rows"]
Clock = Literal["wall", "processor"]

_PATH = re.compile(r"(?<![\w/<])(?:~|[A-Za-z]:)?[/\\]\w[\w.-]*[/\\][^\s'\"]*")


def without_paths(text: str) -> str:
    """`text` with each absolute path replaced by `<path>`."""
    return _PATH.sub("<path>", text)


def reason(error: Exception) -> str:
    """The first line of an error as a result file may hold it: with its type, without paths."""
    first = next(iter(str(error).splitlines()), "")
    return without_paths(f"{type(error).__name__}: {first}")[:300]


def _check_no_path(text: str) -> str:
    if found := _PATH.search(text):
        raise ValueError(
            f"expected no path of the machine that measured, came {found.group()!r}; "
            "result files are public, so leave it out"
        )
    return text


Text = Annotated[str, AfterValidator(_check_no_path)]


class Strict(BaseModel):
    """A part of a result file."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Timing(Strict):
    """Seconds of one call: median, 20th and 80th percentile over `repeats` calls."""

    median_s: PositiveFloat
    p20_s: PositiveFloat
    p80_s: PositiveFloat
    repeats: PositiveInt

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.p20_s <= self.median_s <= self.p80_s:
            raise ValueError(
                "p20_s, median_s, p80_s: expected ascending percentiles, came "
                f"{self.p20_s}, {self.median_s}, {self.p80_s}; measure again"
            )
        return self


class Graph(Strict):
    """The same call replayed as a CUDA graph: timed, or the reason why it was not captured."""

    timing: Timing | None
    skipped: Text | None

    @model_validator(mode="after")
    def _timed_or_skipped(self) -> Self:
        if (self.timing is None) == (self.skipped is None):
            raise ValueError(
                f"timing, skipped: expected one of them, came {self.timing} and "
                f"{self.skipped!r}; give the time or the reason"
            )
        return self


class Limits(Strict):
    """What the device did in the same run: copying (bytes read and written), multiplying."""

    copy_bytes_per_s: PositiveFloat
    matrix_flop_per_s: dict[str, PositiveFloat]


class Environment(Strict):
    """Where it was measured."""

    device: Device
    device_name: Text
    cpu_name: Text
    system: Text
    threads: PositiveInt
    float32_matmul_precision: str
    versions: dict[str, Text]


class Settings(Strict):
    """How it was measured; `clock` is that of the CPU, a GPU has its own."""

    seed: int
    quick: bool
    clock: Clock
    warmup_s: float
    measure_s: float
    min_repeats: PositiveInt
    max_repeats: PositiveInt


class Row(Strict):
    """One implementation on one problem: measured, or skipped with the reason.

    `layout` is the order of the inputs' dimensions: (b, c, h, w), or (n, c) and (n, d).
    `least_bytes` and `least_flop` are the work that no implementation can avoid, the same for all
    of a problem; `roofline_fraction` is the time the measured limits allow for it, over the median.
    `graph` is None on the CPU, which has none, and in a skipped row.
    """

    loss: str
    implementation: str
    origin: Literal["vilseg", "peer"]
    dtype: str
    work: Work
    sizes: dict[str, PositiveInt]
    layout: Layout
    least_bytes: PositiveInt
    least_flop: PositiveInt
    timing: Timing | None
    graph: Graph | None
    peak_extra_bytes: NonNegativeInt | None
    roofline_fraction: PositiveFloat | None
    value: FiniteFloat | None
    comparable: bool
    skipped: Text | None

    @model_validator(mode="after")
    def _measured_or_skipped(self) -> Self:
        found = (self.timing, self.peak_extra_bytes, self.roofline_fraction, self.value)
        present = [item is not None for item in found]
        if (self.skipped is None and not all(present)) or (self.skipped and any(present)):
            raise ValueError(
                "timing, peak_extra_bytes, roofline_fraction, value: expected all of them in a "
                f"measured row and none in a skipped one, came {found} with "
                f"skipped={self.skipped!r}; give the numbers or the reason"
            )
        if self.skipped and self.graph:
            raise ValueError(
                f"graph: expected None in a skipped row, came {self.graph}; a call that does not "
                "run is not captured"
            )
        return self


class Run(Strict):
    """One run of one suite on one machine: what every result file begins with."""

    schema_version: int
    suite: str
    vilseg_version: str
    revision: str | None
    created: datetime
    note: Text
    environment: Environment


class Result(Run):
    """A run of the losses."""

    schema_version: Literal[2]
    settings: Settings
    limits: Limits
    rows: tuple[Row, ...]


def result_name(suite: str, environment: Environment) -> str:
    """The file name of a committed result: <suite>--<machine>--<device>.json."""
    machine = re.sub(r"[^a-z0-9]+", "-", environment.device_name.lower()).strip("-")
    return f"{suite}--{machine}--{environment.device}.json"


def read_result(path: Path) -> Result:
    """Read and validate a result file.

    Raises:
        ValueError: the file is not a result; the message names the field.
    """
    return Result.model_validate_json(path.read_text(encoding="utf-8"))
