"""The figures of meta-descents on the distributions of the initial weights."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import numpy as np

import hypergrad as hg
from experiments.shared.iteration_plots import SHOWN, Panel, beside, iteration_colours, plot_by_iteration
from experiments.shared.runner import seeds_in_words
from hypergrad.nests import flatten
from hypergrad.style import BLUE, GREEN, ORANGE, PURPLE, SKY, STYLE, VERMILION, seed_colour

SETTING = "784-50-10 tanh, 1,000 MNIST images in minibatches of 250, 20 steps, learning rate 1, momentum 0.9"
ARRAYS = ("weights 784-50", "biases 50", "weights 50-10", "biases 10")
SHAPES = [((784, 50), (50,)), ((50, 10), (10,))]
KNOTS = np.linspace(0.0, 1.0, 20)
ARRAY_COLOURS = (BLUE, ORANGE, GREEN, VERMILION)
WAYS = {  # colours, the same in all parts
    "plain": PURPLE,
    "a tenth of the meta-steps": SKY,
    "means held": "black",
    "other draws, Adam": VERMILION,
}
EXPLAINED = (
    "plain: gradient descent on the seed's own draws, the same in every meta-iteration; other draws, Adam: Adam,\n"
    "three other draws in each, the means held at 0 and the hypergradient of each array clipped"
)


def plot_distributions(results, config):
    """Learning curves, quantile functions and densities; or the questions asked; or what was made to work."""
    if config.probes:
        return _plot_questions(results, config)
    if len(config.ways) > 1:
        return _plot_made_to_work(results, config)
    if config.per_array:
        return _plot_per_array(results, config)
    values, densities = _shapes(results.free[0, :, :, 0])
    curve, steps = results.curve[0], results.curve_steps[0, 0]
    limits = 0.5 * np.nanmin(curve), 4.0
    best = np.nanargmin(results.value[0], axis=1)
    shown, lowest = min(SHOWN, len(best)), np.nanmin(results.value[0], axis=1)
    words = f"; best of all {len(best)} seeds: {lowest.min():.3g} to {lowest.max():.3g}" if len(best) > SHOWN else ""
    figure = plot_by_iteration(
        Panel(steps, curve, "training step", "training loss (nats)", limits, scale="log"),
        Panel(KNOTS, values, "share of the weights below", "weight (quantile function)"),
        Panel(values, densities, "weight", "density; grey: histogram\nof the best one's weights", stairs=True),
        columns=[
            f"seed {seed}: loss {losses[0]:.3g},\nbest {losses[i]:.3g} after {i}"
            for seed, (losses, i) in enumerate(zip(results.value[0][:SHOWN], best))
        ],
        title=f"{SETTING},\none distribution for all parameters, from uniform ±e^({config.log_width:g}){words}",
    )
    for seed, (axis, i) in enumerate(zip(figure.axes[2 * shown : 3 * shown], best)):
        _draw_histogram(axis, hg.init.quantile(SHAPES, results.free[0, seed, i, 0], 1_000 * seed))
    return figure


def _draw_histogram(axis, weights) -> None:
    flat = np.concatenate([w.ravel() for w in flatten(weights)[0]])
    axis.hist(flat, bins=60 if flat.size > 100 else 10, density=True, color="0.85", zorder=-1)


def _shapes(free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Knot values (…, k) and densities (…, k − 1), NaN where the descent had ended."""
    values, densities = np.full(free.shape, np.nan), np.full((*free.shape[:-1], free.shape[-1] - 1), np.nan)
    for index in np.ndindex(free.shape[:-1]):
        if np.isfinite(free[index]).all():
            values[index], densities[index] = hg.init.quantile_density(free[index])
    return values, densities


def _draw_arrays(quantiles, densities, free, chosen, colour) -> None:
    """For each array the quantile function at the start and where chosen, and density and histogram there.

    Of a few seeds each has its colour; of more, all have the one given, and their mean is black.
    """
    seeds = len(free)
    for a, (upper, lower) in enumerate(zip(quantiles, densities)):
        for seed in range(seeds):
            start, end = (_shapes(free[seed, i, a]) for i in (0, chosen[seed]))
            if seed == 0:
                upper.plot(KNOTS, start[0], color="0.5", linewidth=1, label="start")
                lower.stairs(start[1], start[0], color="0.5", linewidth=1)
                weights = hg.init.quantile(
                    SHAPES, [(free[0, chosen[0], k], free[0, chosen[0], k + 1]) for k in (0, 2)], 0
                )
                _draw_histogram(lower, flatten(weights)[0][a])
            words = f"best, seed {seed}" if seeds <= SHOWN else "best, each seed" if seed == 0 else None
            style = {"color": seed_colour(seed)} if seeds <= SHOWN else {"color": colour, "alpha": 0.5, "linewidth": 1}
            upper.plot(KNOTS, end[0], label=words, **style)
            lower.stairs(end[1], end[0], **style)
        if seeds > SHOWN:
            values = np.mean([_shapes(free[seed, chosen[seed], a])[0] for seed in range(seeds)], axis=0)
            upper.plot(KNOTS, values, color="black", linewidth=1.8, label=f"mean of the {seeds}")
            lower.stairs(np.diff(KNOTS) / np.diff(values), values, color="black", linewidth=1.8)
        upper.set(title=ARRAYS[a], xlabel="share of the weights below")
        lower.set(xlabel="weight")
    quantiles[0].set_ylabel("weight (quantile function)")
    quantiles[0].legend(frameon=False, fontsize="small")
    densities[0].set_ylabel("density; grey: histogram\nof seed 0's weights")


def _lines(results) -> str:
    """What the lines of :func:`_draw_each_descent` are, for its title."""
    seeds = results.value.shape[1]
    return ":\n" + (f"{seeds} seeds; thick: lowest so far, mean" if seeds > SHOWN else "a line for each seed")


def _draw_each_descent(axis, losses, name: str, colour) -> None:
    """A line for each seed, and, of more than a few, the mean of the lowest losses so far."""
    few = len(losses) <= SHOWN
    style = {"linewidth": 1.0} if few else {"linewidth": 0.8, "alpha": 0.4}
    for seed, values in enumerate(losses):
        axis.plot(values, color=colour, label=name if seed == 0 and few else None, **style)
    if not few:
        best = np.fmin.accumulate(losses, axis=-1).mean(axis=0)
        axis.plot(best, color=colour, linewidth=2.0, label=name)


def plain_ticks(axis) -> None:
    """Round numbers on a logarithmic axis of few decades, written out."""
    low, high = axis.get_ylim()
    multiples = (1, 2, 3, 5) if high > 5.0 * low else (1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 8)
    ticks = [m * 10.0**power for power in range(-4, 4) for m in multiples]
    shown = [tick for tick in ticks if low <= tick <= high]
    axis.set_yticks(shown, [f"{tick:g}" for tick in shown])
    axis.set_yticks([], minor=True)


def _plot_per_array(results, config):
    losses, seeds = results.value[0], results.value.shape[1]
    best = np.nanargmin(losses, axis=1)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(3, 4, figsize=(12.5, 9.0), layout="constrained")
        iterations = losses.shape[1]
        shown = np.unique(np.geomspace(1, iterations, 12).astype(int) - 1)
        for seed, axis in enumerate(axes[0, : min(seeds, SHOWN)]):
            for rank, i in enumerate(shown):
                colour = iteration_colours(len(shown))(rank)
                axis.plot(results.curve_steps[0, 0], results.curve[0, seed, i], color=colour, linewidth=1, label=f"{i}")
            axis.set(title=f"seed {seed}: learning curves", xlabel="training step", ylim=(0.2, 4.0), yscale="log")
            plain_ticks(axis)
        axes[0, 0].set_ylabel("training loss (nats)")
        entries = axes[0, 0].get_legend_handles_labels()
        title = "upper row, from the left: meta-iteration of the learning curves"
        figure.legend(*entries, frameon=False, loc="outside lower center", title=title, ncols=len(shown))
        if seeds > SHOWN:
            _draw_each_descent(axes[0, 3], losses, "lowest so far, mean", WAYS["plain"])
        else:
            for seed in range(seeds):
                axes[0, 3].plot(losses[seed], color=seed_colour(seed), label=f"seed {seed}")
        guessing = {"color": "0.6", "linewidth": 0.8, "linestyle": ":", "label": "guessing, ln 10"}
        axes[0, 3].axhline(np.log(10), **guessing)
        axes[0, 3].set(xlabel="meta-iteration", ylabel="final training loss (nats)", ylim=(0.2, 12.0), yscale="log")
        axes[0, 3].set_title(f"each of {seeds} descents (thin)" if seeds > SHOWN else "each descent")
        axes[0, 3].legend(framealpha=0.9, edgecolor="none", fontsize="small", loc="upper right")
        plain_ticks(axes[0, 3])
        _draw_arrays(axes[1], axes[2], results.free[0], best, WAYS["plain"])
        figure.suptitle(
            f"{SETTING},\na distribution for each array, from uniform ±e^({config.log_width:g}); "
            f"{seeds_in_words(seeds)}, of which the learning curves show the first {min(seeds, SHOWN)}",
            fontsize="medium",
        )
    plt.close(figure)
    return figure


def _plot_questions(results, config):
    """Gradients of single weights; gradients of the distributions by draw; three ways to descend."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 4, figsize=(14.0, 7.0), layout="constrained")
        single, means, losses, held = axes[0]
        for a, name in enumerate(ARRAYS):
            for seed, percentiles in enumerate(results.by_weight[0, :, a]):
                single.plot(percentiles, np.arange(101), color=ARRAY_COLOURS[a], label=name if seed == 0 else None)
        single.set(xscale="log", xlim=(1e-6, 0.1), xlabel="|gradient| of a weight (nats per unit)")
        single.set(ylabel="weights below (%)", title="Single weights at the start")
        single.legend(frameon=False, fontsize="small", title="a line for each seed", title_fontsize="small")
        by_draw = results.by_draw[0].reshape(-1, 4, 20)  # of all seeds
        means.axhline(0.0, color="0.6", linewidth=0.8)
        for a in range(4):
            means.plot(np.full(len(by_draw), a), by_draw[:, a, 0], ".", color=ARRAY_COLOURS[a])
        means.set_xticks(range(4), [name.replace(" ", "\n") for name in ARRAYS])
        means.set_yscale("symlog", linthresh=1e-3)
        means.set(xlim=(-0.5, 3.5), ylabel="hypergradient by the mean (nats per\nunit of weight), linear within ±0.001")
        same = "0 by symmetry:\nall ten logits\nmove together"
        means.text(2.5, 2e-3, same, ha="center", va="bottom", fontsize="small", color="0.35")
        means.set_title(f"By {len(by_draw)} draws: the mean")
        for a, axis in enumerate(axes[1]):
            increments = by_draw[:, a, 1:]
            axis.axhline(0.0, color="0.6", linewidth=0.8)
            axis.plot(np.arange(1, 20), increments.T, color=ARRAY_COLOURS[a], alpha=0.3, linewidth=0.8)
            axis.plot(np.arange(1, 20), increments.mean(axis=0), color=ARRAY_COLOURS[a], linewidth=2)
            axis.set(xlabel="increment (lowest weights first)", title=ARRAYS[a])
            axis.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
        axes[1, 0].set_ylabel("hypergradient by log increment\n(nats); thick: mean over draws")
        for name, value in zip(config.ways, results.value):
            _draw_each_descent(losses, value, name, WAYS[name])
        losses.set(yscale="log", xlabel="meta-iteration", ylabel="final training loss (nats)")
        losses.set_title(f"Three ways to descend{_lines(results)}")
        losses.legend(frameon=False, fontsize="small")
        plain_ticks(losses)
        _draw_held_out(held, results, config)
        figure.suptitle(f"{SETTING}, a distribution for each array", fontsize="medium")
    plt.close(figure)
    return figure


def _draw_held_out(axis, results, config) -> None:
    """Losses on draws not trained on: the start, 1/√fan-in, and the best of each way, seeds side by side."""
    held_out = results.held_out
    columns = [("start", held_out[0, :, :, 0], "0.5"), ("1/√fan-in", held_out[0, :, :, 2], BLUE)]
    columns += [(name, held_out[w, :, :, 1], WAYS[name]) for w, name in enumerate(config.ways)]
    for x, (_, losses, colour) in enumerate(columns):
        for seed, one in enumerate(losses):
            axis.plot(np.full(len(one), x + beside(seed, len(losses))), one, ".", color=colour, markersize=4)
        axis.plot([x - 0.35, x + 0.35], [np.mean(losses)] * 2, color=colour)
    axis.set_xticks(range(len(columns)), [textwrap.fill(name, 9) for name, _, _ in columns], fontsize="x-small")
    axis.set(yscale="log", ylabel="final training loss (nats)")
    axis.set_title("On draws not trained on\n(seeds side by side, line: mean)")
    plain_ticks(axis)


def _plot_made_to_work(results, config):
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(13.5, 9.4), layout="constrained")
        grid = figure.add_gridspec(3, 1)
        losses, held, rates = (figure.add_subplot(cell) for cell in grid[0].subgridspec(1, 3))
        lower = [[figure.add_subplot(cell) for cell in grid[row].subgridspec(1, 4)] for row in (1, 2)]
        for name, value in zip(config.ways, results.value):
            _draw_each_descent(losses, value, name, WAYS[name])
        losses.set(yscale="log", xlabel="meta-iteration", ylabel="final training loss (nats)")
        losses.set_title(f"On the draws of the descent{_lines(results)}")
        losses.legend(frameon=False)
        plain_ticks(losses)
        _draw_held_out(held, results, config)
        _draw_rates(rates, results, config)
        best = np.nanargmin(results.value[-1], axis=1)
        _draw_arrays(lower[0], lower[1], results.free[-1], best, WAYS[config.ways[-1]])
        figure.suptitle(f"{SETTING}.\n{EXPLAINED};\nbelow, what the latter finds for each array", fontsize="medium")
    plt.close(figure)
    return figure


def _draw_rates(axis, results, config) -> None:
    """Losses on draws not trained on against the learning rate they are trained with."""
    log_rates = np.array(config.log_rates)[:: config.every]
    for w, name in enumerate(config.ways):
        axis.plot(log_rates, results.by_rate[w, ..., 0].mean(axis=(0, 1)), ".-", color=WAYS[name], label=name)
    axis.plot(log_rates, results.by_rate[-1, 0, ..., 1].mean(axis=0), "o-", color=BLUE, label="1/√fan-in")
    for seed, losses in enumerate(results.searched[-1]):
        x = log_rates[np.nanargmin(losses)]
        axis.axvline(
            x,
            color=BLUE,
            linestyle=":",
            linewidth=1,
            label="its rate, by plain search, each seed" if seed == 0 else None,
        )
    axis.set(yscale="log", xlabel="log learning rate", ylabel="final training loss (nats)")
    axis.set_title("At other rates,\nmean over draws not trained on")
    plain_ticks(axis)
    axis.legend(frameon=False, fontsize="small")
