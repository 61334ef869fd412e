"""Kernels run on a GPU or in Triton's interpreter; without either there is nothing to collect."""

from vilseg_core.ops.dispatch import HAS_TRITON

collect_ignore_glob = [] if HAS_TRITON else ["test_*.py"]
