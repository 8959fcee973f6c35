"""The optimizer's part of a step, for all arrays of a run: forwards, its tangent, and back.

Rules that keep state arrays like the parameters (:class:`~hypergrad.optimizers.base.Decaying`) work on vectors; where
their entries are updated apart from each other, in one pass over neighbouring arrays with the same
hyperparameters. A user's own rule is called array by array, and may keep any nest for its state.
"""

from __future__ import annotations

import copy
from collections import namedtuple
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from ..bridge import isbox, jvp, vjp
from ..errors import ArgumentError, DifferentiationError, NestError
from ..nests import Structure, flatten, leaves_like, unflatten
from ..optimizers.base import Decaying, Optimizer, written_code
from ..optimizers.hyperparameters import Schedule
from ..workspace import Arena, Layout, Vector, pieces, read_only, same_bits


@lru_cache
def hyperparameter_type(names: tuple[str, ...]) -> type:
    """The named tuple that holds the hyperparameters of one step, or something for each of them."""
    return namedtuple("Hyperparameters", names)  # type: ignore[misc]


class Run(NamedTuple):
    """Arrays that are updated in one pass.

    Attributes:
      first: the index of the first of them, whose hyperparameters hold for all.
      views: takes a vector and returns its part, a view.
      ends: for each array in it, its index and where it ends in the part.
      pieces: slices of the part that fit the cache; one of everything if the entries are not apart.
    """

    first: int
    views: Callable[[Vector], np.ndarray]
    ends: list[tuple[int, int]]
    pieces: list

    @property
    def size(self) -> int:
        """The number of entries."""
        return self.ends[-1][1]

    def array_at(self, place: int) -> int:
        """The index of the array that an entry belongs to."""
        return next(index for index, end in self.ends if place < end)


class Updates:
    """The updates of a run, whatever the rule.

    Attributes:
      optimizer, layout, schedules: of the run; one schedule for each hyperparameter.
      needs_before: whether going back over a step needs the parameters and the gradient there.
    """

    def __init__(self, optimizer: Optimizer, layout: Layout, schedules: list[Schedule]):
        self.optimizer, self.layout, self.schedules = optimizer, layout, schedules
        self.needs_before = True
        self.kind = hyperparameter_type(optimizer.names)

    def hyperparameters(self, step: int) -> list[tuple]:
        """The optimizer's hyperparameters for every array of the parameters."""
        columns = [schedule.at(step) for schedule in self.schedules]
        return [self.kind(*row) for row in zip(*columns)] or [self.kind()] * len(self.layout.shapes)

    def tangents(self, schedule_dots: list, step: int, index: int) -> tuple:
        """The tangents of the hyperparameters of one array."""
        return self.kind(*(float(dots[s.cover[index]][step]) for s, dots in zip(self.schedules, schedule_dots)))

    def add(self, schedule_bars: list, h_bar, index: int, step: int) -> None:
        """Add the cotangents of the hyperparameters of one array to those of the schedules."""
        for schedule, leaf_bars, value in zip(self.schedules, schedule_bars, h_bar):
            leaf_bars[schedule.cover[index]][step] += value

    def start(self, params: Vector):
        """The state before step 0."""
        raise NotImplementedError

    def fresh(self, slots, arena: Arena | None = None):
        """Memory for a state like this one."""
        raise NotImplementedError

    def advance(self, w: Vector, s, g: Vector, step: int, to_w: Vector, to_s) -> Any:
        """Write the parameters after the step to ``to_w``, which may be ``w``; returns the state after it.

        The state may be written to ``to_s``, which may be ``s``.
        """
        raise NotImplementedError

    def push_forward(self, dw: Vector, ds, dg: Vector, transition, dots: list, step: int) -> Any:
        """Turn the tangent of the parameters before the step into that after it, in place; that of the state.

        ``transition`` has ``before``, ``gradient`` and ``after``; ``dots`` are the tangents of the schedules.
        """
        raise NotImplementedError

    def pull_back(self, w_bar: Vector, s_bar, g_bar: Vector, transition, bars: list, step: int, wanted) -> Any:
        """Turn the cotangent of the parameters after the step into that before, in place; that of the state.

        But for what comes through the gradient, whose cotangent is written to ``g_bar``. Adds those of the schedules
        to ``bars``. ``transition`` has ``before``, ``gradient`` and ``after``.
        """
        raise NotImplementedError

    def zeros(self, slots, arena: Arena | None = None):
        """The zero tangent or cotangent of a state."""
        raise NotImplementedError

    def arrays(self, slots) -> list:
        """All arrays of a state, or of its tangent, that can be differentiated."""
        raise NotImplementedError

    def write(self, arrays: list, slots) -> Any:
        """The tangent of a state with these arrays in place of its own."""
        raise NotImplementedError

    def same_bits(self, one, other) -> bool:
        """Whether two states are the same, bit for bit."""
        return all(map(same_bits, self.arrays(one), self.arrays(other)))

    def nbytes(self) -> int:
        """Bytes of a state."""
        raise NotImplementedError

    def working(self) -> int:
        """About how many bytes the derivative of a step works with."""
        return 4 * max(np.prod(shape, dtype=int) * 8 for shape in self.layout.shapes)

    def as_nests(self, slots, structure: Structure) -> Any:
        """The state as a callback sees it, in copies."""
        raise NotImplementedError


def updates_of(optimizer: Optimizer, layout: Layout, schedules: list[Schedule]) -> Updates:
    """The updates of a run with this optimizer."""
    decaying = isinstance(optimizer, Decaying) and type(optimizer).step is Decaying.step
    kind: Any = VectorUpdates if decaying else OwnUpdates
    return kind(optimizer, layout, schedules)


class VectorUpdates(Updates):
    """Updates of a rule whose state is one vector like the parameters for each of its ``decays``.

    Attributes:
      runs: what is updated in one pass.
    """

    optimizer: Decaying

    def __init__(self, optimizer: Decaying, layout: Layout, schedules: list[Schedule]):
        super().__init__(optimizer, layout, schedules)
        self.written = written_code(optimizer)
        if self.written is not None:
            self.needs_before = self.written.needs_before
        self.runs = self._joined() if self.written is not None else [self._alone(i) for i in range(len(layout.shapes))]

    def _alone(self, index: int) -> Run:
        """One array in its own shape."""
        _, place = self.layout.places[index]
        return Run(index, lambda vector: vector.arrays[index], [(index, place.stop - place.start)], [...])

    def _joined(self) -> list[Run]:
        """Neighbouring arrays with the same schedules."""
        runs: list[list] = []  # (number of the buffer, schedules, start, [(index, stop)])
        for index, (number, place) in enumerate(self.layout.places):
            cover = [schedule.cover[index] for schedule in self.schedules]
            run = next((run for run in runs if run[:2] == [number, cover] and run[3][-1][1] == place.start), None)
            if run is None:
                runs.append([number, cover, place.start, [(index, place.stop)]])
            else:
                run[3].append((index, place.stop))
        return [
            Run(
                ends[0][0],
                partial(_part, number, slice(start, ends[-1][1])),
                [(index, stop - start) for index, stop in ends],
                pieces(ends[-1][1] - start),
            )
            for number, _, start, ends in runs
        ]

    def start(self, params: Vector) -> list[Vector]:
        return [self.layout.zeros() for _ in self.optimizer.decays]

    def fresh(self, slots, arena: Arena | None = None) -> list[Vector]:
        return [self.layout.vector(arena) for _ in slots]

    def zeros(self, slots, arena: Arena | None = None) -> list[Vector]:
        return [self.layout.zeros(arena) for _ in slots]

    def arrays(self, slots) -> list:
        return [array for i in range(len(self.layout.shapes)) for array in (vector.arrays[i] for vector in slots)]

    def write(self, arrays: list, slots) -> list[Vector]:
        for k, vector in enumerate(slots):
            vector.write(arrays[k :: len(slots)])
        return slots

    def nbytes(self) -> int:
        return len(self.optimizer.decays) * self.layout.nbytes

    def working(self) -> int:
        if self.written is not None and self.written.pull_back is not None:
            return 0
        largest = max(
            part.stop - part.start if isinstance(part, slice) else r.size for r in self.runs for part in r.pieces
        )
        return 5 * len(self.optimizer.decays) * largest * 8  # autograd's graph of an update

    def as_nests(self, slots, structure: Structure) -> Any:
        nests = [unflatten(structure, [a.copy() for a in vector.arrays]) for vector in slots]
        kind = getattr(self.optimizer, "State", None)
        return tuple(nests) if kind is None else kind(*nests)

    def advance(self, w, s, g, step: int, to_w, to_s) -> list[Vector]:
        hyperparameters = self.hyperparameters(step)
        for run in self.runs:
            h, view = hyperparameters[run.first], run.views
            parts = view(to_w), [view(a) for a in to_s], view(w), [view(a) for a in s], view(g)
            for part in run.pieces:
                to_w_part, to_s_part, w_part, s_part, g_part = _cut(part, *parts)
                self._step_into(to_w_part, to_s_part, w_part, s_part, g_part, h, step)
        return to_s

    def _step_into(self, to_w, to_s, w, s, g, h, step: int) -> None:
        if self.written is not None:
            self.written.step_into(self.optimizer, to_w, to_s, w, s, g, h, step)
            return
        w_given, g_given, *s_given = read_only([w, g, *s])
        w_after, s_after = self.optimizer.step(w_given, tuple(s_given), g_given, h, step)
        _reject_boxes(type(self.optimizer).__name__, [w_after, *s_after])
        _write([to_w, *to_s], [w_after, *s_after])

    def push_forward(self, dw, ds, dg, transition, dots, step: int) -> list[Vector]:
        (w, s, *_), g, s_after = transition.before, transition.gradient, transition.after.slots
        hyperparameters = self.hyperparameters(step)
        for run in self.runs:
            h, dh, view = hyperparameters[run.first], self.tangents(dots, step, run.first), run.views
            vectors = view(dw), [view(a) for a in ds], view(dg), view(w), [view(a) for a in s], view(g)
            for part in run.pieces:
                dw_p, ds_p, dg_p, w_p, s_p, g_p = _cut(part, *vectors)
                if self.written is not None and self.written.push_forward is not None:
                    (after,) = _cut(part, [view(a) for a in s_after])
                    self.written.push_forward(dw_p, ds_p, dg_p, dh, s_p, g_p, after, h)
                    continue
                step_of = _Step(self.optimizer, h, dh, len(s), step)
                tangents = step_of.push([dw_p, *ds_p, dg_p], dh, [w_p, *s_p, g_p])
                _write([dw_p, *ds_p], tangents)
        return ds

    def pull_back(self, w_bar, s_bar, g_bar, transition, bars, step: int, wanted) -> list[Vector]:
        hyperparameters, before, after = self.hyperparameters(step), transition.before, transition.after
        for run in self.runs:
            h, view = hyperparameters[run.first], run.views
            vectors = view(w_bar), [view(a) for a in s_bar], view(g_bar), [view(a) for a in before.slots]
            if self.written is not None and self.written.pull_back is not None:
                afters = [view(a) for a in after.slots]
                for part in run.pieces:
                    cut = _cut(part, *vectors, afters)
                    self.add(bars, self.written.pull_back(*cut, h, wanted), run.first, step)
                continue
            parts = *vectors, view(before.params), view(transition.gradient)
            for part in run.pieces:
                w_p, s_p, to_g, s_before, w_before, g_before = _cut(part, *parts)
                step_of = _Step(self.optimizer, h, wanted, len(s_bar), step)
                *cotangents, h_bar = step_of.pull([w_p, *s_p], [w_before, *s_before, g_before])
                _write([w_p, *s_p, to_g], cotangents)
                self.add(bars, h_bar, run.first, step)
        return s_bar


def _write(to: list, values: list) -> None:
    """Write values over arrays, of which they may be views: autograd passes on what it is given where it can."""
    values = [np.asarray(value) for value in values]
    values = [v.copy() if any(np.may_share_memory(v, array) for array in to) else v for v in values]
    for array, value in zip(to, values):
        array[...] = value


def _part(number: int, place: slice, vector: Vector) -> np.ndarray:
    return vector.buffers[number][place]


def _cut(part, *arrays) -> Any:
    """The same part of every array, and of those in lists."""
    return tuple([a[part] for a in array] if isinstance(array, list) else array[part] for array in arrays)


class _Step(NamedTuple):
    """The step of an optimizer as a function of the list [w, *s, g, *(hyperparameters that move)].

    Attributes:
      moved: for each hyperparameter, whether it moves: its tangent, or whether it is wanted.
      slots: how many arrays the state has.
    """

    optimizer: Optimizer
    h: Any
    moved: Any
    slots: int
    step: int

    @property
    def indices(self) -> list[int]:
        return [i for i, is_moved in enumerate(self.moved) if is_moved]

    def values_after(self, inputs: list) -> list:
        """[w, *s] after the step."""
        w, *rest = inputs
        state, g, values = tuple(rest[: self.slots]), rest[self.slots], list(self.h)
        for i, value in zip(self.indices, rest[self.slots + 1 :]):
            values[i] = value
        w, state = self.optimizer.step(w, state, g, type(self.h)(*values), self.step)
        return [w, *state]

    def push(self, tangents: list, dh, values: list) -> list:
        """The tangents of w and the state after the step."""
        moved = self.indices
        return jvp(self.values_after, [*values, *(self.h[i] for i in moved)], [*tangents, *(dh[i] for i in moved)])[1]

    def pull(self, cotangents: list, values: list) -> list:
        """The cotangents of w, the state and g before the step, and a list of those of the hyperparameters."""
        inputs = [*values, *(self.h[i] for i in self.indices)]
        _, pull = vjp(self.values_after, inputs)
        bars = [np.zeros(np.shape(x)) if b is None else b for b, x in zip(pull(cotangents), inputs)]
        h_bar = [0.0] * len(self.h)
        for i, bar in zip(self.indices, bars[self.slots + 2 :]):
            h_bar[i] = float(bar)
        return [*bars[: self.slots + 2], h_bar]


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
            _reject_boxes(self.name, [after, *found])
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
            _, pull = vjp(self._function(slot, h, moved, step), inputs)
            found = [
                np.zeros(np.shape(x)) if b is None else b for b, x in zip(pull([w_bar.arrays[i], *s_bar[i]]), inputs)
            ]
            after_s = 2 + len(slot.floating)
            slots.append([np.array(b, dtype=old.dtype) for b, old in zip(found[2:after_s], s_bar[i])])
            _write([w_bar.arrays[i], g_bar.arrays[i]], found[:2])
            h_bar = [0.0] * len(h)
            for k, bar in zip(moved, found[after_s:]):
                h_bar[k] = float(bar)
            self.add(bars, h_bar, i, step)
        return slots


def _reject_boxes(name: str, values: list) -> None:
    """Raise where a value that is being differentiated came into a step from outside."""
    if any(map(isbox, values)):
        raise DifferentiationError(
            f"{name}.step uses a value that is being differentiated but is not one of its hyperparameters (it closes "
            "over it, or a global holds it), so the derivative would miss it; make each such number a field of the "
            "optimizer and read it as h.name"
        )


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
