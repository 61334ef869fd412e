"""Training of vilseg: configuration, trainer, checkpoints and the `vilseg` command.

Names are loaded when they are first used, so that the command line answers without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vilseg_train.checkpoint import CheckpointError
    from vilseg_train.config import ConfigError, RunConfig, load_config
    from vilseg_train.errors import DivergedError, TrainingStopped
    from vilseg_train.run import Run, open_run
    from vilseg_train.trainer import Trainer

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DivergedError",
    "Run",
    "RunConfig",
    "Trainer",
    "TrainingStopped",
    "__version__",
    "load_config",
    "open_run",
]

_HOMES = {
    "CheckpointError": "checkpoint",
    "ConfigError": "config",
    "DivergedError": "errors",
    "Run": "run",
    "RunConfig": "config",
    "Trainer": "trainer",
    "TrainingStopped": "errors",
    "load_config": "config",
    "open_run": "run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vilseg_train' has no attribute {name!r}")
    return getattr(import_module(f"vilseg_train.{_HOMES[name]}"), name)
