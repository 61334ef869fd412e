import json
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)
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
