"""The text that character models learn, as integers from 0 to 255, and pieces of it."""

from __future__ import annotations

import hashlib
import lzma
from functools import lru_cache
from pathlib import Path

import numpy as np

FILE = Path(__file__).parent.parent / "text" / "bible.txt.xz"
DIGEST = "b5c4940bcfeee072c0935b5200d0f9d88a00a0199cb0961d16133458fcdfae5d"


class TextError(Exception):
    """The text is missing, or another one than the results were made with."""


@lru_cache(1)
def whole() -> np.ndarray:
    """All characters, in order: 256-way, of dtype uint8.

    Raises:
      TextError: the file is missing or another one.
    """
    try:
        text = lzma.decompress(FILE.read_bytes())
    except FileNotFoundError:
        raise TextError(f"{FILE} is missing: check it out, or make it by experiments/text/make_text.py") from None
    except lzma.LZMAError as error:
        raise TextError(f"{FILE} is no xz file ({error}): check it out anew") from None
    if hashlib.sha256(text).hexdigest() != DIGEST:
        raise TextError(f"{FILE} holds another text than the results were made with: check it out anew")
    return np.frombuffer(text, np.uint8)


def training() -> np.ndarray:
    """The first 90 per cent."""
    return whole()[: len(whole()) * 9 // 10]


def validation() -> np.ndarray:
    """What follows, 5 per cent."""
    return whole()[len(whole()) * 9 // 10 : len(whole()) * 19 // 20]


def test() -> np.ndarray:
    """The last 5 per cent."""
    return whole()[len(whole()) * 19 // 20 :]


def windows(text: np.ndarray, count: int, length: int, seed: int | tuple) -> tuple[np.ndarray, np.ndarray]:
    """Pieces of a text that begin at random places, and for each character the one that follows.

    Returns:
      Characters and targets, both (count, length), of dtype int64.

    Raises:
      TextError: the text is too short.
    """
    if len(text) <= length:
        raise TextError(f"a text of {len(text)} characters has no piece of {length} and one to follow")
    starts = np.random.default_rng(seed).integers(len(text) - length, size=count)
    pieces = text[starts[:, None] + np.arange(length + 1)].astype(np.int64)
    return pieces[:, :-1], pieces[:, 1:]


def as_text(characters: np.ndarray) -> str:
    """Characters for the eye."""
    return bytes(np.asarray(characters, np.uint8)).decode("latin-1")
