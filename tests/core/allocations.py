"""What a call takes from torch's allocator, the inside of operators included."""

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile


def allocations(run: Callable[[], None]) -> list[int]:
    """Bytes of every single allocation on the CPU while `run()` runs; what is freed is negative."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run()
    assert record.profiler is not None
    events = record.profiler.kineto_results.events()
    return [event.nbytes() for event in events if event.name() == "[memory]"]
