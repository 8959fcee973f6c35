"""MNIST from the four official IDX files, which lie beside this module (licence: LICENSE-MNIST.md)."""

from __future__ import annotations

import gzip
import hashlib
import operator
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..errors import ArgumentError, DataError

_FOLDER = Path(__file__).parent
_CHECKSUMS = {  # SHA-256 of the gzipped files
    "train-images-idx3-ubyte.gz": "0b367032e93c5d0cea0925647cfdb18614af8ee15f83e6f2fc2ad904a6835971",
    "train-labels-idx1-ubyte.gz": "1787548bbe0bff1ec2ecdc0ef292b02df999e2d1a6002d27500982c652b17203",
    "t10k-images-idx3-ubyte.gz": "1a1a05eab793c14bb050b398624a11b0ffd1a2953baed553b1b9bd079e2a20be",
    "t10k-labels-idx1-ubyte.gz": "b91679a0acfe4ba0e50a2437a903084cba1f5f92592b016a25a7dfd00455798b",
}
_PARTS = (("train", 60_000), ("t10k", 10_000))
_TOTAL = sum(count for _, count in _PARTS)
_PIXELS = 28 * 28
_IMAGE_HEADER, _LABEL_HEADER = 16, 8  # bytes, in the IDX format


def load_mnist(*counts: int, centred: bool = False) -> list[tuple[np.ndarray, np.ndarray]]:
    """Consecutive, disjoint pieces of MNIST: ``(X, T), (X_valid, T_valid) = load_mnist(1000, 1000)``.

    Taken in order from the 70,000: the 60,000 training images, then the 10,000 test images. Only
    the images asked for are decoded.

    Args:
      counts: number of images in each piece.
      centred: take the mean image of the first piece (the training mean) off all of them.

    Returns:
      For each count n a pair: X, float64 of shape (n, 784), grey values in [0, 1] (before centring),
      and T, float64 of shape (n, 10), the digits one-hot.

    Raises:
      ArgumentError: no counts, one below 1, or more than 70,000 in all.
      DataError: a data file is missing or damaged; says which, and its checksum.
    """
    if not counts:
        raise ArgumentError("load_mnist needs at least one number of images: load_mnist(1000, 1000)")
    for count in counts:
        if isinstance(count, bool) or not hasattr(count, "__index__") or operator.index(count) < 1:
            raise ArgumentError(f"the numbers of images must be integers ≥ 1, got {count!r}")
    total = sum(counts)
    if total > _TOTAL:
        raise ArgumentError(f"MNIST has {_TOTAL} images, but {' + '.join(map(str, counts))} = {total} were asked for")
    images = np.frombuffer(_read("images-idx3", _IMAGE_HEADER, _PIXELS, total), np.uint8).reshape(total, _PIXELS)
    labels = np.frombuffer(_read("labels-idx1", _LABEL_HEADER, 1, total), np.uint8)
    X, T = images / 255.0, np.eye(10)[labels]
    if centred:
        X -= X[: counts[0]].mean(axis=0)
    ends = np.cumsum(counts)
    return [(X[end - n : end], T[end - n : end]) for n, end in zip(counts, ends)]


def _read(kind: str, header: int, item: int, count: int) -> bytes:
    """The bytes of the first ``count`` items, from the training file and then the test file."""
    pieces = []
    for part, available in _PARTS:
        here = min(count, available)
        if here:
            name = f"{part}-{kind}-ubyte.gz"
            _verify(name, _FOLDER / name)
            with gzip.open(_FOLDER / name) as file:
                pieces.append(file.read(header + here * item)[header:])
        count -= here
    return b"".join(pieces)


@lru_cache
def _verify(name: str, path: Path) -> None:
    """Compare a file with its checksum, once in a process."""
    advice = "install hypergrad-toolkit again"
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"the data file {path} cannot be read ({error.strerror}); {advice}") from error
    if digest != _CHECKSUMS[name]:
        raise DataError(f"the data file {path} is damaged: its SHA-256 is {digest}, not {_CHECKSUMS[name]}; {advice}")
