"""Open what training left: a run folder becomes a model."""

from dataclasses import dataclass
from pathlib import Path

from vilseg_core.models import ModelConfig, ViLSeg, build_model
from vilseg_data import Tokenizer
from vilseg_train.checkpoint import CheckpointError, load_module, newest_checkpoint
from vilseg_train.config import RunConfig, parse_config


@dataclass(frozen=True)
class Run:
    """A trained model, ready for use, with what belongs to it.

    `warnings` says which newer checkpoints were refused, and why.
    """

    folder: Path
    model: ViLSeg
    tokenizer: Tokenizer
    config: RunConfig
    step: int
    warnings: tuple[str, ...]


def open_run(folder: Path | str) -> Run:
    """The model of a run folder in evaluation mode, from its newest checkpoint that is whole.

    `CheckpointError` where the folder, or a usable checkpoint in it, is missing.
    """
    folder = Path(folder)
    if not (folder / "checkpoints").is_dir():
        raise CheckpointError(
            f"{folder} is not a run: it has no folder checkpoints; give the --out of vilseg train"
        )
    checkpoint, path, refused = newest_checkpoint(folder / "checkpoints")
    config = parse_config(checkpoint.facts["config"])
    model = build_model(without_sources(config.model))
    load_module(model, checkpoint.part("model"), path=path)
    return Run(
        folder=folder,
        model=model.eval(),
        tokenizer=Tokenizer.from_json(checkpoint.facts["tokenizer"]),
        config=config,
        step=checkpoint.step,
        warnings=tuple(f"{error}; using {path.name}" for error in refused),
    )


def without_sources(config: ModelConfig) -> ModelConfig:
    """The same architecture, without the weights it once began from: a checkpoint brings its own.

    Those may no longer be at hand where the run is opened.
    """
    image = config.image.model_copy(update={"pretrained": False, "checkpoint": None})
    return config.model_copy(update={"image": image})
