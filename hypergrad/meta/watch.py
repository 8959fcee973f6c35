"""A training that is watched: losses, norms by layer, curvature, and the growth of perturbations, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..checks import check_integer
from ..errors import ArgumentError, DivergedError
from ..nests import flatten, unflatten
from ..probe.lyapunov import lyapunov
from ..probe.sharpness import sharpness
from ..train import train
from ..workspace import inner

_PARTS = ("gradient", "weights", "update")


class Watched(NamedTuple):
    """A training run, and what was seen on the way. T steps, L layers.

    Attributes:
      params: the trained parameters; those before the step that diverged, if it did.
      curves: ``"loss"``, shape (T,), of each step's minibatch, before its update; ``"gradient"``, ``"weights"`` and
        ``"update"``, shape (T, L), Euclidean norms by layer; each measure, (T,); ``"sharpness"``, (T,), the largest
        eigenvalue of the Hessian, at every n-th step and NaN between them; ``"growth"``, (T,), the log of the growth of
        a small perturbation during each step, whose mean over steps is λ. NaN from a divergence on.
      diverged_at: the step whose update made a parameter non-finite, −1 if none did.
    """

    params: Any
    curves: dict[str, np.ndarray]
    diverged_at: int

    @property
    def results(self) -> dict[str, Any]:
        """The curves and where training diverged, for :func:`hypergrad.runs.trials`; add metrics of your own."""
        return {**self.curves, "diverged_at": self.diverged_at}


def watch(
    loss: Callable,
    params: Any,
    optimizer: Any,
    hyper: Any = None,
    *,
    steps: int,
    every: int | None = 10,
    measures: Mapping[str, Callable[[Any, int], float]] | None = None,
    sharpness_of: Callable | None = None,
    growth: bool = True,
    seed: int = 0,
) -> Watched:
    """Train, and note at each step what tells a run that goes well from one that does not.

    Layers are the entries of ``params`` where that is a list, a tuple or a dict, otherwise there is one.

    Args:
      loss, params, optimizer, hyper, steps: as for :func:`hypergrad.train`; ``steps`` ≥ 1.
      every: the sharpness is computed at steps 0, every, 2 · every, …; None for never.
      measures: ``f(params, step)`` by name, called at each step before its update: the error rate, say.
      sharpness_of: the loss whose Hessian it is, over all data, say; ``loss`` at that step's minibatch if None.
      growth: whether to follow a perturbation, by :func:`hypergrad.chaos.lyapunov`, in a second run. After a divergence
        there is none, and its growth is NaN.
      seed: of that perturbation.

    Returns:
      A :class:`Watched`. A training that diverges raises nothing: see ``diverged_at``.

    Raises:
      ArgumentError: a measure of the name of another curve; and what :func:`hypergrad.train` raises for bad input.

    Cost: training; some tens of Hessian-vector products for each sharpness; for the growth a second training and 2
    products more a step and layer. Memory: one copy of the parameters, and the curves.

    >>> import autograd.numpy as np
    >>> import hypergrad as hg
    >>> bowl = lambda w, hyper, step: 2.0 * np.sum(w**2)
    >>> seen = watch(bowl, np.ones(2), hg.SGD(0.25, momentum=0.5), steps=4, every=2)
    >>> seen.curves["loss"].round(3).tolist(), seen.curves["sharpness"].round(3).tolist()
    ([4.0, 1.0, 0.0, 0.25], [4.0, nan, 4.0, nan])
    """
    steps = check_integer(steps, "steps", 1)
    every = None if every is None else check_integer(every, "every", 1)
    measures = dict(measures or {})
    taken = {"loss", "sharpness", "growth", "diverged_at", *_PARTS} & measures.keys()
    if taken:
        raise ArgumentError(f"a measure cannot be called {sorted(taken)[0]!r}: a curve has that name")
    layers = len(_layers(params))
    curves = {name: np.full(steps, np.nan) for name in ("loss", *measures)}
    curves |= {name: np.full((steps, layers), np.nan) for name in _PARTS}
    if every is not None:
        curves["sharpness"] = np.full(steps, np.nan)
    sharpest = lambda now, step: sharpness(sharpness_of or loss, now, hyper, step)
    notes, diverged_at = _Notes(params, curves, measures, sharpest, every), -1
    try:
        trained = train(loss, params, optimizer, hyper, steps=steps, callback=notes)
        notes.moved(steps - 1, trained)
    except DivergedError as error:
        diverged_at, trained = error.step, notes.last
    if growth:
        curves["growth"] = np.full(steps, np.nan)
        if diverged_at < 0:
            found = lyapunov(loss, params, optimizer, hyper, steps=steps, seed=seed)
            curves["growth"] = found.growth[:, 0]
    return Watched(trained, curves, diverged_at)


class _Notes:
    """The callback that fills the curves; a snapshot of the training keeps what it has noted."""

    def __init__(self, params, curves: dict[str, np.ndarray], measures: dict, sharpest: Callable, every: int | None):
        self.params = params
        self.curves, self.measures, self.sharpest, self.every = curves, measures, sharpest, every
        self.last: Any = None  # the parameters before the step that was noted last

    def __call__(self, step: int, now, state, gradient, value) -> None:
        if step:
            self.moved(step - 1, now)
        self.curves["loss"][step] = float(value)
        self.curves["gradient"][step], self.curves["weights"][step] = _norms(gradient), _norms(now)
        for name, measure in self.measures.items():
            self.curves[name][step] = float(measure(now, step))
        if self.every is not None and step % self.every == 0:
            self.curves["sharpness"][step] = self.sharpest(now, step)
        self.last = now

    def moved(self, step: int, now) -> None:
        """Note how far a step went."""
        norms = [_norm_of_difference(a, b) for a, b in zip(_layers(now), _layers(self.last))]
        self.curves["update"][step] = norms

    def state(self) -> dict[str, np.ndarray]:
        leaves = [] if self.last is None else flatten(self.last)[0]
        return self.curves | {f".last{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        for name, curve in self.curves.items():
            curve[...] = arrays[name]
        structure = flatten(self.params)[1]
        if ".last0" in arrays:
            self.last = unflatten(structure, [arrays[f".last{i}"] for i in range(structure.size)])


def _layers(nest) -> list:
    if isinstance(nest, dict):
        return list(nest.values())
    return list(nest) if isinstance(nest, list | tuple) else [nest]


def _norms(nest) -> list[float]:
    return [float(np.sqrt(sum(inner(w, w) for w in map(np.asarray, flatten(layer)[0])))) for layer in _layers(nest)]


def _norm_of_difference(a, b) -> float:
    differences = [np.asarray(v) - np.asarray(w) for v, w in zip(flatten(a)[0], flatten(b)[0])]
    return float(np.sqrt(sum(inner(d, d) for d in differences)))
