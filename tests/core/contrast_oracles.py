"""The contrastive losses with all of their options, as slow loops over Python floats."""

import math
from dataclasses import dataclass, field

from tests.core.oracles import Row, cosine


@dataclass(frozen=True)
class Batch:
    """Pairs and what may be said of them; an id each, equal where pairs are right together."""

    image: list[Row]
    text: list[Row]
    ids: list[int]
    valid: list[bool]
    image_negatives: list[Row] = field(default_factory=list)
    text_negatives: list[Row] = field(default_factory=list)

    def pairs(self) -> list[int]:
        return [m for m, taking_part in enumerate(self.valid) if taking_part]

    def swapped(self) -> "Batch":
        return Batch(
            self.text, self.image, self.ids, self.valid, self.text_negatives, self.image_negatives
        )

    def candidates(self, m: int, *, scale: float) -> tuple[list[float], list[float]]:
        """Scores of the right and of the wrong texts of image m."""
        right: list[float] = []
        wrong: list[float] = []
        for k in self.pairs():
            score = scale * cosine(self.image[m], self.text[k])
            (right if self.ids[k] == self.ids[m] else wrong).append(score)
        wrong += [scale * cosine(self.image[m], row) for row in self.text_negatives]
        return right, wrong


def image_to_text(batch: Batch, *, scale: float, smoothing: float = 0.0) -> float:
    """Mean over images of the cross-entropy to their right texts and, a share, to all of them."""
    total = 0.0
    for m in batch.pairs():
        right, wrong = batch.candidates(m, scale=scale)
        scores = right + wrong
        highest = max(scores)
        whole = highest + math.log(sum(math.exp(score - highest) for score in scores))
        hard = sum(whole - score for score in right) / len(right)
        even = sum(whole - score for score in scores) / len(scores)
        total += (1 - smoothing) * hard + smoothing * even
    return total / max(len(batch.pairs()), 1)


def statistics(batch: Batch, *, scale: float) -> list[float]:
    """Accuracies both ways, mean score of the right pairs, mean best wrong score."""
    number = max(len(batch.pairs()), 1)
    accuracies, positives, hardest = [], [], []
    for side in (batch, batch.swapped()):
        hits = 0
        for m in side.pairs():
            right, wrong = side.candidates(m, scale=scale)
            hits += not wrong or max(right) > max(wrong)
            positives.append(sum(right) / len(right))
            hardest += [max(wrong)] if wrong else []
        accuracies.append(hits / number)
    return [
        *accuracies,
        sum(positives) / max(len(positives), 1),
        sum(hardest) / max(len(hardest), 1),
    ]


def sigmoid(batch: Batch, *, scale: float, bias: float) -> float:
    """Yes or no for every pair of rows, over the number of pairs."""
    total = 0.0
    for m in batch.pairs():
        right, wrong = batch.candidates(m, scale=scale)
        total += sum(math.log1p(math.exp(-(score + bias))) for score in right)
        total += sum(math.log1p(math.exp(score + bias)) for score in wrong)
    return total / max(len(batch.pairs()), 1)
