"""The tokenizer of a run: learnt once, then that of its checkpoints."""

from vilseg_data import CaptionSource, Tokenizer, TokenizerConfig
from vilseg_train.checkpoint import Checkpoint
from vilseg_train.parallel import Ranks


def learn_or_restore(
    config: TokenizerConfig,
    source: CaptionSource,
    *,
    checkpoint: Checkpoint | None,
    ranks: Ranks,
) -> Tokenizer:
    """The tokenizer of `checkpoint`, or what `config` makes of all captions, read on rank 0."""
    if checkpoint is not None:
        return Tokenizer.from_json(checkpoint.facts["tokenizer"])

    def learn() -> str:
        texts = (text for index in range(len(source)) for text in source.captions(index))
        return config.build(texts).to_json()

    return Tokenizer.from_json(ranks.from_leader(learn))
