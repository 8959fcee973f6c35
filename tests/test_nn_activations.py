"""Activations as building blocks: derivatives in both modes, far out, and as the activation of a model."""

import pickle

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import elementwise_grad, grad, make_jvp
from autograd.scipy.special import erf
from derivatives import check
from problems import classifier, relative_error

import hypergrad as hg
from hypergrad import errors
from hypergrad.nn.activations import ACTIVATIONS

pytestmark = pytest.mark.filterwarnings("ignore:Output seems independent of input")
PLAIN = {
    "tanh": (hg.nn.tanh, lambda z: 2.0 / (1.0 + anp.exp(-2.0 * z)) - 1.0),
    "relu": (hg.nn.relu, lambda z: anp.where(z > 0, z, 0.0 * z)),
    "gelu": (hg.nn.gelu, lambda z: z * 0.5 * (1.0 + erf(z / 2**0.5))),
    "sigmoid": (hg.nn.sigmoid, lambda z: 1.0 / (1.0 + anp.exp(-z))),
    "silu": (hg.nn.silu, lambda z: z / (1.0 + anp.exp(-z))),
    "identity": (hg.nn.identity, lambda z: 1.0 * z),
    "leaky_relu": (hg.nn.leaky_relu(0.2), lambda z: anp.where(z > 0, z, 0.2 * z)),
    "tanhshrink": (hg.nn.tanhshrink(0.7, 1.3), lambda z: z - 0.7 * anp.tanh(z / 1.3)),
}
PHIS = {name: phi for name, (phi, _) in PLAIN.items()}
Z = 2.0 * np.random.default_rng(0).standard_normal((5, 4))


def test_every_name_is_tested():
    assert set(ACTIVATIONS) < set(PLAIN) and all(PHIS[name] is phi for name, phi in ACTIVATIONS.items())


@pytest.mark.parametrize("name", PLAIN)
def test_derivatives(name):
    phi, plain = PLAIN[name]
    reverse = lambda z: anp.sum(anp.sin(plain(z)))  # autograd's erf has no forward mode
    assert grad(reverse)(Z) == pytest.approx(grad(lambda z: anp.sum(anp.sin(phi(z))))(Z), rel=1e-9)
    check(phi, Z, plain=plain)
    orders = [phi, plain]
    for _ in range(3):
        orders = [elementwise_grad(function) for function in orders]
        np.testing.assert_allclose(orders[0](Z), orders[1](Z), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", PLAIN)
def test_written_out_derivatives_are_those_of_the_function(name):
    phi = PHIS[name]
    to = np.empty_like(Z)
    phi.write(Z, to)
    np.testing.assert_array_equal(to, phi(Z))
    slope = phi.slope(Z, to)
    np.testing.assert_allclose(slope, elementwise_grad(phi)(Z), rtol=1e-12, atol=1e-14)
    bend = np.zeros_like(Z) if phi.bend is None else phi.bend(Z, to, slope)
    np.testing.assert_allclose(bend, elementwise_grad(elementwise_grad(phi))(Z), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", PLAIN)
def test_finite_far_out_and_in_the_dtype_of_z(name, dtype):
    phi = PHIS[name]
    z = np.array([-1e4, -800.0, -90.0, -20.0, 0.0, 20.0, 90.0, 800.0, 1e4], dtype)
    with np.errstate(over="raise", invalid="raise"):
        a, slope, bend = phi(z), elementwise_grad(phi)(z), elementwise_grad(elementwise_grad(phi))(z)
        tangent = make_jvp(elementwise_grad(phi))(z)(np.ones_like(z))[1]
    for values in (a, slope, bend, tangent):
        assert np.isfinite(values).all() and values.dtype == dtype
    np.testing.assert_array_equal(bend[[0, 1, -2, -1]], 0.0)
    expected = {"tanh": [0, 0], "sigmoid": [0, 0], "identity": [1, 1], "leaky_relu": [0.2, 1], "tanhshrink": [1, 1]}
    np.testing.assert_allclose(slope[[0, -1]], expected.get(name, [0, 1]), rtol=1e-6)


def test_saturated_units_train_where_autograds_tanh_gives_nan():
    def trained(tanh):
        loss = lambda w, h, t: anp.sum((tanh(800.0 * w) - 0.5) ** 2) + anp.sum((w - 0.9) ** 2)
        return lambda lr: anp.sum(hg.train(loss, np.ones(2), hg.SGD(lr), steps=3))

    hg.testing.check_hypergradient(trained(hg.nn.tanh), 0.01)
    with np.errstate(all="ignore"), pytest.warns(errors.NonFiniteGradientWarning):
        assert np.isnan(grad(trained(anp.tanh))(0.01))


@pytest.mark.parametrize("name", PLAIN)
def test_single_numbers(name):
    phi, plain = PLAIN[name]
    assert phi(0.3) == pytest.approx(plain(0.3), rel=1e-12)
    assert grad(grad(phi))(0.3) == pytest.approx(grad(grad(plain))(0.3), rel=1e-9, abs=1e-12)


def test_tanhshrink_is_differentiable_in_its_hyperparameters():
    plain = lambda z, a, b: z - a * anp.tanh(z / b)
    check(lambda z, a, b: hg.nn.tanhshrink(a, b)(z), Z, 0.7, 1.3, plain=plain)
    per_unit = np.array([0.5, -1.0, 2.0, 0.0])
    check(lambda z, a, b: hg.nn.tanhshrink(a, b)(z), Z, per_unit, per_unit + 3.0, plain=plain)
    single = grad(lambda a: anp.sum(hg.nn.tanhshrink(a, 1.3)(Z.astype(np.float32))))
    assert hg.nn.tanhshrink(np.float64(0.7))(Z.astype(np.float32)).dtype == np.float32
    assert single(0.7) == pytest.approx(-np.sum(np.tanh(Z / 1.3)), rel=1e-4)


def test_hypergradients_by_the_hyperparameters_of_an_activation():
    _, _, params, X, T = classifier()

    def loss(params, hyper, step):
        model = hg.nn.MLP([6, 5, 4, 3], hg.nn.tanhshrink(hyper["a"], hyper["b"]))
        return model.loss(params, X, T)

    f = lambda hyper: loss(hg.train(loss, params, hg.SGD(0.5), hyper, steps=4), hyper, 0)
    hg.testing.check_hypergradient(f, {"a": 0.7, "b": 1.3})
    model = hg.nn.MLP([6, 5, 4, 3], hg.nn.tanhshrink(np.ones(1)))
    with pytest.raises(errors.DifferentiationError, match="call it in a loss of your own"):
        hg.train(hg.nn.MinibatchLoss(model, X, T), params, hg.SGD(0.5), steps=1)


@pytest.mark.parametrize("name", PLAIN)
def test_as_the_activation_of_an_mlp(name):
    phi = PHIS[name]
    model, _, params, X, T = classifier(activation=phi)
    gradient = grad(lambda p: model.loss(p, X, T))
    assert relative_error(model.gradient(params, X, T), gradient(params)) < 1e-12
    expected = make_jvp(lambda p: gradient(p))(params)(params)[1]
    assert relative_error(model.gradient_with_hvp(params, X, T)[1](params), expected) < 1e-11
    again = pickle.loads(pickle.dumps(model))
    assert repr(again) == repr(model) and repr(phi) in repr(model)
    assert relative_error(again.gradient(params, X, T), gradient(params)) < 1e-12
    assert relative_error(grad(lambda p: again.loss(p, X, T))(params), gradient(params)) < 1e-12


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hg.nn.leaky_relu(-0.1), "slope of leaky_relu must be a finite number ≥ 0, got -0.1"),
        (lambda: hg.nn.leaky_relu("a"), "got 'a'"),
        (lambda: hg.nn.tanhshrink(1.0, 0.0), "b of tanhshrink must be finite and not 0, got 0.0"),
        (lambda: hg.nn.tanhshrink(np.nan), "a of tanhshrink must be finite, got nan"),
        (lambda: hg.nn.MLP([2, 2], np.tanh), "activation must be one of tanh, relu, .*or an object such as"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(errors.ArgumentError, match=message):
        make()


def test_a_fourth_derivative_says_that_there_is_none():
    f = lambda z: anp.sum(hg.nn.gelu(z))
    for _ in range(3):
        f = elementwise_grad(f)
    assert np.isfinite(f(0.3))
    with pytest.raises(errors.DifferentiationError, match="to third order"):
        elementwise_grad(f)(0.3)
