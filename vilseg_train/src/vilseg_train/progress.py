"""Progress on a terminal as a bar, elsewhere as a line now and then."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 15.0


def say(console: Console, text: str) -> None:
    """Print a line of plain text: no markup, no wrapping of paths."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def track(what: str, *, console: Console) -> Iterator[Callable[[int, int], None]]:
    """Show the progress of `what`; yields the callback (done, total) that moves it."""
    bar = Progress(
        TextColumn(what),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    task = bar.add_task(what, total=None)
    last = time.monotonic()

    def advance(done: int, total: int) -> None:
        nonlocal last
        bar.update(task, completed=done, total=total)
        if not console.is_terminal and time.monotonic() - last >= LINE_SECONDS:
            last = time.monotonic()
            say(console, f"{what}: {done}/{total}")

    with bar:
        yield advance
