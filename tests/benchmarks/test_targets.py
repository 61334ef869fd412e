"""Targets: each is on a size that a run measures, and a verdict says what the files say."""

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from benchmarks import loss_report
from benchmarks.common import write_result
from benchmarks.loss_problems import InfoNCE, describe, sweep
from benchmarks.loss_targets import TARGETS, Target, judge
from benchmarks.schema import Device, Graph, Result, Row, Timing

PROBLEM = InfoNCE(24, 16, torch.bfloat16)
OURS = Target("cuda", PROBLEM, "vilseg triton", "graph", 2e-3, machine="H200")


def timed(seconds: float) -> Timing:
    return Timing(median_s=seconds, p20_s=seconds, p80_s=seconds, repeats=5)


def row(name: str = "vilseg triton", *, seconds: float = 1.0, **changes: Any) -> Row:
    """A row at `PROBLEM`: `seconds` a call, 1 ms as a graph, 300 bytes."""
    fields: dict[str, Any] = {
        "loss": PROBLEM.loss,
        "implementation": name,
        "origin": "peer",
        "dtype": "bfloat16",
        "work": "forward_backward",
        "sizes": PROBLEM.sizes,
        "layout": "rows",
        "least_bytes": 1,
        "least_flop": 1,
        "timing": timed(seconds),
        "graph": Graph(timing=timed(1e-3), skipped=None),
        "peak_extra_bytes": 300,
        "roofline_fraction": 0.5,
        "value": 0.0,
        "comparable": True,
        "skipped": None,
    }
    return Row.model_validate(fields | changes)


def result(
    *rows: Row, device: Device = "cuda", name: str = "NVIDIA H200", quick: bool = False
) -> Result:
    numbers = {
        "seed": 0,
        "clock": "wall",
        "warmup_s": 0,
        "measure_s": 0,
        "min_repeats": 1,
        "max_repeats": 1,
    }
    machine = {"cpu_name": "cpu", "system": "", "threads": 1, "float32_matmul_precision": ""}
    return Result.model_validate(
        {
            "schema_version": 2,
            "suite": "losses",
            "vilseg_version": "0",
            "revision": None,
            "created": "2026-01-01T00:00:00Z",
            "note": "",
            "environment": {
                **machine, "device": device, "device_name": name, "versions": {"torch": "2.6"}
            },
            "settings": {**numbers, "quick": quick},
            "limits": {"copy_bytes_per_s": 1, "matrix_flop_per_s": {}},
            "rows": rows,
        }
    )  # fmt: skip


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: describe(target.problem))
def test_an_ordinary_run_measures_the_size_of_every_target(target: Target) -> None:
    assert target.problem in list(
        sweep(target.device, target.problem.dtype).problems(target.problem.dtype)
    )


@pytest.mark.parametrize(("at_most", "state"), [(0.9e-3, "missed"), (1e-3, "met"), (1.1e-3, "met")])
def test_a_bound_is_met_up_to_itself(at_most: float, state: str) -> None:
    target = Target("cuda", PROBLEM, "vilseg triton", "graph", at_most)
    assert judge(target, [result(row())]).state == state


@pytest.mark.parametrize(
    ("figure", "expected"), [("time", 0.25), ("graph", 1.0), ("memory", 300 / 1200)]
)
def test_a_share_is_of_the_peers_figure_in_the_same_file(
    figure: Literal["time", "graph", "memory"], expected: float
) -> None:
    target = Target("cuda", PROBLEM, "vilseg triton", figure, 1.0, than="torch eager")
    apart = [result(row()), result(row("torch eager"))]
    assert judge(target, apart).state == "not measured"
    together = result(row(), row("torch eager", seconds=4.0, peak_extra_bytes=1200))
    assert judge(target, [*apart, together]).measured == expected


OTHERS = {
    "no result on H200": result(row(), name="another GPU"),
    "a quick run": result(row(), quick=True),
    "no row of vilseg triton": result(
        row("vilseg chunked"),
        row(work="forward"),
        row(dtype="float32"),
        row(layout="channel_first"),
        row(sizes={"n": 24, "d": 17}),
    ),
    "vilseg triton: no kernel": result(
        row(skipped="no kernel", timing=None, graph=None, peak_extra_bytes=None,
            roofline_fraction=None, value=None)
    ),
    "vilseg triton: it synchronises": result(
        row(graph=Graph(timing=None, skipped="it synchronises"))
    ),
    "vilseg triton: no graph": result(row(graph=None)),
}  # fmt: skip


@pytest.mark.parametrize("reason", OTHERS)
def test_what_was_not_measured_has_a_reason(reason: str) -> None:
    verdict = judge(OURS, [OTHERS[reason]])
    assert (verdict.state, verdict.measured) == ("not measured", None)
    assert verdict.reason.startswith(reason)
    assert judge(OURS, [OTHERS[reason], result(row())]).state == "met"


def test_the_report_prints_every_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peers = ("torch eager", "torch.compile")
    rows = [
        row(
            name,
            sizes={"n": 150528, "c": 25},
            loss="mutual_information",
            layout="channel_first",
            graph=Graph(timing=timed(seconds), skipped=None),
        )
        for name, seconds in (("vilseg triton", 29e-6), *((peer, 28e-6) for peer in peers))
    ]
    write_result(tmp_path / "a.json", result(*rows))
    loss_report.main([str(tmp_path / "a.json"), "--targets"])
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if "n=150528 c=25 bfloat16" in line]
    assert len(lines) == 5
    assert "graph 30 us" in lines[0]
    assert "29 us" in lines[0]
    assert sum("met" in line for line in lines) == 3
    assert sum("missed" in line for line in lines) == 2
    assert f"{len(TARGETS) - 5} not measured" in printed
