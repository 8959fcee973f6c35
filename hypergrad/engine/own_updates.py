"""Updates of a user's own rule, which is called array by array and may keep any nest for its state."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..bridge import isbox, jvp
from ..errors import ArgumentError, NestError
from ..nests import Structure, flatten, leaves_like, unflatten
from ..optimizers.base import Optimizer
from ..optimizers.hyperparameters import Schedule
from ..workspace import Arena, Layout, Vector, read_only
from .updates import Updates, at_moved, pulled, reject_boxes, write


class OwnState(NamedTuple):
    """The state of one array under a user's own rule.

    Attributes:
      leaves: arrays and numbers of a nest, in order; nobody else can change them.
      structure: of the nest.
    """

    leaves: list
    structure: Structure

    @property
    def floating(self) -> list[int]:
        """Which leaves can be differentiated; integers count something."""
        return [i for i, leaf in enumerate(self.leaves) if leaf.dtype.kind == "f"]


class _Unreadable:
    """What stands in an optimizer's field while its step is called: the value is in ``h``."""

    def __init__(self, kind: str, name: str):
        object.__setattr__(self, "_words", (kind, name))

    def _raise(self, *_, **__):
        kind, name = object.__getattribute__(self, "_words")
        raise ArgumentError(
            f"{kind}.step reads self.{name}, which may be a schedule or a nest; its value for this array at this step "
            f"is h.{name}: step(self, w, s, g, h, step)"
        )

    def __getattr__(self, name):
        self._raise()


_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "pow", "mod", "matmul")
_OTHER = ("neg", "pos", "abs", "float", "int", "bool", "len", "iter", "getitem", "array", "index", "call")
_COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
for _name in (*_BINARY, *(f"r{name}" for name in _BINARY), *_OTHER, *_COMPARISONS):
    setattr(_Unreadable, f"__{_name}__", _Unreadable._raise)
_Unreadable.__hash__ = object.__hash__  # type: ignore[method-assign]
_Unreadable.__array_ufunc__ = _Unreadable._raise  # type: ignore[attr-defined]


class OwnUpdates(Updates):
    """Updates of a user's own rule, array by array; nothing it is given can be changed, or is written over.

    A state is a list of :class:`OwnState`, and is never changed.
    """

    def __init__(self, optimizer: Optimizer, layout: Layout, schedules: list[Schedule]):
        super().__init__(optimizer, layout, schedules)
        self.name = type(optimizer).__name__
        self.rule = copy.copy(optimizer)
        for name in optimizer.names:
            object.__setattr__(self.rule, name, _Unreadable(self.name, name))
        self.size = 0  # bytes of a state

    def start(self, params: Vector) -> list[OwnState]:
        slots = []
        for w in params.arrays:
            state = self.optimizer.init(w.copy())
            leaves, structure = flatten(state)
            if structure.kind is None:
                raise ArgumentError(
                    f"{self.name}.init must return a tuple of arrays, or another nest of them, got {state!r:.60}"
                )
            slots.append(OwnState([np.array(leaf, order="C") for leaf in leaves], structure))
            for leaf, found in zip(leaves, slots[-1].leaves):
                if isbox(leaf) or found.dtype.kind not in "fiub":
                    raise ArgumentError(f"{self.name}.init must return plain arrays and numbers, got {leaf!r:.60}")
        self.size = sum(leaf.nbytes for slot in slots for leaf in slot.leaves)
        return slots

    def fresh(self, slots, arena: Arena | None = None):
        return slots

    def zeros(self, slots, arena: Arena | None = None) -> list[list]:
        return [[np.zeros(slot.leaves[i].shape, slot.leaves[i].dtype) for i in slot.floating] for slot in slots]

    def arrays(self, slots) -> list:
        return [a for slot in slots for a in (slot.leaves if isinstance(slot, OwnState) else slot)]

    def write(self, arrays: list, slots) -> list[list]:
        left = iter(arrays)
        return [[next(left) for _ in slot] for slot in slots]

    def nbytes(self) -> int:
        return self.size

    def as_nests(self, slots, structure: Structure) -> Any:
        states = [unflatten(slot.structure, [a.copy() for a in slot.leaves]) for slot in slots]
        shapes = {(slot.structure.kind, len(slot.structure.keys)) for slot in slots}
        kind = getattr(self.optimizer, "State", None)
        if len(shapes) > 1 or not all(isinstance(state, tuple) for state in states):
            return tuple(states)  # one for each array
        nests = [unflatten(structure, list(column)) for column in zip(*states)]
        return tuple(nests) if kind is None else kind(*nests)

    def _step(self, w, slot: OwnState, leaves: list, g, h, step: int) -> tuple:
        """(w, leaves of the state) after the update, checked."""
        result = self.rule.step(w, unflatten(slot.structure, leaves), g, h, step)
        shape = np.shape(w)
        if not isinstance(result, tuple) or len(result) != 2:
            raise ArgumentError(
                f"{self.name}.step must return (w, s), the parameters and the state after the update, got "
                f"{type(result).__name__} {result!r:.60}; without a state return (w, ())"
            )
        after, found = result[0], leaves_like(result[1], slot.structure)
        if np.shape(after) != shape or found is None:
            raise ArgumentError(
                f"{self.name}.step must return (w, s), w of shape {shape} and s {_described(slot)}, got w of shape "
                f"{np.shape(after)} and s = {result[1]!r:.60}"
            )
        return after, found

    def advance(self, w, s, g, step: int, to_w, to_s) -> list[OwnState]:
        slots = []
        for i, h in enumerate(self.hyperparameters(step)):
            w_given, g_given, *leaves = read_only([w.arrays[i].copy(), g.arrays[i].copy(), *s[i].leaves])
            after, found = self._step(w_given, s[i], leaves, g_given, h, step)
            reject_boxes(self.name, [after, *found])
            to_w.arrays[i][...] = after
            slots.append(OwnState([_as_before(leaf, old) for leaf, old in zip(found, s[i].leaves)], s[i].structure))
        return slots

    def _function(self, slot: OwnState, h, moved: list[int], step: int) -> Callable[[list], list]:
        """The step as a function of [w, g, *(floating leaves of the state), *(hyperparameters that move)]."""
        floating = slot.floating

        def function(inputs: list) -> list:
            w, g, *rest = inputs
            leaves, values = list(slot.leaves), list(h)
            for i, leaf in zip(floating, rest):
                leaves[i] = leaf
            for i, value in zip(moved, rest[len(floating) :]):
                values[i] = value
            after, found = self._step(w, slot, leaves, g, type(h)(*values), step)
            return [after, *(found[i] for i in floating)]

        return function

    def push_forward(self, dw, ds, dg, transition, dots, step: int) -> list[list]:
        (w, s, *_), g = transition.before, transition.gradient
        slots = []
        for i, h in enumerate(self.hyperparameters(step)):
            dh = self.tangents(dots, step, i)
            moved = [k for k, d in enumerate(dh) if d]
            function = self._function(s[i], h, moved, step)
            values = [w.arrays[i], g.arrays[i], *(s[i].leaves[k] for k in s[i].floating), *(h[k] for k in moved)]
            tangents = [dw.arrays[i], dg.arrays[i], *ds[i], *(dh[k] for k in moved)]
            _, (w_dot, *s_dot) = jvp(function, read_only(values), read_only(tangents))
            slots.append([np.array(d, dtype=old.dtype) for d, old in zip(s_dot, ds[i])])  # they may be views of dw
            dw.arrays[i][...] = w_dot
        return slots

    def pull_back(self, w_bar, s_bar, g_bar, transition, bars, step: int, wanted) -> list[list]:
        slots, before = [], transition.before
        moved = [k for k, is_wanted in enumerate(wanted) if is_wanted]
        for i, h in enumerate(self.hyperparameters(step)):
            slot = before.slots[i]
            values = [before.params.arrays[i], transition.gradient.arrays[i], *(slot.leaves[k] for k in slot.floating)]
            inputs = [*read_only(values), *(h[k] for k in moved)]
            found = pulled(self._function(slot, h, moved, step), inputs, [w_bar.arrays[i], *s_bar[i]])
            after_s = 2 + len(slot.floating)
            slots.append([np.array(b, dtype=old.dtype) for b, old in zip(found[2:after_s], s_bar[i])])
            write([w_bar.arrays[i], g_bar.arrays[i]], found[:2])
            self.add(bars, at_moved(found[after_s:], moved, len(h)), i, step)
        return slots


def _described(slot: OwnState) -> str:
    if slot.structure.kind is tuple and all(child.kind is None for child in slot.structure.children):
        return f"a tuple of {len(slot.leaves)} arrays"
    return "a nest as init returned it"


def _as_before(leaf, old: np.ndarray) -> np.ndarray:
    """A leaf of a state after a step, a copy in C order and, for floats, in the dtype that it had.

    In one order whatever the optimizer returns, since sums round differently in others.
    """
    if np.asarray(leaf).dtype.kind not in "fiub" or (old.dtype.kind == "f") != (np.asarray(leaf).dtype.kind == "f"):
        raise NestError(
            f"a state that was {old.dtype} in init became {np.asarray(leaf).dtype} in step; begin with the type that "
            "it has later: 0.0 for what is averaged, 0 for what is counted"
        )
    return np.array(leaf, dtype=old.dtype, order="C")
