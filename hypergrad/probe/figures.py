"""Figures. Matplotlib is imported here only, and this module only when a figure is drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from ..errors import ArgumentError
from ..style import BLUE, ORANGE, STYLE, seed_colour
from .edge import DENSE, WIDTH

FEW = 4  # repetitions that can be told apart; of more, the first stands out and the others are thin
THIN = 0.6  # points, of their lines


def plot_sweep(
    *sweeps: Any,
    xlabel: str = "value",
    ylabel: str = "loss",
    slope_label: str = "its derivative",
    labels=None,
    title: str = "",
    moving_average: int = 0,
    magnitude: bool = False,
    edges=None,
    log: bool = False,
) -> Figure:
    """The losses of a sweep above and their derivatives below, over the same values.

    The vertical range is that of the smooth part (:attr:`hypergrad.probe.Sweep.smooth`); for the losses it reaches
    down to the lowest of all, and up to the highest too where that is not much more. Points that leave it are marked
    by triangles at the border. Where the derivative does not match the last of the losses
    (:attr:`hypergrad.probe.Sweep.matched`) is shaded, darker for more repetitions, and their edges are marked if the
    values are close enough to place them; unless edges are given that were found in another way.

    Args:
      sweeps: the sweep, or its repetitions (one a seed), drawn over each other: of one loss in a colour for each, of
        several losses in theirs. Of more than four the first stands out, and the others are thin and of one colour.
      xlabel, ylabel, slope_label: what was varied, what was measured and its derivative, with units.
      labels: one for each of the k losses.
      title: of the figure.
      moving_average: a panel shows the losses less their moving average over so many values; 0 for none.
      magnitude: a panel shows the magnitude of the derivatives on a logarithmic axis.
      edges: of the last loss, one for each repetition, by :func:`hypergrad.probe.locate_edge`; the figure then names
        both sides of them. If empty, no edge is marked, and the figure says why.
      log: the losses on a logarithmic axis, and the derivatives on one that is linear as far as nearly all of the
        smooth part reach, and logarithmic beyond; then nothing is outside.

    Returns:
      The figure; ``figure.savefig(path)`` writes it.
    """
    curves = sweeps[0].loss.reshape(len(sweeps[0].values), -1).shape[1]
    if labels is not None and (isinstance(labels, str) or len(labels) != curves):
        raise ArgumentError(f"labels must be a list of {curves}, one for each loss, got {labels!r}")
    smooth = np.concatenate([s.smooth.reshape(-1, curves) for s in sweeps])
    many = len(sweeps) > FEW
    repeated = curves == 1 and len(sweeps) > 1  # a colour for each repetition; for several losses theirs, and paler
    colours = matplotlib.colormaps["viridis"](np.linspace(0.9, 0.0, curves) if curves > 1 else [0.0])
    rows = 2 + bool(moving_average) + magnitude
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(rows, 1, sharex=True, figsize=(7.5, 1.5 + 2.5 * rows), layout="constrained")
        for axis, name in zip(axes, ("loss", "gradient")):
            data = [getattr(s, name).reshape(-1, curves) for s in sweeps]
            together = np.concatenate(data)
            limits = smooth_limits(together, smooth, at_most=10.0 if name == "loss" else 0.0)
            if name == "loss":
                limits = down_to_lowest(together, limits)
            limits = log_scale(axis, name, together, smooth) if log else limits
            for repetition, (one, sweep) in enumerate(zip(data, sweeps)):
                for k in range(curves):
                    label = labels[k] if labels is not None and repetition == 0 else None
                    dotted = len(sweep.values) > 100 and ~within_match(sweep)[:, k]
                    style = {"color": colours[k], "label": label, "alpha": _alpha(repetition)}
                    style = _one_of(repetition, len(sweeps)) if repeated else style
                    draw_clipped(axis, sweep.values, one[:, k], limits, dotted, thin=many and repetition > 0, **style)
        axes[0].set_ylabel(ylabel)
        axes[1].set_ylabel(slope_label)
        axes[1].axhline(0.0, color="0.6", linewidth=0.8, zorder=0)
        if moving_average:
            draw_without_average(axes[2], sweeps, colours, moving_average)
        if magnitude:
            draw_magnitude(axes[-1], sweeps, colours)
        axes[-1].set_xlabel(xlabel)
        if len(sweeps) > 1 and not repeated:
            faint = "seed 1" if len(sweeps) == 2 else f"seeds 1 to {len(sweeps) - 1}"
            axes[0].plot([], [], color="black", label="seed 0, of each colour")
            style = {"linewidth": THIN} if many else {}
            axes[0].plot([], [], color="black", alpha=_alpha(1), label=f"{faint}: paler", **style)
        last = "" if labels is None else labels[-1]
        if edges is None:
            shade_mismatch(axes, sweeps, last)
        else:
            shade_beyond(axes, sweeps, np.asarray(edges, dtype=float), last)
        largest = max(np.abs(s.gradient[np.isfinite(s.gradient)]).max(initial=0.0) for s in sweeps)
        if not log and largest > max(map(abs, axes[1].get_ylim())):
            axes[0].plot([], [], "^", color="0.4", label=f"outside the frame (derivatives up to {largest:.0e})")
        if any(np.isnan(s.loss).any() for s in sweeps):
            axes[0].plot([], [], "x", color="0.4", label="training diverged")
        entries, columns = axes[0].get_legend_handles_labels(), 2 if curves < 3 else 3
        figure.legend(*entries, frameon=False, loc="outside lower center", ncols=columns)
        figure.suptitle(title, fontsize="medium")
    plt.close(figure)  # out of pyplot's list; the figure itself stays usable
    return figure


def log_scale(axis, name: str, data: np.ndarray, smooth: np.ndarray) -> tuple[float, float]:
    """Put an axis for all losses, or all derivatives, on a logarithmic scale; its limits."""
    finite = np.abs(data[np.isfinite(data)])
    if name == "loss":
        positive = finite[finite > 0.0]
        axis.set_yscale("log")
        return float(positive.min() / 1.3), float(positive.max() * 1.3)
    calm = np.abs(data[smooth])  # of which some spikes close to the edge are left out
    shown = np.quantile(calm, 0.99) if calm.any() else finite.max(initial=1.0)
    within = 10.0 ** np.round(np.log10(shown))
    decades = max(1, int(np.ceil(np.log10(max(finite.max(initial=1.0) / within, 10.0)))))
    axis.set_yscale("symlog", linthresh=within, linscale=0.3 * decades + 0.7)
    every = -(-decades // 3)
    powers = within * 10.0 ** np.arange(every, decades + 1, every)
    axis.set_yticks([*-powers[::-1], -within, 0.0, within, *powers])
    axis.minorticks_off()
    axis.text(0.005, 0.02, f"linear within ±{within:g}", transform=axis.transAxes, fontsize="small", color="0.35")
    top = within * 10.0 ** (decades + 0.3)
    return -top, top


def _alpha(repetition: int) -> float:
    """The first repetition stands out."""
    return 1.0 if repetition == 0 else 0.45


def _one_of(repetition: int, count: int) -> dict[str, Any]:
    """Colour and label of one of so many repetitions of a single loss."""
    if count <= FEW:
        return {"color": seed_colour(repetition), "label": f"seed {repetition}", "alpha": 0.8}
    if repetition == 0:
        return {"color": BLUE, "label": "seed 0", "alpha": 1.0}
    return {"color": ORANGE, "label": f"seeds 1 to {count - 1}" if repetition == 1 else None, "alpha": 0.5}


def _width(repetition: int, count: int) -> dict[str, float]:
    """How wide the line of a repetition is, and that a thin one lies below the first."""
    thin = count > FEW and repetition > 0
    return {"linewidth": THIN, "zorder": 1.9} if thin else {"linewidth": 1.0, "zorder": 2.0}


def draw_without_average(axis, sweeps: tuple, colours, window: int) -> None:
    """The losses less their moving average over ``window`` values, which leaves out half a window at both ends."""
    for repetition, sweep in enumerate(sweeps):
        losses = sweep.loss.reshape(len(sweep.values), -1)
        centre = np.convolve(sweep.values, np.full(window, 1 / window), "valid")
        for k, colour in enumerate(colours):
            average = np.convolve(losses[:, k], np.full(window, 1 / window), "valid")
            rest = losses[:, k] - np.interp(sweep.values, centre, average, left=np.nan, right=np.nan)
            style = {"color": colour, "alpha": _alpha(repetition), **_width(repetition, len(sweeps))}
            axis.plot(sweep.values, rest, **style)
    axis.axhline(0.0, color="0.6", linewidth=0.8, zorder=0)
    axis.set_ylabel(f"loss less its moving\naverage over {window} values")


def draw_magnitude(axis, sweeps: tuple, colours) -> None:
    """The magnitudes of the derivatives on a logarithmic axis; a gap where they are zero or not finite."""
    for repetition, sweep in enumerate(sweeps):
        gradients = np.abs(sweep.gradient.reshape(len(sweep.values), -1))
        gradients[(gradients == 0.0) | ~np.isfinite(gradients)] = np.nan
        for k, colour in enumerate(colours):
            style = {"color": colour, "alpha": _alpha(repetition), **_width(repetition, len(sweeps))}
            axis.plot(sweep.values, gradients[:, k], "-" if style["linewidth"] == THIN else ".-", **style)
    axis.set_yscale("log")
    axis.set_ylabel("magnitude of\nthe derivative")


def plot_trust(report, *, xlabel: str, ylabel: str) -> Figure:
    """What :func:`hypergrad.chaos.trust` computed: ``f`` with its slopes, and the mismatch at each distance."""
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 4.4), layout="constrained")
        low, high = smooth_limits(report.loss, np.isfinite(report.loss))
        left.plot(report.offsets, report.loss, ".", color=BLUE, label="f")
        half = np.diff(report.offsets).min() * 0.4 * np.maximum(1.0, np.abs(report.offsets) / report.distances[2])
        with np.errstate(all="ignore"):
            rise = np.clip(half * report.gradient, low - high, high - low)
        for x, y, dx, dy in zip(report.offsets, report.loss, half, rise):
            left.plot([x - dx, x + dx], [y - dy, y + dy], color=ORANGE, linewidth=1.3)
        left.plot([], [], color=ORANGE, label="its derivative")
        ends = report.loss[np.argmin(np.abs(report.offsets))] + report.changes
        label = f"difference over the step, slope {report.slope:.3g}"
        left.plot([-report.step, report.step], ends, "--", color="0.3", linewidth=1, label=label)
        left.set(xlabel=xlabel, ylabel=ylabel, ylim=(low, high))
        left.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2)
        shown = np.clip(report.mismatch, 1e-12, 1e3)
        right.loglog(report.distances, shown, ".-", color=BLUE, label="steps of that length")
        for side, marker, name in zip(report.beside, "<>", ("below", "above")):
            label = f"short steps that far {name}"
            right.plot(report.distances[2:6], np.clip(side, 1e-12, 1e3), marker, color=ORANGE, label=label)
        right.axhline(report.tolerance, color="0.4", linestyle="--", linewidth=1, label="what is tolerated")
        right.axvline(report.step, color="0.3", linestyle=":", linewidth=1, label="the step that is judged")
        right.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2)
        right.set(
            xlabel="distance", ylabel="what the integral of the derivative\nmisses (share of that of its magnitude)"
        )
        figure.suptitle(f"{report.verdict}: {report.reason}", fontsize="small", wrap=True)
    plt.close(figure)
    return figure


def plot_metasmoothness(report, *, xlabel: str, ylabel: str) -> Figure:
    """What :func:`hypergrad.probe.metasmoothness` computed: both halves of the step, and the loss."""
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 4.2), layout="constrained")
        on = report.first * report.second > 0.0
        size = np.abs(np.concatenate([report.first, report.second]))
        linear = float(np.quantile(size[size > 0.0], 0.25)) if (size > 0.0).any() else 1.0
        for chosen, marker, colour, words in ((on, ".", BLUE, "go on"), (~on, "x", ORANGE, "turn round or rest")):
            share = f"{words}: {100 * np.mean(chosen):.3g} % of the parameters"
            left.plot(report.first[chosen], report.second[chosen], marker, ls="", ms=3, color=colour, label=share)
        for scale in (left.set_xscale, left.set_yscale):
            scale("symlog", linthresh=linear)
        left.axhline(0.0, color="0.7", linewidth=0.8, zorder=0)
        left.axvline(0.0, color="0.7", linewidth=0.8, zorder=0)
        top = 10.0 ** np.floor(np.log10(size.max(initial=0.0) or 1.0))
        for axis in (left.xaxis, left.yaxis):  # others would overlap near 0
            axis.set_ticks([-top, 0.0, top])
            axis.set_ticks([], minor=True)
        left.set(xlabel="move of a parameter over the first half", ylabel="over the second half")
        left.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.17))
        at = report.h * np.arange(3)
        right.plot(at, report.losses, ".-", color=BLUE, label="outer loss")
        right.plot(at[[0, 2]], report.losses[[0, 2]], "--", color="0.5", linewidth=1, label="straight line")
        right.set(xlabel=xlabel, ylabel=ylabel)
        right.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2)
        title = f"metasmoothness {report.value:.3g}, curvature of the loss {report.curvature:.3g}"
        figure.suptitle(title, fontsize="medium")
    plt.close(figure)
    return figure


def smooth_limits(data: np.ndarray, smooth: np.ndarray, at_most: float = 0.0) -> tuple[float, float]:
    """Vertical range of the smooth part with a margin; of all finite points where nothing is smooth.

    Also of all finite points where that is no more than ``at_most`` times as much.
    """
    finite = data[np.isfinite(data)]
    shown = data[smooth] if smooth.any() else finite
    if shown.size and np.ptp(finite) <= at_most * np.ptp(shown):
        shown = finite
    low, high = (shown.min(), shown.max()) if shown.size else (0.0, 1.0)
    margin = 0.12 * (high - low) or 0.1 * abs(high) or 0.1
    return float(low - margin), float(high + margin)


def draw_clipped(
    axis, x: np.ndarray, y: np.ndarray, limits, dotted, *, color, label=None, alpha=1.0, thin: bool = False
) -> None:
    """A curve within ``limits``; points beyond are triangles at the border, NaN a cross at the bottom.

    Where ``dotted`` (False, or a mask) the points are not joined: a line would only fill the plane. One that is
    ``thin`` lies below others, and its points are small or not marked.
    """
    low, high = limits
    axis.set_ylim(low, high)
    dense = dotted is not False
    within = np.clip(y, low - (high - low), high + (high - low))  # leaves the frame, but not by 20 decades
    joined = np.where(dotted, np.nan, within)
    style = {"color": color, "alpha": alpha, "zorder": 1.9 if thin else 2.0}
    marker = None if dense or thin else "."
    axis.plot(x, joined, label=label, linewidth=THIN if thin else 1.3, marker=marker, **style)
    if dense:
        inside = dotted & (y >= low) & (y <= high)
        axis.plot(x[inside], y[inside], ".", markersize=2 if thin else 3, **style)
    for outside, border, marker in ((y > high, high, "^"), (y < low, low, "v"), (np.isnan(y), low, "x")):
        (line,) = axis.plot(x[outside], np.full(outside.sum(), border), marker, clip_on=False, **style)
        line.set_markersize(2.5 if dense else 3 if thin else 6)
        line.set_in_layout(False)


def down_to_lowest(data: np.ndarray, limits: tuple[float, float], at_most: float = 10.0) -> tuple[float, float]:
    """The range extended down to the lowest point with a margin, if that makes it at most so many times as long."""
    (low, high), lowest = limits, data[np.isfinite(data)].min(initial=np.inf)
    if not lowest < low or high - lowest > at_most * (high - low):
        return limits
    return float(lowest - 0.12 * (high - lowest)), high


def within_match(sweep) -> np.ndarray:
    """The points that have a matching interval on either side, (n, k)."""
    matched = sweep.matched.reshape(len(sweep.values) - 1, -1)
    none = np.zeros((1, matched.shape[1]), bool)
    return np.concatenate([none, matched]) | np.concatenate([matched, none])


def shade_mismatch(axes, sweeps: tuple, which: str) -> None:
    """Shade where the derivative does not match the last loss, darker for more repetitions; mark the edges.

    Where the values are too far apart to place an edge it is hatched, and the legend says how close they must be.
    """
    x = sweeps[0].values
    missed = np.mean([~s.matched.reshape(len(x) - 1, -1)[:, -1] for s in sweeps], axis=0)
    starts = np.flatnonzero(np.diff(missed, prepend=-1.0) != 0.0)  # of stretches with the same share
    last = [replace(s, loss=_last(s.loss), gradient=_last(s.gradient)) for s in sweeps]
    note = next((s.note for s in last if s.note), "")
    edges = sorted({float(s.edge) for s in last if np.isfinite(s.edge)})
    prefix = f"{which}: " if which else ""
    for start, end in zip(starts, [*starts[1:], len(missed)]):
        if missed[start] == 0.0:
            continue
        shade = 1.0 - 0.08 - 0.1 * (missed[start] - 1.0 / len(sweeps))
        style = {"facecolor": "none", "edgecolor": "0.85", "hatch": "//"} if note else {"facecolor": str(shade)}
        for axis in axes:
            axis.axvspan(x[start], x[end], linewidth=0, zorder=-1, **style)
    more = "\n(darker where it is so for more seeds)" if not note and len(set(missed[missed > 0.0])) > 1 else ""
    if (missed > 0.0).any():
        words = "derivative does not match the loss" + more
        if note:
            steps = np.diff(x).max()
            takes = f"(to place an edge it takes {WIDTH / DENSE:g} or less)"
            words = f"losses {steps:.2g} apart do not match the derivative\n{takes}"
            axes[0].fill_between(
                [], [], facecolor="none", edgecolor="0.75", hatch="//", linewidth=0, label=prefix + words
            )
        else:
            axes[0].fill_between([], [], facecolor="0.9", linewidth=0, label=prefix + words)
    for axis in axes:
        lines = [axis.axvline(edge, color="0.4", linestyle="--", linewidth=1) for edge in edges]
        if axis is axes[0] and lines:
            lines[0].set_label(f"{prefix}edge of each seed" if len(sweeps) > 1 else f"{prefix}edge")
    if edges:
        words = f"edge{'s' if len(edges) > 1 else ''} {', '.join(f'{edge:.2f}' for edge in edges)}"
        above = axes[0].get_xaxis_transform()
        axes[0].text(np.mean(edges), 1.01, words, transform=above, fontsize="small", color="0.4", ha="center")


def shade_beyond(axes, sweeps: tuple, edges: np.ndarray, which: str) -> None:
    """Shade what lies past the edges, darker for more, mark each, and name both sides; or say why none is marked."""
    x, prefix, found = sweeps[0].values, f"{which}: " if which else "", np.sort(edges[np.isfinite(edges)])
    if not len(found):
        words = f"no edge is marked: values {np.diff(x).max():.2g} apart\nare too few to place one"
        axes[0].plot([], [], linestyle="none", label=words)
        return
    for axis in axes:
        for number, (start, end) in enumerate(zip(found, [*found[1:], max(x[-1], found[-1])])):
            axis.axvspan(start, end, facecolor=str(0.94 - 0.09 * (number + 1) / len(found)), linewidth=0, zorder=-1)
        for edge in found:
            axis.axvline(edge, color="0.3", linestyle="--", linewidth=1 if len(found) <= FEW else 0.7)
    listed = ", ".join(f"{edge:.2f}" for edge in found).replace("-", "−")
    words = f"edge{'s, one a seed' if len(found) > 1 else ''}: {listed}"
    if len(found) > FEW:
        words = f"edges, one a seed, mean {found.mean():.2f}".replace("-", "−")
    axes[0].plot([], [], color="0.3", linestyle="--", linewidth=1, label=prefix + words)
    low, high = axes[0].get_xlim()
    above = axes[0].get_xaxis_transform()
    for side, words in (
        ((low + found[0]) / 2.0, "calm: the derivative is the slope"),
        ((found[-1] + high) / 2.0, "chaotic: it is not"),
    ):
        axes[0].text(side, 1.02, words, transform=above, fontsize="medium", ha="center", va="bottom")


def _last(array: np.ndarray) -> np.ndarray:
    """That of the last of k losses."""
    return array.reshape(len(array), -1)[:, -1]
