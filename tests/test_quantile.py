"""Initial weights from a piecewise-linear quantile function: its values, its density, its derivatives."""

import autograd.numpy as anp
import numpy as np
import pytest
from problems import classifier, relative_error

import hypergrad as hg
from hypergrad import errors

MODEL, LOSS, _, X, T = classifier()
RNG = np.random.default_rng(0)
FREE = RNG.standard_normal(8)


@pytest.mark.parametrize("size", [1e-3, 1.0, 30.0])
def test_any_free_values_give_an_increasing_function_with_the_mean_that_is_their_first(size):
    for seed in range(20):
        free = size * np.random.default_rng(seed).standard_normal(12)
        values = hg.init.knot_values(free)
        assert (np.diff(values) >= 0).all()
        assert np.trapezoid(values, dx=1 / 11) == pytest.approx(free[0], rel=1e-9, abs=1e-14 * values.max())


def test_uniform_start():
    free = hg.init.uniform_quantile(0.3, knots=20)
    np.testing.assert_allclose(hg.init.knot_values(free), np.linspace(-0.3, 0.3, 20), rtol=1e-12, atol=1e-15)
    _edges, density = hg.init.quantile_density(free)
    np.testing.assert_allclose(density, np.full(19, 1 / 0.6), rtol=1e-12)
    weights = hg.init.quantile([(300, 300)], free, seed=0)[0]
    assert abs(weights).max() <= 0.3 and weights.std() == pytest.approx(0.3 / np.sqrt(3), rel=0.01)


def test_draws_have_the_density():
    """Between two knots lies a share 1 / (K − 1) of all draws, evenly spread."""
    edges, density = hg.init.quantile_density(FREE)
    assert np.sum(density * np.diff(edges)) == pytest.approx(1.0, rel=1e-12)
    draws = hg.init.quantile([(1000, 200)], FREE, seed=3)[0].ravel()
    assert draws.min() >= edges[0] and draws.max() <= edges[-1]
    counts = np.histogram(draws, edges)[0]
    np.testing.assert_allclose(counts / draws.size, 1 / 7, atol=5 * np.sqrt(1 / 7 / draws.size))
    within = draws[(draws > edges[2]) & (draws < edges[3])]
    assert within.mean() == pytest.approx((edges[2] + edges[3]) / 2, abs=5 * np.diff(edges)[2] / np.sqrt(len(within)))


def test_the_draws_are_fixed_by_the_seed_and_shared_by_all_distributions():
    one = hg.init.quantile(MODEL.shapes, FREE, seed=1)
    per_array = hg.init.quantile(MODEL.shapes, [(FREE, FREE)] * 3, seed=1)
    assert relative_error(per_array, one) == 0.0
    twice = hg.init.quantile(MODEL.shapes, FREE + np.r_[0.0, np.full(7, np.log(2))], seed=1)  # all increments doubled
    assert relative_error(twice, [(2 * W - FREE[0], 2 * b - FREE[0]) for W, b in one]) < 1e-12
    other = hg.init.quantile(MODEL.shapes, FREE, seed=2)
    assert relative_error(other, one) > 0.1
    assert all(w.dtype == np.float32 for pair in hg.init.quantile(MODEL.shapes, FREE, 1, "float32") for w in pair)


@pytest.mark.parametrize("nest", ["one", "per layer", "per array"])
def test_hypergradient_through_training(nest):
    start = lambda width: hg.init.uniform_quantile(width, 5) + 0.1 * RNG.standard_normal(5)
    free = {
        "one": start(0.4),
        "per layer": [start(0.4) for _ in range(3)],
        "per array": [(start(0.4), start(0.2)) for _ in range(3)],
    }[nest]

    def objective(free):
        trained = hg.train(LOSS, hg.init.quantile(MODEL.shapes, free, seed=0), hg.SGD(0.5), steps=5)
        return MODEL.loss(trained, X, T)

    hg.testing.check_hypergradient(objective, free)


def test_knots_and_density_are_differentiable():
    weights = RNG.standard_normal(8)

    def objective(free):
        edges, density = hg.init.quantile_density(free)
        return anp.dot(weights, edges) + anp.sum(anp.sin(density))

    hg.testing.check_hypergradient(objective, FREE)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: hg.init.uniform_quantile(-1.0), errors.ArgumentError, r"half_width must be .* > 0, got -1\.0"),
        (lambda: hg.init.uniform_quantile(np.inf), errors.ArgumentError, "half_width must be a finite"),
        (lambda: hg.init.uniform_quantile(1.0, knots=1), errors.ArgumentError, "knots must be an integer ≥ 2, got 1"),
        (lambda: hg.init.quantile(MODEL.shapes, [FREE] * 2, 0), errors.NestError, "free is a list of length 2"),
        (lambda: hg.init.quantile(MODEL.shapes, 0.3, 0), errors.NestError, r"free has shape \(\).*uniform_quantile"),
        (
            lambda: hg.init.quantile(MODEL.shapes, [FREE, FREE[:1], FREE], 0),
            errors.NestError,
            r"free\[1\] has shape \(1,\)",
        ),
        (lambda: hg.init.quantile(MODEL.shapes, FREE * np.nan, 0), errors.NestError, "free is not finite"),
        (lambda: hg.init.quantile(MODEL.shapes, "normal", 0), errors.NestError, r"free is a builtins\.str"),
        (lambda: hg.init.quantile(MODEL.shapes, FREE, -1), errors.ArgumentError, "seed must be an integer ≥ 0"),
        (lambda: hg.init.quantile([(2.5, 1)], FREE, 0), errors.ArgumentError, "must be a tuple of integers"),
        (lambda: hg.init.quantile(MODEL.shapes, FREE, 0, int), errors.ArgumentError, "dtype must be float64"),
        (lambda: hg.init.knot_values(np.ones((2, 2))), errors.NestError, r"free has shape \(2, 2\)"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()
