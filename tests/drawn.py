"""What the experiments' figures show, under any version of matplotlib: that their points and words are the results.

:func:`check` looks at what was handed to matplotlib, :func:`same_pixels` at what it made of it, which depends on
its version.
"""

import numpy as np
import pytest
from matplotlib.image import imread
from matplotlib.patches import StepPatch
from matplotlib.testing.compare import compare_images
from matplotlib.text import Text

import hypergrad as hg
from experiments import (
    attribution,
    depth_trials,
    hyper_cleaning,
    loss_curves,
    nov26_generalisation,
    scaling_laws,
    smooth_recipes,
    trainability_map,
)
from experiments import aug08_trained_memory as aug08
from experiments import aug10_time_gates as aug10
from experiments import aug12_characters as aug12
from experiments import feb03_training_schedules as feb03
from experiments import feb04_weight_sharing as feb04
from experiments import feb10_many_steps as feb10
from experiments import feb13_equal_cost as feb13
from experiments import jan11_gradient_by_magnitude as jan11
from experiments import jan15_lr_schedule as jan15
from experiments import jan16_initial_dist as jan16
from experiments import jan19_learned_data as jan19
from experiments import jan21_relevance as jan21
from experiments import jun01_window_attention as jun01
from experiments import jun05_activations as jun05
from experiments import may24_compute_gate as may24
from experiments import may28_initial_scales as may28
from experiments import nov26_schedule_transfer as nov26
from experiments.shared import (
    advice_measured,
    attribution_starts,
    batch_and_length,
    character_memory,
    character_plots,
    character_samples,
    compute_gate_plots,
    depth_causes,
    digit_completion,
    edge_agreement,
    edge_curves,
    edge_sharpness,
    estimator_costs,
    estimator_descents,
    estimator_errors,
    estimator_horizons,
    estimator_inverse_time,
    estimator_particles,
    estimator_penalties,
    estimator_recurrent,
    estimator_recurrent_descents,
    estimator_truncation,
    estimator_winners,
    fit_coverage,
    fitted_laws,
    iso_compute,
    iteration_plots,
    memorised_digit,
    memory_plots,
    memory_range,
    overfitting,
    precision,
    results,
    rivals,
    scales_and_rates,
    schedule_plots,
    search_plots,
    sweeps,
    told_apart,
    tuned_laws,
    window_plots,
)
from experiments.shared.box_counting import boundary, dimension
from experiments.shared.intervals import crossed_interval, geometric_interval, t_interval
from experiments.shared.iteration_plots import beside
from experiments.shared.recipe_figures import goodness
from hypergrad import style


def same_pixels(stored, drawn, drawn_with: str) -> None:
    """Compare two images; another version of matplotlib sets text and lines a little differently."""
    import matplotlib

    if drawn_with != matplotlib.__version__:
        pytest.skip(f"pixels not compared: drawn with matplotlib {drawn_with}, this is {matplotlib.__version__}")
    assert imread(stored).shape == imread(drawn).shape
    assert compare_images(str(stored), str(drawn), tol=5.0) is None


def check(figure, found, config) -> None:
    """Fails if the figure of an experiment does not show these results, or not the words that belong to them."""
    CHECKS[results.kind(config)](figure, found, config)
    means_the_same(figure)


MEANINGS = {
    "hypergradient": (style.LEARNED, style.LEARNED_TOO),
    "cleaned": (style.LEARNED,),
    "search": (style.SEARCHED, style.SEARCHED_TOO),
    "random search": (style.RANDOM_SEARCH,),
    "TPE": (style.TPE,),
    "CMA-ES": (style.EVOLUTION,),
    "exact": (style.EXACT,),
    "forward": (style.FORWARD,),
    "truncated": (style.TRUNCATED, style.TRUNCATED_LONG),
    "persistent": (style.PERSISTENT, style.PERSISTENT_LONG),
    "implicit": (style.IMPLICIT, style.IMPLICIT_NEUMANN),
    "smoothed": (style.SMOOTHED,),
    "mixed": (style.MIXED,),
}  # by what a label begins with, up to a comma


def means_the_same(figure) -> set:
    """Fails if one of these has another colour than in all figures; those that the figure has."""
    seen = set()
    for axis in figure.axes:
        for handle, label in zip(*axis.get_legend_handles_labels()):
            word = label.partition(",")[0]
            line = handle if hasattr(handle, "get_color") else getattr(handle, "lines", [None])[0]
            if word in MEANINGS and line is not None:
                seen.add(word)
                assert line.get_color() in MEANINGS[word], (label, line.get_color())
    return seen


def points(axis) -> np.ndarray:
    """(n, 2): all points of the lines and steps on an axis."""
    pairs = [np.column_stack([np.ravel(a).astype(float) for a in line.get_data()]) for line in axis.lines]
    for patch in axis.patches:
        if isinstance(patch, StepPatch):
            pairs.append(np.column_stack([patch.get_data().edges[:-1], patch.get_data().values]))
    return np.concatenate(pairs)


def shows(axis, x, y) -> None:
    """The points that lie within the frame are drawn, and there are some."""
    x, y = (np.ravel(a).astype(float) for a in np.broadcast_arrays(x, y))
    (left, right), (low, high) = sorted(axis.get_xlim()), sorted(axis.get_ylim())
    inside = (x >= left) & (x <= right) & (y >= low) & (y <= high)
    assert inside.any(), "nothing of it is within the frame"
    drawn = {pair for pair in map(_rounded, points(axis)) if pair is not None}
    missing = [pair for pair in np.column_stack([x, y])[inside] if _rounded(pair) not in drawn]
    assert not missing, f"{len(missing)} of {inside.sum()} points are not drawn, such as {missing[0]}"


def _rounded(pair):
    return tuple(f"{value:.9e}" for value in pair) if np.isfinite(pair).all() else None


def marks(axis, at) -> None:
    """There is a vertical line at each of these places."""
    places = [line.get_xdata()[0] for line in axis.lines if len(line.get_xdata()) and np.ptp(line.get_xdata()) == 0.0]
    assert set(at) <= set(places), (at, places)


def says(figure, *words) -> None:
    """Each of these is one of the figure's texts, or a part of one."""
    texts = [text.get_text() for text in figure.findobj(Text)]
    missing = [word for word in words if not any(word in text for text in texts)]
    assert not missing, missing


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


def _schedules(figure, found, config) -> None:
    if len(config.remedies) > 1:
        return _remedies(figure, found, config)
    steps, at = np.arange(found.log_lr.shape[-1]), found.curve_steps[0, 0]
    mapped = steps.size <= schedule_plots.FEW
    columns = min(config.seeds, iteration_plots.SHOWN)
    for seed in range(columns):
        rates, gradients, curves = figure.axes[seed : 3 * columns : columns]
        for axis, array in ((rates, found.log_lr[0, seed]), (gradients, found.gradient[0, seed])):
            if mapped:
                (mesh,) = axis.collections
                np.testing.assert_array_equal(np.ma.filled(mesh.get_array(), np.nan), array)
            else:
                shows(axis, steps, array)
        shows(curves, at, found.curve[0, seed])
        losses = found.value[0, seed]
        says(figure, f"seed {seed}: final loss at first {losses[0]:#.3g},\nlowest {np.nanmin(losses):#.3g}")
    says(
        figure,
        "log learning rate",
        "hypergradient (nats per unit of log\nlearning rate), linear within ±",
        "meta-iteration",
    )
    says(figure, f"{steps.size:,} steps, meta-step {config.meta_step:g}", f"{config.images:,} MNIST images")
    if config.seeds > columns:
        best = np.nanmin(found.value[0], axis=-1)
        says(figure, f"of all {config.seeds} seeds: lowest final loss {best.min():#.3g} to {best.max():#.3g}")
        losses, norms, schedules = (axis for axis in figure.axes[3 * columns :] if axis.get_title())
        at = np.arange(found.value.shape[-1])
        shows(losses, at, found.value[0])
        shows(losses, at, np.fmin.accumulate(found.value[0], axis=-1).mean(axis=0))
        with np.errstate(over="ignore"):
            shows(norms, at, np.sqrt(np.sum(found.gradient[0] ** 2, axis=-1)))
        complete = np.isfinite(found.value[0]).all(axis=0)
        best = np.argmin(found.value[0][:, complete].mean(axis=0))
        shows(schedules, steps, found.log_lr[0, :, best])
        shows(schedules, steps, found.log_lr[0, :, best].mean(axis=0))
        says(figure, f"in meta-iteration {best}", "mean and 95 % interval", "norm of the\nhypergradient (nats)")


def _remedies(figure, found, config) -> None:
    loss, fresh, constants, spectrum, share, schedules = figure.axes[:6]
    iterations = np.arange(found.value.shape[-1])
    for r in range(len(config.remedies)):
        shows(loss, iterations, np.fmin.accumulate(np.where(found.taken_back[r] == 0, found.value[r], np.nan), axis=-1))
        for seed in range(config.seeds):
            for side, losses in zip((-0.04, 0.04), found.fresh[r, seed]):
                shows(fresh, r + beside(seed, config.seeds) + side, losses)
    plain = found.gradient[0]
    with np.errstate(over="ignore", invalid="ignore"):
        mean, alternating = (np.sum(plain * s, axis=-1) ** 2 / 20 for s in (1.0, (-1.0) ** np.arange(20)))
    shows(share, iterations, mean)
    complete = np.isfinite(found.value[0]).all(axis=0)
    shows(spectrum, 0.5, np.exp(np.log(alternating[:, complete]).mean(axis=0)))
    log_rates = np.array(config.constants)[:: config.every]
    shows(constants, log_rates, found.constant_fresh.mean(axis=0))
    shows(constants, log_rates, found.constant[:, 0])
    for column, initialisations in enumerate((1, 4), len(config.remedies)):
        mean = found.constant[:, :initialisations].mean(axis=1)
        for seed, losses in enumerate(found.constant_fresh[:, np.argmin(mean, axis=-1)].T):
            shows(fresh, column + beside(seed, config.seeds), losses)
            shows(loss, 0.0, mean[seed].min())
    best = np.nanargmin(np.where(found.taken_back[-1] == 0, found.value[-1], np.nan), axis=-1)
    shows(schedules, np.arange(20), found.log_lr[-1, np.arange(len(best)), best])
    says(figure, *config.remedies, "meta-iteration", "frequency (cycles per training step)", "0 (the mean)")
    says(figure, "best constant", "best constant of 4 initialisations", "log of the constant learning rate")


ARRAYS = ("weights 784-50", "biases 50", "weights 50-10", "biases 10")


def _distributions(figure, found, config) -> None:
    axes, iterations = figure.axes, np.arange(found.value.shape[-1])
    if config.probes:
        for array, percentiles in enumerate(np.moveaxis(found.by_weight[0], 1, 0)):
            shows(axes[0], percentiles, np.arange(101))
            shows(axes[4 + array], np.arange(1, 20), found.by_draw[0, :, :, array, 1:])
        for array in range(4):
            shows(axes[1], array, found.by_draw[0, :, :, array, 0])
        shows(axes[2], iterations, found.value)
        _lowest_so_far(axes[2], found.value[-1])
        _held_out(axes[3], found)
        says(figure, *config.ways, *ARRAYS, "On draws not trained on", "hypergradient by log increment")
    elif len(config.ways) > 1:
        shows(axes[0], iterations, found.value)
        _lowest_so_far(axes[0], found.value[-1])
        _held_out(axes[1], found)
        log_rates = np.array(config.log_rates)[:: config.every]
        shows(axes[2], log_rates, found.by_rate[..., 0].mean(axis=(1, 2)))
        shows(axes[2], log_rates, found.by_rate[..., 1].mean(axis=(1, 2)))
        marks(axes[2], log_rates[np.argmin(found.searched, axis=-1)].ravel())
        _quantiles(axes[3:7], axes[7:11], found.free[-1], found.value[-1])
        says(figure, *config.ways, *ARRAYS, "On draws not trained on", "its rate, by plain search")
        _of_seeds(figure, axes[3:7], config, found.free[-1], found.value[-1])
    elif config.per_array:
        for seed in range(min(config.seeds, iteration_plots.SHOWN)):
            for iteration in (0, iterations[-1]):
                shows(axes[seed], found.curve_steps[0, seed], found.curve[0, seed, iteration])
        shows(axes[3], iterations, found.value[0])
        _quantiles(axes[4:8], axes[8:12], found.free[0], found.value[0])
        says(figure, *ARRAYS, "weight (quantile function)", "final training loss (nats)")
        _of_seeds(figure, axes[4:8], config, found.free[0], found.value[0])
        _lowest_so_far(axes[3], found.value[0])
    else:
        columns = min(config.seeds, iteration_plots.SHOWN)
        if config.seeds > columns:
            best = np.nanmin(found.value[0], axis=-1)
            says(figure, f"best of all {config.seeds} seeds: {best.min():.3g} to {best.max():.3g}")
        for seed in range(columns):
            curves, quantiles, densities = axes[seed : 3 * columns : columns]
            shows(curves, found.curve_steps[0, seed], found.curve[0, seed])
            for free in found.free[0, seed, :, 0]:
                _one_distribution(quantiles, densities, free)
            losses = found.value[0, seed]
            best = f"best {np.nanmin(losses):.3g} after {np.nanargmin(losses)}"
            says(figure, f"seed {seed}: loss {losses[0]:.3g},\n{best}", "meta-iteration")


def _quantiles(uppers, lowers, free, value) -> None:
    """The distribution of every array, where each seed's descent was best."""
    for seed, best in enumerate(np.nanargmin(value, axis=-1)):
        for array, (upper, lower) in enumerate(zip(uppers, lowers, strict=True)):
            _one_distribution(upper, lower, free[seed, best, array])


def _of_seeds(figure, uppers, config, free, value) -> None:
    """Each seed has its name, or, of many, their mean is drawn beside them."""
    if config.seeds <= iteration_plots.SHOWN:
        return says(figure, *(f"best, seed {seed}" for seed in range(config.seeds)))
    best = np.nanargmin(value, axis=-1)
    for array, upper in enumerate(uppers):
        values = [hg.init.quantile_density(free[seed, at, array])[0] for seed, at in enumerate(best)]
        shows(upper, np.linspace(0.0, 1.0, 20), np.mean(values, axis=0))
    says(figure, "best, each seed", f"mean of the {config.seeds}")


def _lowest_so_far(axis, value) -> None:
    """Of many descents their mean is drawn beside them."""
    if len(value) > iteration_plots.SHOWN:
        shows(axis, np.arange(value.shape[-1]), np.fmin.accumulate(value, axis=-1).mean(axis=0))


def _one_distribution(upper, lower, free) -> None:
    values, _ = hg.init.quantile_density(free)
    shows(upper, np.linspace(0.0, 1.0, 20), values)
    shows(lower, values[:-1], 1.0 / 19.0 / np.diff(values))


def _held_out(axis, found) -> None:
    columns = [found.held_out[0, :, :, 0], found.held_out[0, :, :, 2], *found.held_out[:, :, :, 1]]
    for x, losses in enumerate(columns):
        for seed, one in enumerate(losses):
            shows(axis, x + beside(seed, len(losses)), one)


def _scales_and_rates(figure, found, config) -> None:
    losses, training, others, price, rates, scales = figure.axes[:6]
    shows(losses, np.arange(found.value.shape[-1]), found.value)
    best, seeds = np.nanargmin(found.value, axis=-1), np.arange(config.seeds)
    for axis, column in ((training, 0), (others, 1)):
        start = found.grid_held_out[:, 0, column]
        grid = found.grid_held_out[:, np.argmin(found.grid, axis=-1), column].T
        rows = [[start] * config.seeds, *found.held_out[..., column], grid, found.candidate_held_out[..., column]]
        for x, row in enumerate(rows):
            for seed, one in enumerate(row):
                shows(axis, x + beside(seed, config.seeds), one)
            shows(axis, float(x), np.mean(row))
    spent = 9.0 * (1 + np.arange(found.value.shape[-1]))
    shows(price, spent, np.minimum.accumulate(found.value, axis=-1).mean(axis=1))
    shows(price, 3.0, found.candidate_value[:, 0].mean())
    for w in range(len(config.ways)):
        shows(rates, np.arange(20), found.log_lr[w, seeds, best[w]])
    for w in (0, 2, 3):
        shows(scales, *found.log_scale[w, seeds, best[w]].T)
    says(figure, *config.ways, "search: one rate", "search: scales and one rate", "meta-iteration", "log learning rate")


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


def _learned_schedules(figure, found, config) -> None:
    net, axes = config.net(), figure.axes
    steps, iterations = np.arange(net.steps), np.arange(found.value.shape[-1])
    rates, momenta = (axes[0], axes[1]) if config.searched else (axes[0], axes[2])
    scales, values, curves = (axes[2], axes[3], axes[4]) if config.searched else (axes[5], axes[4], axes[3])
    for hypers in found.learned[0]:
        log_lr, logit, _ = net.parts(hypers)
        shows(rates, steps, np.exp(log_lr[::2]))
        shows(momenta, steps, 1.0 / (1.0 + np.exp(-logit[::2])))
    shows(scales, iterations[:, None], np.exp(found.log_scale[0].mean(axis=0)))
    shows(values, iterations, found.value)
    shows(curves, found.curve_steps[0, :, None], found.curve[0])
    if config.first:
        for axis, array in zip(axes[6:8], (found.first[0, 0, 0], found.first[0, :, 1].mean(axis=0)), strict=True):
            shows(axis, steps, net.parts(array)[0][::2])
        shows(axes[8], iterations, found.gradient_norm)
        says(figure, f"mean of {config.first * config.seeds} draws", "First hypergradient, at one draw of weights")
    if config.searched:
        for x, losses in enumerate((found.test[0, :, 0], found.test[0, :, 1], *found.test[:, :, 2])):
            shows(axes[5], x, losses.mean())
        says(
            figure, "test loss (nats)", f"best of\n{config.equal_cost}", *(f"{name} loss" for name in config.objectives)
        )
    says(figure, "layer 1 (784-50)", "1/√784", "1/√50", "learning rate", "momentum", "meta-iteration", "training step")


def _equal_cost(figure, found, config) -> None:
    for p, space in enumerate(config.spaces()):
        axis = figure.axes[p]
        drawn = points(axis)
        for m in range(len(feb13.METHODS)):
            means = found.value[:, m, p].mean(axis=(0, -1))
            for budget, mean in zip(config.budgets, means[np.isfinite(means)]):
                near = np.abs(drawn[:, 0] / budget - 1.0) < 0.1
                assert np.abs(drawn[near, 1] / mean - 1.0).min() < 1e-9, (feb13.METHODS[m], space, budget)
        shows(axis, config.budgets, found.shaped.mean(axis=(0, -1)))
        says(figure, f"{space:,} hyperparameter")
    says(figure, *feb13.METHODS, *feb13.SHAPES, *feb13.RULES, "test loss (nats)", "trainings spent")


def _rivals(figure, found, config) -> None:
    for c, axis in enumerate(figure.axes):
        for m in range(len(config.names)):
            shows(axis, found.value[m, ..., c].mean(axis=-1), m + rivals.BELOW)
            mean, low, high = crossed_interval(found.value[m, ..., c])
            shows(axis, [mean, low, high], m)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == list(config.names)
    says(figure, *config.measured, config.setting.partition(",")[0], f"{config.trainings} trainings each")


def _transfer(figure, found, config) -> None:
    losses, ratios = figure.axes[:2]
    by_seed = found.value.mean(axis=-1)
    for n in range(len(config.taken())):
        for w in range(4):
            shows(losses, by_seed[:, n, w], n + 0.2 * (w - 1.5) + search_plots.BELOW)
            shows(losses, np.exp(np.log(by_seed[:, n, w]).mean()), n + 0.2 * (w - 1.5))
        shows(ratios, by_seed[:, n, 0] / by_seed[:, n, 3], n - 0.3 + search_plots.BELOW)
    says(figure, *config.taken(), *nov26.WAYS, "test loss (nats)")


def _generalisation(figure, found, config) -> None:
    found = type(found)(*(array.astype(float) for array in found))
    columns, counts, sizes = len(config.sizes), list(config.spaces()), config.descended()
    iterations = np.arange(found.train.shape[-1])
    for column, n in enumerate(config.sizes):
        by_number, by_iteration, at = figure.axes[column], figure.axes[columns + column], sizes.index(n)
        third, valid = found.third[:, at, ..., 0].mean(axis=1), found.valid[:, at, ..., at].mean(axis=1)
        for array in (found.train[:, at].mean(axis=1), valid, third):
            shows(by_number, counts, array[:, -1])
        for array in (valid, third):
            shows(by_iteration, iterations, array)
        shows(by_iteration, third.argmin(axis=1), third.min(axis=1))
        says(figure, f"n = {n:,} validation images")
        if config.rivals:
            half, _ = overfitting.chosen(found, config, n, "other half")
            shows(by_number, 1.12 * np.array(counts), half.mean(axis=1))
            first = found.searched[0, column, ..., 1][
                np.arange(config.seeds), found.searched[0, column, ..., 0].argmin(1)
            ]
            shows(by_number, 1.25, first.mean())
    says(figure, "training", "validation", "third split", *(f"{count:,}" for count in counts), "meta-iteration")
    if config.rivals:
        gaps, halves, stopped = figure.axes[2 * columns :]
        for n in sizes:
            shows(gaps, np.array(counts) / n, overfitting.gap(found, config, n).mean(axis=1))
        for column, n in enumerate(config.sizes):
            lowest, _ = overfitting.chosen(found, config, n, "lowest validation")
            half, _ = overfitting.chosen(found, config, n, "other half")
            for axis, array in ((halves, half), (stopped, found.stopped[:, column, :, 1, 1])):
                shows(axis, n * 1.12 ** (np.arange(len(counts)) - 2.0), (array - lowest).mean(axis=1))
        says(figure, "plain search", "training stopped at its step", "hyperparameters / validation images")


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


def _many_steps(figure, found, config) -> None:
    memory, bits, times, curves, gradients, agreement = figure.axes
    steps, last = found.short_steps, found.curve_steps[-1]
    shows(memory, steps[:, None], found.short_bytes / 1e6)
    shows(memory, last, found.bytes / 1e6)
    slope, offset = np.polyfit(steps, found.short_bytes[:, 1], 1)
    shows(memory, last, (slope * last + offset) / 1e6)
    shows(bits, found.curve_steps, found.bits / 8e6)
    shows(bits, found.curve_steps, found.bound / 8e6)
    shows(times, np.arange(4), found.seconds / found.seconds[:, :1])
    shows(curves, found.curve_steps, found.curve)
    bins = found.gradient.shape[-1]
    shows(gradients, last / bins * (np.arange(bins) + 0.5), found.gradient)
    far = np.abs(found.slope[:, 1:] / found.slope[:, :1] - 1.0)
    shows(agreement, np.arange(config.seeds)[:, None], far)
    says(figure, "every step stored", "exact reversal", "lost: T · P · log₂(1/β)", "forward mode", "central difference")
    says(figure, f"learning rate {np.exp(config.log_lr):.3g}, momentum 0.9", f"minibatches of {config.batch_size}")


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


def _truncation(figure, found, config) -> None:
    for axis, values in zip(figure.axes, (found.cosine, found.total)):
        for steps, line, length in zip(found.steps, values, found.lengths):
            shows(axis, steps / length, line)
    says(figure, *(f"T = {length:g}" for length in found.lengths), "cosine with the exact hypergradient")


def _estimator_errors(figure, found, config) -> None:
    loss, errors, weights = figure.axes
    for seed in range(config.seeds):
        shows(loss, found.log_lr, found.loss[seed])
        shows(weights, found.log_lr, found.weight[seed])
    for relative in estimator_errors.relative(found).T:
        shows(errors, found.log_lr, relative)
    says(figure, "log learning rate", "error over the true derivative", *estimator_errors.LABELS.values())


def _estimator_descents(figure, found, config) -> None:
    *curves, tests = figure.axes
    for m, axis in enumerate(curves):
        for e, name in enumerate(estimator_descents.NAMES[:-1]):
            best = np.fmin.accumulate(found.value[e, :, m], axis=1)[:, np.isfinite(found.value[e, :, m]).any(axis=0)]
            spent = np.arange(1, best.shape[1] + 1) * config.products()[name] / 2.0
            shows(axis, spent, estimator_descents.band(best)[0])
        for e in range(len(estimator_descents.NAMES)):
            for bound in estimator_descents.typical(found.test[e, :, m]):
                shows(tests, bound, e + 0.2 * m)
    says(figure, *estimator_descents.NAMES[:-1], "trainings' worth of products")


def _horizons(figure, found, config) -> None:
    bias, chaos, cost = figure.axes
    horizon, errors = found.horizon(config), found.errors(config)
    for t, T in enumerate(config.used()):
        calm = horizon[:, t] < 3.0
        kept = np.moveaxis(found.truncated[:, t] / found.gradient[:, t, None], 1, -1)[calm]
        shows(bias, config.shares, np.median(kept, axis=0))
        says(figure, f"T = {T:,}")
    middle, medians = estimator_horizons.binned(found, config)
    for e, name in enumerate(estimator_horizons.NAMES):
        shows(chaos, middle, np.clip(medians[:, e], 1e-4, 1e6))
        shows(chaos, np.maximum(horizon, 0.1), np.clip(errors[e], 1e-4, 1e6))
        says(figure, name)
    for inside in (horizon < 3.0, horizon > 10.0):
        over = [np.median(found.errors(config, n)[3][inside]) for n in (2.0, 512.0)]
        shows(cost, [8.0, 2048.0], np.clip(over, 1e-4, 1e6))
    says(figure, "error over the derivative of the\nsmoothed loss", "λT", "cost in products a step")


def _winners(figure, found, config) -> None:
    axis, *curves = figure.axes
    horizon = config.steps * np.median(found.growth, axis=0)
    by_seed = found.by_seed()
    for c, (count, panel) in enumerate(zip(config.counts, curves, strict=True)):
        shows(axis, horizon, count)
        for e, name in enumerate(estimator_winners.NAMES):
            shows(panel, horizon * 1.06 ** (e - 2), by_seed[:, e, c].mean(axis=0))
            says(figure, name)
        first = np.argmin(by_seed.mean(axis=0)[:, c], axis=0)
        assert (estimator_winners.winners(found)[0][c] == first).all()
    says(figure, "λT at the start (nats)", "number of hyperparameters", "test loss of initialisations not seen (nats)")


def _inverse_time(figure, found, config) -> None:
    bias, paths, ends, *_ = figure.axes
    names = (*estimator_inverse_time.NAMES, estimator_inverse_time.SEARCH)
    off = estimator_inverse_time.errors(found)[:, :, 1:]
    for p in range(len(config.places)):
        shows(bias, off[:, p], np.arange(1, len(names) - 1) + 0.24 * p)
        says(figure, f"(objective {found.value[:, p].mean():.4g})")
    for path in found.path[0]:
        shows(paths, *path.T)
    for d, name in enumerate(names):
        shows(ends, found.unseen[:, d].mean(axis=-1), d)
        says(figure, name)
    says(figure, f"T = {config.steps:,}", f"T = {config.descent_steps:,}", "log θ0, initial learning rate")


def _penalties(figure, found, config) -> None:
    cosines, ratios, times, ends = figure.axes
    for e, name in enumerate(estimator_penalties.NAMES):
        shows(cosines, config.used(), np.median(found.cosine[:, :, e], axis=0))
        shows(ratios, config.used(), np.median(found.ratio[:, :, e], axis=0))
        shows(times, np.median(found.seconds[:, :, e], axis=0), found.memory[:, e] / 1e6)
        says(figure, name)
    for d in range(len(estimator_penalties.DESCENTS)):
        shows(ends, found.own[:, d], d)
        shows(ends, found.unseen[:, d].mean(axis=-1), d + 0.3)
    says(figure, "cosine with the exact hypergradient", "memory allocated (MB)", "unseen training sets")


def _recurrent(figure, found, config) -> None:
    off, directions, costs = figure.axes
    errors, cosines = np.clip(estimator_recurrent.errors(found), 1e-4, 1e8), estimator_recurrent.cosines(found)
    for p in range(len(config.used())):
        for e in range(len(estimator_recurrent.NAMES)):
            shows(off, errors[:, p, e], e + 0.22 * (p - 1))
            shows(directions, cosines[:, p, e], e + 0.22 * (p - 1))
    shows(costs, np.nanmedian(found.seconds, axis=(0, 1)), found.memory / 1e6)
    says(figure, *estimator_recurrent.NAMES, "memory allocated (MB)", "processor time of an estimate (s)")


def _recurrent_descents(figure, found, config) -> None:
    own, unseen, plane = figure.axes
    searched = estimator_recurrent_descents.NAMES.index(estimator_recurrent_descents.SEARCH)
    for m, start in enumerate(config.starts):
        for e in range(len(estimator_recurrent_descents.NAMES)):
            if m == 0 or e != searched:
                shows(own, found.own[:, m, e], e + 0.3 * m)
                shows(unseen, np.minimum(np.median(found.unseen[:, m, e], axis=-1), 10.0), e + 0.3 * m)
            shows(plane, *found.found[:, m, e].T)
        says(figure, f"from log learning rate {start:g}".replace("-", "−"))
    says(figure, *estimator_recurrent_descents.NAMES, f"each descent: {config.budget()} trainings' cost")


def _costs(figure, found, config) -> None:
    rows = (found.seconds, found.memory), (found.inverse_seconds, found.inverse_memory)
    for axis, (seconds, memory), names in zip(figure.axes, rows, estimator_costs.NAMES.values(), strict=True):
        assert seconds.shape[-1] == len(names)
        for e, name in enumerate(names):
            shows(axis, np.median(seconds[:, :, e], axis=0), memory[:, e] / 1e6)
            says(figure, name)
    says(figure, "memory allocated (MB)", "processor time of an estimate (s)")


def _particles(figure, found, config) -> None:
    (axis,) = figure.axes
    errors, particles = found.errors(), 2.0 * np.arange(1, config.pairs + 1)
    for p in range(len(config.places)):
        for k, piece in enumerate(config.pieces):
            shows(axis, particles, errors[p, k])
            says(figure, f"K = {piece}, log θ0 = {config.places[p][0]:g}")
    says(figure, "particles", f"T = {config.size(config.steps):,}")


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


def _advice(figure, found, config) -> None:
    errors, by_growth, by_number = figure.axes
    judged = found.judged()
    shows(errors, found.best()[judged], np.fmax(found.advised_error, advice_measured.FLOOR)[judged])
    ratio = found.ratio()[judged]
    shows(by_growth, found.growth[judged], ratio)
    shows(by_number, found.numbers[judged], ratio)
    counts = advice_measured.numbers(found, config)
    says(figure, f"{counts['within, all']} of {counts['judged, all']}", "twice as far off", "number of hyperparameters")
    says(figure, "below the edge", "past the edge", "growth of the tangent over the training")


def _trained_memory(figure, found, config) -> None:
    later = found.steps > 0
    for n, units in enumerate(config.units):
        curves, memories = figure.axes[n], figure.axes[len(config.units) + n]
        shows(curves, found.steps[later], found.value[n][..., later])
        shows(curves, found.steps[later][[0, -1]], found.limit[n, :, 1, None])
        log_decay, angle = np.moveaxis(found.memory[n, ..., :units], 2, 0)
        shows(memories, 2 * np.pi / np.abs(angle), np.log(2.0) / np.exp(log_decay))
        marks(memories, [config.side])
        says(figure, f"{units} units")
    says(figure, "fixed memory", "trained memory", "best weights for the fixed memory", "training steps")
    says(figure, memory_plots.ERROR, "half-life of a unit (pixels)", "period of a unit (pixels)", "a row of pixels")


def _memory_range(figure, found, config) -> None:
    half_lives, periods, path, errors = figure.axes
    for m, ranges in enumerate(found.ranges):
        for seed, (log_decay, log_angle) in enumerate(ranges):
            y = m + 0.6 * (seed - (config.seeds - 1) / 2.0) / config.seeds
            shows(half_lives, np.log(2.0) / np.exp(log_decay), y)
            shows(periods, 2 * np.pi / np.exp(log_angle), y)
    shows(path, found.trainings[:, None], np.log(2.0) / np.exp(found.path[:, :, 0]))
    shows(path, found.trainings[:, None], 2 * np.pi / np.exp(found.path[:, :, 1]))
    shows(path, found.trainings[:, None], 2 * np.pi / np.exp(found.path[:, :, 1].mean(axis=0)))
    for w, values in enumerate(found.value):
        shows(errors, w - 0.12, values.mean(axis=0))
        shows(errors, w + 0.05, values.mean())
    says(figure, *memory_range.METHODS, memory_plots.ERROR, "trainings spent by the descent", "shortest half-life")
    says(figure, f"{config.seeds} searches of each kind", "geometric mean")


def _memorised(figure, found, config) -> None:
    share = 100.0 * found.value / found.image.var(axis=-1)[:, None]
    errors, pictures = figure.axes[-1], [axis.images[0].get_array().ravel() for axis in figure.axes[:-1]]
    shows(errors, np.array(config.sizes)[:, None, None], share)
    shows(errors, np.array(config.sizes)[:, None], share.mean(axis=1))
    for shown in (found.image[0], *found.drawn[:, 0].reshape(-1, found.drawn.shape[-1])):
        assert any(np.array_equal(picture, shown) for picture in pictures)
    says(figure, *memorised_digit.LABELS, *(f"{units} units, trained" for units in config.sizes), "units")


def _gates(figure, found, config) -> None:
    errors, times = figure.axes
    for w, values in enumerate(found.value):
        shows(errors, w - 0.12, values)
        shows(errors, w + 0.05, values.mean())
        places = w + 0.6 * (np.arange(config.seeds) - 0.5 * (config.seeds - 1)) / config.seeds
        shows(times, places, found.time[w, :, 1])
    says(figure, *aug10.WAYS, memory_plots.ERROR, "t of the lowest level")


def _completions(figure, found, config) -> None:
    digit_page, mixtures, errors, looks, between = figure.axes[:5]
    step, digits = config.side + 2, np.arange(10)
    for axis, rows in ((digit_page, [found.drawn[0, 0], *found.drawn[0, 1:]]), (mixtures, found.shown[0])):
        page = np.asarray(axis.images[0].get_array())
        for i, row in enumerate(rows):
            for j, pixels in enumerate(row):
                shown = page[i * step : i * step + config.side, j * step : j * step + config.side]
                np.testing.assert_array_equal(shown.ravel(), pixels)
    for values in (*found.value, found.baseline[2]):
        shows(errors, digits, values[:, 0].mean(axis=0))
        shows(errors, digits, digit_completion.own(values).mean(axis=0))
    np.testing.assert_allclose(looks.images[0].get_array(), found.looks[-1, :, 1].mean(axis=0))
    shows(between, digit_completion.SHARES, found.between.mean(axis=1))
    says(
        figure,
        *digit_completion.WAYS,
        "ridge regression",
        "digit left out",
        "share of the second digit",
        "mixed inputs",
    )


def _one_string(figure, found, config) -> None:
    *curves, losses, drawn_alone = figure.axes
    for axis, right in zip(curves, found.right, strict=True):
        shows(axis, found.steps, 100.0 * right.mean(axis=1))
        assert len(axis.collections) == len(config.units), "a band for each"
        for share in found.table.mean(axis=0):
            assert any(np.allclose(line.get_ydata(), 100.0 * share) for line in axis.lines)
    for m, shift in enumerate((-0.08, 0.08)):
        at = np.array(config.units) * 2.0**shift
        for axis, rows in ((losses, found.value[m, :, :, -1]), (drawn_alone, 100.0 * found.drawn[m])):
            shows(axis, at[:, None], rows)
            interval = geometric_interval if axis is losses else t_interval
            for place, values in zip(at, rows):
                shows(axis, place, interval(values))
    says(figure, *character_memory.GATES, *(f"{units} units" for units in config.units), "training steps")
    says(figure, "characters predicted right (%)", "loss at the end (nats a character)", "table of the last 3")


def _told_apart(figure, found, config) -> None:
    right, parting, alone, losses = figure.axes
    columns = 2 * len(config.units)
    for axis, share in ((right, found.right), (parting, found.parting), (alone, found.drawn), (losses, found.value)):
        for k, rows in enumerate(share.reshape(len(told_apart.TASKS), columns, -1)):
            for c, values in enumerate(rows):
                x = k + 0.2 * (c - (columns - 1) / 2)
                factor = 1.0 if axis is losses else 100.0
                shows(axis, x - 0.12, factor * values)
                shows(axis, x + 0.05, np.mean(factor * values))
    shows(right, np.arange(len(told_apart.TASKS))[:, None] - 0.45, 100.0 * found.table.mean(axis=1))
    for k, task in enumerate(told_apart.TASKS.values()):
        if task.shared:
            shows(parting, k - 0.45, 100.0 / task.sequences)
    says(figure, *(name.replace(" ", "\n") for name in told_apart.TASKS), character_plots.CHANCE)
    says(figure, *(f"{name}, {units} units" for name in character_memory.GATES for units in config.units))
    says(figure, "drawn from prompt or key alone", "first characters of the endings", "table of the last 8")


def _batch_and_length(figure, found, config) -> None:
    lengths, batches, positions, lives = figure.axes
    by_length, by_batch = found.arms(config)
    for m, shift in enumerate((-0.06, 0.06)):
        at = np.array(config.lengths) * 2.0**shift
        shows(lengths, at[:, None], by_length[m])
        for place, values in zip(at, by_length[m]):
            shows(lengths, place, t_interval(values))
        rows = np.median(found.half_lives[m * len(at) : (m + 1) * len(at)], axis=1)[:, 1:4]
        shows(lives, np.array(config.lengths) * 2.0 ** (0.1 * (2 * m - 1)), rows[:, 1])
    for rows in by_batch:
        shows(batches, config.batches, [t_interval(values).mean for values in rows])
    for a in (0, 2, 4, 5, 7, 9):
        curve = found.by_position[a].astype(float).mean(axis=0)
        means = [curve[0], *(curve[2**n : 2 ** (n + 1)].mean() for n in range(7))]
        shows(positions, 2.0 ** np.arange(8), means)
    drawn_tables = [line.get_ydata()[0] for line in lengths.lines if np.ptp(line.get_xdata()) == 1.0]
    assert drawn_tables and set(drawn_tables) <= set(found.table[0])
    says(figure, *character_memory.GATES, *(f"{units} units" for units in config.sizes), "at the start")
    says(figure, "test loss (nats a character)", "half-life of a unit after training", "pieces in a minibatch")


def _samples(figure, found, config) -> None:
    _, words, losses = figure.axes
    for w, shares in enumerate(found.words):
        for t, several in enumerate(shares.T):
            shows(words, t + 0.22 * (w - 1) - 0.12, 100.0 * several)
            shows(words, t + 0.22 * (w - 1) + 0.05, 100.0 * several.mean())
        shows(losses, w - 0.12, found.value[w])
        shows(losses, w + 0.05, found.value[w].mean())
    texts = (found.prompt[0, 0], found.true[0, 0], *found.sampled[:, 0, :, 0].reshape(-1, config.sample))
    says(figure, *map(character_plots.shown, texts))
    says(figure, *(f"gates, temperature {t:g}" for t in config.temperatures), character_samples.TABLE, "the true text")


def _initial_scales(figure, found, config) -> None:
    grid, slopes, scales, price, *tests = figure.axes
    at = np.arange(len(may28.HYPERS))
    shows(grid, config.factors, found.grid)
    for several, shift in zip(found.slopes, (-0.15, 0.15), strict=True):
        shows(slopes, at + shift, several)
        shows(slopes, at + shift, several.mean(axis=0))
    for logs, shift in ((found.z[:, -1], -0.2), (found.best_trials(), 0.2)):
        shows(scales, at + shift - 0.06, np.exp(logs))
        shows(scales, at + shift + 0.06, np.exp(logs.mean(axis=0)))
    spent = 3 * config.draws * np.arange(1, config.evaluations + 1)
    shows(price, spent, found.value)
    shows(price, spent, found.value.mean(axis=0))
    for column, axis in enumerate(tests):
        for x, losses in enumerate(found.compared().values()):
            shows(axis, x + 0.2, losses[..., column].mean(axis=0))
            shows(axis, x, losses[..., column].mean())
    says(
        figure,
        f"{config.seeds} runs",
        *may28.HYPERS,
        *found.compared(),
        f"Adam's ε = {config.usual_eps:g}",
        "trainings spent",
    )


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


def _activations(figure, found, config) -> None:
    compared, rates, first, descents, second = figure.axes
    for y, losses in enumerate(found.compared().values()):
        shows(compared, losses.mean(axis=0), y + 0.2)
        shows(compared, losses.mean(), y)
    shows(rates, 10.0 ** np.array(config.log_rates), found.by_rate)
    spent = 3 * config.draws * np.arange(1, config.evaluations + 1)
    shows(descents, spent, found.value)
    shows(descents, spent, found.value.mean(axis=1))
    x = np.linspace(-4.0, 4.0, 81)
    for axis, several in zip((first, second), found.z[:, :, -1], strict=True):
        for z in several:
            for a, log_b in zip(z[:3], z[3:6]):
                shows(axis, x, x - a * np.tanh(x / np.exp(log_b)))
    says(figure, *found.compared(), "learning rate", "layer 3", "test loss (nats a character)", f"{config.seeds} runs")


def _windows(figure, found, config) -> None:
    by_window, cost, rates, short, long = figure.axes
    names, losses = list(jun01.KINDS), found.own(config)
    for i in range(len(config.lengths)):
        shows(by_window, 0, losses[i, names.index("recurrence")].mean())
        for below in ("recurrence", "attention"):
            at = [k for k, name in enumerate(names) if name.startswith(f"{below}, ")]
            shows(by_window, np.arange(5 - len(at), 5), losses[i, at].mean(axis=-1))
            apart = points(cost)[:, 1]
            for values in losses[i, at[:-1]] - losses[i, at[-1]]:
                assert all(np.isclose(apart, value, rtol=1e-9).any() for value in (*values, values.mean()))
    shows(rates, 10.0 ** np.array(config.log_rates), found.by_rate.mean(axis=-1))
    x = np.sqrt((config.bins[:-1] + 1.0) * config.bins[1:])
    for axis, values in ((short, found.value[0]), (long, found.value[-1])):
        for name in window_plots.SHOWN:
            apart = values[names.index(name)] - values[names.index(window_plots.REFERENCE)]
            shows(axis, x, apart.mean(axis=0))
    says(figure, *names, "no attention", "what a short window costs: each draw, mean, interval", "learning rate")


def _compute_gate(figure, found, config) -> None:
    by_steps, by_flops, rates, apart = figure.axes
    shows(by_steps, found.steps, found.value.mean(axis=1))
    shows(by_flops, found.flops, found.value.mean(axis=1))
    shows(rates, 10.0 ** np.array(config.log_rates), found.by_rate.mean(axis=-1))
    for y, (name, other, _) in enumerate(compute_gate_plots.SHOWN):
        shows(apart, may24.difference(found, name, other), y + 0.2)
        shows(apart, may24.difference(found, name, other).mean(), y)
    assert list(compute_gate_plots.STYLES) == list(may24.KINDS)
    says(figure, *map("{}:".format, may24.KINDS), "training step", "compute of the training (FLOPs)", "learning rate")


CHECKS = {
    attribution_starts: _starts,
    estimator_horizons: _horizons,
    estimator_winners: _winners,
    estimator_inverse_time: _inverse_time,
    estimator_penalties: _penalties,
    estimator_costs: _costs,
    estimator_particles: _particles,
    estimator_recurrent: _recurrent,
    estimator_recurrent_descents: _recurrent_descents,
    scaling_laws: _scaling,
    iso_compute: _iso_compute,
    tuned_laws: _tuned_laws,
    loss_curves: _loss_curves,
    depth_trials: _depth_trials,
    depth_causes: _causes,
    fit_coverage: _coverage,
    advice_measured: _advice,
    aug08: _trained_memory,
    memory_range: _memory_range,
    memorised_digit: _memorised,
    aug10: _gates,
    digit_completion: _completions,
    aug12: _one_string,
    told_apart: _told_apart,
    batch_and_length: _batch_and_length,
    character_samples: _samples,
    estimator_truncation: _truncation,
    estimator_errors: _estimator_errors,
    estimator_descents: _estimator_descents,
    feb03: _learned_schedules,
    feb13: _equal_cost,
    nov26: _transfer,
    nov26_generalisation: _generalisation,
    rivals: _rivals,
    sweeps: _sweeps,
    precision: _precision,
    jan11: _by_magnitude,
    jan15: _schedules,
    jan16: _distributions,
    scales_and_rates: _scales_and_rates,
    jan19: _learned_data,
    jan21: _relevance,
    feb04: _sharing,
    feb10: _many_steps,
    edge_agreement: _agreement,
    edge_curves: _curves,
    edge_sharpness: _sharpness,
    trainability_map: _maps,
    smooth_recipes: _recipes,
    hyper_cleaning: _cleaning,
    attribution: _attribution,
    may24: _compute_gate,
    may28: _initial_scales,
    jun01: _windows,
    jun05: _activations,
}
