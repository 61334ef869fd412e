"""What the packages promise: their versions agree, every promised name imports, files are typed."""

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("vilseg_core", "vilseg_data", "vilseg_eval", "vilseg_train")
PROMISED = {
    "vilseg_core": (
        "SymmetricInfoNCE",
        "MutualInformationLoss",
        "LocalToGlobalLoss",
        "ClusteringHead",
        "functional",
    ),
    "vilseg_core.functional": (
        "symmetric_info_nce",
        "joint_matrix",
        "mutual_information",
        "mutual_information_loss",
        "local_to_global_cross_entropy",
    ),
    "vilseg_core.models": ("ViLSeg", "ModelConfig", "build_model"),
    "vilseg_data": ("MultiCrop", "InvertibleAugmentation", "Tokenizer"),
    "vilseg_eval": ("ConfusionMatrix", "evaluate"),
    "vilseg_train": ("RunConfig", "Trainer"),
}


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in PROMISED.items() for name in names]
)
def test_promised_names_import(module: str, name: str) -> None:
    found = importlib.import_module(module)
    assert hasattr(found, name)
    assert name in found.__all__


@pytest.mark.parametrize("package", PACKAGES)
def test_everything_in_all_exists(package: str) -> None:
    module = importlib.import_module(package)
    assert sorted(set(module.__all__)) == sorted(module.__all__)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_typed(package: str) -> None:
    assert (ROOT / package / "src" / package / "py.typed").is_file()


def test_versions_agree() -> None:
    versions = {package: importlib.import_module(package).__version__ for package in PACKAGES}
    assert len(set(versions.values())) == 1, versions
    minor = ".".join(versions["vilseg_core"].split(".")[:2])
    for package in PACKAGES:
        project = tomllib.loads((ROOT / package / "pyproject.toml").read_text())["project"]
        pins = [line for line in project["dependencies"] if line.startswith("vilseg-")]
        assert all(
            re.fullmatch(rf"vilseg-\w+(\[\w+\])?~={re.escape(minor)}\.0", pin) for pin in pins
        )


def test_ignore_patterns_are_anchored() -> None:
    # hatchling obeys the root .gitignore: a loose `data/` would drop a sub-package from the wheel.
    lines = (ROOT / ".gitignore").read_text().split()
    assert [line for line in lines if not line.startswith("/")] == ["__pycache__/", "*.egg-info/"]


def test_the_command_answers_without_torch() -> None:
    code = "import sys, vilseg_train.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
