"""Scaling laws and loss curves: FLOPs counted in another way, the algebra of compute, and the checked-in results."""

import dataclasses
import itertools

import numpy as np
import pytest
from scipy.stats import t

import hypergrad as hg
from experiments import loss_curves, scaling_laws
from experiments.parts.scaling_laws import image_nets, iso_compute, tuned_laws
from experiments.shared import fitted_laws, flops, results, text


class Counted:
    """A number that counts the multiplications and additions made with it."""

    done = 0

    def __mul__(self, other):
        Counted.done += 1
        return self

    __add__ = __radd__ = __mul__


def counted(f) -> int:
    Counted.done = 0
    f()
    return Counted.done


def numbers(*shape):
    return np.full(shape, Counted(), dtype=object)


def product(rows, inner, columns):
    """FLOPs of a matrix product as loops make them, with the first addition to 0 counted."""

    def multiply():
        for i, j in np.ndindex(rows, columns):
            sum((a * b for a, b in zip(numbers(rows, inner)[i], numbers(inner, columns)[:, j])), Counted())

    return counted(multiply)


def test_flops_of_a_product_are_two_for_each_multiplication():
    assert product(2, 3, 4) == 2 * 2 * 3 * 4


def test_flops_of_an_mlp_are_those_of_its_products_one_after_the_other():
    """By layer: the output; then the gradient by the weights, and by the inputs but for those of the first layer."""
    n, a, b, c = 3, 5, 4, 2
    model = hg.nn.MLP([a, b, c])
    forward = product(n, a, b) + product(n, b, c)
    backward = product(a, n, b) + product(b, n, c) + product(n, c, b)
    assert n * flops.forward(model) == forward and n * flops.training(model) == forward + backward
    assert flops.forward(hg.nn.MLP([196, 8, 10])) == 2 * (196 * 8 + 8 * 10) == 3_296
    assert flops.training(hg.nn.MLP([196, 8, 10])) == 2 * (2 * 196 * 8 + 3 * 8 * 10) == 6_752


def convolved(height, across, inputs, outputs):
    """A 3 × 3 convolution with zeros around the image, in loops."""
    image, kernel = numbers(height + 2, across + 2, inputs), numbers(3, 3, inputs, outputs)
    for i, j, o in np.ndindex(height, across, outputs):
        total = Counted()
        for a, b, c in np.ndindex(3, 3, inputs):
            total = total + image[i + a, j + b, c] * kernel[a, b, c, o]


def test_flops_of_a_convolutional_net_are_those_of_loops():
    model = hg.nn.ConvNet(2, 2, classes=3, image=(5, 4, 1))
    first, second = (counted(lambda s=s: convolved(*s)) for s in ((5, 4, 1, 2), (2, 2, 2, 4)))
    last = product(1, 1 * 1 * 4, 3)
    assert (first, second, last) == (2 * 20 * 9 * 2, 2 * 4 * 9 * 2 * 4, 2 * 12), "and by hand"
    assert flops.forward(model) == first + second + last
    assert flops.training(model) == 2 * first + 3 * (second + last), "the images have no gradient"


def test_a_net_too_deep_to_be_pooled_further_is_counted_as_it_is():
    model = hg.nn.ConvNet(1, 4, image=(4, 4, 1))
    blocks = [
        2 * side**2 * 9 * inputs * outputs for side, inputs, outputs in ((4, 1, 1), (2, 1, 2), (1, 2, 4), (1, 4, 8))
    ]
    assert flops.forward(model) == sum(blocks) + 2 * 8 * 10


def test_flops_of_a_transformer_are_those_of_its_products():
    width, heads, length, vocabulary = 4, 2, 6, 7
    model = hg.nn.Transformer(vocabulary, width=width, depth=3, heads=heads, length=length)
    inside = width // heads
    block = 4 * product(length, width, width)
    block += heads * (product(length, inside, length) + product(length, length, inside))
    block += product(length, width, 4 * width) + product(length, 4 * width, width)
    forward = 3 * block + product(length, width, vocabulary)
    assert length * flops.forward(model) == forward and length * flops.training(model) == 3 * forward
    assert flops.parameters(model) == sum(a.size for a in hg.nests.flatten(model.init(0))[0])
    assert flops.parameters(model, embedded=False) == flops.parameters(model) - 2 * vocabulary * width


def test_the_best_split_is_the_lowest_of_many():
    law = {"A": 20.0, "B": 300.0, "alpha": 0.4, "beta": 0.7}
    C, k = 1e9, 4.1
    N, D = fitted_laws.best_split(**law, C=C, k=k)
    assert k * N * D == pytest.approx(C)
    many = N * np.geomspace(0.1, 10.0, 4_001)
    row = np.array([0.1, law["A"], law["B"], law["alpha"], law["beta"]])
    losses = fitted_laws.curve_of_two(row, many, C / (k * many))
    assert many[np.argmin(losses)] == pytest.approx(N, rel=2e-3)
    assert fitted_laws.curve_of_two(row, N, D) <= losses.min() + 1e-12


def test_the_best_split_grows_with_compute_as_its_exponents_say():
    alpha, beta = 0.34, 0.28
    C = np.geomspace(1e6, 1e12, 7)
    N, D = fitted_laws.best_split(406.4, 410.7, alpha, beta, C, 6.0)
    of_n, of_d = fitted_laws.shares(alpha, beta)
    assert (of_n, of_d) == (pytest.approx(0.28 / 0.62), pytest.approx(0.34 / 0.62)) and of_n + of_d == pytest.approx(
        1.0
    )
    assert fitted_laws.straight(C, N)[1] == pytest.approx(of_n) and fitted_laws.straight(C, D)[1] == pytest.approx(of_d)


def test_rows_of_a_law_begin_with_the_fit_and_draw_it():
    x = np.repeat([1.0, 2.0, 4.0, 8.0, 16.0], 3)
    y = (0.5 + 2.0 * x**-0.7) * np.exp(0.01 * np.random.default_rng(0).standard_normal(15))
    rows, law = fitted_laws.rows_of(x, y, 20), hg.fit.power_law(x, y, bootstraps=20)
    assert rows.shape == (21, 3)
    np.testing.assert_allclose(rows[0], [law.floor, law.scale, law.exponent])
    np.testing.assert_allclose(fitted_laws.curve(rows[0], x), law.predict(x))
    assert fitted_laws.estimate(rows)[1:] == pytest.approx(law.interval("exponent"))
    assert fitted_laws.estimate(rows, 0)[1:] == pytest.approx(law.interval("floor"))
    assert np.isnan(fitted_laws.rows_of(x[:3], y[:3], 2)).all() and fitted_laws.rows_of(x[:3], y[:3], 2).shape == (3, 3)


def test_the_envelope_is_what_nothing_cheaper_is_below():
    x, y = np.array([3.0, 1.0, 2.0, 2.0, 4.0]), np.array([1.0, 3.0, 2.0, 2.5, 1.5])
    assert fitted_laws.envelope(x, y).tolist() == [True, True, True, False, False]
    x, y = np.random.default_rng(0).random((2, 50))
    below = [not ((x <= a) & (y < b)).any() for a, b in zip(x, y)]
    assert fitted_laws.envelope(x, y).tolist() == below


def test_best_sizes_of_losses_that_follow_a_law_are_those_of_the_algebra():
    N, k = np.geomspace(500.0, 15_000.0, 12), 4.0
    budgets = np.geomspace(1e8, 1e9, 4)
    row = np.array([0.0, 200.0, 300.0, 0.4, 0.4])
    loss = fitted_laws.curve_of_two(row, N, budgets[:, None] / (k * N))[..., None]
    best = iso_compute.best_sizes(loss, budgets, N, k * N, around=2)
    wanted_n, wanted_d = fitted_laws.best_split(*row[1:], budgets, k)
    there = np.isfinite(best[:, 0])
    assert there.sum() >= 3
    np.testing.assert_allclose(best[there, 0], wanted_n[there], rtol=0.03)
    np.testing.assert_allclose(best[there, 1], wanted_d[there], rtol=0.03)
    assert iso_compute.growth(budgets, best) == pytest.approx((0.5, 0.5), abs=0.03)
    falling = best[:1, 2] * (N[0] / N)[:, None]
    assert np.isnan(iso_compute.best_sizes(falling[None], budgets[:1], N, k * N, 2)).all(), "the end of the widths"


def test_bins_of_a_curve_hold_every_step_once():
    losses = np.arange(1.0, 101.0)
    middles, means = loss_curves.binned(losses, 12)
    edges = np.unique(np.rint(np.geomspace(1, 101, 13)).astype(int))
    sizes, there = np.diff(edges), np.isfinite(means)
    assert there.sum() == len(sizes) and sizes.sum() == 100
    assert np.sum(sizes * means[there]) == pytest.approx(losses.sum())
    assert middles[0] == 1.0 and (np.diff(middles[there]) > 0.0).all()


def test_images_of_the_three_pieces_are_different_ones_averaged_over_pixels():
    training, _, test = image_nets.pieces(2)
    assert [len(T) for _, T in image_nets.pieces(2)] == list(image_nets.COUNTS)
    ((X, T),) = hg.data.load_mnist(3)
    np.testing.assert_allclose(
        training[0][2].reshape(14, 14)[5, 7], X[2].reshape(28, 28)[10:12, 14:16].mean(), rtol=1e-6
    )
    assert training[1][2] == np.argmax(T[2]) and not np.array_equal(training[0][0], test[0][0])


PARTS = {(m, part): None for m in (scaling_laws, loss_curves) for part in m.PARTS}


def checked_in(module, part):
    if PARTS[module, part] is None:
        PARTS[module, part] = results.load(module, results.FIGURES / module.__name__.split(".")[-1], part)
    return PARTS[module, part]


def test_a_training_of_the_first_part_is_reproduced_and_its_laws_are_those_of_its_points():
    config, stored = checked_in(scaling_laws, 1)
    found = scaling_laws.trial(config, {"width": 4, "depth": 1, "images": 6_250}, 1)
    assert found["loss"] == pytest.approx(stored.value[1, 0, 0, 1], rel=1e-3)
    model = image_nets.model_of(config, config.widths[1], config.depths[2])
    assert stored.compute[1, 2, 3] == flops.training(model) * config.images[3] * config.epochs
    assert stored.parameters[1, 2] == sum(a.size for layer in model.init(0) for a in layer)
    N = np.repeat(stored.parameters[:, 1], config.seeds).astype(float)
    law = hg.fit.power_law(N, stored.value[:, 1, -1].ravel(), bootstraps=config.bootstraps)
    assert scaling_laws.numbers(stored, config)["exponent of N, depth 2"] == pytest.approx(
        (law.exponent, *law.interval("exponent")), rel=1e-3
    )
    named = scaling_laws.numbers(stored, config)
    assert named["at chance with the most images"] == np.sum(stored.value[..., -1, :] > 0.95 * np.log(10.0))
    mean = stored.value.mean(axis=-1)
    for at in np.ndindex(mean.shape):
        assert stored.efficient[at] == (not ((stored.compute <= stored.compute[at]) & (mean < mean[at])).any())


def test_a_training_of_the_second_part_is_reproduced_and_its_exponents_follow_from_its_losses():
    config, stored = checked_in(scaling_laws, 2)
    found = iso_compute.trial(config, {"budget": config.budgets[0], "width": 8}, 1)
    assert found["loss"] == pytest.approx(stored.value[0, config.widths.index(8), 1], rel=1e-3)
    spent = stored.steps * config.batch_size * stored.per_image / stored.budgets[:, None]
    assert np.abs(spent[stored.steps >= config.fewest] - 1.0).max() < 0.06
    best = iso_compute.best_sizes(stored.value, stored.budgets, stored.parameters, stored.per_image, config.around)
    np.testing.assert_allclose(best, stored.best[0])
    named = iso_compute.numbers(stored, config)
    there = np.isfinite(best[:, 0])
    slope = np.polyfit(np.log(stored.budgets[there]), np.log(best[there, 0]), 1)[0]
    assert named["exponent of the best N"].value == pytest.approx(slope)
    x, y = np.log(stored.budgets[there]), np.log(best[there, 0])
    residuals = y - np.polyval(np.polyfit(x, y, 1), x)
    error = np.sqrt(residuals @ residuals / (len(x) - 2) / np.sum((x - x.mean()) ** 2))
    mean, low, high = named["exponent of the best N, by the scatter"]
    assert len(x) == 5 and high - mean == pytest.approx(3.182 * error, rel=1e-3)  # t for 3 degrees of freedom
    assert mean == pytest.approx(slope) and mean - low == pytest.approx(high - mean)
    a, b = stored.law[0, 3:]
    assert named["b/(a+b)"].value == pytest.approx(b / (a + b))
    assert named["b/(a+b)"].value + named["a/(a+b)"].value == pytest.approx(1.0)
    assert named["k"] == pytest.approx(stored.per_image[[0, -1]] / stored.parameters[[0, -1]])


def test_tuned_rates_of_the_third_part_reach_what_is_stored_on_weights_that_nothing_was_chosen_by():
    config, stored = checked_in(scaling_laws, 3)
    assert config.fresh >= 10 and 10 <= config.seeds <= tuned_laws.FRESH
    model = image_nets.model_of(config, config.widths[2])
    ways = tuned_laws.ways(config)
    assert len(ways) == len(stored.value) == 1 + 2 * len(config.segments)
    for v in (0, len(ways) - 2):
        lr = np.exp(hg.schedules.binned(stored.log_lr[v, 2, 1], config.steps))
        loss, _ = image_nets.outcome(config, model, config.images, config.steps, tuned_laws.FRESH + 3, lr)
        assert loss == pytest.approx(stored.value[v, 2, 1, 3], rel=1e-2), ways[v]
    assert (stored.tuned[1::2] <= stored.tuned[0] + 1e-12).all(), "a descent starts from the fixed rate"
    named = tuned_laws.numbers(stored, config)
    law = hg.fit.power_law(stored.parameters, stored.value[1].mean(axis=(1, 2)), bootstraps=0)
    assert named[f"exponent, {ways[1]}"].value == pytest.approx(law.exponent, rel=1e-3)
    for v, word in ((1, "a rate"), (3, "4 rates")):
        apart = (stored.value[v] - stored.value[v + 1]).mean(axis=0)  # runs and initial weights
        of_runs, of_weights = (apart.mean(axis=axis).var(ddof=1) / apart.shape[1 - axis] for axis in (1, 0))
        runs, weights = np.array(apart.shape) - 1
        freedom = (of_runs + of_weights) ** 2 / (of_runs**2 / runs + of_weights**2 / weights)
        half = t.ppf(0.975, freedom) * np.sqrt(of_runs + of_weights)
        mean = apart.mean()
        assert named[f"hypergradient less search, {word}"] == pytest.approx((mean, mean - half, mean + half))
    assert config.trainings() == 3 * (config.meta_steps + 1)


def test_a_curve_is_reproduced_and_the_numbers_follow_from_the_curves():
    config, stored = checked_in(loss_curves, 1)
    few = dataclasses.replace(config, characters=config.characters // 32, tested=1)
    losses, _ = loss_curves.trained(few, 1, 0)
    X, T = text.windows(text.training(), 8, config.length, (0, loss_curves.PIECES))
    assert losses[0] == pytest.approx(float(config.model(1).loss(config.model(1).init(0, dtype=np.float32), X, T)))
    assert losses[0] > 0.95 * np.log(config.vocabulary)
    assert stored.step[1, :4].tolist() == [1.0, 2.0, 3.0, 4.0]
    np.testing.assert_allclose(losses[:4], stored.value[1, 0, :4], rtol=1e-4)
    assert len(losses) == few.steps()[1] and config.seeds >= 10
    assert [step * batch for step, batch in zip(config.steps(), config.batches)] == [config.characters // 64] * 7
    named = loss_curves.numbers(stored, config)
    for i, axis in enumerate(loss_curves.AXES[:3]):
        x = stored.step * stored.per_step[:, i, None]
        slopes = []
        for seed in range(config.seeds):
            y = stored.value[:, seed]
            kept = [
                (a, b)
                for a, b in zip(x[np.isfinite(y)], y[np.isfinite(y)])
                if not ((x <= a) & (y < b)).any() and a >= config.fit_from * np.nanmax(x[np.isfinite(y)][_lowest(x, y)])
            ]
            slopes.append(-np.polyfit(*np.log(np.transpose(kept)), 1)[0])
        assert named[f"exponent over {axis}, mean"] == pytest.approx(np.mean(slopes), rel=1e-6)
    small, last = [], [[y[np.isfinite(y)][-1] for y in of_shape] for of_shape in stored.value]
    for seed in range(config.seeds):
        lowest = min(range(len(config.batches)), key=lambda shape: last[shape][seed])
        small += [seed] * (config.batches[lowest] == 2)
    assert named["seeds in which the smallest minibatches end lowest"] == len(small)
    others = [seed for seed in range(config.seeds) if seed not in small]
    assert named["exponent over step, they end lowest"] == pytest.approx(stored.exponents[0, small].mean())
    assert stored.exponents[0, small].max() < stored.exponents[0, others].min(), "two laws, as the log says"
    _, low, high = named["exponent over compute"]
    assert loss_curves.KAPLAN["compute"] < low < high < loss_curves.KAPLAN["size"] > named["exponent over size"].high
    assert stored.per_step[3].tolist() == [1.0, 8 * 64, 8 * 64 * flops.training(config.model(3))]


def _lowest(x, y):
    """Which of the finite points no other is below at smaller x."""
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    return [not ((x <= a) & (y < b)).any() for a, b in zip(x, y)]


def test_kaplans_exponents_are_those_of_his_equations():
    assert loss_curves.KAPLAN == {"characters": 0.095, "compute": 0.050, "size": 0.076}


@pytest.mark.parametrize(("module", "part"), [(m, p) for m in (scaling_laws, loss_curves) for p in m.FULL])
def test_full_runs_are_larger_ones_of_the_same(module, part):
    full, smaller = module.FULL[part], module.PARTS[part]
    assert type(full) is type(smaller) and max(full.widths) >= max(smaller.widths) and full != smaller
    if module is scaling_laws:
        assert full.convolutional and full.batch_size == 512
        image_nets.model_of(full, full.widths[0])
    else:
        for shape, steps in itertools.product(range(len(full.widths)), [full.steps()]):
            assert full.model(shape).width == full.widths[shape] and steps[shape] > smaller.steps()[shape]
