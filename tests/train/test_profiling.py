"""Where the time of a step goes: every part is there once, and a profile is not a run."""

import json
from pathlib import Path

import pytest
import torch
from tests.train.conftest import quiet, said, tiny_config

from vilseg_train import spans as s
from vilseg_train.profiling import profile_run


def test_a_part_inside_another_is_counted_once() -> None:
    ticks = iter(range(100))
    spans = s.Spans(warmup=1, count=1, device=torch.device("cpu"), clock=lambda: float(next(ticks)))
    spans.begin("warm-up")
    spans.end()
    spans.step_done()
    spans.begin("outer")
    spans.begin("inner")
    spans.end()
    spans.end()
    spans.step_done()
    spans.begin("too late")
    spans.end()
    # One tick a border; outer has the time before and after inner.
    assert spans.per_step() == {"outer": 2.0, s.REST: 2.0, "inner": 1.0}


def test_a_profile_has_every_part_and_a_trace(tmp_path: Path) -> None:
    console, out = quiet(), tmp_path / "profile"
    config = tiny_config("loss.cluster_start=0.9")
    spans = profile_run(config, out=out, steps=2, warmup=1, console=console)
    assert set(spans.per_step()) == {
        s.DATA, s.VIEWS, *s.ENCODER.values(), s.TEXT, s.BACKWARD, s.OPTIMISER, s.REST,
        s.LOSSES["cross"], s.LOSSES["vision"], s.LOSSES["cluster"], s.LOSSES["extra"],
    }  # fmt: skip
    assert all(seconds >= 0 for seconds in spans.per_step().values())
    assert sorted(path.name for path in out.iterdir()) == ["parts.json", "trace.json"]
    names = {
        event.get("name") for event in json.loads((out / "trace.json").read_text())["traceEvents"]
    }
    assert {s.BACKWARD, s.ENCODER["local"], s.OPTIMISER} <= names
    parts = json.loads((out / "parts.json").read_text())
    assert parts == {"steps": 2, "seconds": dict(spans.per_step())}
    assert "image encoder, local views" in said(console)
    assert torch.autograd.backward.__module__ == "torch.autograd"
    with pytest.raises(ValueError, match="exists and is not empty"):
        profile_run(config, out=out, console=console)
