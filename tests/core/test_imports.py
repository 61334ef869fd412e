"""What importing the package loads, and what it promises."""

import subprocess
import sys

import vilseg_core

PROBE = """
import sys
import torch, einops
before = set(sys.modules)
import vilseg_core
vilseg_core.SymmetricInfoNCE()
added = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(added - {"vilseg_core"} - set(sys.stdlib_module_names)))
print(*sorted({"timm", "pydantic", "tokenizers", "typer", "triton"} & set(sys.modules)))
"""


def test_importing_the_package_loads_torch_alone() -> None:
    output = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True
    ).stdout
    added, heavy = output.split("\n")[:2]
    assert set(added.split()) <= {"torch", "einops"}
    assert heavy == ""


def test_promised_names() -> None:
    assert set(vilseg_core.__all__) == {
        "Centering",
        "ClusteringHead",
        "CompositeLoss",
        "LocalToGlobalLoss",
        "MutualInformationLoss",
        "Part",
        "SigmoidContrastiveLoss",
        "Sinkhorn",
        "SymmetricInfoNCE",
        "Targets",
        "__version__",
        "cached_contrastive_step",
        "functional",
    }
    assert set(vilseg_core.functional.__all__) >= {
        "symmetric_info_nce",
        "joint_matrix",
        "mutual_information",
        "mutual_information_loss",
        "local_to_global_cross_entropy",
    }
    for name in vilseg_core.functional.__all__:
        assert callable(getattr(vilseg_core.functional, name))
