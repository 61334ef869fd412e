"""Leave in good order when the system or the user asks to."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

# What is answered by saving and leaving.
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """While entered, SIGINT and SIGTERM are noted in `number` instead of ending the process.

    The second one acts as usual, for who will not wait for the step under way. Outside the main
    thread Python hands out no signals, and nothing is noted.
    """

    number: int | None = None

    def __enter__(self) -> Self:
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.number = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
