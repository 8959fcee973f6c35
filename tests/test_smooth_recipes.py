"""The experiment on recipes: its numbers computed again, and what the log says of the checked-in results."""

import numpy as np
import pytest

import hypergrad as hg
from experiments import smooth_recipes
from experiments.shared import results, small_net
from experiments.shared.recipe_figures import goodness

PART1, PART2 = (results.load(smooth_recipes, results.FIGURES / "smooth_recipes", part) for part in (1, 2))
LOG = (results.EXPERIMENTS / "LOG.md").read_text()
ENTRY = LOG[LOG.index("## 26 November 2026: which recipe") :].split("\n## ")[0]


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
    assert smooth_recipes.in_words("Ŝ", np.nan) == "–"


def test_the_table_of_the_log_is_that_of_the_results():
    config, stored = PART1
    assert smooth_recipes.as_markdown(stored, config) in LOG


def held(part, chosen) -> str:
    """At how many of the chosen points the actual change is within a factor of two of the predicted one."""
    config, stored = part
    within = (stored.ratio(config) > 0.5) & (stored.ratio(config) < 2.0)
    return f"{(within & chosen).sum()} of {chosen.sum()}"


def test_the_counts_of_the_log_are_those_of_the_results():
    text = " ".join(ENTRY.split())
    (_, one), (_, two) = PART1, PART2
    counts = []
    for part, stored in ((PART1, one), (PART2, two)):
        high, low = stored.smoothness >= 0.9, stored.smoothness < 0.6
        counts.append([held(part, which) for which in (high, ~high & ~low, low, stored.growth < 0.01)])
    (a, b, c, calm), (d, e, f, calm_too) = counts
    assert f"at {a} points with Ŝ ≥ 0.9, {b} between 0.6 and 0.9, and {c} below; in part 2 at {d}, {e} and {f}." in text
    assert f"it is {calm} and {calm_too}." in text


def test_the_ranges_of_the_answer_are_those_of_the_results():
    config, stored = PART1
    text = " ".join(ENTRY.split())
    at = config.recipes.index

    def span(array, name, digits):
        return f"{array[:, at(name)].min():.{digits}f} to {array[:, at(name)].max():.{digits}f}"

    edges, losses = (
        [span(a, n, d) for n in ("base", "all 500 images", "layer norm")]
        for a, d in ((stored.edge, 2), (stored.best, 4))
    )
    assert f"from {edges[0]} up to {edges[1]} and {edges[2]}" in text
    assert f"below the edge is {losses[1]} and {losses[2]}, against {losses[0]}" in text
    assert f"the edge moves from {span(stored.edge, 'batches of 25', 2)} to {edges[1]}" in text
    decay = at("weight decay 0.03")
    assert (np.median(stored.growth[..., 0], axis=0) < 0.0).nonzero()[0].tolist() == [decay]
    assert stored.edge[:, decay].max() < stored.edge[:, at("base")].min()
    assert np.median(stored.best, axis=0).argmax() == decay
    late = np.median(stored.ratio(config)[..., 1], axis=0) > 0.5
    assert {config.recipes[i] for i in late.nonzero()[0]} == {"no hidden layer", "all 500 images", "layer norm"}


def test_full_runs_are_larger_ones_of_the_same():
    for part, config in smooth_recipes.FULL.items():
        smaller = smooth_recipes.PARTS[part]
        assert config.seeds > smaller.seeds and config.budget > smaller.budget
        assert set(smaller.recipes) < set(config.recipes) <= set(smooth_recipes.RECIPES)
        assert set(smaller.log_lrs) < set(config.log_lrs) and small_net.run_of(config) == small_net.run_of(smaller)
