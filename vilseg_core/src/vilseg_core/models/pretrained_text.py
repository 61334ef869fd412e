"""Weights of a text encoder from a local file.

Understood layouts: this package's own text encoder, alone or in a whole model, and CLIP's text
transformer as OpenAI and open_clip name it. Files: as for image encoders.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from vilseg_core.models.pretrained import read_weights, strip_prefixes

if TYPE_CHECKING:
    from vilseg_core.models.text import TextEncoder

_PREFIXES = ("module.", "model.", "text_encoder.", "text.")
_NAMES = (
    ("transformer.resblocks.", "blocks."),
    (".attn.in_proj_", ".qkv."),
    (".attn.out_proj.", ".out."),
    (".ln_1.", ".ln_attention."),
    (".ln_2.", ".ln_feed."),
    (".mlp.c_fc.", ".expand."),
    (".mlp.c_proj.", ".contract."),
    ("text_projection.weight", "projection.weight"),
)


def load_text_weights(encoder: "TextEncoder", path: Path) -> None:
    """Copy the weights in the file at `path` into `encoder`.

    A shorter context takes the first positions. A projection of another width is left out, the
    encoder keeps its own; every other weight of the encoder must be in the file, in its shape.

    Raises:
        ValueError: the file cannot be read, or does not hold the weights of this encoder.
    """
    state = dict(
        _named(name, value)
        for name, value in strip_prefixes(
            read_weights(path, key="text.checkpoint"), _PREFIXES
        ).items()
    )
    own = encoder.state_dict()
    positions = state.get("positional_embedding")
    if positions is not None and "positional_embedding" in own:
        state["positional_embedding"] = positions[: len(own["positional_embedding"])]
    projection = state.get("projection.weight")
    if projection is not None and projection.shape != own["projection.weight"].shape:
        del state["projection.weight"]
    missing = sorted(own.keys() - state.keys() - {"projection.weight"})
    if missing:
        raise ValueError(
            f"text.checkpoint: {path} lacks {len(missing)} of the encoder's weights, the first "
            f"{missing[0]!r}; expected a state dict of CLIP or open_clip with "
            f"{encoder.config.layers} layers: check text.layers"
        )
    for name, value in own.items():
        if name in state and state[name].shape != value.shape:
            raise ValueError(
                f"text.checkpoint: {path} holds {name!r} of shape {tuple(state[name].shape)}, "
                f"expected {tuple(value.shape)}; check text.width and text.context_length, and "
                "that tokenizer.kind is clip"
            )
    encoder.load_state_dict({name: state[name] for name in own if name in state}, strict=False)


def _named(name: str, value: Tensor) -> tuple[str, Tensor]:
    """A weight under this package's name and in its orientation."""
    # A parameter (w, d) in CLIP; in open_clip also a linear layer, named with ".weight", (d, w).
    if name == "text_projection":
        return "projection.weight", value.T
    for old, new in _NAMES:
        name = name.replace(old, new)
    return name, value
