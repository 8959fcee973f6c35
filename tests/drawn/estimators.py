"""Figures of estimators of a hypergradient, and of what is advised."""

import numpy as np

from drawn.looking import says, shows
from experiments.parts.advice import advice_measured
from experiments.parts.estimators_against_exact import estimator_descents, estimator_errors, estimator_truncation
from experiments.parts.estimators_by_problem import (
    estimator_costs,
    estimator_horizons,
    estimator_inverse_time,
    estimator_particles,
    estimator_penalties,
    estimator_recurrent,
    estimator_recurrent_descents,
    estimator_winners,
)


def _truncation(figure, found, config) -> None:
    for axis, values in zip(figure.axes, (found.cosine, found.total)):
        for steps, line, length in zip(found.steps, values, found.lengths):
            shows(axis, steps / length, line)
    says(figure, *(f"T = {length:g}" for length in found.lengths), "cosine with the exact hypergradient")


def _estimator_errors(figure, found, config) -> None:
    loss, errors, weights = figure.axes
    for seed in range(config.seeds):
        shows(loss, found.log_lr, found.loss[seed])
        shows(weights, found.log_lr, found.weight[seed])
    for relative in estimator_errors.relative(found).T:
        shows(errors, found.log_lr, relative)
    says(figure, "log learning rate", "error over the true derivative", *estimator_errors.LABELS.values())


def _estimator_descents(figure, found, config) -> None:
    *curves, tests = figure.axes
    for m, axis in enumerate(curves):
        for e, name in enumerate(estimator_descents.NAMES[:-1]):
            best = np.fmin.accumulate(found.value[e, :, m], axis=1)[:, np.isfinite(found.value[e, :, m]).any(axis=0)]
            spent = np.arange(1, best.shape[1] + 1) * config.products()[name] / 2.0
            shows(axis, spent, estimator_descents.band(best)[0])
        for e in range(len(estimator_descents.NAMES)):
            for bound in estimator_descents.typical(found.test[e, :, m]):
                shows(tests, bound, e + 0.2 * m)
    says(figure, *estimator_descents.NAMES[:-1], "trainings' worth of products")


def _horizons(figure, found, config) -> None:
    bias, chaos, cost = figure.axes
    horizon, errors = found.horizon(config), found.errors(config)
    for t, T in enumerate(config.used()):
        calm = horizon[:, t] < 3.0
        kept = np.moveaxis(found.truncated[:, t] / found.gradient[:, t, None], 1, -1)[calm]
        shows(bias, config.shares, np.median(kept, axis=0))
        says(figure, f"T = {T:,}")
    middle, medians = estimator_horizons.binned(found, config)
    for e, name in enumerate(estimator_horizons.NAMES):
        shows(chaos, middle, np.clip(medians[:, e], 1e-4, 1e6))
        shows(chaos, np.maximum(horizon, 0.1), np.clip(errors[e], 1e-4, 1e6))
        says(figure, name)
    for inside in (horizon < 3.0, horizon > 10.0):
        over = [np.median(found.errors(config, n)[3][inside]) for n in (2.0, 512.0)]
        shows(cost, [8.0, 2048.0], np.clip(over, 1e-4, 1e6))
    says(figure, "error over the derivative of the\nsmoothed loss", "λT", "cost in products a step")


def _winners(figure, found, config) -> None:
    axis, *curves = figure.axes
    horizon = config.steps * np.median(found.growth, axis=0)
    by_seed = found.by_seed()
    for c, (count, panel) in enumerate(zip(config.counts, curves, strict=True)):
        shows(axis, horizon, count)
        for e, name in enumerate(estimator_winners.NAMES):
            shows(panel, horizon * 1.06 ** (e - 2), by_seed[:, e, c].mean(axis=0))
            says(figure, name)
        first = np.argmin(by_seed.mean(axis=0)[:, c], axis=0)
        assert (estimator_winners.winners(found)[0][c] == first).all()
    says(figure, "λT at the start (nats)", "number of hyperparameters", "test loss of initialisations not seen (nats)")


def _inverse_time(figure, found, config) -> None:
    bias, paths, ends, *_ = figure.axes
    names = (*estimator_inverse_time.NAMES, estimator_inverse_time.SEARCH)
    off = estimator_inverse_time.errors(found)[:, :, 1:]
    for p in range(len(config.places)):
        shows(bias, off[:, p], np.arange(1, len(names) - 1) + 0.24 * p)
        says(figure, f"(objective {found.value[:, p].mean():.4g})")
    for path in found.path[0]:
        shows(paths, *path.T)
    for d, name in enumerate(names):
        shows(ends, found.unseen[:, d].mean(axis=-1), d)
        says(figure, name)
    says(figure, f"T = {config.steps:,}", f"T = {config.descent_steps:,}", "log θ0, initial learning rate")


def _penalties(figure, found, config) -> None:
    cosines, ratios, times, ends = figure.axes
    for e, name in enumerate(estimator_penalties.NAMES):
        shows(cosines, config.used(), np.median(found.cosine[:, :, e], axis=0))
        shows(ratios, config.used(), np.median(found.ratio[:, :, e], axis=0))
        shows(times, np.median(found.seconds[:, :, e], axis=0), found.memory[:, e] / 1e6)
        says(figure, name)
    for d in range(len(estimator_penalties.DESCENTS)):
        shows(ends, found.own[:, d], d)
        shows(ends, found.unseen[:, d].mean(axis=-1), d + 0.3)
    says(figure, "cosine with the exact hypergradient", "memory allocated (MB)", "unseen training sets")


def _recurrent(figure, found, config) -> None:
    off, directions, costs = figure.axes
    errors, cosines = np.clip(estimator_recurrent.errors(found), 1e-4, 1e8), estimator_recurrent.cosines(found)
    for p in range(len(config.used())):
        for e in range(len(estimator_recurrent.NAMES)):
            shows(off, errors[:, p, e], e + 0.22 * (p - 1))
            shows(directions, cosines[:, p, e], e + 0.22 * (p - 1))
    shows(costs, np.nanmedian(found.seconds, axis=(0, 1)), found.memory / 1e6)
    says(figure, *estimator_recurrent.NAMES, "memory allocated (MB)", "processor time of an estimate (s)")


def _recurrent_descents(figure, found, config) -> None:
    own, unseen, plane = figure.axes
    searched = estimator_recurrent_descents.NAMES.index(estimator_recurrent_descents.SEARCH)
    for m, start in enumerate(config.starts):
        for e in range(len(estimator_recurrent_descents.NAMES)):
            if m == 0 or e != searched:
                shows(own, found.own[:, m, e], e + 0.3 * m)
                shows(unseen, np.minimum(np.median(found.unseen[:, m, e], axis=-1), 10.0), e + 0.3 * m)
            shows(plane, *found.found[:, m, e].T)
        says(figure, f"from log learning rate {start:g}".replace("-", "−"))
    says(figure, *estimator_recurrent_descents.NAMES, f"each descent: {config.budget()} trainings' cost")


def _costs(figure, found, config) -> None:
    rows = (found.seconds, found.memory), (found.inverse_seconds, found.inverse_memory)
    for axis, (seconds, memory), names in zip(figure.axes, rows, estimator_costs.NAMES.values(), strict=True):
        assert seconds.shape[-1] == len(names)
        for e, name in enumerate(names):
            shows(axis, np.median(seconds[:, :, e], axis=0), memory[:, e] / 1e6)
            says(figure, name)
    says(figure, "memory allocated (MB)", "processor time of an estimate (s)")


def _particles(figure, found, config) -> None:
    (axis,) = figure.axes
    errors, particles = found.errors(), 2.0 * np.arange(1, config.pairs + 1)
    for p in range(len(config.places)):
        for k, piece in enumerate(config.pieces):
            shows(axis, particles, errors[p, k])
            says(figure, f"K = {piece}, log θ0 = {config.places[p][0]:g}")
    says(figure, "particles", f"T = {config.size(config.steps):,}")


def _advice(figure, found, config) -> None:
    errors, by_growth, by_number = figure.axes
    judged = found.judged()
    shows(errors, found.best()[judged], np.fmax(found.advised_error, advice_measured.FLOOR)[judged])
    ratio = found.ratio()[judged]
    shows(by_growth, found.growth[judged], ratio)
    shows(by_number, found.numbers[judged], ratio)
    counts = advice_measured.numbers(found, config)
    says(figure, f"{counts['within, all']} of {counts['judged, all']}", "twice as far off", "number of hyperparameters")
    says(figure, "below the edge", "past the edge", "growth of the tangent over the training")


CHECKS = {
    estimator_horizons: _horizons,
    estimator_winners: _winners,
    estimator_inverse_time: _inverse_time,
    estimator_penalties: _penalties,
    estimator_costs: _costs,
    estimator_particles: _particles,
    estimator_recurrent: _recurrent,
    estimator_recurrent_descents: _recurrent_descents,
    advice_measured: _advice,
    estimator_truncation: _truncation,
    estimator_errors: _estimator_errors,
    estimator_descents: _estimator_descents,
}
