"""The checker passes right gradients, tiny ones too, and fails on wrong ones in either mode."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd.extend import defjvp, defvjp, primitive
from problems import classifier

import hypergrad as hg
from hypergrad.testing import HypergradientError, check_hypergradient

MODEL, LOSS, PARAMS, X, T = classifier()
HYPERS = {"log_lr": np.full(6, -1.0), "momentum": [0.5, 0.8, 0.3], "log_scale": -0.7}


def validation_loss(hypers, distort=lambda x: x):
    params = hg.init.scaled_normal(MODEL.shapes, anp.exp(hypers["log_scale"]), 0)
    optimizer = hg.SGD(anp.exp(distort(hypers["log_lr"])), hypers["momentum"])
    return MODEL.loss(hg.train(LOSS, params, optimizer, steps=6), X, T)


def identity_with(reverse, forward):
    """The identity, with these factors for its derivatives."""
    function = primitive(lambda x: x + 0.0)
    defvjp(function, lambda ans, x: lambda g: reverse * g)
    defjvp(function, lambda g, ans, x: forward * g)
    return function


def test_a_right_gradient_passes():
    checks = check_hypergradient(validation_loss, HYPERS)
    assert [check.place for check in checks] == [
        "hypers['log_lr']",
        "hypers['momentum'][0]",
        "hypers['momentum'][1]",
        "hypers['momentum'][2]",
        "hypers['log_scale']",
    ]
    assert all(check.forward_error < 1e-9 and check.difference_error < 1e-5 for check in checks)


@pytest.mark.parametrize("factor", [1e-12, 1.0, 1e12])
def test_the_size_of_the_gradient_does_not_matter(factor):
    check_hypergradient(lambda h: factor * validation_loss(h), HYPERS)
    wrong = identity_with(reverse=1.001, forward=1.001)
    with pytest.raises(HypergradientError, match="central differences"):
        check_hypergradient(lambda h: factor * validation_loss(h, wrong), HYPERS)


@pytest.mark.parametrize(
    ("reverse", "forward", "message"),
    [(1 + 1e-6, 1.0, "forward mode"), (1.0, 1 + 1e-6, "forward mode"), (1.001, 1.001, "central differences")],
)
def test_a_wrong_gradient_fails_with_the_worst_leaf_and_both_numbers(reverse, forward, message):
    wrong = identity_with(reverse, forward)
    with pytest.raises(HypergradientError, match=rf"worst leaf hypers\['log_lr'\].*gives .*{message}.*gives .*"):
        check_hypergradient(lambda h: validation_loss(h, wrong), HYPERS)


def test_a_gradient_that_is_lost_fails():
    lost = identity_with(reverse=0.0, forward=0.0)
    with pytest.raises(HypergradientError, match="log_lr"):
        check_hypergradient(lambda h: validation_loss(h, lost), HYPERS)


def test_chaos_fails():
    """Sixty steps of the logistic map: exact derivatives that describe nothing at a visible distance."""

    def f(x):
        for _ in range(60):
            x = 4.0 * x * (1.0 - x)
        return x

    with pytest.raises(HypergradientError, match="central differences"):
        check_hypergradient(f, 0.3, rtol=1e-6)


def test_bad_functions():
    with pytest.raises(hg.errors.ArgumentError, match=r"shape \(2,\); it must return a scalar"):
        check_hypergradient(lambda h: h * anp.ones(2), 1.0)
    with pytest.raises(hg.errors.ArgumentError, match="does not depend on hypers"):
        check_hypergradient(lambda h: 1.0, 1.0)
    with pytest.raises(hg.errors.NestError, match="integer 1"):
        check_hypergradient(lambda h: h, 1)


def test_shifts_out_of_the_allowed_range_are_left_out():
    f = lambda lr: MODEL.loss(hg.train(LOSS, PARAMS, hg.SGD(lr, 0.5), steps=4), X, T)
    check_hypergradient(f, 0.001)
    with pytest.raises(HypergradientError, match="every shift diverges or leaves"):
        check_hypergradient(f, 0.0)


def test_float32_gets_a_tolerance_that_fits():
    single = hg.init.scaled_normal(MODEL.shapes, 0.5, 0, dtype=np.float32)
    check_hypergradient(lambda lr: MODEL.loss(hg.train(LOSS, single, hg.SGD(lr), steps=6), X, T), 0.3)
