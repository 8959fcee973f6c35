"""The sharpness along training below, at and past the edge of chaos, against the stability limit; and their figure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

import hypergrad as hg
from experiments.shared import small_net
from experiments.shared.intervals import t_interval
from experiments.shared.runner import seeds_in_words
from hypergrad.runs.parallel import compute
from hypergrad.style import in_style


@dataclass(frozen=True, kw_only=True)
class Config(small_net.Config):
    """Which runs are looked at: one for each momentum, with the batch size and steps that stand at its place.

    Attributes:
      offsets: log learning rates, from the edge of each seed.
      checkpoints: so many step counts, from 0 to the last.
    """

    momenta: tuple[float, ...] = (0.9, 0.0)
    batch_sizes: tuple[int, ...] = (125, 500)
    step_counts: tuple[int, ...] = (50, 200)
    offsets: tuple[float, ...] = (-1.0, 0.0, 0.5)
    checkpoints: int = 51

    def nets(self) -> list[small_net.SmallNet]:
        varied = zip(self.momenta, self.batch_sizes, self.step_counts)
        return [small_net.run_of(self, momentum=m, batch_size=b, steps=t) for m, b, t in varied]


class Results(NamedTuple):
    """For s seeds, n runs, r learning rates and c step counts."""

    log_lr: np.ndarray  # (s, n, r), natural logs
    counts: np.ndarray  # (s, n, c)
    loss: np.ndarray  # (s, n, r, c), on all images, nats
    sharpness: np.ndarray  # (s, n, r, c), of the loss on all images
    batch_sharpness: np.ndarray  # (s, n, r, c), of the loss on the next minibatch


SEED_AXIS = dict.fromkeys(Results._fields, 0)


def point(config: Config, seed: int, number: float) -> dict:
    net = config.nets()[int(number)]
    edge = small_net.find_edge(net, seed, config).location
    log_lr = (config.high if np.isnan(edge) else edge) + np.array(config.offsets)
    counts = np.linspace(0, net.steps, config.checkpoints).round().astype(int)[:: config.every]
    rows = np.array([small_net.sharpness_along(net, seed, x, counts) for x in log_lr])
    return dict(zip(Results._fields, (log_lr, counts, *np.moveaxis(rows, -1, 0))))


def run(config: Config, jobs: int, cache) -> Results:
    numbers = range(len(config.nets()))
    seeds = [
        compute(partial(point, config, seed), numbers, n_jobs=jobs, cache=cache / f"seed{seed}")
        for seed in config.numbered
    ]
    return Results(*(np.array([[one[name] for one in points] for points in seeds]) for name in Results._fields))


def to_limit(sharpness, log_lr, momentum: float) -> np.ndarray:
    """The sharpness over that at which SGD with this learning rate becomes unstable on a quadratic."""
    return sharpness / hg.chaos.max_lr(1.0, momentum) * np.exp(log_lr)[..., None]


def relative(results: Results, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """(s, n, r, c) each: the sharpness on all images and on the next minibatch, over the limit of stability."""
    momenta = [net.momentum for net in config.nets()]
    found = (
        np.stack([to_limit(array[:, n], results.log_lr[:, n], beta) for n, beta in enumerate(momenta)], axis=1)
        for array in (results.sharpness, results.batch_sharpness)
    )
    return tuple(found)


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes, of sharpnesses over the limit of stability; intervals are 95 %, Student's t, over seeds."""
    whole, batches = relative(results, config)
    found = {"seeds": len(whole)}
    for n, net in enumerate(config.nets()):
        for r, offset in enumerate(config.offsets):
            name = f"momentum {net.momentum:g}, offset {offset:g}"
            ours, steps = whole[:, n, r], results.counts[:, n]
            peaks, ends = ours.max(axis=-1), ours[:, -1]
            found[f"peak, {name}"], found[f"peak, range, {name}"] = t_interval(peaks), (peaks.min(), peaks.max())
            at = np.take_along_axis(steps, ours.argmax(axis=-1)[:, None], axis=-1)
            found[f"peak at step, latest, {name}"] = at.max()
            starts = ours[:, 0]
            found[f"start, {name}"], found[f"start, range, {name}"] = t_interval(starts), (starts.min(), starts.max())
            found[f"end, {name}"], found[f"end, range, {name}"] = t_interval(ends), (ends.min(), ends.max())
            above = ours > 1.0
            last = np.where(above.any(axis=-1), steps.max(axis=-1), 0)
            for s in np.flatnonzero(above.any(axis=-1) & ~above[:, -1]):
                last[s] = steps[s, np.flatnonzero(above[s])[-1] + 1]
            found[f"below 1 from step, range, {name}"] = last.min(), last.max()
            found[f"below 1 from step, {name}"] = t_interval(last)
            found[f"seeds above 1 at some step, {name}"] = above.any(axis=-1).sum()
            found[f"seeds above 1 at the end, {name}"] = above[:, -1].sum()
            late = above[:, steps.shape[-1] // 2 :]
            found[f"seeds above 1 in the second half, {name}"] = late.any(axis=-1).sum()
            found[f"peak of minibatches, highest, {name}"] = batches[:, n, r].max()
            found[f"seeds with a minibatch above 1, {name}"] = (batches[:, n, r] > 1.0).any(axis=-1).sum()
    return found


@in_style
def plot(results: Results, config: Config, plt):
    nets, columns = config.nets(), len(config.offsets)
    size = {"figsize": (4 * columns, 3.2 * len(nets) + 1.5), "layout": "constrained"}
    figure, axes = plt.subplots(len(nets), columns, sharex="row", sharey=True, squeeze=False, **size)
    for (n, net), row in zip(enumerate(nets), axes):
        for r, axis in enumerate(row):
            for seed, colour in enumerate(plt.colormaps["viridis"](np.linspace(0.0, 0.8, len(results.counts)))):
                values = (
                    to_limit(s[seed, n, r], results.log_lr[seed, n, r], net.momentum)
                    for s in (results.sharpness, results.batch_sharpness)
                )
                for y, style in zip(values, ({"linewidth": 1.1}, {"linewidth": 0.4, "alpha": 0.5})):
                    axis.semilogy(results.counts[seed, n], np.where(y > 0.0, y, np.nan), color=colour, **style)
            axis.axhline(1.0, color="black", linestyle="--", linewidth=1)
            losses = np.median(results.loss[:, n, r, -1])
            offset = config.offsets[r]
            side = "past" if offset > 0.0 else "below"
            where = f"log learning rate {abs(offset):g} {side} the edge" if offset else "at the edge"
            lrs = np.exp(results.log_lr[:, n, r])
            axis.set_title(
                f"{where}\nlearning rate {lrs.min():.3g} to {lrs.max():.3g}, median final loss {losses:.2g}",
                fontsize="small",
            )
        batches = "all images" if net.batch_size == net.images else f"minibatches of {net.batch_size}"
        row[0].set_ylabel(f"{batches}, momentum {net.momentum:g}\nsharpness / limit of stability")
    for axis in axes.flat:
        axis.set_xlabel("step")
    for style in (
        {"linewidth": 1.1, "label": "sharpness of the loss on all images"},
        {"linewidth": 0.4, "label": "on the next minibatch"},
    ):
        axes[0, 0].plot([], [], color="0.3", **style)
    axes[0, 0].plot([], [], "--", color="black", label="limit of stability 2(1 + β) / ((1 − β)α)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    title = (
        f"{config.network()}, log parameter scale {config.log_scale:g}, {seeds_in_words(config.seeds)}, one colour each"
    )
    figure.suptitle(title, fontsize="medium")
    return figure
