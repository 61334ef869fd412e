"""`vilseg eval` under torchrun, and killed and resumed: the same files as from one process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.train.test_evaluation import bytes_of

_EVAL = ["-m", "vilseg_train", "eval"]


def _arguments(run: Path, out: Path) -> list[str]:
    options = ["--data", "world", "--count", "21", "--batch-size", "4", "--device", "cpu"]
    return [*_EVAL, str(run), *options, "--out", str(out)]


def _finish(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    found = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert found.returncode == 0, found.stderr
    return found


@pytest.mark.slow
def test_two_processes_and_a_killed_one_leave_the_files_of_one(
    finished_run: Path, tmp_path: Path
) -> None:
    _finish([sys.executable, *_arguments(finished_run, tmp_path / "one")])
    expected = bytes_of(tmp_path / "one")
    assert set(expected) >= {"results.json", "confusion.npz", "images.csv", "table.md"}

    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    shared = [*torchrun, "--nproc-per-node", "2", *_arguments(finished_run, tmp_path / "two")]
    found = _finish(shared)
    assert bytes_of(tmp_path / "two") == expected
    assert found.stdout.count("written to") == 1

    command = [sys.executable, *_arguments(finished_run, tmp_path / "three")]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
    journal = tmp_path / "three" / ".journal"
    while process.poll() is None and not any(journal.glob("*.jsonl")):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _finish([*command, "--resume"])
    assert bytes_of(tmp_path / "three") == expected
