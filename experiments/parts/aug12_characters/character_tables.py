"""What counting does: tables of which character followed on the last few, the rivals of models that learn."""

from __future__ import annotations

import copy
from collections import Counter, defaultdict

import numpy as np

ALPHABET = 256
STRENGTHS = (0.5, 2.0, 8.0, 32.0)  # k that are tried
NEVER = 0  # a character that no text has: what is before a beginning, where lower orders are asked


class Tables:
    """Characters by the 0, 1, … ``order`` before them, from counts of a text.

        p_n(c | the last n) = (count of c after them + k · p_{n−1}(c | the last n − 1)) / (count of them + k)

    with p_{−1} = 1/256: a Dirichlet prior around the table of the next lower order (MacKay & Peto 1995).

    Args:
      text: characters, (m,).
      order: of the longest context, ≤ 6.
      k: how many characters a table has to have seen to outweigh the lower one.
    """

    def __init__(self, text, order: int, k: float = 1.0):
        self.k, self.counts = k, []
        for n in range(order + 1):
            codes, counts = np.unique(_codes(np.asarray(text), n + 1), return_counts=True)
            contexts, first = np.unique(codes >> 8, return_index=True)
            self.counts.append(((codes, counts), (contexts, np.add.reduceat(counts, first))))

    def of_strength(self, k: float) -> Tables:
        """The same counts with another k."""
        other = copy.copy(self)
        other.k = k
        return other

    def probabilities(self, contexts, characters) -> np.ndarray:
        """(m,): those of characters (m,) after contexts (m, order or more), whose last are read."""
        p, context = np.full(len(characters), 1.0 / ALPHABET), np.zeros(len(characters), np.int64)
        contexts, characters = np.asarray(contexts, np.int64), np.asarray(characters, np.int64)
        for n, (after, alone) in enumerate(self.counts):
            if n:
                context += contexts[:, -n] << 8 * (n - 1)
            p = (_count(after, (context << 8) + characters) + self.k * p) / (_count(alone, context) + self.k)
        return p

    def loss(self, X, T) -> float:
        """Nats a character of sequences T, from all that is before them in X, both (s, length), as a model's loss."""
        order = max(1, len(self.counts) - 1)
        padded = np.pad(np.asarray(X), ((0, 0), (order - 1, 0)), constant_values=NEVER)
        contexts = np.lib.stride_tricks.sliding_window_view(padded, order, axis=1).reshape(-1, order)
        return float(-np.mean(np.log(self.probabilities(contexts, np.ravel(T)))))

    def continued(self, prompt, length: int, temperature: float, seed: int | tuple) -> np.ndarray:
        """Characters (length,) that follow on a prompt, as :func:`character_memory.continued`."""
        rng, found, everything = np.random.default_rng(seed), list(prompt), np.arange(ALPHABET)
        for _ in range(length):
            contexts = np.tile(found[-max(1, len(self.counts) - 1) :], (ALPHABET, 1))
            logits = np.log(self.probabilities(contexts, everything))
            found.append(int(np.argmax(logits + temperature * rng.gumbel(size=ALPHABET))))
        return np.array(found[len(prompt) :])


def fitted(text, order: int, X, T) -> Tables:
    """The table with the best of a few k, by its loss on sequences."""
    counted = Tables(text, order)
    return min(map(counted.of_strength, STRENGTHS), key=lambda table: table.loss(X, T))


def _codes(text: np.ndarray, length: int) -> np.ndarray:
    """Every piece of so many characters as one integer, the last character in the lowest byte."""
    pieces = np.lib.stride_tricks.sliding_window_view(text.astype(np.int64), length)
    return pieces @ (1 << 8 * np.arange(length - 1, -1, -1, dtype=np.int64))


def _count(counted: tuple, codes: np.ndarray) -> np.ndarray:
    known, counts = counted
    at = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    return np.where(known[at] == codes, counts[at], 0)


def best_by_last(sequences, n: int, first: int) -> float:
    """The share of characters that no table of the last n can exceed, on the sequences (s, length) themselves.

    Of the characters from position ``first`` ≥ 1 on; a table is read with all there are where those are fewer than n.
    """
    followed: dict[tuple, Counter] = defaultdict(Counter)
    for row in sequences.tolist():
        for i in range(first, len(row)):
            followed[tuple(row[max(0, i - n) : i])][row[i]] += 1
    right = sum(max(counter.values()) for counter in followed.values())
    return right / sum(counter.total() for counter in followed.values())
