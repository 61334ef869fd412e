"""The formulas of the paper as slow loops over Python floats."""

import math
from collections.abc import Sequence

from torch import Tensor

Row = list[float]


def cosine(a: Row, b: Row) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def info_nce(image: Tensor, text: Tensor, *, scale: float) -> float:
    """Eq. 3 and 4: the pairs of `image` among `text`, one direction."""
    images, texts = image.tolist(), text.tolist()
    total = 0.0
    for m, row in enumerate(images):
        weights = [math.exp(scale * cosine(row, other)) for other in texts]
        total -= math.log(weights[m] / sum(weights))
    return total / len(images)


def softmax(row: Row) -> Row:
    weights = [math.exp(value - max(row)) for value in row]
    return [weight / sum(weights) for weight in weights]


def joint(rows_a: Tensor, rows_b: Tensor, *, weights: Sequence[float] | None = None) -> list[Row]:
    """Eq. 7, each pixel weighted: rows (n, c) and (n, c) -> (c, c)."""
    pairs = list(zip(rows_a.tolist(), rows_b.tolist(), strict=True))
    weights = [1.0] * len(pairs) if weights is None else weights
    clusters = rows_a.shape[1]
    total = [[0.0] * clusters for _ in range(clusters)]
    for (a, b), weight in zip(pairs, weights, strict=True):
        p, q = softmax(a), softmax(b)
        for c in range(clusters):
            for k in range(clusters):
                total[c][k] += weight * p[c] * q[k]
    return [[value / sum(weights) for value in row] for row in total]


def mutual_information(
    table: list[Row], *, entropy_weight: float = 1.0, symmetric: bool = False
) -> float:
    """Eq. 8, with the weight of the marginal entropies."""
    size = range(len(table))
    if symmetric:
        table = [[(table[c][k] + table[k][c]) / 2 for k in size] for c in size]
    rows = [sum(table[c][k] for k in size) for c in size]
    columns = [sum(table[c][k] for c in size) for k in size]
    total = 0.0
    for c in size:
        for k in size:
            value = table[c][k]
            total += value * (
                math.log(value)
                - entropy_weight * math.log(rows[c])
                - entropy_weight * math.log(columns[k])
            )
    return total


def local_to_global(
    local: Tensor,
    target: Tensor,
    *,
    local_temperature: float = 1.0,
    global_temperature: float = 1.0,
    center: Row | None = None,
) -> float:
    """Eq. 2 over views (v, n, k) and images (n, k)."""
    views, targets = local.tolist(), target.tolist()
    center = [0.0] * target.shape[1] if center is None else center
    terms = []
    for view in views:
        for row, goal in zip(view, targets, strict=True):
            p = softmax([(g - c) / global_temperature for g, c in zip(goal, center, strict=True)])
            q = softmax([value / local_temperature for value in row])
            terms.append(-sum(pk * math.log(qk) for pk, qk in zip(p, q, strict=True)))
    return sum(terms) / len(terms)


def sinkhorn(logits: Tensor, *, temperature: float, iterations: int) -> list[Row]:
    """Sinkhorn-Knopp on plain exponentials."""
    table = [[math.exp(value / temperature) for value in row] for row in logits.tolist()]
    for _ in range(iterations):
        totals = [sum(column) for column in zip(*table, strict=True)]
        table = [[value / total for value, total in zip(row, totals, strict=True)] for row in table]
        table = [[value / sum(row) for value in row] for row in table]
    return table
