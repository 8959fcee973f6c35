"""Descent on hyperparameters, one evaluation after another."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..checks import check_integer
from ..errors import ArgumentError, HypergradError
from ..nests import flatten, unflatten
from ..optimizers import SGD, Optimizer
from ..ranges import Range
from ..runs.lock import claimed
from . import doubts, identity, stored
from .evaluation import Evaluation, TakeBack, joint_error
from .objective import Mapping, Objective, check_seeds, checked_gradient
from .step import Bounds, Rule, check_hypers, plain, spread
from .step_size import line_search


def descend(
    f: Callable,
    hypers: Any,
    *,
    step_size: Any = None,
    optimizer: Optimizer | None = None,
    maps: Any = None,
    bounds: tuple | None = None,
    seeds: Any = None,
    n_jobs: int = 1,
    validate: Callable | None = None,
    estimator: Callable | None = None,
    transform: Callable | None = None,
    take_back: TakeBack | None = None,
    on_chaos: Any = None,
    store=None,
    recheck: bool = True,
) -> Generator[Evaluation, None, None]:
    """Descend along the hypergradient without end: yields every evaluation, the start first.

    Args:
      f: takes the hyperparameters and returns a scalar, differentiable by autograd. With ``seeds`` it is called
        ``f(hypers, seed)``.
      hypers: where to start; a nest of float arrays and numbers.
      step_size: η ≥ 0: a number, an array that fits a leaf, or a nest of those that is a prefix of
        ``hypers``. It multiplies the learning rate of ``optimizer``. None: 1 with an optimizer; without one it is found
        by a line search at the start (at most 13 trainings more), and
        steps that jump are taken back.
      optimizer: whose update is a step, such as ``hypergrad.Adam(0.1)``; if None h ← h − η ∇f(h). Each of its
        hyperparameters is given in the forms of ``step_size``; an array is no schedule here.
      maps: one of :mod:`hypergrad.meta.maps` for each leaf, or a nest of those that is a prefix of ``hypers``. Then
        steps are taken on the free variables that the maps lead to ``hypers``, where ``hypers``, bounds and f stay as
        they are.
      bounds: ``(low, high)``, each a number, an array that fits a leaf, or a nest of those that is a prefix of
        ``hypers``; a step that leads outside ends at the bound.
      seeds: for an f with random draws. A number K: f is the mean over K seeds that are new at each iteration i, K i to
        K i + K − 1; values of different iterations are then compared although their draws differ. Or a list of seeds,
        the same at each iteration.
      n_jobs: joblib's workers for the seeds of an iteration, −1 for all cores; Dask's within
        ``joblib.parallel_config(backend="dask")``.
      validate: takes the hyperparameters and returns a number, not differentiated: each evaluation has it.
      estimator: one of :mod:`hypergrad.meta.estimators`, called ``estimator(hypers, seed)`` for value and gradient in
        the place of f and autograd; the seed is that of ``seeds``, or without those the number of the iteration. f is
        then called ``f(hypers, seed)`` too, for values only, by the line search.
      transform: takes the hypergradient by the free variables and returns what is used in its place, a nest of the same
        shapes; the evaluation keeps the hypergradient itself.
      take_back: rule for steps that jump; if None every step is kept, and divergence raises.
      on_chaos: what to do where the hypergradient is in doubt (``Evaluation.doubt``). None and "stop": nothing here.
        "shrink": the step that led there is taken back and those after it are smaller. Or an estimator: called
        ``estimator(hypers, iteration)``, it returns the value, a gradient by ``hypers`` and perhaps more, and the
        gradient is used in place of the hypergradient. If it is not None, growth of tangents is looked at too, by one
        more run in forward mode at each iteration.
      store: folder in which every finished iteration is stored at once, for this descent alone. After a kill
        the same call goes on: the path is walked again, and an iteration is read where its file holds
        exactly these hyperparameters. A file that is damaged is reported (:class:`~hypergrad.probe.CacheWarning`)
        and its iteration computed again. The path has the same bits if ``f`` has. What decides it is kept too: the
        same folder with another start, step size, optimizer, method, maps, bounds, seeds, estimator or take_back is
        refused. The folder is in use until the descent is closed, or thrown away.
      recheck: whether, if iterations are stored, one of them is computed again to see that they are of this
        ``f``, and one of hyperparameters that this descent does not reach is an error and not computed again; and else
        the first value, without its derivative, to see that ``f`` gives it twice.

    Yields:
      Each :class:`Evaluation`, once it is computed and stored. Those taken back too.

    Raises:
      NestError, ArgumentError: bad arguments, at once; an ``f`` that is no scalar, does not depend on
        ``hypers`` or gives two values for the same; a ``transform`` that returns another shape.
      DivergedError, FixedPointOverflowError, ScheduleError, NestError: training diverged, or a step led to a
        schedule outside its range or to parameters that are not finite, without ``take_back`` or at the start.
        The message, and the attribute ``iteration``, say when.
      NonFiniteHypergradientError: the same for a value or hypergradient that is not finite; and for a value of
        ``validate``, in any case.
      OtherFunctionError, InUseError, StoreError: the folder is of another descent or ``f``, another run works there,
        or it cannot be written.

    >>> descent = descend(lambda h: h**2, 1.0, step_size=0.25)
    >>> [next(descent).value for _ in range(3)]
    [1.0, 0.25, 0.0625]
    """
    given = (f, hypers, step_size, optimizer, maps, bounds, seeds, n_jobs, validate)
    return checked(*given, estimator, transform, take_back, on_chaos).walk(store, recheck)


def checked(
    f, hypers, step_size, optimizer, maps, bounds, seeds, n_jobs, validate, estimator, transform, take_back, on_chaos
) -> Setting:
    """The arguments of :func:`descend`, if they go together.

    Raises:
      NestError, ArgumentError: they don't.
    """
    if not callable(f):
        of_problem = "; of a problem give its function, problem.f" if callable(getattr(f, "f", None)) else ""
        raise ArgumentError(f"f must be a function of the hyperparameters, got a {type(f).__name__}{of_problem}")
    leaves, structure = check_hypers(hypers)
    mapping = Mapping.of(maps, structure)
    limits = Bounds.of(bounds, leaves, structure, mapping)
    if check_integer(n_jobs, "n_jobs", -1) == 0:
        raise ArgumentError("n_jobs must be a number of workers, or -1 for all cores, got 0")
    objective = Objective(f, structure, mapping, check_seeds(seeds), validate, n_jobs, on_chaos is not None, estimator)
    if estimator is not None and not callable(estimator):
        raise ArgumentError(f"estimator must be one of hypergrad.meta.estimators, got {estimator!r}")
    if take_back is not None and not isinstance(take_back, TakeBack):
        raise ArgumentError(f"take_back must be a hypergrad.meta.TakeBack(...) or None, got {take_back!r}")
    if not (on_chaos in (None, "shrink", "stop") or callable(on_chaos)):
        raise ArgumentError(f'on_chaos must be None, "shrink", "stop" or an estimator, got {on_chaos!r}')
    searched = step_size is None and optimizer is None
    if take_back is None and (searched or on_chaos == "shrink"):
        take_back = TakeBack()
    rates = spread(1.0 if step_size is None else step_size, leaves, structure, "step_size", Range(0.0))
    rule = Rule.of(SGD(1.0, momentum=0.0) if optimizer is None else optimizer, rates, leaves, structure)
    free = leaves if mapping is None else [plain(w) for w in mapping.free(leaves)]
    return Setting(objective, free, rule, limits, searched, transform, take_back, on_chaos)


class Setting(NamedTuple):
    """The arguments of a descent.

    Attributes:
      start: the free variables.
      searched: whether the step size is found by a line search.
    """

    objective: Objective
    start: list
    rule: Rule
    bounds: Bounds
    searched: bool
    transform: Callable | None
    take_back: TakeBack | None
    on_chaos: Any

    def walk(self, store, recheck: bool) -> Generator[Evaluation, None, None]:
        """The evaluations, one after another."""
        with self.opened(store, recheck) as (folder, is_new):
            size, scale, before = 1.0, 1.0, None  # type: float, float, Any
            here = good = self.rule.start(self.start)
            for iteration in itertools.count():
                tolerant = self.take_back is not None and before is not None
                found = evaluated(self.objective, here.free, iteration, tolerant, folder, recheck)
                if iteration == 0 and is_new:
                    self.objective.check_repeatable(found)
                found, taken_back = self._judged(before, found, tolerant)
                if not taken_back and found.doubt and callable(self.on_chaos):
                    found = found._replace(answer=self._answer(found, iteration, folder))
                yield found._replace(step_scale=scale, taken_back=taken_back)
                if taken_back:
                    scale *= self.take_back.shrink  # type: ignore[union-attr]
                else:
                    before, good = found, here
                direction = self._direction(before)
                if self.searched and iteration == 0:
                    size = self._step_size(here.free, direction, found.value, folder)
                here = self.rule.after(good, direction, scale * size, self.bounds)

    @contextlib.contextmanager
    def opened(self, store, recheck: bool, method: str = identity.OWN_STEPS) -> Iterator[tuple[Path | None, bool]]:
        """The folder of the evaluations, in use within this context, if there is one; one of them is computed again.

        And whether the first evaluation is to be compared with another of f, since none was.
        """
        if hasattr(self.objective.estimator, "reset"):
            self.objective.estimator.reset()  # type: ignore[union-attr]
        if store is None:
            yield None, recheck
            return
        with claimed(Path(store), "a meta-descent") as folder:
            identity.check(folder, self, method)
            if recheck:
                stored.recheck(folder, partial(self._again, folder), self.start, self.objective.structure)
            yield folder, recheck and not stored.how_many(folder)

    def _again(self, folder: Path, free: list, iteration: int) -> Evaluation:
        """An evaluation computed anew, by an estimator that stands where it stood then."""
        estimator: Any = self.objective.estimator
        if not hasattr(estimator, "restore"):
            return evaluated(self.objective, free, iteration, True)
        if iteration > 0:
            stored.restore(estimator, folder, iteration - 1)
        try:
            return evaluated(self.objective, free, iteration, True)
        finally:
            estimator.reset()

    def _judged(self, before: Evaluation | None, found: Evaluation, tolerant: bool) -> tuple[Evaluation, bool]:
        """The evaluation with what is in doubt about it, and whether the step that led there is taken back."""
        is_same = self.objective.is_deterministic()
        if before is not None and is_same:
            found = found._replace(mismatch=doubts.mismatch(before, found))
        found = found._replace(doubt=doubts.doubt(found))
        if not tolerant:
            return found, False
        jumped = self.take_back.jumped(before, found, 0.0 if is_same else 2.0 * joint_error(before, found))  # type: ignore[union-attr,arg-type]
        return found, jumped or (self.on_chaos == "shrink" and bool(found.doubt))

    def _answer(self, found: Evaluation, iteration: int, folder: Path | None) -> Any:
        """The estimator's gradient in place of the hypergradient, by the free variables."""
        free, structure = flatten(found.free)

        def estimate() -> list:
            _, gradient, *_ = self.on_chaos(found.hypers, iteration)
            leaves = checked_gradient(gradient, free, structure, "the gradient of the estimator of on_chaos")
            return self.objective.pulled_back(free, leaves)

        path = None if folder is None else folder / f"answer{iteration}.npz"
        return unflatten(structure, stored.once(path, free, estimate))

    def _direction(self, found: Evaluation) -> list:
        gradient = found.gradient if found.answer is None else found.answer
        direction = gradient if self.transform is None else self.transform(gradient)
        return checked_gradient(direction, flatten(found.free)[0], self.objective.structure, "transform")

    def _step_size(self, free: list, direction: list, value: float, folder: Path | None) -> float:
        clipped = lambda leaves: self.objective.value(self.bounds.inside(leaves))
        search = lambda: [np.float64(line_search(clipped, free, direction, value))]
        (found,) = stored.once(None if folder is None else folder / "step_size.npz", free, search)
        return float(found)


def evaluated(
    objective: Objective,
    free: list,
    iteration: int,
    tolerant: bool,
    folder: Path | None = None,
    same_path: bool = False,
) -> Evaluation:
    """The evaluation, from the folder or computed and stored there; errors say in which meta-iteration.

    If what is stored must be of the ``same_path``, one of other hyperparameters is an error, and else computed anew.
    """
    try:
        if folder is not None:
            found = stored.recall(folder, iteration, free, objective.structure, tolerant, same_path)
            if found is not None and stored.restore(objective.estimator, folder, iteration):
                return found._replace(hypers=objective.hypers(free))
        found, telemetry = objective.evaluate(free, iteration, tolerant)
        if folder is not None:
            stored.keep(folder, found, telemetry, objective.estimator)
        return found
    except HypergradError as error:
        error.context = (f"in meta-iteration {iteration}", *error.context)
        error.iteration = iteration  # type: ignore[attr-defined]
        raise
