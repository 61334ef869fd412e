"""The configurations whose training steps are measured."""

from dataclasses import dataclass

from benchmarks.schema import Device
from vilseg_train import RunConfig, load_config

_VITS16 = (
    "model.image.name=vit_small_patch16_224",
    "model.text.width=384",
    "model.text.layers=12",
    "model.text.heads=6",
    "tokenizer.kind=trained",
    "tokenizer.path=",
    "tokenizer.vocab_size=1024",
    "tokenizer.context_length=77",
    "data.kind=world",
    "data.shards=",
    "data.stream=false",
    "data.count=32",
    "train.processes=1",
    "train.batch_size=2",
)
_TINY = (
    "model.embed_dim=16", "model.prototypes=8", "model.image.image_size=32",
    "model.image.options.embed_dim=16", "model.image.options.depth=1",
    "model.image.options.num_heads=2", "model.text.width=16", "tokenizer.vocab_size=300",
    "data.image_size=32", "data.count=16", "views.local_size=16", "train.batch_size=4",
)  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """A preset with changes.

    Attributes:
        steps: how many are measured.
        pairs, chunk: of the contrastive step whose memory is measured, plain and cached; 0: none.
        processes: how many the step is also measured on; 0: none.
    """

    name: str
    preset: str
    overrides: tuple[str, ...]
    steps: int
    pairs: int = 0
    chunk: int = 0
    processes: int = 0

    def config(self, device: Device, *, batch: int | None = None) -> RunConfig:
        """Its configuration, with another batch if one is given."""
        changes = [f"train.device={device}"]
        if device == "cpu":
            changes.append("train.threads=1")
        if batch is not None:
            changes.append(f"train.batch_size={batch}")
        return load_config(self.preset, overrides=[*self.overrides, *changes])


PROBLEMS = (
    # Large enough that what is not matrix products shows for what it is in a real run.
    Problem("vits16", "paper", _VITS16, steps=2),
    Problem("world", "world", ("data.count=128",), steps=20, pairs=512, chunk=32, processes=2),
)
QUICK = (Problem("world", "world", _TINY, steps=1, pairs=4, chunk=2, processes=2),)
