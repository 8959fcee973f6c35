"""26 November 2026: which trials over depth break the form, and why?

Setting: 196-30-…-10 tanh of depths 2, 3, 5, 7 and 9 on 5,000 MNIST images averaged to 14 × 14, 15 % of whose labels are
drawn anew; minibatches of 100 in order, learning rate 0.3, momentum 0.9, 300 steps, normal initial weights of
1.4/√fan-in. The form is E + A · depth^−α, for the mean loss of the last 100 minibatches; a trial is irregular if it
lies outside what the other trials predict for it (`hg.fit.irregular`), or what the trials of other depths do.

Part 1: ten seeds without and with weight decay 5·10⁻⁴; telemetry: the growth λ of a perturbation, the sharpness against
    the limit of stability, the gradients at the start.
Part 2: the test of the cause, on ten other seeds: smaller and larger learning rates, against the edge of chaos at each
    depth; and at depth 9 a scale for each layer's initial weights, learned by hypergradient and found by plain search.
Part 3: do the intervals of the fits hold what they promise? 100 draws from a law of one variable, and from that of
    Besiroglu et al. (2024) of two.
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

import hypergrad as hg
from experiments.parts.depth_trials import deep_nets, depth_causes, fit_coverage
from experiments.parts.depth_trials.deep_nets import LEAVES, irregular, net_of
from experiments.parts.depth_trials.depth_figure import plot_trials
from experiments.shared import runner
from experiments.shared.intervals import t_interval

LOOK_AT = (
    "Look at the deepest nets: whether they lie above the law of the others, and how far above 1 their sharpness is."
)


@dataclass(frozen=True, kw_only=True)
class Config(deep_nets.Config):
    """A quick run takes ``every`` times fewer steps.

    Attributes:
      look_every: the sharpness is computed so often, and so often it is asked which trials are irregular by then.
    """

    weight_decays: tuple[float, ...] = (0.0, 5e-4)
    look_every: int = 20
    seeds: int = 10
    quick_every: int = 10

    def look(self) -> int:
        """Every how many steps is looked."""
        return max(10, self.look_every // self.every)

    def every_mean(self) -> int:
        """Over how many last steps the curves of the figure are averaged."""
        return max(1, 30 // self.every)


PARTS = {1: Config(), 2: depth_causes.Config(), 3: fit_coverage.Config()}
FULL = {
    1: Config(width=200, images=50_000, steps=5_000, window=500, look_every=500),
    2: depth_causes.Config(width=200, images=50_000, steps=5_000, window=500, seeds=20, descent_steps=50),
    3: fit_coverage.Config(draws=1_000, bootstraps=1_000),
}


class Results(NamedTuple):
    """For w weight decays, d depths, s seeds, T steps and c of them, at which is looked."""

    value: np.ndarray  # (w, d, s), mean loss of the last minibatches, nats
    error: np.ndarray  # (w, d, s), on the test images
    wrong: np.ndarray  # (w, d, s), error on the last minibatches, against labels some of which are wrong
    diverged_at: np.ndarray  # (w, d, s), step, −1 if not
    curve: np.ndarray  # (w, d, s, T), loss of each minibatch, nats
    growth: np.ndarray  # (w, d, s, T), of a perturbation, nats a step
    sharpness: np.ndarray  # (w, d, s, c), on the first 1,000 images
    start: np.ndarray  # (w, d, s, 2), norm of the first gradient by the first and the last layer
    flagged: np.ndarray  # (2, w, d, s), whether it is irregular: itself left out, or all of its depth
    score: np.ndarray  # (2, w, d, s), how many standard errors the log of its loss is above the prediction
    predicted: np.ndarray  # (2, w, d, s), nats
    looked_at: np.ndarray  # (c,), step counts
    flagged_by: np.ndarray  # (c, w, d, s), whether it is irregular by then, all of its depth left out


SEED_AXIS = dict.fromkeys(("value", "error", "wrong", "diverged_at", "curve", "growth", "sharpness", "start"), 2)
SEED_AXIS |= {"looked_at": None}


def trial(config: Config, point: dict, seed: int) -> dict:
    """A training with telemetry."""
    net, depth = net_of(config), point["depth"]
    model, loss = deep_nets.problem(net, depth)
    X, T, X_test, T_test = deep_nets.data(net.images, net.wrong)
    some = hg.nn.MinibatchLoss(model, X[:1_000], T[:1_000])

    def error(params, step):
        rows = slice(step * net.batch_size % net.images, step * net.batch_size % net.images + net.batch_size)
        return model.error_rate(params, X[rows], T[rows])

    optimizer = hg.SGD(net.lr, net.momentum, point["weight_decay"])
    seen = hg.track.watch(
        loss,
        deep_nets.initial(net, depth, seed),
        optimizer,
        steps=net.steps,
        every=config.look(),
        measures={"error": error},
        sharpness_of=some,
    )
    return {
        "smooth": hg.runs.running_mean(seen.curves["loss"], net.window)[-1],
        "test error": model.error_rate(seen.params, X_test, T_test),
        "training error": hg.runs.running_mean(seen.curves["error"], net.window)[-1],
        "start": seen.curves["gradient"][0, [0, -1]],
        **seen.results,
    }


def run(config: Config, jobs: int, cache) -> Results:
    net = net_of(config)
    grid = {"weight_decay": config.weight_decays, "depth": config.depths}
    found = hg.runs.trials(grid, partial(trial, config), seeds=config.numbered, n_jobs=jobs, cache=cache)
    results = Results(
        found.array("smooth"),
        found.array("test error"),
        found.array("training error"),
        found.diverged_at,
        found.array("loss").astype(np.float32),
        found.array("growth").astype(np.float32),
        found.array("sharpness")[..., :: config.look()],
        found.array("start"),
        *[np.empty(0)] * 3,
        np.arange(0, net.steps, config.look()),
        np.empty(0),
    )
    return completed(results, config)


def completed(results: Results, config: Config) -> Results:
    """With what is irregular among all seeds."""
    decays, smooth = range(len(results.value)), hg.runs.running_mean(results.curve.astype(float), net_of(config).window)
    both = [[irregular(config.depths, results.value[w], leave) for w in decays] for leave in LEAVES]
    by_then = [[irregular(config.depths, smooth[w, ..., t], "all")[0] for w in decays] for t in results.looked_at]
    flagged, score, predicted = np.moveaxis(np.array(both, dtype=float), 2, 0)
    found = {"flagged": flagged, "score": score, "predicted": predicted}
    return results._replace(**found, flagged_by=np.array(by_then, dtype=bool))


def parting(results: Results) -> np.ndarray:
    """(w, d, s): the step from which on a trial is irregular whenever it is looked at; NaN if it is not in the end."""
    still = np.logical_and.accumulate(results.flagged_by[::-1])[::-1]
    return np.where(still[-1], results.looked_at[np.argmax(still, axis=0)], np.nan)


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes; percentages as percentages."""
    from scipy.stats import spearmanr

    found, deepest = {}, int(np.argmax(config.depths))
    limit = hg.chaos.max_lr(1.0, config.momentum) / config.lr
    growth, sharpest = results.growth[..., -config.window :].mean(axis=-1), results.sharpness.max(axis=-1) / limit
    ratio = results.start[..., 0] / results.start[..., 1]
    for w, decay in enumerate(config.weight_decays):
        name = f"weight decay {decay:g}"
        found[f"loss by depth, {name}"] = results.value[w].mean(axis=-1)
        found[f"test error by depth, {name}"] = 100.0 * results.error[w].mean(axis=-1)
        found[f"training error by depth, {name}"] = 100.0 * results.wrong[w].mean(axis=-1)
        for leave, flagged, score in zip(LEAVES, results.flagged[:, w], results.score[:, w]):
            found[f"irregular by depth, {leave} left out, {name}"] = flagged.sum(axis=-1)
            found[f"scores at depth {config.depths[deepest]}, {leave} left out, {name}"] = score[deepest]
        above = results.value[w, deepest] - results.predicted[1, w, deepest]
        found[f"above the law of the others, {name}"] = t_interval(above)
        found[f"growth by depth, {name}"] = growth[w].mean(axis=-1)
        found[f"growth by depth in thousandths, {name}"] = 1e3 * growth[w].mean(axis=-1)
        found[f"growth at the deepest in thousandths, {name}"] = 1e3 * growth[w, deepest].mean()
        found[f"sharpness over the limit by depth, {name}"] = sharpest[w].max(axis=-1)
        found[f"first over last gradient by depth, {name}"] = ratio[w].mean(axis=-1)
        since, first = parting(results)[w, deepest], results.curve[w, deepest, :, :50].mean(axis=-1)
        odd, regular = first[results.flagged[1, w, deepest] > 0.5], first[results.flagged[1, w, deepest] < 0.5]
        found[f"since step, {name}"] = since[np.isfinite(since)]
        found[f"first 50 steps, irregular, {name}"] = odd
        found[f"first 50 steps, regular, range, {name}"] = regular.min(), regular.max()
    score = results.score[1, :, deepest].ravel()
    found["largest sharpness over the limit"] = sharpest.max()
    for name, sign in (("growth", growth), ("sharpness", sharpest), ("first gradient", ratio)):
        found[f"rank correlation of score and {name}"] = spearmanr(score, sign[:, deepest].ravel()).statistic
    return found


plot = plot_trials

if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
