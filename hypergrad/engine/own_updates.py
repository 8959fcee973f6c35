"""Updates of a user's own rule, which may keep any nest for its state."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..bridge import isbox, jvps
from ..errors import ArgumentError, NestError
from ..nests import LEAF, Structure, flatten, leaves_like, unflatten
from ..optimizers.base import Optimizer, WholeNest
from ..optimizers.hyperparameters import Schedule
from ..workspace import Arena, Layout, Vector, read_only, row
from .updates import Updates, indices_of, pulled, reject_boxes, write


class OwnState(NamedTuple):
    """The state of one array, or of the whole nest, under a user's own rule.

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


class Group(NamedTuple):
    """Arrays that a rule is called with at once: one, or the whole nest.

    Attributes:
      indices: of the arrays.
      structure: of the nest of them.
    """

    indices: list[int]
    structure: Structure

    def nest(self, arrays: list) -> Any:
        """The arrays as the rule takes them."""
        return unflatten(self.structure, arrays)


class OwnUpdates(Updates):
    """Updates of a user's own rule, array by array or for the whole nest; nothing it is given can be changed.

    A state is a list of :class:`OwnState`, one for each group, and is never changed.
    """

    def __init__(self, optimizer: Optimizer, layout: Layout, schedules: list[Schedule], structure: Structure):
        super().__init__(optimizer, layout, schedules)
        self.name = type(optimizer).__name__
        self.rule = copy.copy(optimizer)
        for name in optimizer.names:
            object.__setattr__(self.rule, name, _Unreadable(self.name, name))
        count = len(layout.shapes)
        self.whole = isinstance(optimizer, WholeNest)
        self.groups = [Group(list(range(count)), structure)] if self.whole else [Group([i], LEAF) for i in range(count)]
        self.size = 0  # bytes of a state

    def start(self, params: Vector) -> list[OwnState]:
        slots = []
        for group in self.groups:
            state = self.optimizer.init(group.nest([params.arrays[i].copy() for i in group.indices]))
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

    def taken(self, slots, to) -> list[OwnState]:
        return slots

    def zeros(self, slots, arena: Arena | None = None) -> list[list]:
        return [[np.zeros(slot.leaves[i].shape, slot.leaves[i].dtype) for i in slot.floating] for slot in slots]

    def zero_tangents(self, slots, count: int) -> list[list]:
        return [[np.zeros((count, *zero.shape), zero.dtype) for zero in each] for each in self.zeros(slots)]

    def arrays(self, slots) -> list:
        return [a for slot in slots for a in (slot.leaves if isinstance(slot, OwnState) else slot)]

    def write(self, arrays: list, slots) -> list[list]:
        left = iter(arrays)
        return [[next(left) for _ in slot] for slot in slots]

    def nbytes(self) -> int:
        return self.size

    def as_nests(self, slots, structure: Structure) -> Any:
        states = [unflatten(slot.structure, [a.copy() for a in slot.leaves]) for slot in slots]
        if self.whole:
            return states[0]
        shapes = {(slot.structure.kind, len(slot.structure.keys)) for slot in slots}
        kind = getattr(self.optimizer, "State", None)
        if len(shapes) > 1 or not all(isinstance(state, tuple) for state in states):
            return tuple(states)  # one for each array
        nests = [unflatten(structure, list(column)) for column in zip(*states)]
        return tuple(nests) if kind is None else kind(*nests)

    def _settings(self, group: Group, step: int) -> list[list]:
        """For each hyperparameter its value, or one for each array of a group that has several."""
        return [
            [schedule.entry(schedule.leaves, index, step) for index in _one_for_each(schedule, group)]
            for schedule in self.schedules
        ]

    def _moves(self, group: Group, step: int, dots: list) -> list[list]:
        """The tangents that go with :meth:`_settings`, stacked over the directions."""
        return [
            [schedule.entries(leaves, index, step) for index in _one_for_each(schedule, group)]
            for schedule, leaves in zip(self.schedules, dots)
        ]

    def _hyperparameters(self, group: Group, settings: list[list]) -> Any:
        """The hyperparameters as the rule takes them."""
        return self.kind(*(values[0] if len(values) == 1 else group.nest(values) for values in settings))

    def _step(self, group: Group, w: list, slot: OwnState, leaves: list, g: list, h, count: int) -> tuple:
        """(arrays, leaves of the state) after the update, checked."""
        result = self.rule.step(group.nest(w), unflatten(slot.structure, leaves), group.nest(g), h, count)
        if not isinstance(result, tuple) or len(result) != 2:
            raise ArgumentError(
                f"{self.name}.step must return (w, s), the parameters and the state after the update, got "
                f"{type(result).__name__} {result!r:.60}; without a state return (w, ())"
            )
        after, found = leaves_like(result[0], group.structure), leaves_like(result[1], slot.structure)
        shapes = [np.shape(x) for x in w]
        if after is None or [np.shape(x) for x in after] != shapes or found is None:
            wanted = f"w of shape {shapes[0]}" if not self.whole else f"w a nest like params, of shapes {shapes}"
            got = f"w of shape {np.shape(result[0])}" if not self.whole else f"w = {result[0]!r:.60}"
            raise ArgumentError(
                f"{self.name}.step must return (w, s), {wanted} and s {_described(slot)}, got {got} and "
                f"s = {result[1]!r:.60}"
            )
        return after, found

    def advance(self, w, s, g, step: int, to_w, to_s) -> tuple[list[OwnState], None]:
        slots = []
        for group, slot in zip(self.groups, s):
            h = self._hyperparameters(group, self._settings(group, step))
            w_given, g_given = ([vector.arrays[i].copy() for i in group.indices] for vector in (w, g))
            leaves = read_only(slot.leaves)
            after, found = self._step(group, read_only(w_given), slot, leaves, read_only(g_given), h, self.count(step))
            reject_boxes(self.name, [*after, *found])
            for i, array in zip(group.indices, after):
                to_w.arrays[i][...] = array
            slots.append(OwnState([_as_before(leaf, old) for leaf, old in zip(found, slot.leaves)], slot.structure))
        return slots, None

    def _function(self, group: Group, slot: OwnState, settings: list[list], moved: list[int], step: int) -> Callable:
        """The step as a function of a list: arrays, gradients, floating leaves of the state, and those that move
        among the hyperparameters.
        """
        floating, size = slot.floating, len(group.indices)

        def function(inputs: list) -> list:
            w, g, rest = inputs[:size], inputs[size : 2 * size], iter(inputs[2 * size :])
            leaves, values = list(slot.leaves), list(settings)
            for i in floating:
                leaves[i] = next(rest)
            for k in moved:
                values[k] = [next(rest) for _ in settings[k]]
            after, found = self._step(group, w, slot, leaves, g, self._hyperparameters(group, values), self.count(step))
            return [*after, *(found[i] for i in floating)]

        return function

    def push_forward(self, dw, ds, dg, transition, dots, step: int) -> list[list]:
        (w, s, *_), g, slots = transition.before, transition.gradient, []
        for group, slot, slot_dot in zip(self.groups, s, ds):
            settings, moves = self._settings(group, step), self._moves(group, step, dots)
            moved = indices_of([any(map(np.any, values)) for values in moves])
            arrays = [[vector.arrays[i] for i in group.indices] for vector in (w, g, dw, dg)]
            values = [*arrays[0], *arrays[1], *(slot.leaves[k] for k in slot.floating)]
            tangents = [*arrays[2], *arrays[3], *slot_dot]
            values += [value for k in moved for value in settings[k]]
            tangents += [dot for k in moved for dot in moves[k]]
            function = self._function(group, slot, settings, moved, step)
            _, found = jvps(function, read_only(values), [read_only(stack) for stack in tangents])
            size = len(group.indices)
            stacks: list[Any] = [np.empty_like(old) for old in slot_dot]
            for k, tangents_after in enumerate(found):
                write([*row(stacks, k)], tangents_after[size:])  # before dw is written to, of which they may be views
                write(row(arrays[2], k), tangents_after[:size])
            slots.append(stacks)
        return slots

    def pull_back(self, w_bar, s_bar, g_bar, transition, bars, step: int, wanted) -> list[list]:
        slots, before, moved = [], transition.before, indices_of(wanted)
        for group, slot, slot_bar in zip(self.groups, before.slots, s_bar):
            settings, size = self._settings(group, step), len(group.indices)
            arrays = [
                [vector.arrays[i] for i in group.indices]
                for vector in (before.params, transition.gradient, w_bar, g_bar)
            ]
            values = read_only([*arrays[0], *arrays[1], *(slot.leaves[k] for k in slot.floating)])
            inputs = [*values, *(value for k in moved for value in settings[k])]
            function = self._function(group, slot, settings, moved, step)
            found = pulled(function, inputs, [*arrays[2], *slot_bar])
            after_s = 2 * size + len(slot.floating)
            slots.append([np.array(b, dtype=old.dtype) for b, old in zip(found[2 * size : after_s], slot_bar)])
            write([*arrays[2], *arrays[3]], found[: 2 * size])
            left = iter(found[after_s:])
            for k in moved:
                for index in _one_for_each(self.schedules[k], group):
                    self.schedules[k].add(bars[k], index, step, next(left))
        return slots


def _one_for_each(schedule: Schedule, group: Group) -> list[int]:
    """The arrays of a group whose values the rule is given: the first one's, if one holds for all."""
    leaves = {schedule.cover[index] for index in group.indices}
    return group.indices[:1] if len(leaves) == 1 else group.indices


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
