"""What the experiments with meta-descent share: running descents in parallel, and arrays of their histories."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import hypergrad as hg
from hypergrad.plotting import Panel, plot_by_iteration
from hypergrad.tangents import divergence_tolerated


def in_parallel(function: Callable, items: list[tuple], jobs: int, shape: tuple[int, ...]) -> list[np.ndarray]:
    """The arrays that ``function(*item)`` returns, each stacked over all items and shaped (*shape, …).

    In worker processes with one BLAS thread each, so that results do not depend on their number.
    """
    import joblib

    pieces = joblib.Parallel(n_jobs=jobs)(joblib.delayed(_on_one_thread)(function, item) for item in items)
    return [np.stack(arrays).reshape(*shape, *np.shape(arrays[0])) for arrays in zip(*pieces)]


def _on_one_thread(function: Callable, item: tuple):
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        return function(*item)


def history(f: Callable, start, **options) -> list[hg.meta.Evaluation]:
    """The history of a meta-descent, also of one that came to an end because a training diverged."""
    try:
        return hg.meta.minimize(f, start, progress=False, **options).history
    except (hg.errors.ScheduleError, hg.DivergedError, hg.errors.NonFiniteHypergradientError) as error:
        print(f"the descent ended early: {error}", flush=True)
        return error.history


def best(found: list[hg.meta.Evaluation]) -> hg.meta.Evaluation:
    """The one with the lowest value."""
    return min((e for e in found if not e.taken_back), key=lambda e: e.value)


def columns(rows: list[tuple], length: int) -> list[np.ndarray]:
    """An array (length, …) for each entry of the rows, with NaN for the rows that a descent did not reach."""
    arrays = [np.array(column, dtype=float) for column in zip(*rows)]
    return [np.concatenate([a, np.full((length - len(a), *a.shape[1:]), np.nan)]) for a in arrays]


def or_nan(curve: Callable, found: hg.meta.Evaluation, length: int) -> np.ndarray:
    """``curve(hypers)``, with NaN from where training diverged, all NaN where it could not begin."""
    try:
        with divergence_tolerated(), np.errstate(all="ignore"):
            return np.array(curve(found.hypers))
    except hg.errors.ScheduleError:
        return np.full(length, np.nan)


def plot_schedules(results, config):
    """Schedule, hypergradient and learning curve by meta-iteration."""
    log_lr, gradient, curve = results.log_lr[0], results.gradient[0], results.curve[0]
    step = np.arange(log_lr.shape[-1])
    calm = 10.0 ** np.ceil(np.log10(np.abs(gradient[:, 0]).max()))
    last = np.isfinite(results.value[0]).sum(axis=1) - 1
    return plot_by_iteration(
        Panel(step, log_lr, "training step", "log learning rate", limits=(-4.0, 4.0)),
        Panel(
            step,
            gradient,
            "training step",
            "hypergradient (nats per unit\nof log learning rate)",
            scale="symlog",
            linear_within=calm,
            limits=(-1e3 * calm, 1e3 * calm),
        ),
        Panel(
            results.curve_steps[0, 0],
            curve,
            "training step",
            "loss on the first 1,000\ntraining images (nats)",
            limits=(0.5 * np.nanmin(curve), 5.0),
            scale="log",
        ),
        columns=[
            f"seed {seed}: loss {values[0]:.3g}, best {np.nanmin(values):.3g}"
            + (f",\nlearning rates overflow after meta-iteration {end}" if end < len(values) - 1 else "")
            for seed, (values, end) in enumerate(zip(results.value[0], last))
        ],
        title=f"{setting(config)},\n{log_lr.shape[-1]:,} steps, meta-step {config.meta_step:g}",
    )


def setting(config) -> str:
    return (
        f"784-200-50-10 tanh, {config.images:,} MNIST images in minibatches of {config.batch_size}, "
        f"momentum {config.momentum}"
    )
