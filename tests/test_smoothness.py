"""Metasmoothness: its formula, its bounds, and what it refuses."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from problems import classifier

import hypergrad as hg
from hypergrad.errors import ArgumentError, DifferentiationError, NestError
from hypergrad.probe import metasmoothness


@pytest.mark.parametrize("seed", range(5))
def test_a_linear_map_has_1_and_no_curvature(seed):
    rng = np.random.default_rng(seed)
    A, b, c = rng.standard_normal((40, 3)), rng.standard_normal(40), rng.standard_normal(40)
    found = metasmoothness(
        lambda z: {"w": A @ z + b, "more": (z.sum(),)},
        rng.standard_normal(3),
        rng.standard_normal(3),
        0.3,
        outer=lambda p: c @ p["w"],
    )
    assert found.value == 1.0 and found.curvature < 1e-11
    np.testing.assert_allclose(found.first, found.second, atol=1e-12)


def by_formula(low, middle, high):
    """The definition with a diagonal matrix."""
    d = np.abs(high - low)
    return np.sign(middle - low) @ np.diag(d / d.sum()) @ np.sign(high - middle)


@pytest.mark.parametrize("seed", range(20))
def test_it_is_the_formula_lies_within_1_and_is_the_same_backwards_and_rescaled(seed):
    rng = np.random.default_rng(seed)
    path = rng.standard_normal((3, 30))
    f = lambda z: [path[round(float(z))][:10], {"rest": path[round(float(z))][10:]}]
    found = metasmoothness(f, 0.0, 1.0, 1.0)
    assert found.value == pytest.approx(by_formula(*path)) and -1.0 <= found.value <= 1.0
    assert metasmoothness(f, 2.0, -1.0, 1.0).value == pytest.approx(found.value), "from the other end"
    assert metasmoothness(f, 0.0, 2.0, 0.5).value == pytest.approx(found.value), "h v is what counts"
    assert metasmoothness(lambda z: -3.0 * f(z)[0], 0.0, 1.0, 1.0).value == pytest.approx(
        metasmoothness(lambda z: f(z)[0], 0.0, 1.0, 1.0).value
    )


def test_parameters_that_turn_round_have_minus_1_unless_they_come_back():
    turn = lambda z: np.array([1.0, -1.0]) * (z - 0.9 * max(z - 1.0, 0.0) * 2.0)
    assert metasmoothness(turn, 0.0, 1.0, 1.0).value == -1.0
    back = metasmoothness(lambda z: np.array([(z - 1.0) ** 2]), 0.0, 1.0, 1.0)
    assert np.isnan(back.value), "nothing moved in the end"
    still = metasmoothness(lambda z: np.ones(3), 0.0, 1.0, 1.0)
    assert np.isnan(still.value) and np.isnan(still.curvature)


def test_the_curvature_is_the_second_difference():
    found = metasmoothness(
        lambda z: {"w": z}, np.array([0.2, 0.5]), np.array([1.0, 2.0]), 0.1, outer=lambda p: p["w"] @ p["w"]
    )
    assert found.curvature == pytest.approx(2.0 * 5.0)
    np.testing.assert_allclose(found.losses, [0.29, 0.3**2 + 0.7**2, 0.4**2 + 0.9**2])


def test_training_is_smooth_at_a_small_learning_rate_and_not_in_chaos():
    model, loss, params, X, T = classifier()
    train = lambda log_lr: hg.train(loss, params, hg.SGD(anp.exp(log_lr), 0.9), steps=60)
    calm, wild = (metasmoothness(train, z, 1.0, 0.05, outer=lambda p: model.loss(p, X, T)) for z in (-2.0, 5.0))
    assert calm.value > 0.9 > 0.5 > wild.value and calm.curvature < wild.curvature


def test_the_figure_shows_both_halves_and_the_loss(tmp_path):
    rng = np.random.default_rng(0)
    path = rng.standard_normal((3, 50))
    found = metasmoothness(lambda z: path[round(float(z))], 0.0, 1.0, 1.0, outer=lambda p: p.sum())
    figure = found.plot(xlabel="log learning rate")
    left, right = figure.axes
    drawn = np.concatenate([line.get_xydata() for line in left.lines[:2]])
    assert {tuple(row) for row in drawn} == {tuple(row) for row in np.c_[found.first, found.second]}
    np.testing.assert_array_equal(right.lines[0].get_ydata(), found.losses)
    assert right.get_xlabel() == "log learning rate" and f"{found.value:.3g}" in figure.get_suptitle()
    figure.savefig(tmp_path / "smooth.png")
    assert f"{found.value:.4g}" in repr(found)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: metasmoothness(np.sin, 0.3, 1.0, 0.0), ArgumentError, "h must be a finite number above 0, got 0.0"),
        (lambda: metasmoothness(np.sin, 0.3, 1.0, -1), ArgumentError, "h must be a finite number above 0, got -1"),
        (lambda: metasmoothness(np.sin, 0.3, 1.0, np.nan), ArgumentError, "h must be"),
        (lambda: metasmoothness(np.sin, 0.3, 0.0, 0.1), ArgumentError, "the direction is zero"),
        (lambda: metasmoothness(np.sin, 0.3, np.inf, 0.1), ArgumentError, "the direction is not finite"),
        (lambda: metasmoothness(np.sin, np.nan, 1.0, 0.1), ArgumentError, "hypers is not finite"),
        (lambda: metasmoothness(np.sin, {"a": 0.3}, {"b": 1.0}, 0.1), NestError, "direction"),
        (lambda: metasmoothness(np.sin, np.ones(3), np.ones(2), 0.1), ArgumentError, "shapes of hypers"),
        (lambda: metasmoothness(lambda z: "trained", 0.3, 1.0, 0.1), ArgumentError, "f must return the trained param"),
        (lambda: metasmoothness(lambda z: {}, 0.3, 1.0, 0.1), ArgumentError, "f must return the trained parameters"),
        (lambda: metasmoothness(lambda z: None, 0.3, 1.0, 0.1), ArgumentError, "f must return the trained parameters"),
        (lambda: metasmoothness(lambda z: np.ones(3 if z > 0.35 else 2), 0.3, 1.0, 0.1), ArgumentError, "different"),
        (lambda: metasmoothness(np.sin, 0.3, 1.0, 0.1, outer=lambda p: np.ones(2)), ArgumentError, "outer must return"),
        (
            lambda: grad(lambda z: metasmoothness(anp.sin, z, 1.0, 0.1).value)(0.3),
            DifferentiationError,
            "metasmoothness cannot be differentiated",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
