"""Figures of laws over depth, size, data and compute."""

import numpy as np

import hypergrad as hg
from drawn.looking import says, shows
from experiments import depth_trials, loss_curves, scaling_laws
from experiments.parts.depth_trials import depth_causes, fit_coverage
from experiments.parts.scaling_laws import iso_compute, tuned_laws
from experiments.shared import fitted_laws


def _depth_trials(figure, found, config) -> None:
    depths, steps = np.array(config.depths), np.arange(found.curve.shape[-1])
    limit = hg.chaos.max_lr(1.0, config.momentum) / config.lr
    mean = lambda values: hg.runs.running_mean(values, config.every_mean())
    for w, (losses, curves, sharpness, growth) in enumerate(zip(*[iter(figure.axes)] * 4, strict=True)):
        for s in range(config.seeds):
            shows(losses, depths * (1.0 + 0.008 * (s - config.seeds // 2)), found.value[w, :, s])
            for d in range(len(depths)):
                shows(curves, steps, mean(found.curve[w, d, s]))
                shows(sharpness, found.looked_at, found.sharpness[w, d, s] / limit)
                shows(growth, steps, mean(found.growth[w, d, s]))
    says(figure, config.title(), *(f"weight decay {decay:g}" for decay in config.weight_decays), "law of all")
    says(figure, "irregular, itself left out", "irregular, its depth left out", "depth (layers with weights)", "step")


def _causes(figure, found, config) -> None:
    forms, edges, changes = figure.axes
    for i in range(len(config.factors)):
        shows(forms, np.array(config.depths)[:, None] * (1.0 + 0.015 * (i - 1)), found.value[i])
    shows(edges, np.array(config.depths), np.exp(found.edge))
    for place, values in enumerate(depth_causes.excess(found, config).values()):
        shows(changes, values, place)
        shows(changes, values.mean(), place)
    says(figure, config.title(), "edge of chaos", *depth_causes.excess(found, config), "learning rate")


def _coverage(figure, found, config) -> None:
    axes, held = np.reshape(figure.axes, (2, 5)), fit_coverage.held(found)
    for law, names in enumerate(fit_coverage.NAMES):
        for k, axis in enumerate(axes[law][: len(names)]):
            fitted = np.sort(found.value[law, 0, :, k]) / fit_coverage.LAWS[law][k]
            shows(axis, np.arange(len(fitted)), fitted)
            assert f"points: {held[law, 0, k]}, residuals: {held[law, 1, k]}" in axis.get_title()
    says(figure, "one variable", "two variables", "interval that misses it", "draw, in the order of the fits")


def _scaling(figure, found, config) -> None:
    by_size, by_images, by_compute = figure.axes
    for d in range(len(config.depths)):
        shows(by_size, found.parameters[:, d, None], found.value[:, d, -1])
        shows(by_images, found.images[:, None], found.value[-1, d])
        shows(by_compute, found.compute[:, d, :, None], found.value[:, d])
        for axis, rows in ((by_size, found.by_size), (by_images, found.by_images)):
            (line,) = [line for line in axis.lines if line.get_label().startswith(f"depth {config.depths[d]}: ")]
            np.testing.assert_allclose(line.get_ydata(), fitted_laws.curve(rows[d, 0], line.get_xdata()))
            says(figure, f"depth {config.depths[d]}: {scaling_laws.in_words(rows[d])}")
    shows(by_compute, found.compute[found.efficient], found.value[found.efficient].mean(axis=-1))
    says(
        figure,
        config.network(),
        "no cheaper one is better (mean)",
        f"their law: {scaling_laws.in_words(found.by_compute)}",
    )
    says(figure, "parameters N", "training images D", "compute C of the training (FLOPs)", "test loss (nats)")


def _iso_compute(figure, found, config) -> None:
    sizes, best_n, best_d = figure.axes
    for c in range(len(found.budgets)):
        shows(sizes, found.parameters[:, None], found.value[c])
        shows(sizes, found.parameters, np.exp(np.log(found.value[c]).mean(axis=-1)))
    there = np.isfinite(found.best[0, :, 0])
    for i, axis in enumerate((best_n, best_d)):
        shows(axis, found.budgets[there], found.best[0, there, i])
        exponent = iso_compute.numbers(found, config)[f"exponent of the best {'ND'[i]}"].value
        says(figure, f"p = {exponent:.2f}")
    says(figure, config.network(), "b/(a+b)", "a/(a+b)", "compute C (FLOPs)", "parameters N", "lowest point")


def _tuned_laws(figure, found, config) -> None:
    laws, gains, rates = figure.axes
    by_fresh = found.value.mean(axis=2)
    for v, name in enumerate(tuned_laws.ways(config)):
        x = found.parameters * (1.0 + 0.03 * (v - 2))
        shows(laws, x, by_fresh[v].mean(axis=-1))
        shows(rates, x[:, None], np.exp(found.log_lr[v].mean(axis=-1)))
        if v:
            shows(gains, x, (by_fresh[v] - by_fresh[0]).mean(axis=-1))
        says(figure, f"{name}: α = {found.laws[v, 0, 2]:.2f}")
    says(
        figure,
        config.network(),
        "parameters N",
        "what tuning is worth",
        f"a tuning costs {config.trainings()} trainings",
    )


def _loss_curves(figure, found, config) -> None:
    for i, (axis, name) in enumerate(zip(figure.axes, loss_curves.AXES)):
        if name == "size":
            shows(axis, found.parameters[:, None], found.final)
        else:
            x = found.step * found.per_step[:, i, None]
            shows(axis, x, found.value.mean(axis=1))
            assert len(axis.collections) == len(config.widths), "a band for each shape"
        says(figure, f"power law: α = {found.exponents[i].mean():.3f}", loss_curves.LABELS[name])
    says(figure, "lower envelope", *map(config.named, range(len(config.widths))), "loss (nats a character)")
    says(figure, *(f"slope of Kaplan et al. (2020): α = {alpha:.3f}" for alpha in loss_curves.KAPLAN.values()))


CHECKS = {
    scaling_laws: _scaling,
    iso_compute: _iso_compute,
    tuned_laws: _tuned_laws,
    loss_curves: _loss_curves,
    depth_trials: _depth_trials,
    depth_causes: _causes,
    fit_coverage: _coverage,
}
