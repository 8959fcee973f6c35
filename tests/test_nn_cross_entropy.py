"""Softmax cross-entropy as a building block: its definition, its derivatives, and what it refuses."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.extend import defjvp, defvjp, primitive
from derivatives import check
from hypothesis import given, settings
from hypothesis import strategies as st

import hypergrad as hg
from hypergrad import errors
from hypergrad.nn import cross_entropy
from hypergrad.nn.cross_entropy import log_softmax, softmax_cross_entropy


def plain_log_softmax(z):
    return z - anp.log(anp.sum(anp.exp(z), axis=-1, keepdims=True))


def plain(z, labels):
    """By the definition, with the one-hot matrix."""
    if np.asarray(labels).dtype.kind == "i":
        labels = np.eye(z.shape[-1])[labels]
    return -anp.sum(labels * plain_log_softmax(z)) / np.prod(z.shape[:-1])


def drawn(leading, classes, seed=0):
    rng = np.random.default_rng(seed)
    z = 2.0 * rng.standard_normal((*leading, classes))
    return z, rng.integers(0, classes, leading), rng.random((*leading, classes))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 4), max_size=3), st.integers(1, 5), st.integers(0, 99))
def test_derivatives_over_shapes(leading, classes, seed):
    z, labels, t = drawn(leading, classes, seed)
    check(lambda z: softmax_cross_entropy(3.0 * z, labels), z, plain=lambda z: plain(3.0 * z, labels), seed=seed)
    check(softmax_cross_entropy, z, t, plain=lambda z, t: plain(z, t), seed=seed)
    check(log_softmax, z, plain=plain_log_softmax, seed=seed)


def test_third_derivatives():
    z, labels, _ = drawn((3,), 4)
    d = np.random.default_rng(1).standard_normal(z.shape)
    third = lambda f: grad(lambda z: anp.sum(d * grad(lambda z: anp.sum(d * grad(f)(z)))(z)))(z)
    np.testing.assert_allclose(
        third(lambda z: softmax_cross_entropy(z, labels)), third(lambda z: plain(z, labels)), rtol=1e-9, atol=1e-12
    )


def test_many_classes():
    z, labels, t = drawn((6,), 50)
    check(lambda z: softmax_cross_entropy(z, labels), z, plain=lambda z: plain(z, labels))
    check(softmax_cross_entropy, z, t, plain=plain)


def test_a_class_is_its_one_hot_row():
    z, labels, _ = drawn((4, 3), 5)
    assert softmax_cross_entropy(z, labels) == pytest.approx(softmax_cross_entropy(z, np.eye(5)[labels]), rel=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_of_the_logits_stays(dtype):
    z, labels, t = drawn((4,), 3)
    z = z.astype(dtype)
    for y in (labels, labels.astype(np.uint8), t):
        f = lambda z, y=y: softmax_cross_entropy(z, y)
        assert f(z).dtype == dtype and grad(f)(z).dtype == dtype
        assert grad(lambda z, f=f: anp.sum(grad(f)(z) ** 2))(z).dtype == dtype


def test_large_logits_stay_finite():
    z = np.array([[800.0, -800.0, 0.0], [1e4, 1e4, -1e4], [-np.inf, 0.0, 1.0]])
    labels = np.array([1, 2, 2])
    f = lambda z: softmax_cross_entropy(z, labels)
    expected = (1600.0 + 2e4 + np.log(2) + np.log(1 + np.exp(-1))) / 3
    assert f(z) == pytest.approx(expected, rel=1e-14)
    assert np.isfinite(grad(f)(z)).all() and np.isfinite(grad(lambda z: anp.sum(grad(f)(z) ** 2))(z)).all()


@pytest.mark.parametrize(("reverse", "forward", "message"), [(1.0, 1.001, "forward"), (1.001, 1.001, "gradient")])
def test_the_check_fails_on_a_wrong_derivative(reverse, forward, message):
    softmax = primitive(lambda z: cross_entropy.softmax_of_rows(z))
    product = lambda p, g, factor: p * g - factor * p * anp.sum(p * g, axis=-1, keepdims=True)
    defvjp(softmax, lambda ans, z: lambda g: product(ans, g, reverse))
    defjvp(softmax, lambda g, ans, z: product(ans, g, forward))
    z = drawn((3,), 4)[0]
    check(lambda z: anp.exp(log_softmax(z)), z)
    with pytest.raises(AssertionError, match=message):
        check(softmax, z)


def test_training_with_it_has_the_right_hypergradient():
    z, labels, _ = drawn((12,), 3)
    X = np.random.default_rng(3).standard_normal((12, 4))

    def loss(params, scale, step):
        return softmax_cross_entropy(anp.dot(X, params) + scale * z, labels)

    f = lambda h: loss(hg.train(loss, np.ones((4, 3)), hg.SGD(h["lr"]), h["scale"], steps=5), 0.0, 0)
    hg.testing.check_hypergradient(f, {"lr": 0.5, "scale": 0.3})


Z = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (Z, np.array([0, 3]), r"labels\[1\] is 3, but there are 3 classes: 0 … 2"),
        (Z, np.array([-1, 0]), r"labels\[0\] is -1, but there are 3 classes"),
        (np.zeros((2, 2, 3)), np.array([[0, 1], [5, 1]]), r"labels\[1, 0\] is 5"),
        (Z, np.array([0.0, 1.0]), r"dtype float64.*labels.astype\(int\)"),
        (Z, np.array([True, False]), r"dtype bool.*labels.astype\(int\)"),
        (Z, np.eye(3, dtype=int)[:2], r"integers of shape \(2, 3\).*\.astype\(float\)"),
        (Z, np.array([0, 1, 2]), r"integers of shape \(3,\).*shape \(2,\)"),
        (Z, np.ones((2, 2)), r"labels have shape \(2, 2\)"),
        (Z, np.array(["a", "b"]), r"dtype <U1"),
        (Z.astype(int), np.array([0, 1]), r"logits have shape \(2, 3\) and dtype int64: they must be floats"),
        (np.zeros(()), np.array(0), r"logits have shape \(\)"),
        (np.zeros((0, 3)), np.zeros(0, int), r"no rows"),
        (np.zeros((2, 0)), np.zeros(2, int), r"logits have shape \(2, 0\)"),
    ],
)
def test_what_is_refused(logits, labels, message):
    with pytest.raises(errors.ArgumentError, match=message):
        softmax_cross_entropy(logits, labels)
