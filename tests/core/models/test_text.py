"""Text encoder: where a text ends, what may look at what, the bag of words."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

pytest.importorskip("timm")
pytest.importorskip("pydantic")

from vilseg_core.models import TextEncoder, TextEncoderConfig

END = 3
BASE: dict[str, Any] = {
    "vocab_size": 50,
    "context_length": 10,
    "width": 16,
    "heads": 2,
    "layers": 2,
    "end_of_text": END,
}
KINDS: dict[str, dict[str, Any]] = {
    "transformer": {},
    "transformer mean": {"pooling": "mean"},
    "bag of words": {"layers": 0, "pooling": "mean"},
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def encoder_of(kind: str) -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(TextEncoderConfig(**(BASE | KINDS[kind])), embed_dim=6).double().eval()


def texts(seed: int = 0, n: int = 4) -> Tensor:
    """Rows of different lengths: words, the end, padding."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, 50, (n, 10), generator=generator)
    lengths = torch.randint(1, 10, (n, 1), generator=generator)
    positions = torch.arange(10)
    tokens = torch.where(positions == lengths, END, tokens)
    return torch.where(positions > lengths, 0, tokens)


@every_kind
@given(seed=st.integers(0, 1000))
def test_nothing_after_the_end_matters(kind: str, seed: int) -> None:
    encoder, tokens = encoder_of(kind), texts(seed)
    after = (tokens == END).cumsum(1).bool() & (tokens != END)
    noise = torch.randint(0, 50, tokens.shape, generator=torch.Generator().manual_seed(seed))
    changed = torch.where(after, noise, tokens)
    torch.testing.assert_close(encoder(changed), encoder(tokens))


@every_kind
def test_padding_does_not_matter(kind: str) -> None:
    encoder = encoder_of(kind)
    short = torch.tensor([[5, 6, 7, END]])
    padded = torch.nn.functional.pad(short, (0, 6))
    torch.testing.assert_close(encoder(padded), encoder(short))
    torch.testing.assert_close(encoder(padded.int()), encoder(short))


@every_kind
def test_every_word_before_the_end_matters(kind: str) -> None:
    encoder = encoder_of(kind)
    tokens = torch.tensor([[5, 6, 7, END, 0]])
    truth = encoder(tokens)
    for position in range(3):
        changed = tokens.clone()
        changed[0, position] = 40
        assert not torch.allclose(encoder(changed), truth)


def test_no_token_sees_a_later_one() -> None:
    encoder = encoder_of("transformer")
    features = torch.randn(1, 6, 16, dtype=torch.float64)
    later = features.clone()
    later[:, 4:] += 1.0
    before, after = encoder.blocks(features), encoder.blocks(later)
    torch.testing.assert_close(after[:, :4], before[:, :4])
    assert not torch.allclose(after[:, 4:], before[:, 4:])


def test_only_a_transformer_knows_the_order() -> None:
    tokens = torch.tensor([[5, 6, 7, END], [7, 6, 5, END]])
    for kind, ordered in (("transformer", True), ("bag of words", False)):
        first, second = encoder_of(kind)(tokens)
        assert torch.allclose(first, second) is not ordered


def test_the_bag_of_words_is_the_mean_embedding() -> None:
    encoder, tokens = encoder_of("bag of words"), texts(1)
    assert not hasattr(encoder, "positional_embedding")
    for row, found in zip(tokens, encoder(tokens), strict=True):
        kept = row[: row.tolist().index(END) + 1]
        mean = encoder.token_embedding.weight[kept].mean(0)
        torch.testing.assert_close(found, encoder.projection(encoder.ln_final(mean)))


@every_kind
def test_a_text_without_an_end_ends_at_its_last_word(kind: str) -> None:
    encoder = encoder_of(kind)
    cut = torch.tensor([[5, 6, 7]])
    torch.testing.assert_close(encoder(torch.tensor([[5, 6, 7, 0, 0]])), encoder(cut))
    assert encoder(torch.zeros(1, 4, dtype=torch.int64)).isfinite().all()


@every_kind
def test_texts_do_not_see_each_other(kind: str) -> None:
    encoder, tokens = encoder_of(kind), texts(2)
    together = encoder(tokens)
    for row, found in zip(tokens, together, strict=True):
        torch.testing.assert_close(encoder(row.unsqueeze(0)).squeeze(0), found)
    assert encoder(tokens[:0]).shape == (0, 6)


@every_kind
def test_every_parameter_learns(kind: str) -> None:
    encoder = encoder_of(kind)
    torch.autograd.backward(encoder(texts()).square().sum())
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_dropout_acts_in_training_alone() -> None:
    config = TextEncoderConfig(**(BASE | {"dropout": 0.5}))
    encoder, tokens = TextEncoder(config, embed_dim=6), texts()
    assert not torch.allclose(encoder(tokens), encoder(tokens))
    encoder.eval()
    assert torch.equal(encoder(tokens), encoder(tokens))


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (
            torch.zeros(2, 4),
            r"tokens: expected integers .* torch.float32 .* tokenizer's output",
        ),
        (torch.zeros(4, dtype=torch.int64), r"tokens: .* shape \(4,\)"),
        (torch.zeros(2, 11, dtype=torch.int64), r"tokens: expected 1 to 10 .* came 11; build"),
        (torch.zeros(2, 0, dtype=torch.int64), r"tokens: expected 1 to 10 .* came 0"),
    ],
)
def test_refused_tokens(tokens: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encoder_of("transformer")(tokens)
