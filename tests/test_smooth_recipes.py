"""The experiment on recipes: its numbers computed again, and what the log says of the checked-in results."""

import numpy as np
import pytest
from scipy import stats

import hypergrad as hg
from experiments import smooth_recipes
from experiments.parts.smooth_recipes.recipe_figures import goodness
from experiments.shared import results, small_net

PART1, PART2 = (results.load(smooth_recipes, results.FIGURES / "smooth_recipes", part) for part in (1, 2))
LOG = (results.EXPERIMENTS / "LOG.md").read_text()


@pytest.mark.parametrize("name", ["base", "layer norm", "warm-up 10 steps", "weight decay 0.03"])
def test_calm_points_are_reproduced(name):
    config, stored = PART1
    batch_loss, params, optimizer, outer, steps = smooth_recipes.training(config, name, 0)
    train = lambda log_lr: hg.train(batch_loss, params, optimizer(log_lr), steps=steps)
    at = config.recipes.index(name)
    sweep = hg.probe.sweep(lambda x: outer(train(x)), [1.0], progress=False)
    row = smooth_recipes.measured(config, train, outer, batch_loss, params, optimizer, steps, 1.0)
    fields = ("loss", "gradient", "change", "smoothness", "curvature", "growth")
    for field, value in zip(fields, (sweep.loss[0], sweep.gradient[0], *row), strict=True):
        assert value == pytest.approx(getattr(stored, field)[0, at, 0], rel=1e-5), field


def test_the_base_is_that_of_the_small_net():
    config, stored = PART1
    net = small_net.run_of(config)
    for seed in range(config.seeds):
        assert small_net.final_loss(net, seed, 1.0) == pytest.approx(stored.loss[seed, 0, 0], rel=1e-9)


def test_the_normalised_net_is_normalised():
    """Its hidden layers do not feel the scale of the weights before them."""
    model = smooth_recipes.NormalisedMLP([6, 5, 4])
    params = hg.init.scaled_normal(model.shapes, 0.7, 0)
    X = np.random.default_rng(0).standard_normal((8, 6))
    (W, b), last = params
    scaled = model.logits([(1e3 * W, 1e3 * b), last], X)
    np.testing.assert_allclose(scaled, model.logits(params, X), rtol=1e-3, atol=1e-4)
    plain = hg.nn.MLP([6, 5, 4])
    assert np.abs(plain.logits([(1e3 * W, 1e3 * b), last], X) - plain.logits(params, X)).max() > 0.1


def test_the_ratio_is_that_of_a_step_of_a_parabola():
    """x² from 1 by 0.1: 0.21 over 0.2."""
    config = smooth_recipes.Config()
    one = np.ones((1, 1, 1))
    found = smooth_recipes.Results(one, 2.0 * one, 0.21 * one, one, one, one, one[0], one[0])
    assert found.ratio(config).item() == pytest.approx(1.05)


def test_goodness_is_1_where_training_is_differentiable():
    assert goodness("Ŝ at 0", np.array([1.0, -0.5, np.nan])).tolist() == [1.0, 0.0, 0.0]
    assert goodness("actual/predicted at 1", np.array([1.0, -3.0, np.inf, 0.1])).round(12).tolist() == [
        1.0,
        0.0,
        0.0,
        0.0,
    ]
    assert goodness("edge", np.array([1.0, 3.0])).tolist() == [0.0, 1.0]
    assert goodness("lowest loss below it", np.array([0.01, 1.0])).tolist() == [1.0, 0.0]


def test_a_run_that_diverges_is_recorded(tmp_path):
    config = smooth_recipes.Config(
        recipes=("no hidden layer",), log_lrs=(0.0, 709.0), images=50, batch_size=25, steps=10, budget=16, seeds=1
    )
    found = smooth_recipes.run(config, 1, tmp_path)
    assert np.isfinite(found.smoothness[0, 0, 0]) and np.isnan(found.smoothness[0, 0, 1])
    assert smooth_recipes.in_words("Ŝ", [np.nan]) == "–"


def test_the_table_of_the_log_is_that_of_the_results():
    config, stored = PART1
    assert smooth_recipes.as_markdown(stored, config) in LOG


@pytest.mark.parametrize("name", ["all 500 images", "layer norm", "warm-up 10 steps", "weight decay 0.03"])
def test_what_the_log_says_of_a_recipe_is_compared_with_the_base_seed_by_seed(name):
    config, stored = PART1
    assert config.recipes[0] == "base" and np.isfinite(stored.edge).all()
    found, at = smooth_recipes.numbers(stored, config), config.recipes.index(name)
    edge = stats.ttest_rel(stored.edge[:, at], stored.edge[:, 0]).confidence_interval()
    loss = stats.ttest_rel(np.log(stored.best[:, at]), np.log(stored.best[:, 0])).confidence_interval()
    assert found[f"edge less that of the base, {name}"][1:] == pytest.approx(edge)
    assert found[f"loss over that of the base, {name}"][1:] == pytest.approx(np.exp(loss))
    assert found[f"edge, {name}"][0] == pytest.approx(stored.edge[:, at].mean())
    assert found[f"lowest loss below it, {name}"][0] == pytest.approx(stats.gmean(stored.best[:, at]))


@pytest.mark.parametrize(("config", "stored"), [PART1, PART2])
def test_how_often_a_step_does_what_the_derivative_says_is_counted(config, stored):
    found = smooth_recipes.numbers(stored, config)
    counts = dict.fromkeys(["Ŝ from 0.9", "Ŝ from 0.6 to 0.9", "Ŝ below 0.6", "λ below 0.01"], (0, 0))
    points = zip(stored.change.flat, stored.gradient.flat, stored.smoothness.flat, stored.growth.flat, strict=True)
    for change, gradient, smoothness, growth in points:
        held = 0.5 < change / (0.1 * gradient) < 2.0
        kind = "Ŝ from 0.9" if smoothness >= 0.9 else "Ŝ below 0.6" if smoothness < 0.6 else "Ŝ from 0.6 to 0.9"
        for name in (kind, "λ below 0.01") if growth < 0.01 else (kind,):
            counts[name] = counts[name][0] + held, counts[name][1] + 1
    assert counts == {name: found[f"as predicted, {name}"] for name in counts}


def test_where_things_happen_below_the_edge():
    """One seed after another: the first learning rate with Ŝ below 0.9, taken from the edge."""
    config, stored = PART2
    found = smooth_recipes.numbers(stored, config)
    for i, name in enumerate(config.recipes):
        distances = []
        for seed in range(config.seeds):
            fallen = [x for x, s in zip(config.log_lrs, stored.smoothness[seed, i], strict=True) if s < 0.9]
            distances.append(stored.edge[seed, i] - fallen[0])
        assert found[f"below the edge, Ŝ, {name}"][0] == pytest.approx(np.mean(distances))


def test_the_orders_that_the_log_speaks_of_are_those_of_the_results():
    config, stored = PART1
    decay = config.recipes.index("weight decay 0.03")
    assert (np.median(stored.growth[..., 0], axis=0) < 0.0).nonzero()[0].tolist() == [decay]
    assert stored.best.mean(axis=0).argmax() == decay
    assert config.recipes[stored.best.mean(axis=0).argmin()] == "all 500 images"
    assert config.recipes[stored.edge.mean(axis=0).argmax()] == "layer norm"
    late = np.median(stored.ratio(config)[..., 1], axis=0) > 0.5
    assert {config.recipes[i] for i in late.nonzero()[0]} == {"no hidden layer", "all 500 images", "layer norm"}


def test_full_runs_are_larger_ones_of_the_same():
    for part, config in smooth_recipes.FULL.items():
        smaller = smooth_recipes.PARTS[part]
        assert config.seeds == smaller.seeds == 10 and config.budget > smaller.budget
        assert set(smaller.recipes) < set(config.recipes) <= set(smooth_recipes.RECIPES)
        assert set(smaller.log_lrs) < set(config.log_lrs) and small_net.run_of(config) == small_net.run_of(smaller)
