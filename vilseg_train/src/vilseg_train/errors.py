"""How a command ends before its end. Loads nothing, so that the command can know it."""

from pathlib import Path
from signal import Signals


class RunEnded(Exception):
    """A run or a command ended before its end; the message says why and how to go on.

    `exit_code` is what the command answers with.
    """

    exit_code = 1


class DivergedError(RunEnded):
    """The loss stayed without a finite value; the message says since when and what to try."""


class ExportError(RunEnded):
    """A written file does not answer as its checkpoint does; it was not kept."""


class TrainingStopped(RunEnded):
    """A signal asked training to stop; it saved where it stood and left."""

    def __init__(self, number: int, *, step: int, total: int, out: Path) -> None:
        super().__init__(
            f"{Signals(number).name}: saved step {step} of {total}; go on with: "
            f"vilseg train --resume --out {out}"
        )
        # What a shell reports for a process that a signal ended.
        self.exit_code = 128 + number


class SaidElsewhere(RunEnded):
    """This process ends because rank `rank` did, which says why; there is nothing to add."""

    def __init__(self, *, rank: int, exit_code: int) -> None:
        super().__init__("")
        self.rank = rank
        self.exit_code = exit_code
