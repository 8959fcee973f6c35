"""What is measured: for each table, its problem and a function for each of its rows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np
from autograd import grad, make_jvp

import hypergrad as hg
from benchmarks.foreign import ours_in_jax, ours_in_torch
from benchmarks.peers import PEERS, NotExpressible, algorithm_of_2015, unrolled
from benchmarks.problems import Attention, Network
from hypergrad.compiled import plain_numpy
from hypergrad.fixed.compiled import loops

TRAINING, STORED, FLOOR, STORED_FLOOR = "training", "Stored()", "floor of training", "floor of Stored()"
COMPILED = "updates compiled by numba"


class Entry(NamedTuple):
    """One row.

    Attributes:
      run: what is timed.
      gradient: whether it returns the hypergradient, to be compared with the first one of the table.
      along_ones: whether it returns its sum instead, the derivative along a direction of ones.
      tolerance: relative to the norm.
    """

    run: Callable
    gradient: bool = False
    along_ones: bool = False
    tolerance: float = 1e-6


def _in_numpy(run: Callable) -> Callable:
    """The same without compiled loops."""
    return plain_numpy()(run)


def training(problem, **options) -> Entry:
    """Our training alone, and its final loss."""
    f = problem.final_loss(**options)
    return Entry(_in_numpy(lambda: f(problem.hypers)))


def reverse(problem, adjoint, compiled=False, **options) -> Any:
    """Our hypergradient in reverse mode."""
    if compiled and loops() is None:  # which also compiles, before time and memory are measured
        return "numba is not installed"
    f = problem.final_loss(adjoint, **options)
    run = lambda: np.concatenate([np.ravel(g) for g in grad(f)(problem.hypers)])
    tolerance = 1e-2 if options.get("single") else 1e-6
    return Entry(run if compiled else _in_numpy(run), gradient=True, tolerance=tolerance)


def forward(problem) -> Entry:
    """Our forward mode: the derivative along one direction, the hypergradient if there is one number only."""
    ones = tuple(np.ones_like(h) for h in problem.hypers)
    f = problem.final_loss()
    return Entry(lambda: np.ravel(make_jvp(f)(problem.hypers)(ones)[1]), gradient=True, along_ones=True)


def of_network(problem: Network, peers: bool) -> dict[str, Any]:
    """Rows of (a) and (b); a string stands for an entry that cannot be measured, and why."""
    entries: dict[str, Any] = {
        FLOOR: Entry(problem.products("training")),
        TRAINING: training(problem),
        "training, exact arithmetic": training(problem, exact=True),
        STORED_FLOOR: Entry(problem.products("stored")),
        "floor of Stored(), and its passes over arrays": Entry(problem.products_and_passes()),
        STORED: reverse(problem, hg.Stored()),
        f"{STORED}, {COMPILED}": reverse(problem, hg.Stored(), compiled=True),
        "forward mode, one direction": forward(problem),
        "Reversible(), exact arithmetic": reverse(problem, hg.Reversible(), exact=True),
        "Reversible(), arithmetic compiled by numba": reverse(problem, hg.Reversible(), exact=True, compiled=True),
        "Checkpointed(20)": reverse(problem, hg.Checkpointed(20)),
        "adjoint=None": reverse(problem, None),
        "Stored(), loss without derivatives of its own": reverse(problem, hg.Stored(), generic=True),
        "Stored(), float32": reverse(problem, hg.Stored(), single=True),
    }
    if peers:
        entries |= of_foreign(problem)
        with contextlib.suppress(ImportError):  # its row below says so
            import torch

            entries["floor of Stored(), by PyTorch"] = Entry(problem.products("stored", torch))
    return entries | _others(problem, PEERS if peers else {"autograd through the unrolled loop": unrolled})


def of_foreign(problem) -> dict[str, Any]:
    """Rows of ours with a loss from JAX or PyTorch."""
    kinds = {"JAX": ours_in_jax, "PyTorch": ours_in_torch}
    rows = {
        "Stored(), loss from {}": (hg.Stored(), False, False),
        f"Stored(), loss from {{}}, {COMPILED}": (hg.Stored(), False, True),
        "Reversible(), loss from {}": (hg.Reversible(), True, False),
        "Checkpointed(20), loss from {}": (hg.Checkpointed(20), False, False),
    }
    entries: dict[str, Any] = {}
    for library, make in kinds.items():
        try:
            foreign: Any = make(problem)
        except ImportError as error:
            foreign = f"not installed ({error})"
        for name, (adjoint, exact, compiled) in rows.items():
            missing = isinstance(foreign, str)
            entry = foreign if missing else reverse(problem, adjoint, compiled, exact=exact, foreign=foreign)
            entries[name.format(library)] = entry
    return entries


def _others(problem, makers: dict[str, Callable]) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for name, make in makers.items():
        try:
            entries[name] = Entry(make(problem), gradient=True)
        except ImportError as error:
            entries[name] = f"not installed ({error})"
        except NotExpressible as error:
            entries[name] = str(error)
    return entries


def of_attention(problem: Attention, peers: bool) -> dict[str, Any]:
    """Rows of (c)."""
    makers = {"autograd through the unrolled loop": unrolled, "2015 algorithm on today's autograd": algorithm_of_2015}
    entries = {
        TRAINING: training(problem),
        STORED: reverse(problem, hg.Stored()),
        f"{STORED}, {COMPILED}": reverse(problem, hg.Stored(), compiled=True),
        "forward mode, one direction": forward(problem),
        "Checkpointed(20)": reverse(problem, hg.Checkpointed(20)),
    }
    return entries | (of_foreign(problem) if peers else {}) | _others(problem, PEERS if peers else makers)


def of_sweep(problem: Network, peers: bool) -> dict[str, Any]:
    """Rows of (e): one value of the Jan 14 sweep, the losses after six step counts and their derivatives."""
    counts = sorted({round(problem.steps * share) for share in (0.0, 0.02, 0.1, 0.2, 0.4, 1.0)})

    def losses(log_lr):
        saved = hg.train(problem.loss, problem.params, hg.SGD(anp.exp(log_lr)), steps=counts[-1], save_at=counts)
        return anp.array([problem.value(params) for params in saved])

    def separately(adjoint, exact):
        def after(log_lr, steps):
            optimizer = hg.SGD(anp.exp(log_lr), exact=exact)
            trained = hg.train(problem.loss, problem.params, optimizer, steps=steps, adjoint=adjoint)
            return problem.value(trained)

        return _in_numpy(lambda: np.array([grad(after)(0.0, count) if count else 0.0 for count in counts]))

    def by_2015():
        nets = [Network(problem.sizes, count, problem.loss.batch_size) for count in counts[1:]]
        runs = [algorithm_of_2015(net) for net in nets]
        return lambda: np.array([0.0, *(run()[0] for run in runs)])

    entry = partial(Entry, gradient=True)
    return {
        TRAINING: training(problem),
        "six reverse runs, Stored()": entry(separately(hg.Stored(), False)),
        "one run in forward mode, as sweep does": entry(lambda: make_jvp(losses)(0.0)(1.0)[1]),
        "six reverse runs, Reversible()": entry(separately(hg.Reversible(), True)),
        "six reverse runs, 2015 algorithm": entry(by_2015()),
    }


def of_scaling(problem: Network, peers: bool) -> dict[str, Any]:
    """Rows of (f): eight values of the sweep, by workers × BLAS threads in each."""
    from joblib import Parallel, delayed

    def several(workers: int, threads: int):
        tasks = [delayed(_limited)(problem.sizes, problem.steps, log_lr, threads) for log_lr in np.linspace(-2, 1, 8)]
        return lambda: Parallel(n_jobs=workers)(tasks)

    return {
        TRAINING: training(problem),
        "1 worker × 1 thread": Entry(several(1, 1)),
        "1 worker × 2 threads": Entry(several(1, 2)),
        "2 workers × 1 thread": Entry(several(2, 1)),
        "2 workers × 2 threads": Entry(several(2, 2)),
    }


def _limited(sizes, steps: int, log_lr: float, threads: int) -> float:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads):
        problem = Network(sizes, steps, 250, log_lr=log_lr)
        return float(forward(problem).run()[0])


def of_growth(sizes: dict[int, Network], peers: bool) -> dict[str, Any]:
    """Rows of (g): the same derivative at several sizes."""
    entries: dict[str, Any] = {}
    for size, problem in sizes.items():
        entries |= {
            f"{TRAINING} at {size}": training(problem),
            f"{STORED} at {size}": reverse(problem, hg.Stored()),
            f"Reversible() at {size}": reverse(problem, hg.Reversible(), exact=True),
            f"unrolled at {size}": Entry(unrolled(problem), gradient=True),
        }
    return entries


def check_agreement(entries: dict[str, Entry]) -> dict[str, float]:
    """The relative difference of every hypergradient from the first one, of the same size where there are several.

    Raises:
      SystemExit: one differs by more than its tolerance; then nothing is timed.
    """
    expected: dict[str, tuple] = {}
    errors = {}
    for name, entry in entries.items():
        if not entry.gradient:
            continue
        size, found = name.partition(" at ")[2], entry.run()
        if size not in expected:
            expected[size] = name, found
            continue
        first, right = expected[size]
        right = right.sum() if entry.along_ones else right
        errors[name] = float(np.linalg.norm(found - right) / np.linalg.norm(right))
        if not errors[name] < entry.tolerance:
            raise SystemExit(f"{name} differs from {first} by {errors[name]:.1e} of its norm: not timed")
    return errors


def tables(quick: bool) -> dict[str, tuple[Callable, Callable]]:
    """For each table: what makes its problem, and what makes the rows from it. ``quick`` is for tests."""
    sizes, steps = ((784, 20, 10), 3) if quick else ((784, 200, 50, 10), 50)
    second = ((784, 10, 10), 2) if quick else ((784, 50, 50, 50, 10), 100)
    step_counts, widths = ((2, 3), (5, 10)) if quick else ((25, 50, 100, 200), (50, 100, 200, 400))
    return {
        "a": (lambda: Network(sizes, steps, 250), of_network),
        "b": (lambda: Network(*second, 200, scheduled=True), of_network),
        "c": (lambda: Attention(3 if quick else 20), of_attention),
        "e": (lambda: Network(sizes, steps, 250), of_sweep),
        "f": (lambda: Network(sizes, steps, 250), of_scaling),
        "g-steps": (lambda: {n: Network(sizes, n, 250) for n in step_counts}, of_growth),
        "g-width": (lambda: {n: Network((784, n, 10), steps, 250) for n in widths}, of_growth),
    }
