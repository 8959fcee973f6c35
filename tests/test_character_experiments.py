"""The experiments on character models: what they vary, and their checked-in results."""

import re

import numpy as np
import pytest
from scipy import stats

from experiments import may28_initial_scales as may28
from experiments.shared import results, search
from hypergrad.nests import flatten

LOG = " ".join((results.EXPERIMENTS / "LOG.md").read_text(encoding="utf-8").split())


def checked_in(module):
    return results.load(module, results.FIGURES / module.__name__.split(".")[-1], 1)


@pytest.mark.parametrize("name", may28.RECIPES)
def test_a_recipe_is_read_off_the_shapes(name):
    config = may28.Config()
    params = may28.initial(config, name, 0)
    variance = {"he": lambda m, n: 2 / m, "1/√in": lambda m, n: 1 / m, "glorot": lambda m, n: 2 / (m + n)}[name]
    (block,) = params["blocks"]
    added = {"output": 0.5, "down": 0.5}  # 1 / (2 · depth)
    for key, w in {**block, "embedding": params["embedding"], "head": params["head"]}.items():
        if np.ndim(w) == 2:
            expected = np.sqrt(variance(*w.shape) * added.get(key, 1.0))
            assert np.std(w) == pytest.approx(expected, rel=0.1), key
            assert w.dtype == np.float32
    assert (block["norm"]["gain"] == 1.0).all() and (block["up_bias"] == 0.0).all()


def test_a_scale_of_the_transformer_is_a_factor_of_its_weights():
    config, z = may28.Config(), np.zeros(8)
    z[may28.HYPERS.index("mlp")] = np.log(2.0)
    one, other = (flatten(may28.initial(config, each, 3))[0] for each in (np.zeros(8), z))
    changed = [not np.array_equal(a, b) for a, b in zip(one, other)]
    assert sum(changed) == 2
    assert all(np.allclose(2.0 * a, b) for a, b, differs in zip(one, other, changed) if differs)


def test_no_minibatch_comes_twice_and_none_is_of_the_text_held_out():
    config = may28.Config(steps=10)
    batches = may28.minibatches(config, 0)
    assert batches.batches == 20 and len(np.unique(batches.X, axis=0)) == 160
    assert all(len(piece) == config.length for piece in batches.X)


def test_an_evolution_begins_at_its_start():
    f = lambda x: float(np.sum(x**2))
    start = np.full(3, 2.0)
    found = search.by_evolution_from(f, start, 60, seed=1, length=0.3)
    assert len(found.values) == 60 and (found.points[0] == start).all()
    assert np.linalg.norm(found.points[1] - start) < 1.5 and found.values.min() < 0.3 * f(start)


def test_calm_points_of_the_initial_scales_are_computed_again():
    config, found = checked_in(may28)
    again = may28.mean_loss(config, np.zeros(8), config.log_rates[0])
    assert again == pytest.approx(found.by_rate[0], rel=1e-3)
    z = np.log(config.factors[0]) * np.eye(8)[may28.HYPERS.index("embedding")]
    again = may28.mean_loss(config, z, config.log_rates[int(np.argmin(found.by_rate))])
    assert again == pytest.approx(found.grid[0, 0], rel=0.02)
    np.testing.assert_array_equal(found.z[:, 0], 0.0)


def test_the_log_says_that_search_wins_by_as_much_as_the_results_do():
    config, found = checked_in(may28)
    words = re.sub(r"<!--.*?-->", "", LOG)
    grid, learned = found.fixed[-1, :, 0], found.learned[..., 0].mean(axis=0)
    assert f"give {grid.mean():.3f} nats a character, the hypergradient {learned.mean():.3f}," in words
    assert f"{found.searched[..., 0].mean():.3f}; all scales 1 have {found.fixed[0, :, 0].mean():.3f}." in words
    low, high = stats.bootstrap((learned - grid,), np.mean, rng=np.random.default_rng(0)).confidence_interval
    assert 0.0 < low < learned.mean() - grid.mean() < high  # whichever interval it is
    assert found.slopes[0].mean(axis=0)[0] < 0.0 < found.slopes[0].mean(axis=0)[1], "embedding, position"
    assert np.abs(found.slopes[1]).max() > 10.0 * np.abs(found.slopes[0]).max(), "Adam's usual ε"
    assert config.log_rates[int(np.argmin(found.by_rate))] == max(config.log_rates), "the largest rate of the grid"
