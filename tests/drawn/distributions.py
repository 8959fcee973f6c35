"""Figures of learned initial distributions and scales."""

import numpy as np

import hypergrad as hg
from drawn.looking import marks, says, shows
from experiments import jan16_initial_dist as jan16
from experiments import may28_initial_scales as may28
from experiments.parts.jan16_initial_dist import scales_and_rates
from experiments.shared import iteration_plots
from experiments.shared.iteration_plots import beside

ARRAYS = ("weights 784-50", "biases 50", "weights 50-10", "biases 10")


def _distributions(figure, found, config) -> None:
    axes, iterations = figure.axes, np.arange(found.value.shape[-1])
    if config.probes:
        for array, percentiles in enumerate(np.moveaxis(found.by_weight[0], 1, 0)):
            shows(axes[0], percentiles, np.arange(101))
            shows(axes[4 + array], np.arange(1, 20), found.by_draw[0, :, :, array, 1:])
        for array in range(4):
            shows(axes[1], array, found.by_draw[0, :, :, array, 0])
        shows(axes[2], iterations, found.value)
        _lowest_so_far(axes[2], found.value[-1])
        _held_out(axes[3], found)
        says(figure, *config.ways, *ARRAYS, "On draws not trained on", "hypergradient by log increment")
    elif len(config.ways) > 1:
        shows(axes[0], iterations, found.value)
        _lowest_so_far(axes[0], found.value[-1])
        _held_out(axes[1], found)
        log_rates = np.array(config.log_rates)[:: config.every]
        shows(axes[2], log_rates, found.by_rate[..., 0].mean(axis=(1, 2)))
        shows(axes[2], log_rates, found.by_rate[..., 1].mean(axis=(1, 2)))
        marks(axes[2], log_rates[np.argmin(found.searched, axis=-1)].ravel())
        _quantiles(axes[3:7], axes[7:11], found.free[-1], found.value[-1])
        says(figure, *config.ways, *ARRAYS, "On draws not trained on", "its rate, by plain search")
        _of_seeds(figure, axes[3:7], config, found.free[-1], found.value[-1])
    elif config.per_array:
        for seed in range(min(config.seeds, iteration_plots.SHOWN)):
            for iteration in (0, iterations[-1]):
                shows(axes[seed], found.curve_steps[0, seed], found.curve[0, seed, iteration])
        shows(axes[3], iterations, found.value[0])
        _quantiles(axes[4:8], axes[8:12], found.free[0], found.value[0])
        says(figure, *ARRAYS, "weight (quantile function)", "final training loss (nats)")
        _of_seeds(figure, axes[4:8], config, found.free[0], found.value[0])
        _lowest_so_far(axes[3], found.value[0])
    else:
        columns = min(config.seeds, iteration_plots.SHOWN)
        if config.seeds > columns:
            best = np.nanmin(found.value[0], axis=-1)
            says(figure, f"best of all {config.seeds} seeds: {best.min():.3g} to {best.max():.3g}")
        for seed in range(columns):
            curves, quantiles, densities = axes[seed : 3 * columns : columns]
            shows(curves, found.curve_steps[0, seed], found.curve[0, seed])
            for free in found.free[0, seed, :, 0]:
                _one_distribution(quantiles, densities, free)
            losses = found.value[0, seed]
            best = f"best {np.nanmin(losses):.3g} after {np.nanargmin(losses)}"
            says(figure, f"seed {seed}: loss {losses[0]:.3g},\n{best}", "meta-iteration")


def _quantiles(uppers, lowers, free, value) -> None:
    """The distribution of every array, where each seed's descent was best."""
    for seed, best in enumerate(np.nanargmin(value, axis=-1)):
        for array, (upper, lower) in enumerate(zip(uppers, lowers, strict=True)):
            _one_distribution(upper, lower, free[seed, best, array])


def _of_seeds(figure, uppers, config, free, value) -> None:
    """Each seed has its name, or, of many, their mean is drawn beside them."""
    if config.seeds <= iteration_plots.SHOWN:
        return says(figure, *(f"best, seed {seed}" for seed in range(config.seeds)))
    best = np.nanargmin(value, axis=-1)
    for array, upper in enumerate(uppers):
        values = [hg.init.quantile_density(free[seed, at, array])[0] for seed, at in enumerate(best)]
        shows(upper, np.linspace(0.0, 1.0, 20), np.mean(values, axis=0))
    says(figure, "best, each seed", f"mean of the {config.seeds}")


def _lowest_so_far(axis, value) -> None:
    """Of many descents their mean is drawn beside them."""
    if len(value) > iteration_plots.SHOWN:
        shows(axis, np.arange(value.shape[-1]), np.fmin.accumulate(value, axis=-1).mean(axis=0))


def _one_distribution(upper, lower, free) -> None:
    values, _ = hg.init.quantile_density(free)
    shows(upper, np.linspace(0.0, 1.0, 20), values)
    shows(lower, values[:-1], 1.0 / 19.0 / np.diff(values))


def _held_out(axis, found) -> None:
    columns = [found.held_out[0, :, :, 0], found.held_out[0, :, :, 2], *found.held_out[:, :, :, 1]]
    for x, losses in enumerate(columns):
        for seed, one in enumerate(losses):
            shows(axis, x + beside(seed, len(losses)), one)


def _scales_and_rates(figure, found, config) -> None:
    losses, training, others, price, rates, scales = figure.axes[:6]
    shows(losses, np.arange(found.value.shape[-1]), found.value)
    best, seeds = np.nanargmin(found.value, axis=-1), np.arange(config.seeds)
    for axis, column in ((training, 0), (others, 1)):
        start = found.grid_held_out[:, 0, column]
        grid = found.grid_held_out[:, np.argmin(found.grid, axis=-1), column].T
        rows = [[start] * config.seeds, *found.held_out[..., column], grid, found.candidate_held_out[..., column]]
        for x, row in enumerate(rows):
            for seed, one in enumerate(row):
                shows(axis, x + beside(seed, config.seeds), one)
            shows(axis, float(x), np.mean(row))
    spent = 9.0 * (1 + np.arange(found.value.shape[-1]))
    shows(price, spent, np.minimum.accumulate(found.value, axis=-1).mean(axis=1))
    shows(price, 3.0, found.candidate_value[:, 0].mean())
    for w in range(len(config.ways)):
        shows(rates, np.arange(20), found.log_lr[w, seeds, best[w]])
    for w in (0, 2, 3):
        shows(scales, *found.log_scale[w, seeds, best[w]].T)
    says(figure, *config.ways, "search: one rate", "search: scales and one rate", "meta-iteration", "log learning rate")


def _initial_scales(figure, found, config) -> None:
    grid, slopes, scales, price, *tests = figure.axes
    at = np.arange(len(may28.HYPERS))
    shows(grid, config.factors, found.grid)
    for several, shift in zip(found.slopes, (-0.15, 0.15), strict=True):
        shows(slopes, at + shift, several)
        shows(slopes, at + shift, several.mean(axis=0))
    for logs, shift in ((found.z[:, -1], -0.2), (found.best_trials(), 0.2)):
        shows(scales, at + shift - 0.06, np.exp(logs))
        shows(scales, at + shift + 0.06, np.exp(logs.mean(axis=0)))
    spent = 3 * config.draws * np.arange(1, config.evaluations + 1)
    shows(price, spent, found.value)
    shows(price, spent, found.value.mean(axis=0))
    for column, axis in enumerate(tests):
        for x, losses in enumerate(found.compared().values()):
            shows(axis, x + 0.2, losses[..., column].mean(axis=0))
            shows(axis, x, losses[..., column].mean())
    says(
        figure,
        f"{config.seeds} runs",
        *may28.HYPERS,
        *found.compared(),
        f"Adam's ε = {config.usual_eps:g}",
        "trainings spent",
    )


CHECKS = {
    jan16: _distributions,
    scales_and_rates: _scales_and_rates,
    may28: _initial_scales,
}
