"""What a run leaves to read: metrics as JSON lines, TensorBoard events, a progress bar."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vilseg_eval.files import naming
from vilseg_train.events import EventFile
from vilseg_train.memory import peak_memory
from vilseg_train.progress import LINE_SECONDS, say
from vilseg_train.samples import Picture

METRICS = "metrics.jsonl"
_SHOWN_LESS = frozenset(
    {
        "cluster_entropy",
        "gradient_norm",
        "lr",
        "mean_target_entropy",
        "pixel_entropy",
        "skipped",
        "target_entropy",
    }
)


class Recorder:
    """Writes the numbers of a run into its folder and shows where it stands.

    `metrics.jsonl` holds one object a line, in the order of the steps, and nothing that depends
    on the clock: a run stopped and resumed writes the same file as one that was never stopped.

    Args:
        out: the folder of the run.
        console: where progress is shown.
        total: the steps of the run.
        step: the steps already done.
    """

    def __init__(self, out: Path, *, console: Console, total: int, step: int) -> None:
        self.console = console
        self.total = total
        self._path = out / METRICS
        self._file = self._path.open("a", encoding="utf-8")
        self._events = EventFile(out / "tensorboard", step=step)
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total, completed=step, numbers="")
        self._first_step = step
        self._first_time = self._line_time = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
        self._file.close()
        self._events.close()

    def advance(self, step: int) -> None:
        """Show that `step` steps are done."""
        self._bar.update(self._task, completed=step)

    def log(self, step: int, values: Mapping[str, float], *, images: int) -> None:
        """Record `values` after `step` steps of `images` images each."""
        with naming(self._path):
            self._file.write(json.dumps({"step": step, **values}) + "\n")
            self._file.flush()
        seconds = time.monotonic() - self._first_time
        speed = (step - self._first_step) * images / max(seconds, 1e-9)
        memory = peak_memory() / 2**30
        measured = {"images_per_second": speed, "memory_gib": memory}
        for name, value in {**values, **measured}.items():
            self._events.scalar(name, value, step=step)
        shown = [f"{name} {value:.3g}" for name, value in values.items() if name not in _SHOWN_LESS]
        numbers = "  ".join([*shown, f"{speed:.0f} images/s", f"{memory:.1f} GiB"])
        self._bar.update(self._task, numbers=numbers)
        due = time.monotonic() - self._line_time >= LINE_SECONDS or step == self.total
        if not self.console.is_terminal and due:
            self._line_time = time.monotonic()
            left = (self.total - step) * seconds / max(step - self._first_step, 1)
            say(self.console, f"step {step}/{self.total}  {numbers}  {left / 60:.1f} min left")

    def sync(self) -> None:
        """Put the lines so far on the disk, before a checkpoint that goes on from them."""
        with naming(self._path):
            os.fsync(self._file.fileno())

    def picture(self, step: int, picture: Picture) -> None:
        """Show a picture, uint8 (h, w, 3), among the TensorBoard events."""
        self._events.picture("samples", picture, step=step)


def cut_metrics(out: Path, *, step: int) -> None:
    """Leave the lines of `metrics.jsonl` up to `step` steps of training.

    Away go later lines of an interrupted run, one that was not written whole, and the retrieval
    scores, which are added again when training is done.
    """
    path = out / METRICS
    if not path.exists():
        return
    kept = 0
    with path.open("rb") as file:
        for line in file:
            entry = json.loads(line) if line.endswith(b"\n") else {"step": step + 1}
            if entry["step"] > step or "retrieval" in entry:
                break
            kept += len(line)
    with path.open("rb+") as file:
        file.truncate(kept)
