"""One subject at a time: a row of each implementation, by both clocks on the CPU."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

from benchmarks import common
from benchmarks.data_problems import RAW, Contender, Problem, Unavailable
from benchmarks.data_schema import DataRow
from benchmarks.schema import Device, Timing, reason

Call = Callable[[], object]
_Times = tuple[Timing, Timing | None]


def measure(
    problem: Problem,
    *,
    device: Device,
    budget: common.Budget,
    copy_bytes_per_s: float,
) -> list[DataRow]:
    """A row of each contender: measured, or skipped with the reason."""
    with ExitStack() as stack:
        if problem.alone:
            found = [_alone(c, device=device, budget=budget) for c in problem.contenders]
        else:
            ready = [_prepare(contender, stack) for contender in problem.contenders]
            calls = [call for call in ready if not isinstance(call, str)]
            times = iter(_times(calls, device=device, budget=budget))
            found = [call if isinstance(call, str) else next(times) for call in ready]
    limit = _limit(problem, found, copy_bytes_per_s=copy_bytes_per_s)
    rows = []
    for contender, item in zip(problem.contenders, found, strict=True):
        wall, processor = (None, None) if isinstance(item, str) else item
        rows.append(
            DataRow(
                subject=problem.subject,
                implementation=contender.name,
                origin=contender.origin,
                images=problem.n,
                sizes=problem.sizes,
                wall=wall,
                processor=processor,
                limit="copy" if problem.least_bytes else "raw decode",
                limit_images_per_s=limit,
                skipped=item if isinstance(item, str) else None,
            )
        )
    return rows


def _limit(problem: Problem, found: Sequence[_Times | str], *, copy_bytes_per_s: float) -> float:
    """Images a second; of decoding by the 20th percentile: what slows a call is no limit."""
    if problem.least_bytes:
        return problem.n * copy_bytes_per_s / problem.least_bytes
    names = [contender.name for contender in problem.contenders]
    raw = found[names.index(RAW)]
    assert not isinstance(raw, str)
    return problem.n / (raw[1] or raw[0]).p20_s


def _alone(contender: Contender, *, device: Device, budget: common.Budget) -> _Times | str:
    with ExitStack() as stack:
        call = _prepare(contender, stack)
        return call if isinstance(call, str) else _times([call], device=device, budget=budget)[0]


def _prepare(contender: Contender, stack: ExitStack) -> Call | str:
    """Build and run it once, or the reason why not; vilseg has no reason to refuse."""
    refusals = () if contender.origin == "vilseg" else (Exception,)
    try:
        call = contender.build(stack)
        call()
    except Unavailable as error:
        return str(error)
    except refusals as error:
        return reason(error)
    return call


def _times(calls: Sequence[Call], *, device: Device, budget: common.Budget) -> list[_Times]:
    """Wall and processor time of each call, each clock in repeats of its own."""
    walls = common.measure_times(calls, device=device, budget=replace(budget, clock="wall"))
    if device == "cuda":
        return [(wall, None) for wall in walls]
    processor = replace(budget, clock="processor")
    spent = common.measure_times(calls, device=device, budget=processor)
    return list(zip(walls, spent, strict=True))
