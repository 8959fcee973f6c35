"""Figures of learned schedules, of rivals at equal cost, and of long runs."""

import numpy as np

from drawn.looking import points, says, shows
from experiments import feb03_training_schedules as feb03
from experiments import feb10_many_steps as feb10
from experiments import feb13_equal_cost as feb13
from experiments import jan15_lr_schedule as jan15
from experiments import nov26_generalisation
from experiments import nov26_schedule_transfer as nov26
from experiments.parts.jan15_lr_schedule import schedule_plots
from experiments.parts.nov26_generalisation import overfitting
from experiments.shared import iteration_plots, rivals, search_plots
from experiments.shared.intervals import crossed_interval
from experiments.shared.iteration_plots import beside


def _schedules(figure, found, config) -> None:
    if len(config.remedies) > 1:
        return _remedies(figure, found, config)
    steps, at = np.arange(found.log_lr.shape[-1]), found.curve_steps[0, 0]
    mapped = steps.size <= schedule_plots.FEW
    columns = min(config.seeds, iteration_plots.SHOWN)
    for seed in range(columns):
        rates, gradients, curves = figure.axes[seed : 3 * columns : columns]
        for axis, array in ((rates, found.log_lr[0, seed]), (gradients, found.gradient[0, seed])):
            if mapped:
                (mesh,) = axis.collections
                np.testing.assert_array_equal(np.ma.filled(mesh.get_array(), np.nan), array)
            else:
                shows(axis, steps, array)
        shows(curves, at, found.curve[0, seed])
        losses = found.value[0, seed]
        says(figure, f"seed {seed}: final loss at first {losses[0]:#.3g},\nlowest {np.nanmin(losses):#.3g}")
    says(
        figure,
        "log learning rate",
        "hypergradient (nats per unit of log\nlearning rate), linear within ±",
        "meta-iteration",
    )
    says(figure, f"{steps.size:,} steps, meta-step {config.meta_step:g}", f"{config.images:,} MNIST images")
    if config.seeds > columns:
        best = np.nanmin(found.value[0], axis=-1)
        says(figure, f"of all {config.seeds} seeds: lowest final loss {best.min():#.3g} to {best.max():#.3g}")
        losses, norms, schedules = (axis for axis in figure.axes[3 * columns :] if axis.get_title())
        at = np.arange(found.value.shape[-1])
        shows(losses, at, found.value[0])
        shows(losses, at, np.fmin.accumulate(found.value[0], axis=-1).mean(axis=0))
        with np.errstate(over="ignore"):
            shows(norms, at, np.sqrt(np.sum(found.gradient[0] ** 2, axis=-1)))
        complete = np.isfinite(found.value[0]).all(axis=0)
        best = np.argmin(found.value[0][:, complete].mean(axis=0))
        shows(schedules, steps, found.log_lr[0, :, best])
        shows(schedules, steps, found.log_lr[0, :, best].mean(axis=0))
        says(figure, f"in meta-iteration {best}", "mean and 95 % interval", "norm of the\nhypergradient (nats)")


def _remedies(figure, found, config) -> None:
    loss, fresh, constants, spectrum, share, schedules = figure.axes[:6]
    iterations = np.arange(found.value.shape[-1])
    for r in range(len(config.remedies)):
        shows(loss, iterations, np.fmin.accumulate(np.where(found.taken_back[r] == 0, found.value[r], np.nan), axis=-1))
        for seed in range(config.seeds):
            for side, losses in zip((-0.04, 0.04), found.fresh[r, seed]):
                shows(fresh, r + beside(seed, config.seeds) + side, losses)
    plain = found.gradient[0]
    with np.errstate(over="ignore", invalid="ignore"):
        mean, alternating = (np.sum(plain * s, axis=-1) ** 2 / 20 for s in (1.0, (-1.0) ** np.arange(20)))
    shows(share, iterations, mean)
    complete = np.isfinite(found.value[0]).all(axis=0)
    shows(spectrum, 0.5, np.exp(np.log(alternating[:, complete]).mean(axis=0)))
    log_rates = np.array(config.constants)[:: config.every]
    shows(constants, log_rates, found.constant_fresh.mean(axis=0))
    shows(constants, log_rates, found.constant[:, 0])
    for column, initialisations in enumerate((1, 4), len(config.remedies)):
        mean = found.constant[:, :initialisations].mean(axis=1)
        for seed, losses in enumerate(found.constant_fresh[:, np.argmin(mean, axis=-1)].T):
            shows(fresh, column + beside(seed, config.seeds), losses)
            shows(loss, 0.0, mean[seed].min())
    best = np.nanargmin(np.where(found.taken_back[-1] == 0, found.value[-1], np.nan), axis=-1)
    shows(schedules, np.arange(20), found.log_lr[-1, np.arange(len(best)), best])
    says(figure, *config.remedies, "meta-iteration", "frequency (cycles per training step)", "0 (the mean)")
    says(figure, "best constant", "best constant of 4 initialisations", "log of the constant learning rate")


def _learned_schedules(figure, found, config) -> None:
    net, axes = config.net(), figure.axes
    steps, iterations = np.arange(net.steps), np.arange(found.value.shape[-1])
    rates, momenta = (axes[0], axes[1]) if config.searched else (axes[0], axes[2])
    scales, values, curves = (axes[2], axes[3], axes[4]) if config.searched else (axes[5], axes[4], axes[3])
    for hypers in found.learned[0]:
        log_lr, logit, _ = net.parts(hypers)
        shows(rates, steps, np.exp(log_lr[::2]))
        shows(momenta, steps, 1.0 / (1.0 + np.exp(-logit[::2])))
    shows(scales, iterations[:, None], np.exp(found.log_scale[0].mean(axis=0)))
    shows(values, iterations, found.value)
    shows(curves, found.curve_steps[0, :, None], found.curve[0])
    if config.first:
        for axis, array in zip(axes[6:8], (found.first[0, 0, 0], found.first[0, :, 1].mean(axis=0)), strict=True):
            shows(axis, steps, net.parts(array)[0][::2])
        shows(axes[8], iterations, found.gradient_norm)
        says(figure, f"mean of {config.first * config.seeds} draws", "First hypergradient, at one draw of weights")
    if config.searched:
        for x, losses in enumerate((found.test[0, :, 0], found.test[0, :, 1], *found.test[:, :, 2])):
            shows(axes[5], x, losses.mean())
        says(
            figure, "test loss (nats)", f"best of\n{config.equal_cost}", *(f"{name} loss" for name in config.objectives)
        )
    says(figure, "layer 1 (784-50)", "1/√784", "1/√50", "learning rate", "momentum", "meta-iteration", "training step")


def _equal_cost(figure, found, config) -> None:
    for p, space in enumerate(config.spaces()):
        axis = figure.axes[p]
        drawn = points(axis)
        for m in range(len(feb13.METHODS)):
            means = found.value[:, m, p].mean(axis=(0, -1))
            for budget, mean in zip(config.budgets, means[np.isfinite(means)]):
                near = np.abs(drawn[:, 0] / budget - 1.0) < 0.1
                assert np.abs(drawn[near, 1] / mean - 1.0).min() < 1e-9, (feb13.METHODS[m], space, budget)
        shows(axis, config.budgets, found.shaped.mean(axis=(0, -1)))
        says(figure, f"{space:,} hyperparameter")
    says(figure, *feb13.METHODS, *feb13.SHAPES, *feb13.RULES, "test loss (nats)", "trainings spent")


def _rivals(figure, found, config) -> None:
    for c, axis in enumerate(figure.axes):
        for m in range(len(config.names)):
            shows(axis, found.value[m, ..., c].mean(axis=-1), m + rivals.BELOW)
            mean, low, high = crossed_interval(found.value[m, ..., c])
            shows(axis, [mean, low, high], m)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == list(config.names)
    says(figure, *config.measured, config.setting.partition(",")[0], f"{config.trainings} trainings each")


def _transfer(figure, found, config) -> None:
    losses, ratios = figure.axes[:2]
    by_seed = found.value.mean(axis=-1)
    for n in range(len(config.taken())):
        for w in range(4):
            shows(losses, by_seed[:, n, w], n + 0.2 * (w - 1.5) + search_plots.BELOW)
            shows(losses, np.exp(np.log(by_seed[:, n, w]).mean()), n + 0.2 * (w - 1.5))
        shows(ratios, by_seed[:, n, 0] / by_seed[:, n, 3], n - 0.3 + search_plots.BELOW)
    says(figure, *config.taken(), *nov26.WAYS, "test loss (nats)")


def _generalisation(figure, found, config) -> None:
    found = type(found)(*(array.astype(float) for array in found))
    columns, counts, sizes = len(config.sizes), list(config.spaces()), config.descended()
    iterations = np.arange(found.train.shape[-1])
    for column, n in enumerate(config.sizes):
        by_number, by_iteration, at = figure.axes[column], figure.axes[columns + column], sizes.index(n)
        third, valid = found.third[:, at, ..., 0].mean(axis=1), found.valid[:, at, ..., at].mean(axis=1)
        for array in (found.train[:, at].mean(axis=1), valid, third):
            shows(by_number, counts, array[:, -1])
        for array in (valid, third):
            shows(by_iteration, iterations, array)
        shows(by_iteration, third.argmin(axis=1), third.min(axis=1))
        says(figure, f"n = {n:,} validation images")
        if config.rivals:
            half, _ = overfitting.chosen(found, config, n, "other half")
            shows(by_number, 1.12 * np.array(counts), half.mean(axis=1))
            first = found.searched[0, column, ..., 1][
                np.arange(config.seeds), found.searched[0, column, ..., 0].argmin(1)
            ]
            shows(by_number, 1.25, first.mean())
    says(figure, "training", "validation", "third split", *(f"{count:,}" for count in counts), "meta-iteration")
    if config.rivals:
        gaps, halves, stopped = figure.axes[2 * columns :]
        for n in sizes:
            shows(gaps, np.array(counts) / n, overfitting.gap(found, config, n).mean(axis=1))
        for column, n in enumerate(config.sizes):
            lowest, _ = overfitting.chosen(found, config, n, "lowest validation")
            half, _ = overfitting.chosen(found, config, n, "other half")
            for axis, array in ((halves, half), (stopped, found.stopped[:, column, :, 1, 1])):
                shows(axis, n * 1.12 ** (np.arange(len(counts)) - 2.0), (array - lowest).mean(axis=1))
        says(figure, "plain search", "training stopped at its step", "hyperparameters / validation images")


def _many_steps(figure, found, config) -> None:
    memory, bits, times, curves, gradients, agreement = figure.axes
    steps, last = found.short_steps, found.curve_steps[-1]
    shows(memory, steps[:, None], found.short_bytes / 1e6)
    shows(memory, last, found.bytes / 1e6)
    slope, offset = np.polyfit(steps, found.short_bytes[:, 1], 1)
    shows(memory, last, (slope * last + offset) / 1e6)
    shows(bits, found.curve_steps, found.bits / 8e6)
    shows(bits, found.curve_steps, found.bound / 8e6)
    shows(times, np.arange(4), found.seconds / found.seconds[:, :1])
    shows(curves, found.curve_steps, found.curve)
    bins = found.gradient.shape[-1]
    shows(gradients, last / bins * (np.arange(bins) + 0.5), found.gradient)
    far = np.abs(found.slope[:, 1:] / found.slope[:, :1] - 1.0)
    shows(agreement, np.arange(config.seeds)[:, None], far)
    says(figure, "every step stored", "exact reversal", "lost: T · P · log₂(1/β)", "forward mode", "central difference")
    says(figure, f"learning rate {np.exp(config.log_lr):.3g}, momentum 0.9", f"minibatches of {config.batch_size}")


CHECKS = {
    feb03: _learned_schedules,
    feb13: _equal_cost,
    nov26: _transfer,
    nov26_generalisation: _generalisation,
    rivals: _rivals,
    jan15: _schedules,
    feb10: _many_steps,
}
