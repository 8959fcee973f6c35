"""Figures. Matplotlib is imported here only, and this module only when a figure is drawn."""

from __future__ import annotations

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .errors import ArgumentError
from .probe import Sweep

STYLE = {"figure.dpi": 100, "savefig.dpi": 150, "font.size": 10, "axes.spines.top": False, "axes.spines.right": False}


def plot_sweep(
    *sweeps: Sweep,
    xlabel: str = "value",
    ylabel: str = "loss",
    slope_label: str = "its derivative",
    labels=None,
    title: str = "",
) -> Figure:
    """The losses of a sweep above and their derivatives below, over the same values.

    The vertical range is that of the smooth part (:attr:`hypergrad.probe.Sweep.smooth`). Points that
    leave it are marked by triangles at the border, and the part past the edge of the last curve is
    shaded.

    Args:
      sweeps: the sweep, or its repetitions (one a seed), drawn over each other in the same colours.
      xlabel, ylabel, slope_label: what was varied, what was measured and its derivative, with units.
      labels: one for each of the k losses.
      title: of the figure.

    Returns:
      The figure; ``figure.savefig(path)`` writes it.
    """
    curves = sweeps[0].loss.reshape(len(sweeps[0].values), -1).shape[1]
    if labels is not None and (isinstance(labels, str) or len(labels) != curves):
        raise ArgumentError(f"labels must be a list of {curves}, one for each loss, got {labels!r}")
    smooth = np.concatenate([s.smooth.reshape(-1, curves) for s in sweeps])
    colours = matplotlib.colormaps["viridis"](np.linspace(0.9, 0.0, curves) if curves > 1 else [0.0])
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 1, sharex=True, figsize=(7.5, 6.5), layout="constrained")
        for axis, name in zip(axes, ("loss", "gradient")):
            data = [getattr(s, name).reshape(-1, curves) for s in sweeps]
            limits = smooth_limits(np.concatenate(data), smooth)
            for repetition, (one, sweep) in enumerate(zip(data, sweeps)):
                for k in range(curves):
                    label = labels[k] if labels is not None and repetition == 0 else None
                    dotted = len(sweep.values) > 100 and ~sweep.smooth.reshape(-1, curves)[:, k]
                    style = {"color": colours[k], "label": label, "alpha": 1.0 if repetition == 0 else 0.45}
                    draw_clipped(axis, sweep.values, one[:, k], limits, dotted, **style)
        axes[0].set_ylabel(ylabel)
        axes[1].set_ylabel(slope_label)
        axes[1].set_xlabel(xlabel)
        axes[1].axhline(0.0, color="0.6", linewidth=0.8, zorder=0)
        shade_past_edge(axes, sweeps, "" if labels is None else labels[-1])
        largest = max(np.abs(s.gradient[np.isfinite(s.gradient)]).max(initial=0.0) for s in sweeps)
        if largest > max(map(abs, axes[1].get_ylim())):
            axes[0].plot([], [], "^", color="0.4", label=f"outside the frame (derivative up to {largest:.0e})")
        if any(np.isnan(s.loss).any() for s in sweeps):
            axes[0].plot([], [], "x", color="0.4", label="diverged")
        figure.legend(
            *axes[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=min(3, curves + 1)
        )
        figure.suptitle(title, fontsize="medium")
    plt.close(figure)  # out of pyplot's list; the figure itself stays usable
    return figure


def plot_trust(report, *, xlabel: str, ylabel: str) -> Figure:
    """What :func:`hypergrad.chaos.trust` computed: ``f`` with its slopes, and the mismatch at each distance."""
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 4.0), layout="constrained")
        low, high = smooth_limits(report.loss, np.isfinite(report.loss))
        left.plot(report.offsets, report.loss, ".", color="C0", label="f")
        half = np.diff(report.offsets).min() * 0.4 * np.maximum(1.0, np.abs(report.offsets) / report.distances[2])
        with np.errstate(all="ignore"):
            rise = np.clip(half * report.gradient, low - high, high - low)
        for x, y, dx, dy in zip(report.offsets, report.loss, half, rise):
            left.plot([x - dx, x + dx], [y - dy, y + dy], color="C1", linewidth=1.3)
        left.plot([], [], color="C1", label="its derivative")
        left.set(xlabel=xlabel, ylabel=ylabel, ylim=(low, high))
        left.legend(frameon=False)
        shown = np.clip(report.mismatch, 1e-12, 1e3)
        right.loglog(report.distances, shown, ".-", color="C0")
        right.axhline(report.tolerance, color="0.4", linestyle="--", linewidth=1)
        right.set(xlabel="distance", ylabel="mismatch of derivative and differences")
        figure.suptitle(f"{report.verdict}: {report.reason}", fontsize="small", wrap=True)
    plt.close(figure)
    return figure


def smooth_limits(data: np.ndarray, smooth: np.ndarray) -> tuple[float, float]:
    """Vertical range of the smooth part with a margin; of all finite points where nothing is smooth."""
    shown = data[smooth] if smooth.any() else data[np.isfinite(data)]
    low, high = (shown.min(), shown.max()) if shown.size else (0.0, 1.0)
    margin = 0.12 * (high - low) or 0.1 * abs(high) or 0.1
    return float(low - margin), float(high + margin)


def draw_clipped(axis, x: np.ndarray, y: np.ndarray, limits, dotted, *, color, label=None, alpha=1.0) -> None:
    """A curve within ``limits``; points beyond are triangles at the border, NaN a cross at the bottom.

    Where ``dotted`` (False, or a mask) the points are not joined: a line would only fill the plane.
    """
    low, high = limits
    axis.set_ylim(low, high)
    dense = dotted is not False
    within = np.clip(y, low - (high - low), high + (high - low))  # leaves the frame, but not by 20 decades
    joined = np.where(dotted, np.nan, within)
    style = {"color": color, "alpha": alpha}
    axis.plot(x, joined, label=label, linewidth=1.3, marker=None if dense else ".", **style)
    if dense:
        inside = dotted & (y >= low) & (y <= high)
        axis.plot(x[inside], y[inside], ".", markersize=3, **style)
    for outside, border, marker in ((y > high, high, "^"), (y < low, low, "v"), (np.isnan(y), low, "x")):
        (line,) = axis.plot(x[outside], np.full(outside.sum(), border), marker, clip_on=False, **style)
        line.set_markersize(2.5 if dense else 6)
        line.set_in_layout(False)


def shade_past_edge(axes, sweeps: tuple[Sweep, ...], which: str) -> None:
    """Shade what lies past the edge of the last loss, the earliest among repetitions.

    On a fine grid that is :attr:`hypergrad.probe.Sweep.edge`; on a coarse one, where the edge may lie anywhere in
    its interval, the last smooth point.
    """
    counts = [np.count_nonzero(s.smooth.reshape(len(s.values), -1)[:, -1]) for s in sweeps]
    x, smooth_points = sweeps[0].values, min(counts)
    if smooth_points == len(x):
        return
    fine = len(x) > 100
    edge = x[smooth_points if fine else max(smooth_points - 1, 0)]
    for axis in axes:
        label = f"{which}: derivative does not match the loss" if which else "derivative does not match the loss"
        axis.axvspan(edge, x[-1], color="0.92", zorder=-1, label=label)
        axis.axvline(edge, color="0.4", linestyle="--", linewidth=1)
    if fine:
        above = axes[0].get_xaxis_transform()
        axes[0].text(edge, 1.01, f"edge {edge:.2f}", transform=above, fontsize="small", color="0.4", ha="center")
