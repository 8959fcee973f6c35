"""The figures of meta-descents on learning-rate schedules."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from hypergrad.probe.figures import STYLE, Panel, iteration_colours, plot_by_iteration


def plot_schedules(results, config):
    """Schedule, hypergradient and learning curve by meta-iteration; or a comparison of remedies."""
    if len(config.remedies) > 1:
        return _plot_remedies(results, config)
    log_lr, gradient, curve = results.log_lr[0], results.gradient[0], results.curve[0]
    step = np.arange(log_lr.shape[-1])
    calm = 10.0 ** np.ceil(np.log10(np.abs(gradient[:, 0]).max()))
    widest = min(4.0, 1.2 * np.nanmax(np.abs(log_lr)) + 0.1)
    steepest = min(1e3 * calm, 2.0 * np.nanmax(np.abs(gradient)))
    last = np.isfinite(results.value[0]).sum(axis=1) - 1
    return plot_by_iteration(
        Panel(step, log_lr, "training step", "log learning rate", limits=(-widest, widest)),
        Panel(
            step,
            gradient,
            "training step",
            "hypergradient (nats per unit\nof log learning rate)",
            scale="symlog",
            linear_within=0.1 * calm,
            limits=(-steepest, steepest),
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
            + (f",\nrates overflow after iteration {end}" if end < len(values) - 1 else "")
            for seed, (values, end) in enumerate(zip(results.value[0], last))
        ],
        title=f"{setting(config)},\n{log_lr.shape[-1]:,} steps, meta-step {config.meta_step:g}",
    )


def setting(config) -> str:
    return f"784-200-50-10 tanh, {config.images:,} MNIST images in minibatches of 250, momentum 0.9"


def _plot_remedies(results, config):
    """Above the loss and the schedules by remedy, below the spectrum of the plain descent's hypergradient."""
    shown = plt.get_cmap("tab10")
    with plt.rc_context(STYLE):
        figure, ((loss, fresh), (spectrum, share)) = plt.subplots(2, 2, figsize=(10.5, 8.0), layout="constrained")
        for r, name in enumerate(config.remedies):
            values, kept = results.value[r], results.taken_back[r] == 0
            for seed, one in enumerate(np.where(kept, values, np.nan)):
                best = np.fmin.accumulate(one)
                label = name if seed == 0 else None
                loss.plot(np.clip(one, None, 5.0), color=shown(r), alpha=0.3, linewidth=0.8)
                loss.plot(best, color=shown(r), label=label, linewidth=1.8)
                if np.isnan(values[seed, -1]):
                    end = np.isfinite(values[seed]).sum() - 1
                    loss.plot(end, best[end], "x", color=shown(r), markersize=8)
        loss.set(yscale="log", ylim=(0.05, 3.0), xlabel="meta-iteration", ylabel="final training loss (nats)")
        loss.set_title("loss (thin) and best so far (thick), three seeds;\ncross: descent ended", fontsize="medium")
        loss.xaxis.set_major_locator(MaxNLocator(integer=True))
        loss.legend(frameon=False, fontsize="small", loc="upper right")
        for r in range(len(config.remedies)):
            for seed, (start, found) in enumerate(results.fresh[r]):
                x = r + 0.2 * (seed - 1)
                fresh.plot(np.full(len(start), x - 0.04), start, ".", color="0.7", markersize=4)
                fresh.plot(np.full(len(found), x + 0.04), np.clip(found, None, 2.9), ".", color=shown(r), markersize=4)
        fresh.set_xticks(range(len(config.remedies)), [textwrap.fill(name, 15) for name in config.remedies])
        fresh.set(yscale="log", ylim=loss.get_ylim(), ylabel="final training loss (nats)")
        fresh.set_title(
            "best schedule of each seed on 10 other initialisations\n(grey: all learning rates 1)", fontsize="medium"
        )
        plain = results.gradient[0]
        with np.errstate(over="ignore", invalid="ignore"):
            power = np.abs(np.fft.rfft(plain, axis=-1)) ** 2 / plain.shape[-1]
        frequency = np.fft.rfftfreq(plain.shape[-1])
        iterations = 1 + int(np.isfinite(results.value[0]).all(axis=0).sum() - 1)
        colours = iteration_colours(iterations)
        for i in range(iterations):
            spectrum.plot(frequency, np.exp(np.mean(np.log(power[:, i]), axis=0)), ".-", color=colours(i), label=f"{i}")
        spectrum.set(
            yscale="log", xlabel="frequency (cycles per training step)", ylabel="power of the hypergradient (nats²)"
        )
        spectrum.set_title("spectrum without remedy, by meta-iteration", fontsize="medium")
        spectrum.legend(frameon=False, fontsize="small", title="meta-iteration", ncols=2)
        low = (frequency <= 0.125) & (frequency > 0)
        for seed in range(plain.shape[0]):
            parts = power[seed, :, low].sum(axis=0), power[seed, :, frequency > 0.125].sum(axis=0), power[seed, :, 0]
            for part, label, style in zip(
                parts, ("up to 1/8, without 0", "above 1/8", "0 (the mean)"), ("-", "--", ":")
            ):
                share.plot(part, style, color=f"C{seed}", label=label if seed == 0 else None, marker=".")
        share.set(
            yscale="log", ylim=spectrum.get_ylim(), xlabel="meta-iteration", ylabel="power of the hypergradient (nats²)"
        )
        share.set_title("its power by frequency, a colour for each seed", fontsize="medium")
        share.legend(frameon=False, fontsize="small", title="cycles per step")
        figure.suptitle(f"{setting(config)},\n20 steps, meta-step {config.meta_step:g}", fontsize="medium")
    plt.close(figure)
    return figure
