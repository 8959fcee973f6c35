"""Figures of learned data, penalties, sharing, cleaning and attribution."""

import numpy as np

from drawn.looking import says, shows
from experiments import attribution, hyper_cleaning
from experiments import feb04_weight_sharing as feb04
from experiments import jan19_learned_data as jan19
from experiments import jan21_relevance as jan21
from experiments.parts.attribution import attribution_starts


def _mosaic(axis, images, columns: int = 10) -> None:
    """The first image on an axis consists of these (n, 784), in rows of ten."""
    shown = axis.images[0].get_array()
    for n, one in enumerate(images):
        down, right = divmod(n, columns)
        np.testing.assert_array_equal(shown[28 * down :, 28 * right :][:28, :28], one.reshape(28, 28))


def _by_trainings(axis, value) -> None:
    trainings = 3 * np.arange(1, value.shape[-1] + 1)
    for one in value:
        if np.isfinite(one).all():
            shows(axis, trainings, one)
            shows(axis, trainings, one.mean(axis=0))


def _relevance(figure, found, config) -> None:
    learned = list(jan21.WAYS).index(jan21.PER_WEIGHT)
    gradient, *penalties = figure.axes[:3]
    losses, *tests = figure.axes[-3:]
    _mosaic(gradient, found.gradient[0].T)
    for axis, one in zip(penalties, found.log_penalty[learned]):
        _mosaic(axis, one.T)
    _by_trainings(losses, found.value)
    for which, (axis, factor) in enumerate(zip(tests, (1.0, 100.0))):
        for way in range(len(jan21.WAYS)):
            shows(axis, factor * found.unseen[way, ..., which].mean(axis=0).mean(), way - 0.14)
            shows(axis, factor * found.own[way, :, which], way + 0.2)
    says(figure, "unseen training sets", "test loss (nats)", "test error (%)", "validation loss (nats)")
    says(figure, f"{'another' if config.fresh else 'the same'} training set", *(name[:12] for name in jan21.WAYS))


def _learned_data(figure, found, config) -> None:
    names, (losses, *tests) = list(jan19.WAYS), figure.axes[-3:]
    for axis, name in zip(figure.axes[:3], jan19.SHOWN, strict=False):
        _mosaic(axis, found.images[names.index(name), 0])
    _by_trainings(losses, found.value)
    for m, axis in enumerate(tests):
        for c, count in enumerate(config.counts):
            says(figure, f"after {count} steps")
            for way in range(len(names)):
                error = 100.0 * found.unseen[way, :, m, c, :, 1]
                shows(axis, error.mean(axis=0).mean(), way + 0.36 * c - 0.18)
    says(figure, "grey value", "validation loss (nats)", "MLP trained on these")
    says(figure, *(f"{name}, seed 0" for name in jan19.SHOWN), f"{10 * config.per_digit} training images")


def _sharing(figure, found, config) -> None:
    layers, (kinds, descents, losses) = figure.axes[:3], figure.axes[4:7]
    upper = np.triu_indices(10, 1)
    for axis, logs in zip(layers, found.learned.mean(axis=0), strict=True):
        (image,) = axis.images
        np.testing.assert_allclose(np.asarray(image.get_array())[upper], logs / np.log(10.0))
    t, u = upper
    for k, kind in enumerate((t // 5 == u // 5, u - t == 5, (t // 5 != u // 5) & (u - t != 5))):
        shows(kinds, np.arange(3) + 0.2 * (k - 1), found.learned[..., kind].mean(axis=-1) / np.log(10.0))
    shows(descents, np.arange(found.value.shape[1]), found.value)
    for row, array in enumerate((found.train, found.test)):
        for way, values in enumerate(array.mean(axis=0)):
            shows(losses, way + 0.18 * (2 * row - 1), values)
            shows(losses, way + 0.18 * (2 * row - 1), values.mean())
    says(
        figure, "input weights", "middle weights", "output weights", "learned", "all tied", "separate", "meta-iteration"
    )
    says(figure, *feb04.TASKS[:5], f"Ten tasks of {2 * config.per_digit} images", "test images", "training images")


def _cleaning(figure, found, config) -> None:
    descent, weights, errors, shares, *_ = figure.axes
    for values in found.value.reshape(-1, found.value.shape[-1]):
        shows(descent, np.arange(values.size), values)
    middle, wrong, edges = len(config.budgets) // 2, found.wrong.astype(bool), np.linspace(0.0, 1.0, 21)
    for rows in (wrong, ~wrong):
        shows(weights, edges[:-1], np.histogram(found.weights[middle][rows], edges)[0])
    shows(errors, config.budgets, 100.0 * found.cleaned.mean(axis=1))
    for mean in 100.0 * found.others.mean(axis=0):
        assert any(np.allclose(line.get_ydata(), mean) for line in errors.lines)
    removed = found.weights == 0.0
    hits = np.sum(removed & wrong, axis=-1)
    shows(shares, config.budgets, 100.0 * np.mean(hits / removed.sum(axis=-1), axis=1))
    shows(shares, config.budgets, 100.0 * np.mean(hits / wrong.sum(axis=-1), axis=1))
    says(figure, *hyper_cleaning.OTHERS, "cleaned", "precision", "recall", "R, the largest sum of the weights")
    says(figure, "removed, and the label is wrong", "removed, though the label is right", "right label", "wrong label")


def _attribution(figure, found, config) -> None:
    halves, single, points, *_ = figure.axes
    for axis, scores in ((halves, found.value), (single, found.left_out)):
        for m in range(len(config.methods())):
            shows(axis, m, scores[:, m].mean(axis=-1))
            shows(axis, m + 0.2, scores[:, m].mean())
    for predicted in found.predicted[0, :2, :, 0]:
        shows(points, (predicted - predicted.mean()) / predicted.std(), found.measured[0, :, 0])
    says(figure, *config.methods(), "most helpful training images", "most harmful training images", "test image")


def _starts(figure, found, config) -> None:
    dampings, starts = figure.axes
    for half in range(2):
        shows(dampings, config.dampings, found.value[:, half].mean(axis=(0, -1)))
    for m, method in enumerate(attribution_starts.METHODS):
        by_seed = found.across[:, m].mean(axis=(-2, -1))
        shows(starts, np.array(config.starts) * 1.04 ** (2 * m - 1), by_seed)
        says(figure, method)
    for mean in (found.whole[:, 1].mean(), found.repeated.mean()):
        assert any(np.allclose(line.get_ydata(), mean) for line in starts.lines)
    says(figure, "damping λ of influence functions", "initial weights that scores are averaged over")


CHECKS = {
    attribution_starts: _starts,
    jan19: _learned_data,
    jan21: _relevance,
    feb04: _sharing,
    hyper_cleaning: _cleaning,
    attribution: _attribution,
}
