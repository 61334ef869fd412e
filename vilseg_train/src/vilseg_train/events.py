"""TensorBoard events, written as they come."""

import os
import socket
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import (  # type: ignore[import-untyped]
    Event,
    SessionLog,
)
from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]
from torch.utils.tensorboard import summary

from vilseg_eval.files import naming


class EventFile:
    """A new event file in `folder`.

    torch's own `SummaryWriter` writes from a thread, where a full disk ends in a traceback that
    nobody can catch; here it is an `OSError` of the call.

    Args:
        folder: made when it is missing.
        step: the steps already done; later events of earlier files are hidden by TensorBoard.
    """

    def __init__(self, folder: Path, *, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # The name tells TensorBoard the order of the files.
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._path = folder / name
        self._file = RecordWriter(self._path.open("wb"))
        self._write(Event(file_version="brain.Event:2"))
        if step:
            self._write(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def scalar(self, name: str, value: float, *, step: int) -> None:
        """Write a number."""
        number = summary.scalar(name, value)  # type: ignore[no-untyped-call]
        self._write(Event(step=step, summary=number))

    def picture(self, name: str, picture: NDArray[np.uint8], *, step: int) -> None:
        """Write a picture, uint8 (h, w, 3)."""
        image = summary.image(name, picture, dataformats="HWC")  # type: ignore[no-untyped-call]
        self._write(Event(step=step, summary=image))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        with naming(self._path):
            self._file.write(event.SerializeToString())
            self._file.flush()
