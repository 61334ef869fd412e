import platform
import subprocess
import sys

import pytest

from vilseg_train.allocator import keep_freed_memory

GLIBC = sys.platform == "linux" and platform.libc_ver()[0] == "glibc"


@pytest.mark.skipif(not GLIBC, reason="mallopt is glibc's")
def test_freed_memory_is_used_again_without_new_pages() -> None:
    script = (
        "import resource, sys\n"
        "from vilseg_train.allocator import keep_freed_memory\n"
        "if sys.argv[1] == 'keep': assert keep_freed_memory()\n"
        "def faults():\n"
        "    for _ in range(20):\n"
        "        block = bytearray(b'x') * 2**26\n"
        "        del block\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "before = faults()\n"
        "print(faults() - before)\n"
    )
    counts = {
        mode: int(
            subprocess.run(
                [sys.executable, "-c", script, mode], capture_output=True, text=True, check=True
            ).stdout
        )
        for mode in ("keep", "default")
    }
    # 64 MiB are 16,384 pages, 20 times.
    assert counts["keep"] < 100
    assert counts["default"] > 100 * max(counts["keep"], 1)


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False
