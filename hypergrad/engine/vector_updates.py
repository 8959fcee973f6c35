"""Updates of rules that keep state arrays like the parameters (:class:`~hypergrad.optimizers.base.Decaying`).

They work on vectors; where their entries are updated apart from each other, in one pass over neighbouring arrays with
the same hyperparameters.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..bridge import jvps
from ..nests import Structure, unflatten
from ..optimizers.base import Decaying, Optimizer, written_code
from ..optimizers.hyperparameters import Schedule
from ..workspace import Arena, Layout, Vector, pieces, read_only, row
from .updates import Updates, at_moved, indices_of, pulled, reject_boxes, write


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


class _Block(NamedTuple):
    """A part of a run.

    Attributes:
      views: takes a vector and returns this part of it, a view.
      stacks: takes a vector of stacked arrays and returns this part of them, (directions, …).
      pieces: slices of the part.
    """

    views: Callable[[Vector], np.ndarray]
    stacks: Callable[[Vector], np.ndarray]
    pieces: list


class VectorUpdates(Updates):
    """Updates of a rule whose state is one vector like the parameters for each of its ``decays``.

    Args:
      wanted: for each hyperparameter, whether it is being differentiated.
      represented: None, or what turns the hyperparameters of a step into those that the arithmetic can work with.

    Attributes:
      runs: what is updated in one pass.
      per_weight: whether a hyperparameter has a value for every weight; then arrays are updated one by one.
      decays_weights: whether the weights decay, at any step, or a derivative by that is wanted.
    """

    optimizer: Decaying

    def __init__(
        self,
        optimizer: Decaying,
        layout: Layout,
        schedules: list[Schedule],
        wanted: tuple,
        represented: Callable | None = None,
    ):
        super().__init__(optimizer, layout, schedules)
        self.represented = represented
        self.per_weight = any(any(schedule.timeless) for schedule in schedules)
        self.written = None if self.per_weight else written_code(optimizer)
        self.decays_weights = any(
            name == "weight_decay" and (is_wanted or any(map(np.any, schedule.leaves)))
            for name, schedule, is_wanted in zip(optimizer.names, schedules, wanted)
        )
        if self.written is not None and self.written.pull_back is not None:
            self.needs_params, self.needs_gradient = self.decays_weights, False
        self.runs = self._joined() if self.written is not None else [self._alone(i) for i in range(len(layout.shapes))]

    def hyperparameters(self, step: int) -> list[tuple]:
        found = super().hyperparameters(step)
        return found if self.represented is None or not self.decays_weights else list(map(self.represented, found))

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

    def taken(self, slots, to) -> list[Vector]:
        for vector, a in zip(to, slots):
            vector.take(a)
        return to

    def zeros(self, slots, arena: Arena | None = None) -> list[Vector]:
        return [self.layout.zeros(arena) for _ in slots]

    def zero_tangents(self, slots, count: int) -> list[Vector]:
        stacked = self.layout.stacked(count)
        return [stacked.zeros() for _ in slots]

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

    def advance(self, w, s, g, step: int, to_w, to_s) -> tuple[list[Vector], float | None]:
        hyperparameters, count = self.hyperparameters(step), self.count(step)
        squares: list[float | None] = []
        for run in self.runs:
            h, view = hyperparameters[run.first], run.views
            parts = view(to_w), [view(a) for a in to_s], view(w), [view(a) for a in s], view(g)
            for part in self._pieces(run, parts[0], h):
                to_w_part, to_s_part, w_part, s_part, g_part = _cut(part, *parts)
                squares.append(self._step_into(to_w_part, to_s_part, w_part, s_part, g_part, h, count))
        return to_s, None if None in squares else sum(squares)  # type: ignore[arg-type]

    def _pieces(self, run: Run, w: np.ndarray, h) -> list:
        """Of a run whose part of the parameters is ``w``: all at once where that is done in one pass."""
        at_once = self.written is not None and self.written.in_one_pass(w, h)
        return [slice(None)] if at_once else run.pieces

    def _step_into(self, to_w, to_s, w, s, g, h, step: int) -> float | None:
        if self.written is not None:
            return self.written.step_into(self.optimizer, to_w, to_s, w, s, g, h, step)
        w_given, g_given, *s_given = read_only([w, g, *s])
        w_after, s_after = self.optimizer.step(w_given, tuple(s_given), g_given, h, step)
        reject_boxes(type(self.optimizer).__name__, [w_after, *s_after])
        write([to_w, *to_s], [w_after, *s_after])
        return None

    def push_forward(self, dw, ds, dg, transition, dots, step: int) -> list[Vector]:
        (w, s, *_), g, s_after = transition.before, transition.gradient, transition.after.slots
        hyperparameters = self.hyperparameters(step)
        for run in self.runs:
            h, dh = hyperparameters[run.first], self.tangents(dots, step, run.first)
            for block in self._blocks(run, len(dw.arrays[0])):
                view, stack = block.views, block.stacks
                vectors = view(w), [view(a) for a in s], view(g), [view(a) for a in s_after]
                stacks = stack(dw), [stack(a) for a in ds], stack(dg)
                for part in block.pieces:
                    w_p, s_p, g_p, after = _cut(part, *vectors)
                    dw_p, ds_p, dg_p = _cut((slice(None), part), *stacks)
                    if self.written is not None and self.written.push_forward is not None:
                        columns = type(dh)(*(_column(dot, dw_p.dtype) for dot in dh))
                        self.written.push_forward(dw_p, ds_p, dg_p, columns, w_p, s_p, g_p, after, h)
                        continue
                    step_of = _Step(self.optimizer, h, dh, len(s), self.count(step))
                    found = step_of.push([dw_p, *ds_p, dg_p], dh, [w_p, *s_p, g_p])
                    for k, tangents in enumerate(found):
                        write(row([dw_p, *ds_p], k), tangents)
        return ds

    def _blocks(self, run: Run, count: int) -> list[_Block]:
        """The parts of a run whose entries lie side by side where ``count`` of each array are stacked."""
        if self.written is None:
            return [_Block(run.views, run.views, run.pieces)]
        if count == 1:
            return [_Block(run.views, lambda vector: run.views(vector)[None], run.pieces)]
        together = count if self.written.push_forward is not None else 1  # by autograd, one direction after the other
        found = []
        for index, _ in run.ends:
            number, place = self.layout.places[index]
            whole = slice(count * place.start, count * place.stop)
            stacks = partial(_stacked_part, number, whole, count)
            found.append(_Block(partial(_part, number, place), stacks, pieces(place.stop - place.start, together)))
        return found

    def pull_back(self, w_bar, s_bar, g_bar, transition, bars, step: int, wanted) -> list[Vector]:
        hyperparameters, before, after = self.hyperparameters(step), transition.before, transition.after
        for run in self.runs:
            h, view = hyperparameters[run.first], run.views
            vectors = view(w_bar), [view(a) for a in s_bar], view(g_bar), view(before.params)
            slots = [view(a) for a in before.slots]
            if self.written is not None and self.written.pull_back is not None:
                afters = [view(a) for a in after.slots]
                for part in self._pieces(run, vectors[0], h):
                    cut = _cut(part, *vectors, slots, afters)
                    self.add(bars, self.written.pull_back(*cut, h, wanted), run.first, step)
                continue
            parts = *vectors, slots, view(transition.gradient)
            for part in run.pieces:
                w_p, s_p, to_g, w_before, s_before, g_before = _cut(part, *parts)
                step_of = _Step(self.optimizer, h, wanted, len(s_bar), self.count(step))
                *cotangents, h_bar = step_of.pull([w_p, *s_p], [w_before, *s_before, g_before])
                write([w_p, *s_p, to_g], cotangents)
                self.add(bars, h_bar, run.first, step)
        return s_bar


def _part(number: int, place: slice, vector: Vector) -> np.ndarray:
    return vector.buffers[number][place]


def _stacked_part(number: int, place: slice, count: int, vector: Vector) -> np.ndarray:
    return vector.buffers[number][place].reshape(count, -1)


def _column(dot: np.ndarray, dtype: np.dtype) -> Any:
    """The tangents of a number as a column, in the precision of what they are added to."""
    return dot.astype(dtype)[:, None] if dot.any() else 0.0


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
        return indices_of(self.moved)

    def values_after(self, inputs: list) -> list:
        """[w, *s] after the step."""
        w, *rest = inputs
        state, g, values = tuple(rest[: self.slots]), rest[self.slots], list(self.h)
        for i, value in zip(self.indices, rest[self.slots + 1 :]):
            values[i] = value
        w, state = self.optimizer.step(w, state, g, type(self.h)(*values), self.step)
        return [w, *state]

    def push(self, tangents: list, dh, values: list) -> list[list]:
        """For each direction the tangents of w and the state after the step."""
        moved, count = self.indices, len(tangents[0])
        along = [[stack[k, ...] for k in range(count)] for stack in tangents]
        along += [[float(dot) if np.ndim(dot) == 0 else dot for dot in dh[i]] for i in moved]
        return jvps(self.values_after, [*values, *(self.h[i] for i in moved)], along)[1]

    def pull(self, cotangents: list, values: list) -> list:
        """The cotangents of w, the state and g before the step, and a list of those of the hyperparameters."""
        inputs = [*values, *(self.h[i] for i in self.indices)]
        bars = pulled(self.values_after, inputs, cotangents)
        return [*bars[: self.slots + 2], at_moved(bars[self.slots + 2 :], self.indices, len(self.h))]
