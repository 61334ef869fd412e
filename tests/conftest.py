"""Refuse to start on an uninstalled checkout; find the real data."""

import os
from importlib.util import find_spec
from pathlib import Path

# Before torch is imported. The tests' operations are small: a second thread gains them nothing, and
# a thread that lost its core to another process holds up every one of them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings

# Before a kernel is defined. Without a GPU kernels run in Triton's interpreter, on the CPU.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

settings.register_profile("vilseg", deadline=None, print_blob=True)
settings.load_profile("vilseg")


def pytest_configure() -> None:
    # Uninstalled, `import vilseg_core` from the root succeeds as an empty namespace package,
    # so look for the file. One package alone is enough: it runs its own tests.
    specs = (find_spec(name) for name in ("vilseg_core", "vilseg_data"))
    if not any(spec is not None and spec.origin is not None for spec in specs):
        pytest.exit("vilseg is not installed; run: pip install -r requirements-dev.txt", 4)


@pytest.fixture
def shared_data() -> Path:
    """The folder of real photos, captions and masks; the test skips where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("VILSEG_SHARED", beside))
    if not root.is_dir():
        pytest.skip(f"no real data at {root}; set VILSEG_SHARED to its folder")
    return root
