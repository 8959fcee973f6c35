"""The figure of :mod:`experiments.feb10_many_steps`, and the numbers in it."""

from __future__ import annotations

import numpy as np

from experiments.shared.intervals import t_interval
from experiments.shared.runner import seeds_in_words
from hypergrad.style import BLUE, GREEN, ORANGE, PURPLE, VERMILION, in_style

GROUPS = {
    "mlp": ("layer 1", "layer 2", "layer 3", "layer 4"),
    "transformer": ("embedding", "attention", "MLP", "head"),
}
COLOURS = (BLUE, ORANGE, GREEN, PURPLE)  # which colour-blind readers can tell apart (Okabe and Ito)
REVERSED, STORED = BLUE, VERMILION
RUNS = ("training,\nfloats", "training,\nexact", "forward mode,\none direction", "exact\nreversal")


def extrapolated(results, steps):
    """The bytes that storing so many steps would take: the line through the short runs."""
    return np.polyval(np.polyfit(results.short_steps, results.short_bytes[:, 1], 1), steps)


def disagreement(results) -> np.ndarray:
    """(s, 2): how far forward mode and the central difference are from the reversal, relative to it."""
    return np.abs(results.slope[:, 1:] / results.slope[:, :1] - 1.0)


def title(config) -> str:
    """The setting in words."""
    network = {
        "mlp": f"784-50-50-50-10 tanh, {config.images:,} MNIST images",
        "transformer": "a transformer of width 16 with one block on sequences of 49 grey levels, "
        f"{config.images:,} MNIST images of 7 by 7 pixels",
    }[config.network]
    return (
        f"{network} in minibatches of {config.batch_size},\nlearning rate {np.exp(config.log_lr):.3g}, momentum "
        f"{config.momentum:g}, {seeds_in_words(config.seeds)}"
    )


@in_style
def plot(results, config, plt):
    """Above what a hypergradient costs in memory, bits and time; below the run, its hypergradient, and two checks."""
    figure, axes = plt.subplots(2, 3, figsize=(12.5, 7.2), layout="constrained")
    _memory(axes[0, 0], results)
    _bits(axes[0, 1], results)
    _time(axes[0, 2], results)
    _run(axes[1, 0], results)
    _hypergradient(axes[1, 1], results, config)
    _agreement(axes[1, 2], results)
    figure.suptitle(title(config), fontsize="medium")
    return figure


def _memory(axis, results) -> None:
    steps, last = results.short_steps, results.curve_steps[-1]
    whole = np.array([steps[0], last])
    axis.plot(whole, extrapolated(results, whole) / 1e6, "--", color=STORED, label="extrapolated linearly")
    axis.plot(steps, results.short_bytes[:, 1] / 1e6, "s", color=STORED, label="every step stored")
    axis.plot(steps, results.short_bytes[:, 0] / 1e6, "o", color=REVERSED)
    axis.plot(np.full(len(results.bytes), last), results.bytes / 1e6, "o", color=REVERSED, label="exact reversal")
    axis.set(xscale="log", yscale="log", xlabel="training steps", ylabel="peak memory of a hypergradient (MB)")
    axis.set_title(f"{np.max(results.bytes) / 1e6:.0f} MB, and {extrapolated(results, last) / 1e6:,.0f} MB if stored")
    axis.legend(frameon=False, fontsize="small")


def _bits(axis, results) -> None:
    for seed, bits in enumerate(results.bits):
        label = "held in the information buffers" if seed == 0 else None
        axis.plot(results.curve_steps, bits / 8e6, "o", color=REVERSED, markersize=4, fillstyle="none", label=label)
    axis.plot(results.curve_steps, results.bound / 8e6, color="0.3", linewidth=1, label="lost: T · P · log₂(1/β)")
    axis.set(xlabel="training steps T", ylabel="information (MB)")
    excess = results.bits[:, -1] / results.bound[-1] - 1.0
    axis.set_title(f"{np.max(np.abs(excess)):.1g} apart at the end, relative")
    axis.legend(frameon=False, fontsize="small")


def _time(axis, results) -> None:
    times = results.seconds / results.seconds[:, :1]
    axis.bar(range(4), times.mean(axis=0), color=["0.75", "0.75", ORANGE, REVERSED], width=0.6)
    for run, column in enumerate(times.T):
        axis.plot(np.full(len(column), run), column, "k.", markersize=5)
        axis.text(run, column.max() + 0.15, f"{column.mean():.1f}", ha="center")
    axis.set_xticks(range(4), RUNS, fontsize="x-small")
    axis.set(ylabel="processor time (training in floats = 1)", ylim=(0.0, 1.15 * times.max() + 0.3))
    axis.set_title(f"training: {results.seconds[:, 0].mean():.0f} s; reversal: {results.seconds[:, 3].mean():.0f} s")


def _run(axis, results) -> None:
    axis.plot(results.curve_steps, results.curve.T, color=BLUE, linewidth=0.6, alpha=0.5)
    axis.lines[0].set_label("each seed")
    axis.plot(results.curve_steps, results.curve.mean(axis=0), "o-", color=BLUE, markersize=3, label="mean")
    axis.set(xlabel="training steps", ylabel="validation loss (nats)", yscale="log", title="The run")
    axis.legend(frameon=False, fontsize="small")


def _hypergradient(axis, results, config) -> None:
    bins = results.gradient.shape[-1]
    width = results.curve_steps[-1] / bins
    middle = width * (np.arange(bins) + 0.5)
    for group, name in enumerate(GROUPS[config.network]):
        axis.plot(middle, results.gradient[:, group].T, color=COLOURS[group], alpha=0.3, linewidth=0.5)
        axis.plot(middle, results.gradient[:, group].mean(axis=0), color=COLOURS[group], linewidth=1.6, label=name)
    axis.axhline(0.0, color="0.6", linewidth=0.8, zorder=0)
    axis.set_yscale("symlog", linthresh=float(np.median(np.abs(results.gradient))))
    axis.set(xlabel="training step", ylabel=f"hypergradient by the log learning rates\nof {width:.0f} steps (nats)")
    axis.set_title("Where the learning rates matter\n(wide: mean of the seeds)")
    axis.legend(frameon=True, framealpha=0.85, edgecolor="none", fontsize="small")


def _agreement(axis, results) -> None:
    far = disagreement(results)
    for column, (name, marker) in enumerate((("forward mode", "o"), ("central difference", "s"))):
        seeds = np.arange(len(far))
        axis.plot(seeds, far[:, column], marker, color=COLOURS[column], label=name)
    axis.axhline(1e-6, color="0.4", linestyle="--", linewidth=1)
    axis.text(
        0.99, 7e-7, "10⁻⁶", fontsize="small", color="0.4", ha="right", va="top", transform=axis.get_yaxis_transform()
    )
    axis.set(yscale="log", xlabel="seed", ylabel="apart from the reversal, relative", ylim=(1e-16, 1.0))
    axis.set_xticks(range(len(far)))
    axis.set_xlim(-0.5, len(far) - 0.5)
    axis.set_title("Along one random direction")
    axis.legend(frameon=False, fontsize="small", loc="upper right")


def numbers(results, config) -> dict:
    """What the log quotes: MB are 10⁶ bytes, seconds those of the processor; intervals are Student's t over seeds."""
    last, times = results.curve_steps[-1], results.seconds
    total = results.gradient.sum(axis=1)  # (s, b), of all groups
    tenth, reversal = total.shape[1] // 10, times[:, 3] / times[:, 0]
    stored, shares = extrapolated(results, last), 100.0 * np.abs(total) / np.abs(total).sum(axis=1, keepdims=True)
    first, final = shares[:, :tenth].sum(axis=1), shares[:, -tenth:].sum(axis=1)
    return {
        "seeds": len(total),
        "parameters": results.parameters,
        "hyperparameters": 4 * last + 4,
        "loss at the start": results.curve[:, 0].mean(),
        "lowest loss": results.curve.mean(axis=0).min(),
        "loss at the end": results.curve[:, -1].mean(),
        "MB": results.bytes.max() / 1e6,
        "MB, range": (results.bytes.min() / 1e6, results.bytes.max() / 1e6),
        "MB of reversal after 200 steps": results.short_bytes[-1, 0] / 1e6,
        "MB stored after 200 steps": results.short_bytes[-1, 1] / 1e6,
        "GB if stored": stored / 1e9,
        "times less": stored / results.bytes.max(),
        "MB of bits": results.bits[:, -1].mean() / 8e6,
        "bits a parameter and step": results.bits[:, -1].mean() / last / results.parameters,
        "bits too many": np.abs(results.bits[:, -1] / results.bound[-1] - 1.0).max(),
        "seconds of training": times[:, 0].mean(),
        "times training": (times[:, 1:] / times[:, :1]).mean(axis=0),
        "reversal": t_interval(reversal),
        "reversal, mean": reversal.mean(),
        "reversal, range": (reversal.min(), reversal.max()),
        "forward mode apart": np.abs(disagreement(results)[:, 0]).max(),
        "difference apart": np.abs(disagreement(results)[:, 1]).max(),
        "share of the first tenth": t_interval(first),
        "share of the first tenth, range": (first.min(), first.max()),
        "share of the last tenth": t_interval(final),
        "share of the last tenth, range": (final.min(), final.max()),
        "seeds with a sum above 0 from step 6,000 on": (total[:, total.shape[1] * 3 // 10 :] > 0.0).all(axis=1).sum(),
        "correlation after an epoch": _after_an_epoch(results, config),
    }


def _after_an_epoch(results, config) -> float:
    """Correlation of a group's hypergradient with itself an epoch later, between its first bins and the last two."""
    bins = results.gradient.shape[-1]
    epoch = round(config.images / config.batch_size * bins / results.curve_steps[-1])
    rows = results.gradient[..., bins // 5 : -2].reshape(-1, bins - bins // 5 - 2)
    return float(np.mean([np.corrcoef(row[:-epoch], row[epoch:])[0, 1] for row in rows])) if epoch else np.nan
