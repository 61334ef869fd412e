"""Means of the numbers of a run between two lines of its record."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Meter:
    """Sums and counts by name, how many steps were skipped, and how often the run went back.

    Its state is saved with a checkpoint: a line of the record may span a stop.
    """

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    skipped: int = 0
    in_a_row: int = 0
    rollbacks: int = 0

    def add(self, values: Mapping[str, float]) -> None:
        """Count a step and its values."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1
        self.in_a_row = 0

    def skip(self) -> None:
        """Count a step that was left out."""
        self.skipped += 1
        self.in_a_row += 1

    def take(self) -> dict[str, float]:
        """The mean of each value since the last call, and since the start the steps skipped and,
        if there were any, the times the run went back."""
        means = {name: total / self.counts[name] for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        went_back = {"rollbacks": self.rollbacks} if self.rollbacks else {}
        return {**means, "skipped": self.skipped, **went_back}

    def state(self) -> dict[str, Any]:
        """What `Meter(**state)` makes again."""
        return asdict(self)
