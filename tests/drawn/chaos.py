"""Figures of sweeps, edges of chaos and what moves them."""

import numpy as np

from drawn.looking import marks, points, says, shows
from experiments import jan11_gradient_by_magnitude as jan11
from experiments import smooth_recipes, trainability_map
from experiments.parts.edge_of_chaos import edge_agreement, edge_curves, edge_sharpness
from experiments.parts.jan09_param_scale_wiggliness import precision
from experiments.parts.smooth_recipes.recipe_figures import goodness
from experiments.parts.trainability_map.box_counting import boundary, dimension
from experiments.shared import sweeps


def _sweeps(figure, found, config) -> None:
    for seed in range(config.seeds):
        shows(figure.axes[0], found.values[:, None], found.loss[seed])
        shows(figure.axes[1], found.values[:, None], found.gradient[seed])
        if config.magnitude:
            shows(figure.axes[-1], found.values[:, None], np.abs(found.gradient[seed]))
        if config.moving_average:
            half = config.moving_average // 2
            for y in found.loss[seed].T:
                for i in range(half, len(y) - half):
                    around = (np.mean(y[i - half : i + half]) + np.mean(y[i - half + 1 : i + half + 1])) / 2.0
                    at = points(figure.axes[2])
                    assert np.abs(at[at[:, 0] == found.values[i], 1] - (y[i] - around)).min() < 1e-12
    edges = found.edges()
    for axis in figure.axes:
        marks(axis, edges)
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--" and len(line.get_xdata())]
    assert len(dashed) == len(edges), "no edge that neither the values nor a search resolve"
    spacing = np.diff(found.values)[0]
    assert config.locate or spacing <= 0.01 or not len(edges)
    if len(edges):
        assert len(edges) == config.seeds and np.isfinite(edges).all()
        says(figure, "calm: the derivative is the slope", "chaotic: it is not")
        listed = ": " + ", ".join(f"{edge:.2f}" for edge in np.sort(edges))
        listed = listed if len(edges) <= 4 else f", mean {edges.mean():.2f}"
        says(figure, "edges, one a seed" + listed.replace("-", "−"))
    else:
        says(figure, f"no edge is marked: values {spacing:.2g} apart\nare too few to place one")
    if len(config.counts) == 1:
        assert figure.axes[0].get_yscale() == "log"
        few = [f"seed {seed}" for seed in range(config.seeds)]
        says(figure, *(few if config.seeds <= 4 else ["seed 0", f"seeds 1 to {config.seeds - 1}"]), "linear within ±")
    varied = "learning rate" if config.log_lr is None else "scale of the initial parameters"
    says(figure, config.title(), f"natural log of the {varied}", "training loss (nats)")
    says(figure, *(f"{count} step" for count in config.counts), "its derivative (nats per unit of log)")


def _precision(figure, found, config) -> None:
    closer, (over_scale, over_size, differences) = figure.axes[:3], figure.axes[3:6]
    for axis, width, offset, loss in zip(closer, config.zooms, found.offset, found.zoom_loss, strict=True):
        shows(axis, offset / width, loss - loss[len(loss) // 2])
        says(figure, f"within ±{width:g}")
    extended = found.gradient[..., -1]
    shows(over_scale, found.log_scale[:, None], np.abs(found.gradient))
    shows(over_size, np.abs(extended)[..., None], np.abs(found.gradient[..., :2] / extended[..., None] - 1.0))
    shows(differences, found.distance, np.abs(found.difference / extended[..., None] - 1.0))
    says(figure, *precision.PRECISIONS, "relative error of the derivative", "natural log of the initial scale")


def _by_magnitude(figure, found, config) -> None:
    centres = np.sqrt(jan11.BINS[1:] * jan11.BINS[:-1]) * np.exp(config.log_scale)
    for row, log_lr in enumerate(config.log_lrs):
        for array, (layer, _) in enumerate(jan11.ARRAYS):
            axis = figure.axes[3 * row + layer - 1]
            shows(axis, np.abs(found.weight[:, row, array]), np.abs(found.gradient[:, row, array]))
            if np.isfinite(found.median[:, row, array]).any():  # not where all bins hold too few
                shows(axis, centres, found.median[:, row, array])
            says(figure, f"layer {layer}, learning rate {np.exp(log_lr):.3g}")
    says(figure, "weights", "biases", "median of all biases, one line a seed", f"{config.steps} steps")


def _agreement(figure, found, config) -> None:
    losses, places, slopes, all_slopes, growths, all_growths = figure.axes
    shows(losses, found.log_lr, found.loss[0])
    shows(slopes, found.log_lr, np.abs(found.gradient[0]))
    shows(growths, found.log_lr, found.growth[0])
    shows(growths, found.log_lr, found.late_growth[0])
    for seed in range(config.seeds):
        apart = found.log_lr - found.location[seed]
        shows(all_slopes, apart, np.abs(found.gradient[seed]))
        shows(all_growths, apart, found.late_growth[seed])
    signs = edge_agreement.signs(found, config)
    first = [found.location, *(signs[name] for name in ("dense", "flip", "onset"))]
    for at in first:
        shows(places, at, np.arange(config.seeds))
    for axis in (losses, slopes, growths):
        marks(axis, [at[0] for at in first if np.isfinite(at[0])])
    says(figure, config.title(), "natural log of the learning rate", "first sign flip of the derivative", "seed 0")
    says(figure, f"edge located by {config.budget} trainings (bracket shaded)", "training loss (nats)")


def _curves(figure, found, config) -> None:
    nets = config.nets()
    for axis, (name, label) in zip(figure.axes[:6], edge_curves.LABELS.items(), strict=True):
        curve = config.curve(name)
        at, values = [nets.index(net) for net in curve], np.array([getattr(net, name) for net in curve], dtype=float)
        x = -np.log10(1.0 - values) if name == "momentum" else values
        x = np.log(x) if name in edge_curves.LOGARITHMIC else x
        shows(axis, x, np.nanmedian(found.location[:, at], axis=0))
        momentum = np.array([net.momentum for net in curve])
        limit = np.log(2.0 * (1.0 + momentum) / (1.0 - momentum))
        for sharpness in (found.sharpness[..., 0], found.sharpness.max(axis=-1), found.batch_sharpness.max(axis=-1)):
            shows(axis, x, np.median(limit - np.log(sharpness[:, at]), axis=0))
        says(figure, label)
    says(figure, config.title(), "edge of chaos, median", "bound from the sharpness at initialisation")


def _sharpness(figure, found, config) -> None:
    columns = len(config.offsets)
    for n, net in enumerate(config.nets()):
        limit = 2.0 * (1.0 + net.momentum) / (1.0 - net.momentum)
        for r in range(columns):
            for sharpness in (found.sharpness, found.batch_sharpness):
                relative = sharpness[:, n, r] / limit * np.exp(found.log_lr[:, n, r])[:, None]
                shows(figure.axes[n * columns + r], found.counts[:, n], relative)
    says(figure, config.network(), "sharpness of the loss on all images", "limit of stability", "step")
    says(figure, *(f"momentum {net.momentum:g}" for net in config.nets()), "at the edge")


def _maps(figure, found, config) -> None:
    levels = found.frames.shape[1]
    for row, maps in enumerate((found.measure, found.growth)):
        for level, axis in enumerate(figure.axes[row * (levels + 1) : row * (levels + 1) + levels]):
            (image,) = axis.images
            np.testing.assert_array_equal(image.get_array(), maps[0, level])
            np.testing.assert_array_equal(image.get_extent(), found.frames[0, level].ravel())
            says(figure, f"map {level + 1}: ")
    for seed, maps in enumerate(found.measure):
        for level, measure in enumerate(maps):
            one = dimension(boundary(measure > 0))
            shows(figure.axes[levels], one.sizes, one.counts)
            shows(figure.axes[2 * levels + 1], level + 1 + 0.12 * seed, one.value)
    says(figure, f"{config.units}-{config.units}-1 {config.activation}", "box-counting dimension", "side of the boxes")
    says(figure, "steps until it converged (blue)\nor diverged (red)", "growth rate λ of a tangent")


def _recipes(figure, found, config) -> None:
    names = config.recipes
    if not config.curves:
        (image,) = figure.axes[0].images
        table = smooth_recipes.columns(found, config)
        cells = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
        assert len(cells) == len(names) * len(table)
        for j, (head, column) in enumerate(table.items()):
            np.testing.assert_array_equal(image.get_array()[:, j], goodness(head, column[:, 0]))
            for i, values in enumerate(column):
                assert cells[j, i].replace("\n", " ") == smooth_recipes.in_words(head, values)
        return says(figure, config.title(), *names, "lowest loss", "metasmoothness", "useless", "good")
    for axis, array in zip(figure.axes, (found.loss, found.smoothness, found.growth, found.ratio(config)), strict=True):
        for r in range(len(names)):
            shows(axis, config.log_lrs, np.median(array[:, r], axis=0))
            shows(axis, config.log_lrs, array[:, r])
    marks(figure.axes[0], found.edges(config).mean(axis=0))
    says(figure, config.title(), *names, "edge of chaos (mean)", "metasmoothness Ŝ", "natural log of the learning rate")


CHECKS = {
    sweeps: _sweeps,
    precision: _precision,
    jan11: _by_magnitude,
    edge_agreement: _agreement,
    edge_curves: _curves,
    edge_sharpness: _sharpness,
    trainability_map: _maps,
    smooth_recipes: _recipes,
}
