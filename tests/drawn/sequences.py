"""Figures of models of sequences: digits pixel by pixel, and characters."""

import numpy as np

from drawn.looking import marks, points, says, shows
from experiments import aug08_trained_memory as aug08
from experiments import aug10_time_gates as aug10
from experiments import aug12_characters as aug12
from experiments import jun01_window_attention as jun01
from experiments import jun05_activations as jun05
from experiments import may24_compute_gate as may24
from experiments.parts.aug08_trained_memory import memorised_digit, memory_range
from experiments.parts.aug10_time_gates import digit_completion
from experiments.parts.aug12_characters import (
    batch_and_length,
    character_memory,
    character_plots,
    character_samples,
    told_apart,
)
from experiments.parts.jun01_window_attention import window_plots
from experiments.parts.may24_compute_gate import compute_gate_plots
from experiments.shared import memory_plots
from experiments.shared.intervals import geometric_interval, t_interval


def _trained_memory(figure, found, config) -> None:
    later = found.steps > 0
    for n, units in enumerate(config.units):
        curves, memories = figure.axes[n], figure.axes[len(config.units) + n]
        shows(curves, found.steps[later], found.value[n][..., later])
        shows(curves, found.steps[later][[0, -1]], found.limit[n, :, 1, None])
        log_decay, angle = np.moveaxis(found.memory[n, ..., :units], 2, 0)
        shows(memories, 2 * np.pi / np.abs(angle), np.log(2.0) / np.exp(log_decay))
        marks(memories, [config.side])
        says(figure, f"{units} units")
    says(figure, "fixed memory", "trained memory", "best weights for the fixed memory", "training steps")
    says(figure, memory_plots.ERROR, "half-life of a unit (pixels)", "period of a unit (pixels)", "a row of pixels")


def _memory_range(figure, found, config) -> None:
    half_lives, periods, path, errors = figure.axes
    for m, ranges in enumerate(found.ranges):
        for seed, (log_decay, log_angle) in enumerate(ranges):
            y = m + 0.6 * (seed - (config.seeds - 1) / 2.0) / config.seeds
            shows(half_lives, np.log(2.0) / np.exp(log_decay), y)
            shows(periods, 2 * np.pi / np.exp(log_angle), y)
    shows(path, found.trainings[:, None], np.log(2.0) / np.exp(found.path[:, :, 0]))
    shows(path, found.trainings[:, None], 2 * np.pi / np.exp(found.path[:, :, 1]))
    shows(path, found.trainings[:, None], 2 * np.pi / np.exp(found.path[:, :, 1].mean(axis=0)))
    for w, values in enumerate(found.value):
        shows(errors, w - 0.12, values.mean(axis=0))
        shows(errors, w + 0.05, values.mean())
    says(figure, *memory_range.METHODS, memory_plots.ERROR, "trainings spent by the descent", "shortest half-life")
    says(figure, f"{config.seeds} searches of each kind", "geometric mean")


def _memorised(figure, found, config) -> None:
    share = 100.0 * found.value / found.image.var(axis=-1)[:, None]
    errors, pictures = figure.axes[-1], [axis.images[0].get_array().ravel() for axis in figure.axes[:-1]]
    beside = np.arange(len(config.sizes))[:, None] + [-0.2, 0.2]  # the two ways
    shows(errors, beside[:, None] - 0.12, share)
    shows(errors, beside + 0.05, share.mean(axis=1))
    for shown in (found.image[0], *found.drawn[:, 0].reshape(-1, found.drawn.shape[-1])):
        assert any(np.array_equal(picture, shown) for picture in pictures)
    says(figure, *memorised_digit.LABELS, *(f"{units} units, trained" for units in config.sizes), "units")


def _gates(figure, found, config) -> None:
    errors, times = figure.axes
    for w, values in enumerate(found.value):
        shows(errors, w - 0.12, values)
        shows(errors, w + 0.05, values.mean())
        places = w + 0.6 * (np.arange(config.seeds) - 0.5 * (config.seeds - 1)) / config.seeds
        shows(times, places, found.time[w, :, 1])
    says(figure, *aug10.WAYS, memory_plots.ERROR, "t of the lowest level")


def _completions(figure, found, config) -> None:
    digit_page, mixtures, errors, looks, between = figure.axes[:5]
    step, digits = config.side + 2, np.arange(10)
    for axis, rows in ((digit_page, [found.drawn[0, 0], *found.drawn[0, 1:]]), (mixtures, found.shown[0])):
        page = np.asarray(axis.images[0].get_array())
        for i, row in enumerate(rows):
            for j, pixels in enumerate(row):
                shown = page[i * step : i * step + config.side, j * step : j * step + config.side]
                np.testing.assert_array_equal(shown.ravel(), pixels)
    for values in (*found.value, found.baseline[2]):
        shows(errors, digits, values[:, 0].mean(axis=0))
        shows(errors, digits, digit_completion.own(values).mean(axis=0))
    np.testing.assert_allclose(looks.images[0].get_array(), found.looks[-1, :, 1].mean(axis=0))
    shows(between, digit_completion.SHARES, found.between.mean(axis=1))
    says(
        figure,
        *digit_completion.WAYS,
        "ridge regression",
        "digit left out",
        "share of the second digit",
        "mixed inputs",
    )


def _one_string(figure, found, config) -> None:
    *curves, losses, drawn_alone = figure.axes
    for axis, right in zip(curves, found.right, strict=True):
        shows(axis, found.steps, 100.0 * right.mean(axis=1))
        assert len(axis.collections) == len(config.units), "a band for each"
        for share in found.table.mean(axis=0):
            assert any(np.allclose(line.get_ydata(), 100.0 * share) for line in axis.lines)
    for m, shift in enumerate((-0.08, 0.08)):
        at = np.array(config.units) * 2.0**shift
        for axis, rows in ((losses, found.value[m, :, :, -1]), (drawn_alone, 100.0 * found.drawn[m])):
            shows(axis, at[:, None], rows)
            interval = geometric_interval if axis is losses else t_interval
            for place, values in zip(at, rows):
                shows(axis, place, interval(values))
    says(figure, *character_memory.GATES, *(f"{units} units" for units in config.units), "training steps")
    says(figure, "characters predicted right (%)", "loss at the end (nats a character)", "table of the last 3")


def _told_apart(figure, found, config) -> None:
    right, parting, alone, losses = figure.axes
    columns = 2 * len(config.units)
    for axis, share in ((right, found.right), (parting, found.parting), (alone, found.drawn), (losses, found.value)):
        for k, rows in enumerate(share.reshape(len(told_apart.TASKS), columns, -1)):
            for c, values in enumerate(rows):
                x = k + 0.2 * (c - (columns - 1) / 2)
                factor = 1.0 if axis is losses else 100.0
                shows(axis, x - 0.12, factor * values)
                shows(axis, x + 0.05, np.mean(factor * values))
    shows(right, np.arange(len(told_apart.TASKS))[:, None] - 0.45, 100.0 * found.table.mean(axis=1))
    for k, task in enumerate(told_apart.TASKS.values()):
        if task.shared:
            shows(parting, k - 0.45, 100.0 / task.sequences)
    says(figure, *(name.replace(" ", "\n") for name in told_apart.TASKS), character_plots.CHANCE)
    says(figure, *(f"{name}, {units} units" for name in character_memory.GATES for units in config.units))
    says(figure, "drawn from prompt or key alone", "first characters of the endings", "table of the last 8")


def _batch_and_length(figure, found, config) -> None:
    lengths, batches, positions, lives = figure.axes
    by_length, by_batch = found.arms(config)
    for m, shift in enumerate((-0.06, 0.06)):
        at = np.array(config.lengths) * 2.0**shift
        shows(lengths, at[:, None], by_length[m])
        for place, values in zip(at, by_length[m]):
            shows(lengths, place, t_interval(values))
        rows = np.median(found.half_lives[m * len(at) : (m + 1) * len(at)], axis=1)[:, 1:4]
        shows(lives, np.array(config.lengths) * 2.0 ** (0.1 * (2 * m - 1)), rows[:, 1])
    for rows in by_batch:
        shows(batches, config.batches, [t_interval(values).mean for values in rows])
    for a in (0, 2, 4, 5, 7, 9):
        curve = found.by_position[a].astype(float).mean(axis=0)
        means = [curve[0], *(curve[2**n : 2 ** (n + 1)].mean() for n in range(7))]
        shows(positions, 2.0 ** np.arange(8), means)
    drawn_tables = [line.get_ydata()[0] for line in lengths.lines if np.ptp(line.get_xdata()) == 1.0]
    assert drawn_tables and set(drawn_tables) <= set(found.table[0])
    says(figure, *character_memory.GATES, *(f"{units} units" for units in config.sizes), "at the start")
    says(figure, "test loss (nats a character)", "half-life of a unit after training", "pieces in a minibatch")


def _samples(figure, found, config) -> None:
    _, words, losses = figure.axes
    for w, shares in enumerate(found.words):
        for t, several in enumerate(shares.T):
            shows(words, t + 0.22 * (w - 1) - 0.12, 100.0 * several)
            shows(words, t + 0.22 * (w - 1) + 0.05, 100.0 * several.mean())
        shows(losses, w - 0.12, found.value[w])
        shows(losses, w + 0.05, found.value[w].mean())
    texts = (found.prompt[0, 0], found.true[0, 0], *found.sampled[:, 0, :, 0].reshape(-1, config.sample))
    says(figure, *map(character_plots.shown, texts))
    says(figure, *(f"gates, temperature {t:g}" for t in config.temperatures), character_samples.TABLE, "the true text")


def _activations(figure, found, config) -> None:
    compared, rates, first, descents, second = figure.axes
    for y, losses in enumerate(found.compared().values()):
        shows(compared, losses.mean(axis=0), y + 0.2)
        shows(compared, losses.mean(), y)
    shows(rates, 10.0 ** np.array(config.log_rates), found.by_rate)
    spent = 3 * config.draws * np.arange(1, config.evaluations + 1)
    shows(descents, spent, found.value)
    shows(descents, spent, found.value.mean(axis=1))
    x = np.linspace(-4.0, 4.0, 81)
    for axis, several in zip((first, second), found.z[:, :, -1], strict=True):
        for z in several:
            for a, log_b in zip(z[:3], z[3:6]):
                shows(axis, x, x - a * np.tanh(x / np.exp(log_b)))
    says(figure, *found.compared(), "learning rate", "layer 3", "test loss (nats a character)", f"{config.seeds} runs")


def _windows(figure, found, config) -> None:
    by_window, cost, rates, short, long = figure.axes
    names, losses = list(jun01.KINDS), found.own(config)
    for i in range(len(config.lengths)):
        shows(by_window, 0, losses[i, names.index("recurrence")].mean())
        for below in ("recurrence", "attention"):
            at = [k for k, name in enumerate(names) if name.startswith(f"{below}, ")]
            shows(by_window, np.arange(5 - len(at), 5), losses[i, at].mean(axis=-1))
            apart = points(cost)[:, 1]
            for values in losses[i, at[:-1]] - losses[i, at[-1]]:
                assert all(np.isclose(apart, value, rtol=1e-9).any() for value in (*values, values.mean()))
    shows(rates, 10.0 ** np.array(config.log_rates), found.by_rate.mean(axis=-1))
    x = np.sqrt((config.bins[:-1] + 1.0) * config.bins[1:])
    for axis, values in ((short, found.value[0]), (long, found.value[-1])):
        for name in window_plots.SHOWN:
            apart = values[names.index(name)] - values[names.index(window_plots.REFERENCE)]
            shows(axis, x, apart.mean(axis=0))
    says(figure, *names, "no attention", "what a short window costs: each draw, mean, interval", "learning rate")


def _compute_gate(figure, found, config) -> None:
    by_steps, by_flops, rates, apart = figure.axes
    shows(by_steps, found.steps, found.value.mean(axis=1))
    shows(by_flops, found.flops, found.value.mean(axis=1))
    shows(rates, 10.0 ** np.array(config.log_rates), found.by_rate.mean(axis=-1))
    for y, (name, other, _) in enumerate(compute_gate_plots.SHOWN):
        shows(apart, may24.difference(found, name, other), y + 0.2)
        shows(apart, may24.difference(found, name, other).mean(), y)
    assert list(compute_gate_plots.STYLES) == list(may24.KINDS)
    says(figure, *map("{}:".format, may24.KINDS), "training step", "compute of the training (FLOPs)", "learning rate")


CHECKS = {
    aug08: _trained_memory,
    memory_range: _memory_range,
    memorised_digit: _memorised,
    aug10: _gates,
    digit_completion: _completions,
    aug12: _one_string,
    told_apart: _told_apart,
    batch_and_length: _batch_and_length,
    character_samples: _samples,
    may24: _compute_gate,
    jun01: _windows,
    jun05: _activations,
}
