"""Says, while a run goes on, what `health` has against it; each thing when it begins."""

from collections.abc import Mapping

from rich.console import Console

from vilseg_train.config import RunConfig
from vilseg_train.health import examine, warm_up
from vilseg_train.progress import say


class Watch:
    """Looks at every line of the record.

    Args:
        config: what is run.
        console: where warnings go.
    """

    def __init__(self, config: RunConfig, *, console: Console) -> None:
        self.config = config
        self.console = console
        self._known: set[str] = set()

    def look(self, step: int, values: Mapping[str, float]) -> None:
        """Warn of what `values`, the means up to `step`, show for the first time or once more."""
        if step <= warm_up(self.config):
            return
        found = examine({"step": step, **values}, self.config)
        for finding in found:
            if finding.name not in self._known:
                say(self.console, f"warning: step {step}: {finding.text}")
        self._known = {finding.name for finding in found}
