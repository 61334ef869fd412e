"""What the losses are to reach, and whether a result shows it.

The targets were set before anything was measured. On the CPU they are ratios to plain torch in the
same run (`torch eager`: softmax, softmax, product; or two cross-entropies over one matrix of
scores). On an H200 they are the GPU's own times, under a CUDA graph, set from the least bytes and
FLOP of each size at 4.3 TB/s and 790 TFLOP/s, with room for what a kernel does not reach.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from benchmarks.loss_problems import InfoNCE, MutualInformation, Problem
from benchmarks.schema import Device, Result, Row

Figure = Literal["time", "graph", "memory"]


@dataclass(frozen=True)
class Target:
    """A bound on one figure of forward and backward together, of one implementation.

    `at_most` is in seconds or bytes, or where `than` names a peer, a share of that peer's figure.
    `machine` is a part of the device's name without which the target says nothing.
    """

    device: Device
    problem: Problem
    implementation: str
    figure: Figure
    at_most: float
    than: str | None = None
    machine: str = ""


@dataclass(frozen=True)
class Verdict:
    """`measured` in the unit of the bound, or None and the reason."""

    target: Target
    measured: float | None
    reason: str = ""

    @property
    def state(self) -> Literal["met", "missed", "not measured"]:
        if self.measured is None:
            return "not measured"
        return "met" if self.measured <= self.target.at_most else "missed"


def judge(target: Target, results: Sequence[Result]) -> Verdict:
    """The first of `results` that has the figure decides; rows of two files are never compared."""
    why = f"no result on {target.machine or target.device}"
    for result in results:
        machine = result.environment
        if machine.device != target.device or target.machine not in machine.device_name:
            continue
        if result.settings.quick:
            why = "a quick run measures nothing"
            continue
        found = _measured(target, result)
        if isinstance(found, float):
            return Verdict(target, found)
        why = found
    return Verdict(target, None, why)


def _measured(target: Target, result: Result) -> float | str:
    ours = _figure(target, result, target.implementation)
    if target.than is None or isinstance(ours, str):
        return ours
    theirs = _figure(target, result, target.than)
    return theirs if isinstance(theirs, str) else ours / theirs


def _figure(target: Target, result: Result, implementation: str) -> float | str:
    row = _row(target.problem, result, implementation)
    if row is None:
        return f"no row of {implementation}"
    if row.skipped is not None or row.timing is None:
        return f"{implementation}: {row.skipped}"
    if target.figure == "time":
        return row.timing.median_s
    if target.figure == "memory":
        # A peer's 0 bytes cannot be a measure of ours.
        return float(row.peak_extra_bytes or 1)
    if row.graph is None or row.graph.timing is None:
        return f"{implementation}: {row.graph.skipped if row.graph else 'no graph'}"
    return row.graph.timing.median_s


def _row(problem: Problem, result: Result, implementation: str) -> Row | None:
    wanted = (problem.loss, problem.sizes, problem.layout, str(problem.dtype), implementation)
    for row in result.rows:
        found = (row.loss, row.sizes, row.layout, f"torch.{row.dtype}", row.implementation)
        if row.work == "forward_backward" and found == wanted:
            return row
    return None


def _cpu(problem: Problem, figure: Figure, share: float) -> Target:
    """`"auto"` takes the chunked path at these sizes."""
    return Target("cpu", problem, "vilseg chunked", figure, share, than="torch eager")


def _h200(problem: Problem, figure: Figure, at_most: float, than: str | None = None) -> Target:
    return Target("cuda", problem, "vilseg triton", figure, at_most, than, machine="H200")


def _pixels(clusters: int, dtype: torch.dtype) -> MutualInformation:
    return MutualInformation(150528, clusters, dtype)


def _pairs(pairs: int, dtype: torch.dtype) -> InfoNCE:
    return InfoNCE(pairs, 512, dtype)


_MICROSECONDS = ((25, 30), (64, 45), (128, 80), (512, 550))
_FEW_PAIRS = ((768, 25e-6), (8192, 0.6e-3), (32768, 9e-3), (65536, 36e-3))

TARGETS = (
    _cpu(_pairs(8192, torch.float32), "memory", 0.1),
    _cpu(_pairs(8192, torch.float32), "time", 1.3),
    _cpu(_pixels(25, torch.float32), "time", 1 / 1.5),
    *(_cpu(_pixels(c, torch.float32), "time", 1.0) for c in (8, 64, 128, 512)),
    *(_h200(_pixels(c, torch.bfloat16), "graph", us / 1e6) for c, us in _MICROSECONDS),
    *(
        _h200(_pixels(c, torch.bfloat16), figure, 1.0, peer)
        for c, _ in _MICROSECONDS
        for peer in ("torch eager", "torch.compile")
        for figure in ("time", "graph")
    ),
    *(_h200(_pairs(n, torch.bfloat16), "graph", seconds) for n, seconds in _FEW_PAIRS),
    _h200(_pairs(65536, torch.bfloat16), "memory", 0.5e9),
)
