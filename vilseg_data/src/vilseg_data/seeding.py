"""Random numbers that depend on what they are drawn for, and on nothing drawn before."""

import numpy as np


def generator_for(*words: int) -> np.random.Generator:
    """A generator of its own for each sequence of integers >= 0; the same one on every machine."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(words)))
