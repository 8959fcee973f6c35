"""A weight for each training example: in the written-out derivatives, under every adjoint, and what it is worth."""

import autograd.numpy as anp
import numpy as np
import pytest
import unrolled
from autograd import grad, make_jvp, value_and_grad
from derivatives import check
from problems import classifier, relative_error

import hypergrad as hg
from hypergrad import errors
from hypergrad.losses.base import Inputs, adapted
from hypergrad.nests import flatten
from hypergrad.nn import softmax_cross_entropy

STEPS = 9
MODEL, PLAIN, PARAMS, X, T = classifier(seed=5)
LOSS = hg.nn.MinibatchLoss(MODEL, X, T, 7, weights="hyper")
WEIGHTS = np.random.default_rng(5).standard_normal(len(X))  # negative ones too
ADJOINTS = [hg.Stored(), hg.Checkpointed(1), hg.Checkpointed(3), hg.Truncated(STEPS)]


def by_hand(params, weights, step):
    """From the definition, a row at a time."""
    rows = range(step % 3 * 7, min(step % 3 * 7 + 7, len(X)))
    return sum(weights[i] * MODEL.loss(params, X[i : i + 1], T[i : i + 1]) for i in rows) / len(rows)


def final(train, weights):
    return MODEL.loss(train(weights), X, T)


def trained(weights, loss=LOSS, optimizer=None, **options):
    return hg.train(loss, PARAMS, optimizer or hg.SGD(0.5, 0.8), weights, steps=STEPS, **options)


def reference(weights):
    return unrolled.train(by_hand, PARAMS, unrolled.sgd, (0.5, 0.8), weights, STEPS, [STEPS])[0]


EXPECTED = value_and_grad(lambda w: final(reference, w))(WEIGHTS)


@pytest.mark.parametrize("adjoint", ADJOINTS)
@pytest.mark.parametrize("path", ["written out", "by autograd"])
def test_against_unrolled_autograd(path, adjoint):
    loss = LOSS if path == "written out" else lambda p, w, t: LOSS(p, w, t)
    value, gradient = value_and_grad(lambda w: final(lambda w: trained(w, loss, adjoint=adjoint), w))(WEIGHTS)
    assert value == pytest.approx(EXPECTED[0], rel=1e-12)
    assert relative_error(gradient, EXPECTED[1]) < 1e-9


def test_the_written_out_derivatives_are_used_and_right_at_single_points():
    structure = flatten(PARAMS)[1]
    for wants_hyper in (False, True):
        run_loss = adapted(LOSS, Inputs(structure, flatten(WEIGHTS)[1], [WEIGHTS], wants_hyper))
        assert type(run_loss).__name__ == "_LossOfMLP"
    for activation in ("tanh", "gelu", "relu"):
        model, _, params, *_ = classifier(activation=activation)
        hg.testing.check_loss(hg.nn.MinibatchLoss(model, X, T, 7, weights="hyper"), params, WEIGHTS, steps=4)


def test_forward_mode_and_differences():
    direction = np.random.default_rng(1).standard_normal(len(X))
    forward = make_jvp(lambda w: final(trained, w))(WEIGHTS)(direction)[1]
    assert forward == pytest.approx(EXPECTED[1] @ direction, rel=1e-9)
    hg.testing.check_hypergradient(lambda w: final(trained, w), WEIGHTS)


def test_exact_reversal_gives_the_bits_of_the_stored_run():
    exact = hg.SGD(0.5, 0.8, exact=True)
    f = lambda adjoint: value_and_grad(lambda w: final(lambda w: trained(w, LOSS, exact, adjoint=adjoint), w))(WEIGHTS)
    value, gradient = f(hg.Stored())
    assert relative_error(gradient, EXPECTED[1]) < 1e-6
    for adjoint in (hg.Reversible(), hg.Checkpointed(2)):
        other, bits = f(adjoint)
        assert other == value and np.array_equal(bits, gradient)


def test_params_and_learning_rates_beside_the_weights():
    def f(inputs, train):
        params, lr, weights = inputs
        return MODEL.loss(train(params, lr, weights), X, T)

    ours = lambda p, lr, w: hg.train(LOSS, p, hg.SGD(lr, 0.8), w, steps=STEPS)
    theirs = lambda p, lr, w: unrolled.train(by_hand, p, unrolled.sgd, (lr, 0.8), w, STEPS, [STEPS])[0]
    at = (PARAMS, np.linspace(0.2, 0.5, STEPS), WEIGHTS)
    for a, b in zip(grad(lambda x: f(x, ours))(at), grad(lambda x: f(x, theirs))(at)):
        assert relative_error(a, b) < 1e-9


def test_with_1_for_all_it_is_the_unweighted_loss_to_the_last_bit():
    ones = np.ones(len(X))
    for a, b in zip(flatten(trained(ones))[0], flatten(trained(None, PLAIN))[0]):
        np.testing.assert_array_equal(a, b)
    assert all(LOSS(PARAMS, ones, step) == PLAIN(PARAMS, None, step) for step in range(3))
    f = lambda loss, w: grad(lambda lr: final(lambda w: trained(w, loss, hg.SGD(lr, 0.8)), w))(0.3)
    assert f(LOSS, ones) == f(PLAIN, None)


def test_a_weight_of_0_leaves_an_example_out():
    without = np.ones(len(X))
    without[[2, 11]] = 0.0
    spoilt = X.copy()
    spoilt[[2, 11]] = 1e3
    other = hg.nn.MinibatchLoss(MODEL, spoilt, T, 7, weights="hyper")
    for a, b in zip(flatten(trained(without))[0], flatten(trained(without, other))[0]):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    assert grad(lambda w: final(trained, w))(without)[2] != 0.0


def test_float32_parameters_stay_so():
    params = [(W.astype(np.float32), b.astype(np.float32)) for W, b in PARAMS]
    f = lambda w: MODEL.loss(hg.train(LOSS, params, hg.SGD(0.5, 0.8), w, steps=STEPS), X, T)
    gradient = grad(f)(WEIGHTS)
    assert gradient.dtype == np.float64 and relative_error(gradient, EXPECTED[1]) < 1e-3
    assert hg.train(LOSS, params, hg.SGD(0.5), WEIGHTS, steps=2)[0][0].dtype == np.float32


def test_models_of_other_classes_take_weights_too():
    rng = np.random.default_rng(2)
    images, labels, weights = rng.standard_normal((12, 4, 4, 1)), rng.integers(0, 3, 12), rng.random(12)
    net = hg.nn.ConvNet(2, 1, classes=3, image=(4, 4, 1), activation="gelu")
    text, reader = rng.integers(0, 5, (12, 6)), hg.nn.DiagonalRecurrence(5, 4, 5)
    for model, data, targets in ((net, images, labels), (reader, text[:, :-1], text[:, 1:])):
        loss, params = hg.nn.MinibatchLoss(model, data, targets, 5, weights="hyper"), model.init(seed=0)
        rows = [weights[i] * model.loss(params, data[i : i + 1], targets[i : i + 1]) for i in range(5, 10)]
        assert loss(params, weights, 1) == pytest.approx(np.mean(rows), rel=1e-12)
        after = lambda w, loss=loss, params=params: hg.train(loss, params, hg.SGD(0.1), w, steps=3)
        f = lambda w, model=model, d=data, t=targets, after=after: model.loss(after(w), d, t)
        hg.testing.check_hypergradient(f, weights)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (None, errors.ArgumentError, "takes the weights of its 20 examples as hyper, which is None"),
        (np.ones(19), errors.ArgumentError, r"weights of 20 examples, floats of shape \(20,\), got .*\(19,\)"),
        (np.ones((20, 1)), errors.ArgumentError, r"shape \(20, 1\)"),
        ({"w": np.ones(20)}, errors.ArgumentError, r"hyper must be the weights of 20 examples.*got \{'w'"),
        (np.where(np.arange(20) == 3, np.nan, 1.0), errors.NestError, "hyper holds NaN"),
        (np.where(np.arange(20) == 3, np.inf, 1.0), errors.ArgumentError, r"hyper\[3\] is inf"),
    ],
)
def test_weights_that_are_refused_before_training(weights, error, message):
    for loss in (LOSS, hg.nn.MinibatchLoss(type("Mine", (hg.nn.MLP,), {})([6, 5, 4, 3]), X, T, 7, weights="hyper")):
        with pytest.raises(error, match=message):
            trained(weights, loss)


def test_losses_that_are_refused():
    class Bare:
        def loss(self, params, X, T):
            return anp.mean(params)

    with pytest.raises(errors.ArgumentError, match=r"needs a model with loss\(params, X, T, weights\)"):
        hg.nn.MinibatchLoss(Bare(), X, T, 7, weights="hyper")
    for weights in (np.ones(20), True, "yes"):
        with pytest.raises(errors.ArgumentError, match='weights must be None or "hyper"'):
            hg.nn.MinibatchLoss(MODEL, X, T, 7, weights=weights)
    with pytest.raises(errors.ArgumentError, match=r"hyper\[3\] is nan"):
        LOSS(PARAMS, np.where(np.arange(20) == 3, np.nan, 1.0), 0)


def drawn(leading, classes, seed=0):
    rng = np.random.default_rng(seed)
    z = 2.0 * rng.standard_normal((*leading, classes))
    return z, rng.integers(0, classes, leading), rng.random((*leading, classes)), rng.standard_normal(leading)


def plain(z, labels, weights):
    rows = anp.sum(labels * (z - anp.log(anp.sum(anp.exp(z), axis=-1, keepdims=True))), axis=-1)
    return -anp.sum(weights * rows) / np.prod(z.shape[:-1])


@pytest.mark.parametrize("leading", [(5,), (3, 4), ()])
def test_the_weighted_cross_entropy_and_its_derivatives(leading):
    z, labels, t, weights = drawn(leading, 4)
    hot = np.eye(4)[labels]
    if leading:
        check(lambda z, w: softmax_cross_entropy(z, labels, w), z, weights, plain=lambda z, w: plain(z, hot, w))
        check(softmax_cross_entropy, z, t, weights, plain=plain)
    else:
        with pytest.raises(errors.ArgumentError, match=r"weights have shape \(\)"):
            softmax_cross_entropy(z, labels, weights)


def test_a_weight_for_each_sequence_and_1_for_all():
    z, labels, t, weights = drawn((3, 4), 5)
    each = np.repeat(weights[:, :1], 4, axis=1)
    for y in (labels, t):
        assert softmax_cross_entropy(z, y, weights[:, 0]) == pytest.approx(softmax_cross_entropy(z, y, each), rel=1e-14)
        assert softmax_cross_entropy(z, y, np.ones((3, 4))) == softmax_cross_entropy(z, y)
        ones = grad(lambda z, y=y: softmax_cross_entropy(z, y, np.ones(3)))(z)
        np.testing.assert_array_equal(ones, grad(lambda z, y=y: softmax_cross_entropy(z, y))(z))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(2), r"weights have shape \(2,\), but rows of shape \(3, 4\)"),
        (np.ones((3, 4, 5)), r"weights have shape \(3, 4, 5\)"),
        (np.ones(3, int), r"weights have dtype int64.*astype\(float\)"),
        (np.array([1.0, np.nan, 1.0]), r"weights\[1\] is nan"),
    ],
)
def test_weights_that_the_cross_entropy_refuses(weights, message):
    z, labels, *_ = drawn((3, 4), 5)
    with pytest.raises(errors.ArgumentError, match=message):
        softmax_cross_entropy(z, labels, weights)


OPTIMIZER = hg.SGD(0.5, 0.8)


def measure(params):
    return MODEL.loss(params, X[:1], T[:1])


@pytest.mark.parametrize("adjoint", [None, *ADJOINTS])
def test_attribution_is_the_derivative_and_predicts_small_changes(adjoint):
    found = hg.probe.attribution(LOSS, PARAMS, OPTIMIZER, steps=STEPS, measure=measure, adjoint=adjoint)
    expected = grad(lambda w: measure(reference(w)))(np.ones(20))
    assert relative_error(found.gradient, expected) < 1e-9 and found.value == measure(trained(np.ones(20)))
    changed = 1.0 + 1e-4 * WEIGHTS
    actual = measure(trained(changed)) - found.value
    assert found.predict(changed) - found.value == pytest.approx(actual, rel=1e-2)
    np.testing.assert_allclose(found.predict(np.stack([changed] * 2)), [found.predict(changed)] * 2, rtol=1e-15)


def test_helpful_and_harmful_examples_are_in_order():
    found = hg.probe.attribution(LOSS, PARAMS, OPTIMIZER, steps=STEPS, measure=measure)
    helpful, harmful = found.most_helpful(20), found.most_harmful(20)
    assert (np.diff(found.gradient[helpful]) >= 0).all() and (np.diff(found.gradient[harmful]) <= 0).all()
    assert helpful[0] == np.argmin(found.gradient) and harmful[:3].tolist() == found.most_harmful(3).tolist()
    without = lambda i: measure(trained(np.where(np.arange(20) == i, 0.0, 1.0)))
    assert without(helpful[0]) > found.value > without(harmful[0])
    with pytest.raises(ValueError, match="read-only"):
        found.gradient[0] = 1.0
    with pytest.raises(errors.ArgumentError, match="n is 21, but there are only 20"):
        found.most_helpful(21)
    with pytest.raises(errors.ArgumentError, match="there are 20 examples"):
        found.predict(np.ones(3))


def test_attribution_in_exact_arithmetic_and_of_a_loss_of_ones_own():
    exact = hg.SGD(0.5, 0.8, exact=True)
    found = hg.probe.attribution(by_hand, PARAMS, exact, WEIGHTS, steps=STEPS, measure=measure, adjoint=hg.Reversible())
    assert relative_error(found.gradient, grad(lambda w: measure(reference(w)))(WEIGHTS)) < 1e-6


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"loss": PLAIN}, errors.ArgumentError, "needs a loss that takes weights"),
        ({"weights": np.ones((20, 2))}, errors.ArgumentError, r"one for each example, got shape \(20, 2\)"),
        ({"measure": lambda p: p[0][0]}, errors.ArgumentError, "it must return a scalar"),
        ({"measure": lambda p: 3.0}, errors.ArgumentError, "does not depend on what it is given"),
        ({"measure": 3}, errors.ArgumentError, "measure must be a function"),
        ({"steps": -1}, errors.ArgumentError, "steps must be"),
    ],
)
def test_attributions_that_are_refused(changed, error, message):
    given = {"loss": LOSS, "params": PARAMS, "optimizer": OPTIMIZER, "steps": STEPS, "measure": measure} | changed
    with pytest.raises(error, match=message):
        hg.probe.attribution(**given)


def test_an_attribution_cannot_be_differentiated():
    with pytest.raises(errors.DifferentiationError, match="cannot be differentiated"):
        grad(lambda w: hg.probe.attribution(LOSS, PARAMS, OPTIMIZER, w, steps=3, measure=measure).value)(WEIGHTS)
