"""Which class of a hierarchy an attribute comes from."""

from __future__ import annotations


def depth(kind: type, name: str, nowhere: int) -> int:
    """How far up from a class an attribute is defined: 0 in the class itself; ``nowhere`` if in none above it."""
    return next((i for i, parent in enumerate(kind.__mro__) if name in vars(parent)), nowhere)
