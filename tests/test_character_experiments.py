"""The experiments on character models: what they vary, and their checked-in results."""

import numpy as np
import pytest
from autograd import grad

from experiments import jun05_activations as jun05
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


def test_shapes_with_a_0_are_the_identity_and_with_minus_1_those_of_x_plus_tanh_x():
    x = np.linspace(-3.0, 3.0, 7)
    for a, expected in ((0.0, x), (-1.0, x + np.tanh(x))):
        z = np.array([a] * 3 + [0.0] * 4)
        for activation in jun05.shapes_of(z):
            np.testing.assert_allclose(activation(x), expected)
    config, log_rate = jun05.Config(steps=5), np.log(0.01)
    learned = jun05.losses_of(config, None, np.array([-1.0] * 3 + [0.0] * 3 + [log_rate]), 0)
    fixed = jun05.losses_of(config, jun05.KINDS["x + tanh x"], np.array([log_rate]), 0)
    np.testing.assert_allclose(learned, fixed, rtol=1e-5)


def test_the_hypergradient_by_the_shapes_is_the_slope_of_the_loss():
    config = jun05.Config(steps=5, batch_size=16, examples=64, eps=0.1)  # with a smaller ε first steps are signs
    z = np.array([-0.5, 0.2, 0.4, 0.1, 0.0, -0.1, -3.0])
    f = lambda z: jun05.losses_of(config, None, z, 0)[0]
    slopes = grad(f)(z)
    for i in range(7):
        step = 0.02 * np.eye(7)[i]
        assert slopes[i] == pytest.approx((f(z + step) - f(z - step)) / 0.04, rel=0.02, abs=2e-3), i


def test_an_evolution_begins_at_its_start():
    f = lambda x: float(np.sum(x**2))
    start = np.full(3, 2.0)
    found = search.by_evolution_from(f, start, 60, seed=1, length=0.3)
    assert len(found.values) == 60 and (found.points[0] == start).all()
    assert np.linalg.norm(found.points[1] - start) < 1.5 and found.values.min() < 0.3 * f(start)


def test_points_of_the_initial_scales_are_computed_again():
    config, found = checked_in(may28)
    best = int(np.nanargmin(found.by_rate))
    again = may28.mean_loss(config, np.zeros(8), config.log_rates[best])
    assert again == pytest.approx(found.by_rate[best], rel=5e-3)
    slope = may28.slope(config, config.log_rates[best], 0, config.eps)
    np.testing.assert_allclose(slope, found.slopes[0, 0], rtol=0.3, atol=0.03)
    np.testing.assert_array_equal(found.z[:, 0], 0.0)


def test_points_of_the_activations_are_computed_again():
    config, found = checked_in(jun05)
    for name in ("relu", "x + tanh x"):
        i = list(jun05.KINDS).index(name)
        again = jun05.mean_loss(config, jun05.KINDS[name], np.log(10.0) * np.array([config.log_rates[0]]), 0)
        assert again == pytest.approx(found.by_rate[i, 0], rel=5e-3), name
