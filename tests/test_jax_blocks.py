"""The building blocks against JAX: value, gradient and Hessian-vector product in float64."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.builtins import tuple as autograd_tuple
from autograd.core import make_vjp
from beside_jax import drawn, jax
from derivatives import error

import hypergrad as hg

pytestmark = pytest.mark.usefixtures("double")
jnp, lax = jax.numpy, jax.lax


def conv(stride, padding):
    padding = padding.upper() if isinstance(padding, str) else [(padding, padding)] * 2
    layout = ("NHWC", "HWIO", "NHWC")
    return lambda x, w: lax.conv_general_dilated(x, w, (stride, stride), padding, dimension_numbers=layout)


def pooled(x, size, stride, start, reduce):
    return lax.reduce_window(x, start, reduce, (1, size, size, 1), (1, stride, stride, 1), "VALID")


def cross_entropy(z, labels):
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), labels[..., None], axis=-1))


X, W, Z = drawn(3, 6, 5, 2), drawn(3, 3, 2, 4), 2.0 * drawn(4, 3)
LOGITS, T = drawn(2, 4, 5), np.random.default_rng(0).random((2, 4, 5))
LABELS = np.random.default_rng(0).integers(0, 5, (2, 4))
CASES = {
    **{
        f"conv2d, stride {stride}, {padding}": (
            lambda x, w, s=stride, p=padding: hg.nn.conv2d(x, w, stride=s, padding=p),
            conv(stride, padding),
            (X, W[:kernel]),
        )
        for stride in (1, 2, 3)
        for padding in ("same", "valid", 2)
        for kernel in (2, 3)
    },
    "max_pool": (lambda x: hg.nn.max_pool(x, 2), lambda x: pooled(x, 2, 2, -jnp.inf, lax.max), (X,)),
    "max_pool, overlapping": (lambda x: hg.nn.max_pool(x, 3, 1), lambda x: pooled(x, 3, 1, -jnp.inf, lax.max), (X,)),
    "mean_pool": (lambda x: hg.nn.mean_pool(x, 3, 2), lambda x: pooled(x, 3, 2, 0.0, lax.add) / 9.0, (X,)),
    "cross-entropy of classes": (
        lambda z: hg.nn.softmax_cross_entropy(z, LABELS),
        lambda z: cross_entropy(z, jnp.asarray(LABELS)),
        (LOGITS,),
    ),
    "cross-entropy of distributions": (
        hg.nn.softmax_cross_entropy,
        lambda z, t: -jnp.sum(t * jax.nn.log_softmax(z)) / 8.0,
        (LOGITS, T),
    ),
    "log_softmax": (hg.nn.log_softmax, jax.nn.log_softmax, (LOGITS,)),
    "tanh": (hg.nn.tanh, jnp.tanh, (Z,)),
    "relu": (hg.nn.relu, jax.nn.relu, (Z,)),
    "gelu": (hg.nn.gelu, lambda z: jax.nn.gelu(z, approximate=False), (Z,)),
    "sigmoid": (hg.nn.sigmoid, jax.nn.sigmoid, (Z,)),
    "silu": (hg.nn.silu, jax.nn.silu, (Z,)),
    "leaky_relu": (hg.nn.leaky_relu(0.1), lambda z: jax.nn.leaky_relu(z, 0.1), (Z,)),
    "tanhshrink": (
        lambda z, a, b: hg.nn.tanhshrink(a, b)(z),
        lambda z, a, b: z - a * jnp.tanh(z / b),
        (Z, np.array(0.7), np.array(1.3)),
    ),
}


def compare(ours, theirs, args, rtol=1e-11):
    """Value, gradient and Hessian-vector product of a scalar function of the outputs."""
    value = ours(*args)
    np.testing.assert_allclose(value, theirs(*args), rtol=1e-12, atol=1e-13)
    weights = drawn(*np.shape(value), seed=1)
    d = autograd_tuple([drawn(*np.shape(x), seed=2) for x in args])
    gradient = grad(lambda args: anp.sum(weights * ours(*args) ** 2))
    gradient_of_jax = jax.grad(lambda args: jnp.sum(weights * theirs(*args) ** 2))
    expected, product = jax.jvp(gradient_of_jax, (tuple(args),), (tuple(d),))
    assert error(gradient(autograd_tuple(args)), expected) < rtol
    assert error(make_vjp(gradient, autograd_tuple(args))[0](d), product) < rtol


@pytest.mark.parametrize("name", CASES)
def test_against_jax(name):
    compare(*CASES[name])


def test_the_comparison_fails_on_another_function():
    with pytest.raises(AssertionError):
        compare(lambda x, w: hg.nn.conv2d(x, w[::-1]), conv(1, "same"), (X, W))


def test_a_network_against_jax():
    model = hg.nn.ConvNet(3, 2, classes=5, image=(6, 5, 2), activation="gelu")
    (W0, b0), (W1, b1), (W2, b2) = model.init(0)
    labels = np.array([0, 4, 2])

    def theirs(*leaves):
        W0, b0, W1, b1, W2, b2 = leaves
        phi = lambda z: jax.nn.gelu(z, approximate=False)
        a = pooled(phi(conv(1, "same")(X, W0) + b0), 2, 2, -jnp.inf, lax.max)
        a = pooled(phi(conv(1, "same")(a, W1) + b1), 2, 2, -jnp.inf, lax.max)
        return cross_entropy(a.reshape(3, -1) @ W2 + b2, jnp.asarray(labels))

    ours = lambda *leaves: model.loss(list(zip(leaves[::2], leaves[1::2])), X, labels)
    compare(ours, theirs, (W0, b0, W1, b1, W2, b2))
