"""How many bytes the arrays take that something keeps, counted from what it refers to.

Nothing is measured around a run: tracing allocations would concern all threads of the process.
"""

from __future__ import annotations

import functools
import types
from typing import Any

import numpy as np

from ..bridge import inside

_ATOMS = (type(None), bool, int, float, complex, str, bytes, type, types.ModuleType, types.CodeType, np.generic)
_CLOSED = ("jax", "jaxlib")  # what they trace and compile leads to much, but to no array of NumPy's that a step keeps


def footprint(kept: Any, given: list) -> int:
    """Bytes of all arrays that can be reached from ``kept`` and not from ``given``: functions, their closures, nests.

    Args:
      kept: for example the function that pulls back through what a step recorded.
      given: what was there before: the loss (with the globals that its functions name), the parameters, the data.
    """
    there_before: dict[int, np.ndarray] = {}
    _collect(given, there_before, set(), names_too=True)
    found: dict[int, np.ndarray] = {}
    _collect(kept, found, set(), names_too=False)
    return sum(owner.nbytes for key, owner in found.items() if key not in there_before)


def _owner(array: np.ndarray) -> Any:
    """What an array's memory belongs to."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _collect(root: Any, found: dict[int, np.ndarray], seen: set[int], names_too: bool) -> None:
    """Add the owners of all arrays that can be reached, by their identities. Not recursive: graphs are deep."""
    waiting, alive = [root], []
    while waiting:
        item = waiting.pop()
        if isinstance(item, _ATOMS) or id(item) in seen:
            continue
        seen.add(id(item))
        alive.append(item)  # or the next one might get its identity
        if isinstance(item, np.ndarray):
            owner = _owner(item)
            found[id(owner)] = owner
            if item.dtype.kind == "O":
                waiting += item.ravel().tolist()
            continue
        waiting += _referents(item, names_too)


def _referents(item: Any, names_too: bool) -> list:
    if str(type(item).__module__).partition(".")[0] in _CLOSED:
        return []
    if isinstance(item, types.FunctionType):
        referents = [cell.cell_contents for cell in item.__closure__ or () if _is_filled(cell)]
        referents += item.__defaults__ or ()
        referents += (item.__kwdefaults__ or {}).values()
        if names_too:
            codes = [item.__code__]
            for code in codes:
                referents += [item.__globals__[name] for name in code.co_names if name in item.__globals__]
                codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
        return referents
    if isinstance(item, types.MethodType):
        return [item.__self__, item.__func__]
    if isinstance(item, functools.partial):
        return [item.func, item.args, item.keywords]
    if isinstance(item, dict):
        return list(item.values())
    if isinstance(item, list | tuple | set | frozenset):
        return list(item)
    of_autograd = inside(item)
    if of_autograd is not None:
        return of_autograd
    referents = list(getattr(item, "__dict__", {}).values())
    for kind in type(item).__mro__:
        slots = vars(kind).get("__slots__", ())
        referents += [
            getattr(item, name) for name in ([slots] if isinstance(slots, str) else slots) if hasattr(item, name)
        ]
    if names_too:  # a loss that is an object: what its methods name
        referents += [
            f for kind in type(item).__mro__ for f in vars(kind).values() if isinstance(f, types.FunctionType)
        ]
    return referents


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
