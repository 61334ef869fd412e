"""A trained model from the folder of a run, by the form of its checkpoints alone.

A checkpoint is a safetensors file `checkpoints/step-*.safetensors`: weights of the model are named
`model/...`, and the metadata's `facts` is JSON whose `config.model` is a `ModelConfig`.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from torch import Tensor

from vilseg_core.models.config import ModelConfig

if TYPE_CHECKING:
    from safetensors import safe_open

_WEIGHTS = "model/"


def read_run(path: Path | str) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The model's configuration and weights, on the CPU, of a run's newest checkpoint.

    Args:
        path: the folder of a run, or one of its checkpoints.

    Raises:
        ValueError: there is no checkpoint, or it is damaged or something else.
    """
    file = _newest(Path(path))
    opener = _opener()
    try:
        with opener(file, framework="pt") as content:
            facts = json.loads((content.metadata() or {})["facts"])
            config = ModelConfig.model_validate(facts["config"]["model"])
            names = [name for name in content.keys() if name.startswith(_WEIGHTS)]  # noqa: SIM118
            weights = {name.removeprefix(_WEIGHTS): content.get_tensor(name) for name in names}
    except (KeyError, TypeError, ValidationError) as error:
        raise ValueError(
            f"path: expected a checkpoint of vilseg, came {file}, which does not say what model it "
            f"holds ({type(error).__name__}); give the folder that vilseg train wrote"
        ) from error
    except Exception as error:
        raise ValueError(
            f"path: expected a whole checkpoint, came {file}, which cannot be read ({error}); give "
            "an earlier one in its folder"
        ) from error
    return config, weights


def _newest(path: Path) -> Path:
    if path.is_file():
        return path
    found = sorted((path / "checkpoints").glob("step-*.safetensors"))
    if not found:
        raise ValueError(
            f"path: expected the folder of a run, came {path}, which has no checkpoints; give the "
            "--out of vilseg train"
        )
    return found[-1]


def _opener() -> "type[safe_open]":
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise ImportError(
            "reading a run needs safetensors; install it with: pip install 'vilseg-core[models]'"
        ) from error
    return safe_open
