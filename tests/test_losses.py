"""Derivatives written out belong to one explicit object: nothing inherits, delegates or copies one without the
other.
"""

import copy
import functools
import pickle

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, make_jvp, value_and_grad
from problems import classifier, penalised, relative_error, written

import hypergrad as hg
from hypergrad import errors
from hypergrad.testing import LossDerivativeError, check_loss

MODEL, LOSS, PARAMS, X, T = classifier()


class Bowl:
    """Written out by hand, with a helper."""

    strength = 1.0

    def penalty(self, w):
        return 0.0

    def __call__(self, w, hyper, step):
        return 0.5 * self.strength * anp.sum(w**2) + self.penalty(w)

    def gradient(self, w, hyper, step):
        return self.strength * w

    def gradient_with_hvp(self, w, hyper, step):
        return self.strength * w, lambda d: self.strength * d


class Penalised(Bowl):
    """Overrides a helper only."""

    def penalty(self, w):
        return anp.sum(w**4)


class Delegating:
    """Everything else is that of the inner loss."""

    def __init__(self, inner):
        self.inner = inner

    def __call__(self, params, hyper, step):
        return self.inner(params, hyper, step) + sum(anp.sum(W**2) for W, b in params)

    def __getattr__(self, name):
        return getattr(object.__getattribute__(self, "inner"), name)


class SubclassOfMinibatches(hg.nn.MinibatchLoss):
    def batch(self, step):
        X, T = super().batch(step)
        return 0.5 * X, T


class SubclassOfMLP(hg.nn.MLP):
    def _data_like(self, params, data, name, rows=None):
        return super()._data_like(params, data, name, rows) * (2.0 if name == "X" else 1.0)


def wrapped():
    @functools.wraps(LOSS)
    def loss(params, hyper, step):
        return LOSS(params, hyper, step) + sum(anp.sum(W**2) for W, b in params)

    return loss


def replaced():
    loss = SubclassOfMinibatches(MODEL, X, T, 7)
    loss.batch = lambda step: (X[:3], T[:3])
    return loss


def partly(params, hyper, step, weight):
    return weight * LOSS(params, hyper, step)


CHANGED = {
    "delegating wrapper": (Delegating(LOSS), PARAMS),
    "delegating wrapper of a wrapper": (Delegating(Delegating(LOSS)), PARAMS),
    "functools.wraps": (wrapped(), PARAMS),
    "functools.partial": (functools.partial(partly, weight=2.0), PARAMS),
    "subclass with another batch": (SubclassOfMinibatches(MODEL, X, T, 7), PARAMS),
    "subclass of the model with another helper": (
        hg.nn.MinibatchLoss(SubclassOfMLP([6, 5, 4, 3]), X, T, 7),
        PARAMS,
    ),
    "method replaced on an instance of a subclass": (replaced(), PARAMS),
    "object with methods of these names": (Bowl(), np.ones(3)),
    "subclass that overrides a helper": (Penalised(), np.ones(3)),
}


@pytest.mark.parametrize("way", CHANGED)
def test_a_changed_loss_trains_on_its_own_gradient(way):
    loss, start = CHANGED[way]
    size = lambda params: sum(anp.sum(w**2) for w in hg.nests.flatten(params)[0])
    f = lambda function: lambda lr: size(hg.train(function, start, hg.SGD(lr, 0.5), steps=4))
    by_hand = lambda params, hyper, step: loss(params, hyper, step)
    assert value_and_grad(f(loss))(0.1) == value_and_grad(f(by_hand))(0.1)


def test_written_derivatives_are_used_and_only_with_their_function():
    calls = []

    class Counting(Bowl):
        def gradient(self, w, hyper, step):
            calls.append("gradient")
            return super().gradient(w, hyper, step)

        def gradient_with_hvp(self, w, hyper, step):
            calls.append("product")
            return super().gradient_with_hvp(w, hyper, step)

    loss, f = written(Counting()), lambda loss: lambda lr: anp.sum(hg.train(loss, np.ones(3), hg.SGD(lr), steps=4) ** 2)
    assert value_and_grad(f(loss))(0.1) == pytest.approx(value_and_grad(f(Bowl()))(0.1), rel=1e-12)
    assert calls == ["product"] * 5, "one of them is the step that is computed again"
    make_jvp(f(loss))(0.1)(1.0)
    assert len(calls) == 9


@pytest.mark.parametrize("make", [lambda: written(Bowl()), lambda: LOSS, lambda: MODEL])
def test_what_derivatives_belong_to_cannot_be_changed(make):
    thing = make()
    name = {"WrittenLoss": "value", "MinibatchLoss": "batch", "MLP": "logits"}[type(thing).__name__]
    with pytest.raises(AttributeError, match="cannot be"):
        setattr(thing, name, lambda *_: 0.0)
    with pytest.raises(AttributeError, match="cannot be"):
        setattr(thing, {"WrittenLoss": "gradient", "MinibatchLoss": "X", "MLP": "activation"}[type(thing).__name__], 3)
    assert type(pickle.loads(pickle.dumps(LOSS))) is type(LOSS) and type(copy.copy(MODEL)) is type(MODEL)


def test_a_written_loss_cannot_be_derived_from():
    with pytest.raises(TypeError, match="cannot be derived from"):
        type("Mine", (hg.losses.WrittenLoss,), {})
    with pytest.raises(errors.ArgumentError, match="needs a function for gradient, got 3"):
        hg.losses.WrittenLoss(lambda w, h, t: 0.0, gradient=3, gradient_with_hvp=len)


def ridge(scale_gradient=1.0, scale_product=1.0, scale_mixed=1.0):
    """½ |X w − y|²/n + ½ h |w|², with derivatives and mistakes."""
    A, y = X[:, :4], X[:, 5]

    def value(w, h, step):
        return 0.5 * anp.mean((anp.dot(A, w) - y) ** 2) + 0.5 * h * anp.sum(w**2)

    def gradient(w, h, step):
        return scale_gradient * (A.T @ (A @ w - y) / len(y) + h * w)

    def hvp(h):
        return lambda d: scale_product * scale_gradient * (A.T @ (A @ d) / len(y) + h * d)

    return hg.losses.WrittenLoss(
        value,
        gradient=gradient,
        gradient_with_hvp=lambda w, h, step: (gradient(w, h, step), hvp(h)),
        gradient_with_products=lambda w, h, step: (
            gradient(w, h, step),
            lambda d: (hvp(h)(d), scale_mixed * np.vdot(w, d)),
        ),
    )


def trained_on(loss):
    return lambda x: anp.sum(hg.train(loss, np.ones(4), hg.SGD(x["lr"], 0.5), x["h"], steps=5) ** 2)


AT = {"lr": 0.1, "h": 0.3}


def test_written_mixed_products_are_used_and_right():
    loss = ridge()
    plain = lambda w, h, step: loss(w, h, step)
    ours, theirs = (value_and_grad(trained_on(function))(AT) for function in (loss, plain))
    assert ours[0] == pytest.approx(theirs[0], rel=1e-12)
    assert relative_error(ours[1], theirs[1]) < 1e-12
    ones = {"lr": 1.0, "h": 1.0}
    assert make_jvp(trained_on(loss))(AT)(ones)[1] == pytest.approx(sum(theirs[1].values()), rel=1e-10)
    wrong = grad(trained_on(ridge(scale_mixed=2.0)))(AT)
    assert abs(wrong["h"] / theirs[1]["h"] - 1.0) > 0.1, "it is the written one that is used"


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ({"scale_gradient": 20.0}, "the gradient written out for the loss is not that of the loss"),
        ({"scale_product": 1.001}, "the Hessian-vector product written out"),
        ({"scale_mixed": -1.0}, "the mixed product with hyper written out"),
    ],
)
def test_the_checks_fail_on_a_wrong_derivative(mistake, message):
    check_loss(ridge(), np.ones(4), 0.3)
    with pytest.raises(LossDerivativeError, match=message):
        check_loss(ridge(**mistake), np.ones(4), 0.3)
    hg.testing.check_hypergradient(trained_on(ridge()), AT)
    with pytest.raises(LossDerivativeError, match=message):
        hg.testing.check_hypergradient(trained_on(ridge(**mistake)), AT)


def test_gradients_that_round_differently_fail_the_check():
    right = ridge()
    loss = hg.losses.WrittenLoss(
        right.value,
        gradient=lambda w, h, t: right.gradient(w, h, t) * (1.0 + 1e-15),
        gradient_with_hvp=right.gradient_with_hvp,
    )
    with pytest.raises(LossDerivativeError, match="to the last bit"):
        check_loss(loss, np.ones(4), 0.3)


def test_every_loss_of_the_package_passes_the_check():
    for activation in ("tanh", "relu", "gelu", "identity"):
        _, loss, params, *_ = classifier(activation=activation)
        check_loss(loss, params, steps=4)
    check_loss(penalised(LOSS), PARAMS, [-1.0] * 6)  # has none of its own


def test_bytes_kept_are_counted_without_the_data():
    """What the loss itself refers to was there before."""
    from hypergrad.losses.footprint import footprint

    data, weights = np.ones(1_000), np.ones(10)

    def made_of():
        kept = np.ones(300)
        return lambda d: kept[10:].sum() + data.sum() + d

    assert footprint(made_of(), [lambda: data]) == 2_400
    assert footprint({"a": [weights, weights[2:]]}, []) == 80
    plan = lambda **o: hg.plan(LOSS, PARAMS, hg.SGD(0.1), steps=20, memory_budget="1GB", **o).memory
    by_autograd = hg.plan(lambda p, h, t: LOSS(p, h, t), PARAMS, hg.SGD(0.1), steps=20, memory_budget="1GB").memory
    assert plan() < by_autograd < 20 * plan()


def test_mixed_products_of_another_shape_and_hyper_that_cannot_be_changed():
    def made(mixed):
        return hg.losses.WrittenLoss(
            lambda w, h, t: anp.sum(w * h),
            gradient=lambda w, h, t: h * 1.0,
            gradient_with_hvp=lambda w, h, t: (h * 1.0, lambda d: 0.0 * d),
            gradient_with_products=lambda w, h, t: (h * 1.0, lambda d: (0.0 * d, mixed(d))),
        )

    f = lambda h, loss: anp.sum(hg.train(loss, np.ones(3), hg.SGD(0.1), h, steps=2) ** 2)
    assert np.isfinite(grad(f)(np.ones(3), made(lambda d: d))).all()
    with pytest.raises(
        errors.LossError, match=r"mixed product for hyper has shape \(\) at step 1, but hyper has \(3,\)"
    ):
        grad(f)(np.ones(3), made(lambda d: np.sum(d)))

    def meddling(w, h, t):
        h[0] = 99.0
        return h

    loss = hg.losses.WrittenLoss(lambda w, h, t: 0.0, gradient=meddling, gradient_with_hvp=meddling)
    with pytest.raises(ValueError, match="read-only"):
        hg.train(loss, np.ones(3), hg.SGD(0.1), np.ones(3), steps=1)
