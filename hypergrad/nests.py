"""Nests: dicts, lists, tuples, named tuples and frozen dataclasses of arrays, as a list of leaves and built up again.

Autograd's boxes count as what they hold, so a nest may be a box of a container, a container of
boxes, or neither; flattening first is what keeps a plain ``{...}`` literal of boxes from slipping
past a primitive unseen. None is an absent leaf.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

import numpy as np

from .bridge import getval, is_object_of_boxes
from .errors import DifferentiationError, NestError

_FLOATS = (np.float64, np.float32)
_MAPPINGS, _SEQUENCES = (dict, OrderedDict), (list, tuple)
_ABSENT = type(None)


class Structure(NamedTuple):
    """Shape of a nest: its container type (None for a leaf), its keys, and the structures below."""

    kind: type | None
    keys: tuple
    children: tuple[Structure, ...]

    @property
    def size(self) -> int:
        """Number of leaves."""
        return 1 if self.kind is None else sum(child.size for child in self.children)

    @property
    def known_to_autograd(self) -> bool:
        """Whether autograd can differentiate by such a nest as a whole."""
        if self.kind is None:
            return True
        return self.kind in (dict, list, tuple) and all(child.known_to_autograd for child in self.children)


LEAF = Structure(None, (), ())


def _container_kind(value) -> type | None:
    """The exact container type of a nest node, seen through boxes; None for a leaf."""
    value = getval(value)
    kind = type(value)
    if kind in _MAPPINGS or kind in _SEQUENCES or kind is _ABSENT or _is_named_tuple(kind):
        return kind
    frozen = is_dataclass(kind) and kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    return kind if frozen and all(field.init for field in fields(kind)) and not _is_equinox_module(kind) else None


def _is_equinox_module(kind: type) -> bool:
    """Whether it is a frozen dataclass that cannot be made again from its fields."""
    return any(base.__name__ == "Module" and str(base.__module__).startswith("equinox.") for base in kind.__mro__)


def _is_named_tuple(kind: type) -> bool:
    return issubclass(kind, tuple) and hasattr(kind, "_fields")


def _family(kind: type | None):
    """What may stand for each other where only the leaves matter: lists and tuples, dicts of both kinds."""
    if kind in _MAPPINGS:
        return dict
    return tuple if kind is not None and issubclass(kind, list | tuple) else kind


def _keys(nest, kind: type) -> tuple:
    """The keys or names of a container's entries."""
    if kind is _ABSENT:
        return ()
    if kind in _MAPPINGS:
        return tuple(getval(nest))
    if _is_named_tuple(kind):
        return kind._fields  # type: ignore[attr-defined]
    if kind in _SEQUENCES:
        return tuple(range(len(getval(nest))))
    return tuple(field.name for field in fields(kind))


def _entry(nest, kind: type, index: int, key):
    """An entry of a container, or of a box of one; those of sequences by their place."""
    family = _family(kind)
    return nest[key] if family is dict else nest[index] if family is tuple else getattr(nest, key)


def flatten(nest, is_leaf: Callable[[Any], bool] = lambda value: False) -> tuple[list, Structure]:
    """The leaves of a nest, in order, and its structure.

    >>> flatten({"a": 1.0, "b": [2.0, (3.0,), None]})[0]
    [1.0, 2.0, 3.0]
    """
    kind = _container_kind(nest)
    if kind is None or is_leaf(nest):
        return [nest], LEAF
    keys = _keys(nest, kind)
    leaves, children = [], []
    for index, key in enumerate(keys):
        below, structure = flatten(_entry(nest, kind, index, key), is_leaf)
        leaves += below
        children.append(structure)
    return leaves, Structure(kind, keys, tuple(children))


def unflatten(structure: Structure, leaves) -> Any:
    """The nest of that structure with these leaves."""
    return _build(structure, iter(leaves))


def _build(structure: Structure, leaves) -> Any:
    kind = structure.kind
    if kind is None:
        return next(leaves)
    if kind is _ABSENT:
        return None
    children = [_build(child, leaves) for child in structure.children]
    if kind in _SEQUENCES:
        return kind(children)  # type: ignore[call-arg]
    if kind in _MAPPINGS:
        return kind(zip(structure.keys, children))  # type: ignore[call-arg]
    return kind(**dict(zip(structure.keys, children)))


def leaves_like(nest, structure: Structure) -> list | None:
    """The leaves of a nest of just that structure (of lists or tuples alike), or None if it has another.

    The entries of dicts are taken by their keys. For every step of a run: errors that say what is wrong take longer.
    """
    kind = _container_kind(nest)
    if kind is None or structure.kind is None:
        return [nest] if kind is structure.kind else None
    keys = _keys(nest, kind)
    if _family(kind) is not _family(structure.kind) or len(keys) != len(structure.keys):
        return None
    if kind in _MAPPINGS and any(key not in keys for key in structure.keys):
        return None
    leaves: list = []
    for index, (key, child) in enumerate(zip(structure.keys, structure.children)):
        below = leaves_like(_entry(nest, kind, index, key), child)
        if below is None:
            return None
        leaves += below
    return leaves


def leaf_places(structure: Structure, name: str) -> list[str]:
    """How a user would write each leaf: ``params[0]['W']``, ``params.W``."""
    if structure.kind is None:
        return [name]
    return [
        place
        for key, child in zip(structure.keys, structure.children)
        for place in leaf_places(child, _place(name, structure.kind, key))
    ]


def _place(name: str, kind: type, key) -> str:
    return f"{name}[{key!r}]" if kind in _MAPPINGS or kind in _SEQUENCES else f"{name}.{key}"


def broadcast_prefix(nest, structure: Structure, *, name: str, target: str) -> tuple[list, list[int], list[str]]:
    """Spread a nest that is a prefix of ``structure`` over its leaves.

    Returns the leaves of ``nest``, for every leaf of ``structure`` the index of the one that
    covers it, and the places of the leaves of ``nest``.

    Raises:
      NestError: where ``nest`` has another container, other keys or another length.
    """
    covering = list(prefix_leaves(nest, structure, name, target))
    cover = [index for index, (_, below, _) in enumerate(covering) for _ in range(below.size)]
    return [leaf for leaf, _, _ in covering], cover, [place for _, _, place in covering]


def prefix_leaves(node, below: Structure, place: str, target: str):
    """(leaf, the structure that it covers, its place) for every leaf of a prefix.

    Not a closure that calls itself: such a cycle would keep the leaves alive until garbage collection.
    """
    kind = _container_kind(node)
    if kind is None:
        yield node, below, place
        return
    if below.kind is None:
        if kind is _ABSENT:
            raise NestError(f"{place} is None, but {target} has an array there: give a number or an array")
        hint = "; write a schedule as an array: np.array([...])" if kind not in _MAPPINGS else ""
        raise NestError(f"{place} is a {kind.__name__}, but {target} has a single array there{hint}")
    keys = _keys(node, kind)
    alike = _family(kind) is _family(below.kind) and len(keys) == len(below.keys)
    if not alike or (kind in _MAPPINGS and set(keys) != set(below.keys)):
        hint = "; a schedule over steps is an array, np.array([...])" if kind not in _MAPPINGS else ""
        raise NestError(
            f"{place} is {_describe(kind, keys)}, but {target} has {_describe(below.kind, below.keys)} there: "
            f"give one value for all, or a nest that is a prefix of {target}{hint}"
        )
    for index, (key, child) in enumerate(zip(below.keys, below.children)):
        yield from prefix_leaves(_entry(node, kind, index, key), child, _place(place, kind, key), target)


def _describe(kind: type, keys: tuple) -> str:
    if kind is _ABSENT:
        return "None"
    return (
        f"a {kind.__name__} with keys {list(keys)}" if kind in _MAPPINGS else f"a {kind.__name__} of length {len(keys)}"
    )


def _library(value) -> str:
    """Which of the libraries that have arrays of their own a value is from; found without importing them."""
    roots = {str(base.__module__).partition(".")[0] for base in type(value).__mro__}
    return "jax" if roots & {"jax", "jaxlib"} else "torch" if "torch" in roots else ""


def is_tracer_of_jax(value) -> bool:
    """Whether JAX is tracing this value: differentiating or compiling what computes with it."""
    return _library(value) == "jax" and any(base.__name__ == "Tracer" for base in type(value).__mro__)


def as_numpy(leaf, place: str):
    """A leaf as it is, or as a NumPy array if it is an array of JAX or PyTorch and nothing is lost by that.

    Raises:
      NestError: a tensor that requires gradients or lies on another device, an array that NumPy has no dtype for.
      DifferentiationError: an array that JAX is tracing.
    """
    library = _library(leaf)
    if library == "jax":
        if is_tracer_of_jax(leaf):
            raise DifferentiationError(
                f"{place} is being traced by JAX (jax.grad or jax.jit around this call), and its derivative would be "
                "lost: hypergrad is differentiated by autograd's grad (from autograd import grad); a part written in "
                "jax.numpy goes into that as hypergrad.losses.from_jax(loss) or hypergrad.losses.jax_function(f)"
            )
        if hasattr(leaf, "__array__") and str(leaf.dtype) in _ELSEWHERE:
            return np.array(leaf)
        way_out = "give a float array; what goes on in JAX belongs into a loss from hypergrad.losses.from_jax"
        raise NestError(f"{place} is an array of JAX of dtype {getattr(leaf, 'dtype', type(leaf).__name__)}: {way_out}")
    if library == "torch":
        return _as_numpy_from_torch(leaf, place)
    return leaf


_ELSEWHERE = ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")  # and in NumPy


def _as_numpy_from_torch(leaf, place: str) -> np.ndarray:
    if not hasattr(leaf, "detach"):
        raise NestError(
            f"{place} is a {type(leaf).__module__}.{type(leaf).__qualname__}; a module comes to train as "
            "hypergrad.losses.from_torch(module, …)"
        )
    if leaf.requires_grad:
        raise NestError(
            f"{place} is a tensor that requires gradients, but hypergrad is differentiated by autograd's grad: give "
            "tensor.detach().numpy(); a loss in torch comes to train as hypergrad.losses.from_torch(…)"
        )
    if leaf.device.type != "cpu" or str(leaf.layout) != "torch.strided":
        raise NestError(
            f"{place} is a tensor on {leaf.device} ({leaf.layout}): give tensor.to_dense().cpu().numpy(); a loss that "
            "computes there comes to train as hypergrad.losses.from_torch(…)"
        )
    if str(leaf.dtype).removeprefix("torch.") not in _ELSEWHERE:
        raise NestError(f"{place} is a tensor of {leaf.dtype}: give tensor.double().numpy() or tensor.float().numpy()")
    return np.array(leaf.numpy())


def check_leaf(leaf, place: str, *, allow_int: bool = False) -> Any:
    """A leaf to go on with: as it is, or as a NumPy array if it is one of JAX or PyTorch.

    Raises:
      NestError: it is no real float array or number; naming the place, what is there, and what to give instead.
      DifferentiationError: for an object array that hides autograd boxes, or what JAX is tracing.
    """
    leaf = as_numpy(leaf, place)
    value = getval(leaf)
    if isinstance(value, float | np.floating | np.ndarray) or (
        allow_int and isinstance(value, int | np.integer) and not isinstance(value, bool)
    ):
        dtype = np.asarray(value).dtype
    else:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        if hasattr(value, "__array__") or hasattr(value, "__dlpack__"):
            raise NestError(f"{place} is a {kind}; convert it first with numpy.asarray(...)")
        if _is_equinox_module(type(value)):
            raise NestError(
                f"{place} is a module of equinox: give the list of its arrays, leaves, form = jax.tree.flatten("
                "eqx.filter(model, eqx.is_inexact_array)), and put them into a model again in the loss, by "
                "jax.tree.unflatten(form, params) and eqx.combine"
            )
        if isinstance(value, int | np.integer):
            raise NestError(
                f"{place} is the integer {value!r}; write it as a float: {int(value)}.0, or keep what is no "
                "continuous value out of the nest"
            )
        raise NestError(
            f"{place} is a {kind}: nests hold dicts, lists and tuples of float arrays, named tuples and frozen "
            "dataclasses (convert other containers with dict(...) or list(...))"
        )
    if dtype.kind == "O":
        if is_object_of_boxes(np.asarray(value)):
            raise DifferentiationError(
                f"{place} is an object array of values being differentiated, which would be lost; "
                "build it with autograd.numpy: np.array([...]) from `import autograd.numpy as np`"
            )
        raise NestError(f"{place} has dtype object; give a float64 array")
    if dtype.type not in _FLOATS and not (allow_int and dtype.kind in "iu"):
        raise NestError(f"{place} has dtype {dtype}; convert it with .astype(float) (float64, or float32)")
    return leaf


def check_leaves(leaves: list, places: list[str], *, allow_int: bool = False) -> list:
    """The leaves to go on with; see :func:`check_leaf`."""
    return [check_leaf(leaf, place, allow_int=allow_int) for leaf, place in zip(leaves, places)]


def check_params(leaves, places, *, single: bool = True) -> list:
    """The parameters to go on with.

    ``single`` tells whether float32 is allowed.

    Raises:
      NestError: they cannot be trained: wrong types, empty, or non-finite to begin with.
    """
    if not leaves:
        raise NestError(
            "params has no arrays (None is an absent leaf): give a dict, list or tuple of float arrays, or one array"
        )
    leaves = check_leaves(leaves, places)
    for leaf, place in zip(leaves, places):
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
    return leaves
