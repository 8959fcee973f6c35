"""Nests: dicts, lists and tuples of arrays, flattened to a list of leaves and built up again.

Autograd's boxes count as what they hold, so a nest may be a box of a container, a container of
boxes, or neither; flattening first is what keeps a plain ``{...}`` literal of boxes from slipping
past a primitive unseen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from autograd.extend import Box
from autograd.tracer import getval

from .errors import DifferentiationError, NestError

CONTAINERS = (dict, list, tuple)
_FLOATS = (np.float64, np.float32)


class Structure(NamedTuple):
    """Shape of a nest: its container type (None for a leaf), its keys, and the structures below."""

    kind: type | None
    keys: tuple
    children: tuple[Structure, ...]

    @property
    def size(self) -> int:
        """Number of leaves."""
        return 1 if self.kind is None else sum(child.size for child in self.children)


LEAF = Structure(None, (), ())


def _container_kind(value) -> type | None:
    """The exact container type of a nest node, seen through boxes; None for a leaf."""
    kind = type(getval(value))
    return kind if kind in CONTAINERS else None


def flatten(nest, is_leaf: Callable[[Any], bool] = lambda value: False) -> tuple[list, Structure]:
    """The leaves of a nest, in order, and its structure.

    >>> flatten({"a": 1.0, "b": [2.0, (3.0,)]})[0]
    [1.0, 2.0, 3.0]
    """
    kind = _container_kind(nest)
    if kind is None or is_leaf(nest):
        return [nest], LEAF
    keys = tuple(getval(nest)) if kind is dict else tuple(range(len(getval(nest))))
    leaves, children = [], []
    for key in keys:
        below, structure = flatten(nest[key], is_leaf)
        leaves += below
        children.append(structure)
    return leaves, Structure(kind, keys, tuple(children))


def unflatten(structure: Structure, leaves) -> Any:
    """The nest of that structure with these leaves."""
    return _build(structure, iter(leaves))


def _build(structure: Structure, leaves) -> Any:
    if structure.kind is None:
        return next(leaves)
    children = [_build(child, leaves) for child in structure.children]
    if structure.kind is dict:
        return dict(zip(structure.keys, children))
    return structure.kind(children)


def leaves_like(nest, structure: Structure) -> list | None:
    """The leaves of a nest of just that structure (of lists or tuples alike), or None if it has another.

    For every step of a run: errors that say what is wrong take longer.
    """
    kind = _container_kind(nest)
    if kind is None or structure.kind is None:
        return [nest] if kind is structure.kind else None
    if (kind is dict) != (structure.kind is dict) or len(nest) != len(structure.keys):
        return None
    if kind is dict and any(key not in nest for key in structure.keys):
        return None
    leaves: list = []
    for key, child in zip(structure.keys, structure.children):
        below = leaves_like(nest[key], child)
        if below is None:
            return None
        leaves += below
    return leaves


def leaf_places(structure: Structure, name: str) -> list[str]:
    """How a user would write each leaf: ``params[0]['W']``."""
    if structure.kind is None:
        return [name]
    return [
        place
        for key, child in zip(structure.keys, structure.children)
        for place in leaf_places(child, f"{name}[{key!r}]")
    ]


def broadcast_prefix(nest, structure: Structure, *, name: str, target: str) -> tuple[list, list[int], list[str]]:
    """Spread a nest that is a prefix of ``structure`` over its leaves.

    Returns the leaves of ``nest``, for every leaf of ``structure`` the index of the one that
    covers it, and the places of the leaves of ``nest``.

    Raises:
      NestError: where ``nest`` has another container, other keys or another length.
    """
    covering = list(_prefix_leaves(nest, structure, name, target))
    cover = [index for index, (_, size, _) in enumerate(covering) for _ in range(size)]
    return [leaf for leaf, _, _ in covering], cover, [place for _, _, place in covering]


def _prefix_leaves(node, below: Structure, place: str, target: str):
    """(leaf, how many leaves of ``below`` it covers, its place) for every leaf of a prefix.

    Not a closure that calls itself: such a cycle would keep the leaves alive until garbage collection.
    """
    kind = _container_kind(node)
    if kind is None:
        yield node, below.size, place
        return
    if below.kind is None:
        hint = "; write a schedule as an array: np.array([...])" if kind is not dict else ""
        raise NestError(f"{place} is a {kind.__name__}, but {target} has a single array there{hint}")
    keys = tuple(getval(node)) if kind is dict else tuple(range(len(getval(node))))
    if (kind is dict) != (below.kind is dict) or set(keys) != set(below.keys):
        raise NestError(
            f"{place} is a {_describe(kind, keys)}, but {target} has a {_describe(below.kind, below.keys)} there: "
            f"give one value for all, or a nest that is a prefix of {target}; a schedule over steps is an array, "
            "np.array([...])"
        )
    for key, child in zip(below.keys, below.children):
        yield from _prefix_leaves(node[key], child, f"{place}[{key!r}]", target)


def _describe(kind: type, keys: tuple) -> str:
    return f"dict with keys {list(keys)}" if kind is dict else f"{kind.__name__} of length {len(keys)}"


def check_leaf(leaf, place: str, *, allow_int: bool = False) -> None:
    """Reject a leaf that is not a real float array or number.

    Raises:
      NestError: naming the place, what is there, and what to give instead.
      DifferentiationError: for an object array that hides autograd boxes.
    """
    value = getval(leaf)
    if isinstance(value, float | np.floating | np.ndarray) or (
        allow_int and isinstance(value, int | np.integer) and not isinstance(value, bool)
    ):
        dtype = np.asarray(value).dtype
    else:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        if hasattr(value, "__array__") or hasattr(value, "__dlpack__"):
            raise NestError(f"{place} is a {kind}; convert it first with numpy.asarray(...)")
        if isinstance(value, int | np.integer):
            raise NestError(
                f"{place} is the integer {value!r}; write it as a float: {int(value)}.0, or keep what is no "
                "continuous value out of the nest"
            )
        raise NestError(
            f"{place} is a {kind}: nests hold dicts, lists and tuples of float arrays "
            "(convert other containers with dict(...) or list(...))"
        )
    if dtype.kind == "O":
        if any(isinstance(entry, Box) for entry in np.ravel(value)):
            raise DifferentiationError(
                f"{place} is an object array of values being differentiated, which would be lost; "
                "build it with autograd.numpy: np.array([...]) from `import autograd.numpy as np`"
            )
        raise NestError(f"{place} has dtype object; give a float64 array")
    if dtype.type not in _FLOATS and not (allow_int and dtype.kind in "iu"):
        raise NestError(f"{place} has dtype {dtype}; convert it with .astype(float) (float64, or float32)")


def check_params(leaves, places, *, single: bool = True) -> None:
    """Reject parameters that cannot be trained: wrong types, empty, or non-finite to begin with.

    ``single`` tells whether float32 is allowed.
    """
    if not leaves:
        raise NestError("params has no arrays: give a dict, list or tuple of float arrays, or one array")
    for leaf, place in zip(leaves, places):
        check_leaf(leaf, place)
        value = np.asarray(getval(leaf))
        if value.dtype == np.float32 and not single:
            raise NestError(
                f"{place} is float32, but exact arithmetic needs float64: use .astype(float), or exact=False "
                "with Stored() or Checkpointed()"
            )
        if value.size == 0:
            raise NestError(f"{place} is empty (shape {value.shape}); leave it out")
        if not np.isfinite(value).all():
            index = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
            raise NestError(f"{place} is not finite to begin with: {value[index]} at index {index}")
