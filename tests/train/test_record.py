import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)
from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]
from tests.train.conftest import quiet, said

from vilseg_train.meter import Meter
from vilseg_train.record import METRICS, Recorder, cut_metrics


def test_lines_and_events_hold_what_was_logged(tmp_path: Path) -> None:
    console = quiet()
    with Recorder(tmp_path, console=console, total=4, step=0) as recorder:
        recorder.advance(1)
        recorder.log(2, {"loss": 1.5, "lr": 0.1}, images=8)
        recorder.log(4, {"loss": 0.1 + 0.2, "lr": 0.2}, images=8)
    lines = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert lines == [
        {"step": 2, "loss": 1.5, "lr": 0.1},
        {"step": 4, "loss": 0.1 + 0.2, "lr": 0.2},
    ]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert {"loss", "lr", "images_per_second"} <= set(events.Tags()["scalars"])
    first = events.Scalars("loss")[0]
    assert (first.step, first.value) == (2, 1.5)
    # No terminal: one line at the end, soon ones are left out.
    assert said(console).count("step ") == 1
    assert "step 4/4  loss 0.3 " in said(console)


def test_events_of_a_resumed_run_hide_those_it_writes_again(tmp_path: Path) -> None:
    for first, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        with Recorder(tmp_path, console=quiet(), total=4, step=first) as recorder:
            for step in steps:
                recorder.log(step, {"loss": 10.0 * first + step}, images=1)
            recorder.picture(steps[-1], np.zeros((2, 3, 3), np.uint8))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [
        (1, 1.0),
        (2, 2.0),
        (3, 23.0),
        (4, 24.0),
    ]
    assert (events.Images("samples")[-1].width, events.Images("samples")[-1].height) == (3, 2)


def test_a_full_disk_is_an_error_of_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: RecordWriter) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Recorder(tmp_path, console=quiet(), total=4, step=0) as recorder:
        monkeypatch.setattr(RecordWriter, "flush", full)
        with pytest.raises(OSError, match=r"No space left on device: .*events\.out\."):
            recorder.log(1, {"loss": 1.0}, images=1)


def test_cutting_leaves_the_lines_up_to_a_step(tmp_path: Path) -> None:
    path = tmp_path / METRICS
    cut_metrics(tmp_path, step=3)
    assert not path.exists()
    lines = [f'{{"step": {step}}}\n' for step in (1, 2, 3, 4)]
    path.write_text("".join(lines))
    cut_metrics(tmp_path, step=3)
    assert path.read_text() == "".join(lines[:3])
    path.write_text("".join(lines[:2]) + '{"step": 3, "retrieval": {}}\n')
    cut_metrics(tmp_path, step=3)
    assert path.read_text() == "".join(lines[:2])
    path.write_text("".join(lines[:2]) + '{"step": 3, "lo')
    cut_metrics(tmp_path, step=3)
    assert path.read_text() == "".join(lines[:2])


def test_a_meter_gives_means_and_survives_its_state() -> None:
    meter = Meter()
    meter.add({"a": 1.0})
    meter.add({"a": 2.0, "b": 5.0})
    meter.skip()
    meter = Meter(**json.loads(json.dumps(meter.state())))
    assert (meter.skipped, meter.in_a_row) == (1, 1)
    assert meter.take() == {"a": 1.5, "b": 5.0, "skipped": 1}
    meter.add({"a": 4.0})
    assert meter.in_a_row == 0
    assert meter.take() == {"a": 4.0, "skipped": 1}
