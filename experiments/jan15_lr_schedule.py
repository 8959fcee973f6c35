"""15 January 2015: can gradient descent find the learning rate of every step?

Setting: 784-200-50-10 tanh, minibatches of 250 in order, log parameter scale −2, momentum 0.9. Descent
on the log learning rates, from 0, along the exact gradient of the training loss after the last step.

Part 1: 20 steps, 1,000 images, 7 meta-iterations, meta-step 40.
Part 2: with 30,000 images no minibatch comes twice. (The log says 3,000; it takes more than 5,000.)
Part 3: ten epochs of 30,000 images (1,200 steps), 4 meta-iterations, meta-step 2,000, the
    hypergradient averaged over the steps of each epoch; ten seeds.
Part 4: is the instability only at high frequencies? The spectrum of the hypergradient of part 1,
    and its optimisation longer, averaged over steps, over initialisations, with steps taken back;
    against the best constant learning rate that a dozen trainings find.
Part 5: what each of the usual ways finds with as many trainings as 21 hypergradients cost, 63: search of
    the 20 rates, constant, cosine and one-cycle rates, and rules that need no schedule; with other initial weights in
    every training but in January's descent. Needs the extra ``search``: python -m pip install -e '.[search]'
"""

import sys
from dataclasses import dataclass, replace
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np
from joblib import delayed

import hypergrad as hg
from experiments.parts.jan15_lr_schedule import schedule_plots
from experiments.shared import descents, rate_rivals, rivals, runner, setting
from experiments.shared.intervals import t_interval
from hypergrad.runs.parallel import workers

LOOK_AT = "Look at the last meta-iterations: the schedule splits into spikes, and the hypergradient grows by decades."


class Remedy(NamedTuple):
    """What is done against the instability of plain meta-descent."""

    by_epoch: bool = False  # mean of the log learning rates, and so of the hypergradient, over each epoch
    seeds: int = 1  # the loss is the mean over so many initialisations
    take_back: hg.meta.TakeBack | None = None


REMEDIES = {
    "none": Remedy(),
    "mean over epochs": Remedy(by_epoch=True),
    "4 initialisations": Remedy(seeds=4),
    "steps taken back": Remedy(take_back=hg.meta.TakeBack()),
    "all three": Remedy(True, 4, hg.meta.TakeBack()),
}


@dataclass(frozen=True)
class Config(runner.PartConfig):
    """A quick run ends ``every`` times earlier: descents, and trainings of more than 20 steps."""

    iterations: int
    meta_step: float
    steps: int = 20
    images: int = 1_000
    remedies: tuple[str, ...] = ("none",)
    fresh: int = 0
    points: int = 41
    log_scale: float = -2.0
    constants: tuple[float, ...] = ()  # log learning rates among which plain search chooses one for all steps


PARTS = {
    1: Config(7, 40.0, seeds=10, quick_every=3),
    2: Config(7, 40.0, seeds=10, quick_every=7, images=30_000),
    3: Config(4, 2_000.0, seeds=10, quick_every=60, steps=1_200, images=30_000, remedies=("mean over epochs",)),
    4: Config(
        20,
        40.0,
        seeds=10,
        quick_every=20,
        remedies=tuple(REMEDIES),
        fresh=10,
        points=2,
        constants=tuple(k / 5 for k in range(12)),
    ),
    5: rivals.Config(
        of="rate_rivals",
        names=rate_rivals.NAMES,
        measured=("training loss (nats)", "test loss (nats)"),
        setting="784-200-50-10 tanh, 1,000 MNIST images in minibatches of 250, 20 steps, momentum 0.9",
        trainings=63,
        seeds=10,
        quick_every=21,
    ),
}
FULL = {5: replace(PARTS[5], held_out=50)}


class Results(NamedTuple):
    """Arrays of r remedies, s seeds, n meta-iterations, t steps; NaN after a descent ended early."""

    value: np.ndarray  # (r, s, n), nats
    log_lr: np.ndarray  # (r, s, n, t), the schedule used
    gradient: np.ndarray  # (r, s, n, t), nats per unit of log learning rate
    taken_back: np.ndarray  # (r, s, n), 1 where the step that led there was taken back
    curve: np.ndarray  # (r, s, n, c), loss on the first 1,000 images during training, nats
    curve_steps: np.ndarray  # (r, s, c)
    fresh: np.ndarray  # (r, s, 2, f), loss of the first and the best schedule with other initialisations
    constant: np.ndarray = np.empty((0, 0, 0))  # (s, 4, c), loss with c constant rates, from the seed's initialisations
    constant_fresh: np.ndarray = np.empty((0, 0))  # (f, c), and from the other ones

    def chosen(self, initialisations: int) -> np.ndarray:
        """(s,): which constant has the lowest mean loss over the first so many initialisations of each seed."""
        return np.nanargmin(self.constant[:, :initialisations].mean(axis=1), axis=-1)


SEED_AXIS = dict.fromkeys(Results._fields, 1) | {"constant": 0, "constant_fresh": None}


def descend(config: Config, name: str, seed: int, cache) -> tuple:
    """A meta-descent and the learning curves along it: a piece of each array of the results."""
    model, batch_loss = setting.network(config.images, 250)
    X, T = batch_loss.X, batch_loss.T
    remedy = REMEDIES[name]
    iterations = max(1, config.iterations // config.every)
    steps = max(20, config.steps // config.every)
    epochs = -(-steps // batch_loss.batches)
    curve_steps = np.unique(np.linspace(0, steps, config.points).astype(int))

    def train(log_lr, seed, **options):
        params = hg.init.scaled_normal(model.shapes, np.exp(config.log_scale), seed)
        lr = anp.exp(hg.schedules.bin_means(log_lr, epochs) if remedy.by_epoch else log_lr)
        return hg.train(batch_loss, params, hg.SGD(lr, 0.9), steps=steps, adjoint=hg.Checkpointed(200), **options)

    def final_loss(log_lr):
        return sum(model.loss(train(log_lr, seed + 100 * i), X, T) for i in range(remedy.seeds)) / remedy.seeds

    def curve(log_lr):
        saved = train(log_lr, seed, save_at=curve_steps, on_divergence="nan")
        return [model.loss(params, X[:1000], T[:1000]) for params in saved]

    found = descents.history(
        final_loss,
        np.zeros(steps),
        steps=iterations,
        step_size=config.meta_step,
        take_back=remedy.take_back,
        cache=cache / f"{name} seed{seed}",
    )
    first, best = found[0].hypers, hg.meta.best(found).hypers
    fresh = [[model.loss(train(h, 10_000 + i), X, T) for i in range(config.fresh)] for h in (first, best)]
    curve_of = descents.or_nan(curve, len(curve_steps))
    rows = [(e.value, e.hypers, e.gradient, e.taken_back, curve_of(e)) for e in found]
    return *descents.columns(rows, iterations + 1), curve_steps, np.array(fresh)


def constant_losses(config: Config, seed: int) -> list[float]:
    """The loss with each of the constant learning rates, from one initialisation; NaN where training diverges."""
    model, batch_loss = setting.network(config.images, 250)
    params = hg.init.scaled_normal(model.shapes, np.exp(config.log_scale), seed)
    optimizers = [hg.SGD(np.exp(log_lr), 0.9) for log_lr in config.constants[:: config.every]]
    trained = [hg.train(batch_loss, params, each, steps=config.steps, on_divergence="nan") for each in optimizers]
    return [model.loss(w, batch_loss.X, batch_loss.T) for w in trained]


def run(config: Config, jobs: int, cache) -> Results:
    found = descents.in_parallel(descend, config, config.remedies, jobs, cache)
    if not config.constants:
        return Results(*found)
    own = [seed + 100 * i for seed in config.numbered for i in range(4)]
    others = range(10_000, 10_000 + config.fresh)
    searched = np.array(workers(jobs)(delayed(constant_losses)(config, i) for i in [*own, *others]))
    return Results(*found, searched[: len(own)].reshape(-1, 4, searched.shape[-1]), searched[len(own) :])


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: means and their 95 % intervals over the seeds or the other initialisations, and ranges."""
    found = {"start": results.value[0, :, 0], "start interval": t_interval(results.value[0, :, 0])}
    found["second interval"] = t_interval(results.value[0, :, 2])
    for r, name in enumerate(config.remedies):
        kept = np.where(results.taken_back[r] == 0, results.value[r], np.nan)
        best = np.nanargmin(kept, axis=-1)
        found[f"best, {name}"], found[f"best at, {name}"] = np.nanmin(kept, axis=-1), best
        found[f"ends at, {name}"] = np.isfinite(results.value[r]).sum(axis=-1) - 1
        found[f"taken back, {name}"] = np.nansum(results.taken_back[r], axis=-1)
        found[f"best interval, {name}"] = t_interval(np.nanmin(kept, axis=-1))
        largest = np.nanmax(results.value[r], axis=-1)
        for word, values in (("best", np.nanmin(kept, axis=-1)), ("best at", best), ("largest", largest)):
            found[f"{word} range, {name}"] = values.min(), values.max()
        for word in ("ends at", "taken back"):
            found[f"{word} range, {name}"] = found[f"{word}, {name}"].min(), found[f"{word}, {name}"].max()
        found[f"complete, {name}"] = np.count_nonzero(np.isfinite(results.value[r, :, -1]))
        if config.fresh:
            rates = np.array([results.log_lr[r, seed, at] for seed, at in enumerate(best)])
            found[f"log rates, {name}"] = rates.min(), rates.max()
            found[f"fresh, {name}"] = results.fresh[r, :, 1].mean(axis=-1)
            found[f"fresh interval, {name}"] = t_interval(results.fresh[r, :, 1].mean(axis=0))
            found[f"by descent, {name}"] = t_interval(results.fresh[r, :, 1].mean(axis=-1))
            found[f"fresh worst, {name}"] = results.fresh[r, :, 1].max()
    if not config.constants:
        return found | _of_all_seeds(results)
    found["fresh, rate 1"] = results.fresh[0, 0, 0].mean()
    seeds, log_rates = np.arange(config.seeds), np.array(config.constants)
    learned = {name: results.fresh[r, :, 1].mean(axis=0) for r, name in enumerate(config.remedies)}
    for name, initialisations in (("constant", 1), ("constant of 4", 4)):
        chosen = results.chosen(initialisations)
        fresh = results.constant_fresh[:, chosen]
        found[f"log rate, {name}"] = log_rates[chosen]
        found[f"best, {name}"] = results.constant[seeds, :initialisations, chosen].mean(axis=-1)
        found[f"fresh, {name}"] = fresh.mean(axis=0)
        found[f"fresh interval, {name}"] = t_interval(fresh.mean(axis=1))
        found[f"by descent, {name}"] = t_interval(fresh.mean(axis=0))
        found[f"best interval, {name}"] = t_interval(found[f"best, {name}"])
        found[f"log rate range, {name}"] = log_rates[chosen].min(), log_rates[chosen].max()
        for r, (remedy, losses) in enumerate(learned.items()):
            found[f"{remedy} less {name}"] = t_interval(losses - fresh.mean(axis=1))
            apart = results.fresh[r, :, 1].mean(axis=-1) - fresh.mean(axis=0)
            found[f"{remedy} less {name}, by descent"] = t_interval(apart)
    for name in [name for name in found if "fresh interval" in name or name.startswith("by descent")]:
        found[f"{name}, mean"] = found[name].mean
    for name, remedy in (("constant", "steps taken back"), ("constant of 4", "all three")):
        found[f"{name} less {remedy}, own"] = found[f"best, {name}"] - found[f"best, {remedy}"]
        found[f"{name} less {remedy}, own, interval"] = t_interval(found[f"{name} less {remedy}, own"])
    power = np.abs(np.fft.rfft(results.gradient[0, :, :4], axis=-1)) ** 2 / results.gradient.shape[-1]
    fast = np.fft.rfftfreq(results.gradient.shape[-1]) > 0.125
    found["power of the mean, start"] = power[:, 0, 0].min(), power[:, 0, 0].max()
    above = power[..., fast].sum(axis=-1) / power[:, :1, fast].sum(axis=-1)
    found["growth of the power above 1/8, seeds 0 and 1"] = above[0, 2], above[1, 3]
    before = np.nanargmin(results.value[0], axis=-1)  # the last meta-iteration before the loss rises
    grown, there = above[seeds, before], power[seeds, before]
    found["growth of the power above 1/8"] = grown.min(), grown.max(), np.median(grown)
    found["passed that of the mean"] = np.count_nonzero(there[:, fast].sum(axis=-1) > there[:, 0])
    found.update(_after_the_loss_rises(results))
    return found


def _of_all_seeds(results: Results) -> dict:
    """How descents of one kind go, and how alike their schedules are where the mean loss is lowest.

    That steps 9 and 16 stand out was seen in seeds 0 to 2, so the others are asked: how far is the log rate there above
    the mean of those two steps before and after?
    """
    with np.errstate(over="ignore"):
        value, norm = results.value[0], np.linalg.norm(results.gradient[0], axis=-1)
    seeds = np.arange(len(value))
    at, last = schedule_plots.lowest_mean(value), np.isfinite(value).sum(axis=-1) - 1
    start, best, final = value[:, 0], np.nanmin(value, axis=-1), value[seeds, last]
    log_lr, at_best = results.log_lr[0, :, at], results.log_lr[0, seeds, np.nanargmin(value, axis=-1)]
    gain, alike = 100.0 * (1.0 - best / start), np.corrcoef(log_lr)[np.triu_indices(len(value), 1)]
    found = {
        "lowest mean after": at,
        "lowest mean": t_interval(value[:, at]),
        "seeds": len(value),
        "norm of the first hypergradient": t_interval(norm[:, 0]),
        "largest loss": np.nanmax(value),
        "highest last loss of those that get to the end": value[:, -1][np.isfinite(value[:, -1])].max(initial=0.0),
        "gain (%)": t_interval(gain),
        "gain range (%)": (gain.min(), gain.max()),
        "end above the start": np.count_nonzero(final > start),
        "end above the best": np.count_nonzero(final > best),
        "worse after the first step": np.count_nonzero(value[:, 1] > start),
        "correlation of two schedules, mean": alike.mean(),
        "factor of rates at the best, range": (np.exp(at_best.min()), np.exp(at_best.max())),
    }
    if log_lr.shape[-1] == 20 and len(log_lr) > 4:
        for step in (9, 16):
            above = log_lr[:, step] - log_lr[:, [step - 2, step + 2]].mean(axis=-1)
            found[f"rise at step {step}"] = t_interval(above[3:])
    return found


def _after_the_loss_rises(results: Results) -> dict:
    """How much the power of the hypergradient of plain descent has grown, and what of it is in the mean."""
    with np.errstate(over="ignore", invalid="ignore"):
        power = np.abs(np.fft.rfft(results.gradient[0], axis=-1)) ** 2 / results.gradient.shape[-1]
    fast = np.fft.rfftfreq(results.gradient.shape[-1]) > 0.125
    seeds, last = np.arange(len(power)), np.isfinite(results.value[0]).sum(axis=-1) - 1
    grown = np.log10(power[:, 4].sum(axis=-1) / power[:, 2].sum(axis=-1))
    flat = power[:, 4, 1:].mean(axis=-1) / power[:, 4, 0]  # 1 for a spectrum whose mean is like its other frequencies
    end = power[seeds, last]
    return {
        "decades from 2 to 4, range": (grown.min(), grown.max()),
        "a frequency over the mean, range": (flat.min(), flat.max()),
        "decades from 2 to 4": grown,
        "a frequency over the mean, at 4": flat,
        "power above 1/8 over that of the mean, seed 1 at the end": end[1, fast].sum() / end[1, 0],
    }


plot = schedule_plots.plot_schedules

if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
