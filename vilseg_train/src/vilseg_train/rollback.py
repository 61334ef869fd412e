"""Back to a checkpoint when the loss stays without a finite value."""

from pathlib import Path

from vilseg_train.checkpoint import (
    Checkpoint,
    CheckpointError,
    list_checkpoints,
    read_checkpoint,
)
from vilseg_train.config import TrainConfig
from vilseg_train.errors import DivergedError


def checkpoint_before_streak(folder: Path) -> Checkpoint:
    """The newest whole checkpoint of `folder` whose last step had a finite loss.

    Newer ones, of a run that was stopped within the streak, are deleted: the run goes another way
    from here, and a later resume must not find them. `CheckpointError` where there is none.
    """
    newer = []
    for path in reversed(list_checkpoints(folder)):
        try:
            checkpoint = read_checkpoint(path)
        except CheckpointError:
            newer.append(path)
            continue
        if checkpoint.facts["meter"]["in_a_row"] == 0:
            for later in newer:
                later.unlink()
            return checkpoint
        newer.append(path)
    raise CheckpointError(
        f"cannot go back: {folder} holds no whole checkpoint from before the losses that are not "
        "finite; begin again with a lower optim.lr"
    )


def diverged(train: TrainConfig, *, step: int, out: Path) -> DivergedError:
    """What ends a run that may not go back once more."""
    went_back = (
        f", and the run went back to a checkpoint {train.max_rollbacks} times before"
        if train.max_rollbacks
        else ""
    )
    return DivergedError(
        f"no finite loss in the {train.max_nonfinite} steps up to step {step}, which changed no "
        f"weights{went_back}; {out / 'checkpoints'} holds those from before. Begin again with a "
        "lower optim.lr or optim.clip or a longer optim.warmup_steps, or look at the data"
    )
