"""Functions in jax.numpy as parts of what autograd differentiates."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import elementwise_grad, grad, jacobian, make_jvp, value_and_grad
from autograd.core import make_vjp
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import relative_error

import hypergrad as hg
from hypergrad import errors

jax = pytest.importorskip("jax", reason="needs the extra jax: pip install -e '.[jax]'")
jnp = jax.numpy

X = np.random.default_rng(0).standard_normal((6, 4))


def both(f):
    """The same function through JAX and through autograd."""
    return hg.losses.jax_function(lambda *args: f(jnp, *args)), lambda *args: f(anp, *args)


def network(xp, params, x):
    return {"out": xp.tanh(x @ params["W"]) + params["b"], "size": xp.sum(params["W"] ** 2)}


PARAMS = {"W": X[:4, :3].copy(), "b": np.array([0.1, -0.2, 0.3])}


def test_first_and_second_derivatives_of_nests():
    in_jax, plain = both(network)
    for f in (in_jax, plain):
        assert f(PARAMS, X)["out"].shape == (6, 3) and f(PARAMS, X)["out"].dtype == np.float64
    scalar = lambda f: lambda params: anp.sum(f(params, X)["out"] ** 3) * f(params, X)["size"]
    ours, theirs = (value_and_grad(scalar(f))(PARAMS) for f in (in_jax, plain))
    assert ours[0] == pytest.approx(theirs[0], rel=1e-13) and relative_error(ours[1], theirs[1]) < 1e-12
    direction = {"W": X[1:5, 1:4], "b": np.array([1.0, 2.0, -1.0])}
    products = [
        make_vjp(grad(scalar(in_jax)), PARAMS)[0](direction),
        make_jvp(grad(scalar(in_jax)))(PARAMS)(direction)[1],
    ]
    right = make_vjp(grad(scalar(plain)), PARAMS)[0](direction)
    assert all(relative_error(product, right) < 1e-12 for product in products)
    forward = make_jvp(scalar(in_jax))(PARAMS)(direction)[1]
    assert forward == pytest.approx(sum(np.vdot(theirs[1][k], direction[k]) for k in direction), rel=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 3), max_size=3), st.integers(0, 1_000))
def test_arrays_of_every_shape(shape, seed):
    w = np.random.default_rng(seed).standard_normal(shape)
    in_jax, plain = both(lambda xp, w, c: xp.sin(w) * c + xp.sum(w**2))
    for argnum in (0, 1):
        f = lambda g, i=argnum: lambda x: anp.sum(g(*((x, 2.0) if i == 0 else (w, x))) ** 2)
        at = w if argnum == 0 else 2.0
        assert relative_error(grad(f(in_jax))(at), grad(f(plain))(at)) < 1e-12


def test_jacobians_and_third_derivatives():
    in_jax, plain = both(lambda xp, w: xp.exp(0.3 * w) * w[::-1] ** 2)
    w = X[0]
    np.testing.assert_allclose(jacobian(in_jax)(w), jacobian(plain)(w), rtol=1e-12)
    cubic = hg.losses.jax_function(lambda w: w**4)
    np.testing.assert_allclose(elementwise_grad(elementwise_grad(elementwise_grad(cubic)))(w), 24 * w, rtol=1e-12)


def test_what_is_no_float_is_no_variable():
    picked = hg.losses.jax_function(lambda w, rows, absent: jnp.sum(w[rows] ** 2))
    np.testing.assert_array_equal(grad(lambda w: picked(w, np.array([0, 2]), None))(np.ones(3)), [2.0, 0.0, 2.0])
    scaled = hg.losses.jax_function(lambda w, step: jnp.sum(w) * step)
    assert grad(lambda w: scaled(w, 3))(2.0) == 3.0
    with pytest.raises(errors.ArgumentError, match=r"argument \[1\] is 'mean', but a function in JAX takes nests"):
        scaled(np.ones(2), "mean")


def test_one_form_is_traced_once():
    calls = []
    f = hg.losses.jax_function(lambda w: calls.append(1) or jnp.sum(w**2))
    for _ in range(3):
        grad(f)(np.ones(3))
    assert len(calls) == 1
    f(np.ones(4))
    assert len(calls) == 2


def test_dtypes():
    f = hg.losses.jax_function(lambda w: jnp.sin(w))
    assert f(np.ones(2, dtype=np.float32)).dtype == np.float32 and f(1.0) == np.sin(1.0)
    single = hg.losses.jax_function(lambda w: jnp.sin(w), dtype=np.float32)
    w = np.array([0.1, 0.2])
    assert 1e-10 < relative_error(single(w), np.sin(w)) < 1e-6
    gradient = grad(lambda w: anp.sum(single(w)))(w)
    assert gradient.dtype == np.float64 and 1e-10 < relative_error(gradient, np.cos(w)) < 1e-6


def test_a_result_is_its_own_memory():
    f = hg.losses.jax_function(lambda w: 2.0 * w)
    result = f(np.ones(3))
    result[0] = 7.0
    assert f(np.ones(3))[0] == 2.0


def training_loss(w, h, t):
    return jnp.mean(jnp.tanh(X @ w) ** 2) + jnp.exp(h) * jnp.sum((w - 1.0) ** 2)


def plain_loss(w, h, t):
    return anp.mean(anp.tanh(anp.dot(X, w)) ** 2) + anp.exp(h) * anp.sum((w - 1.0) ** 2)


LOSS = hg.losses.from_jax(training_loss)
AT = {"w": X[0], "lr": 0.2, "h": -1.0}


def outer(loss, valid):
    def f(x):
        start = x["w"] * anp.exp(x["h"])
        trained = hg.train(loss, start, hg.SGD(x["lr"], 0.5), x["h"], steps=5)
        return valid(trained) * anp.sum(trained**2) + x["lr"] ** 2

    return f


def test_outer_functions_mix_both():
    valid, plain_valid = both(lambda xp, w: xp.sum(xp.cos(w) ** 3))
    expected = value_and_grad(outer(plain_loss, plain_valid))(AT)
    for loss in (LOSS, plain_loss, lambda w, h, t: 1.0 * LOSS(w, h, t), lambda w, h, t: plain_loss(w, h, t)):
        value, gradient = value_and_grad(outer(loss, valid))(AT)
        assert value == pytest.approx(expected[0], rel=1e-12) and relative_error(gradient, expected[1]) < 1e-10
        forward = make_jvp(outer(loss, valid))(AT)({"w": X[1], "lr": 0.3, "h": 1.0})[1]
        right = np.dot(expected[1]["w"], X[1]) + 0.3 * expected[1]["lr"] + expected[1]["h"]
        assert forward == pytest.approx(right, rel=1e-10)
    hg.testing.check_hypergradient(outer(LOSS, valid), AT)


def test_a_part_of_a_loss_in_autograd():
    """It is then differentiated by autograd, reverse over reverse, through JAX's derivatives."""
    part = hg.losses.jax_function(lambda w: jnp.mean(jnp.tanh(X @ w) ** 2))
    mixed = lambda w, h, t: part(w) + anp.exp(h) * anp.sum((w - 1.0) ** 2)
    norm = lambda w: anp.sum(w**2)
    for adjoint in (hg.Stored(), hg.Checkpointed(2)):
        f = lambda loss, a=adjoint: lambda x: norm(hg.train(loss, x, hg.SGD(0.2), -1.0, steps=5, adjoint=a))
        assert relative_error(grad(f(mixed))(X[0]), grad(f(plain_loss))(X[0])) < 1e-10


def test_a_first_derivative_does_not_compute_the_value_again():
    """Its cotangents may come as often as they like, and it may be differentiated further."""
    for valid, plain_valid in (
        both(lambda xp, w: xp.sum(xp.cos(w) ** 3)),
        both(lambda xp, w: xp.cos(w) ** 3 * w[0]),
    ):
        ours, plain = (lambda w, f=f: anp.sum(f(w) ** 2) + anp.sum(w) for f in (valid, plain_valid))
        pull, _ = make_vjp(ours, X[0])
        assert relative_error(pull(2.0), 2.0 * grad(plain)(X[0])) < 1e-13
        assert relative_error(pull(1.0), grad(plain)(X[0])) < 1e-13
        over = [make_jvp(grad(f))(X[0])(X[1])[1] for f in (ours, plain)]
        assert relative_error(*over) < 1e-12


class Twice:
    """A compiled function with twice its results."""

    def __init__(self, compiled):
        self.compiled = compiled

    def __call__(self, leaves):
        return tuple(2.0 * bar for bar in self.compiled(leaves))

    def pulled(self, *args):
        return self.compiled.pulled(*args)


@pytest.mark.parametrize("way", ["first", "second"])
def test_a_wrong_rule_would_be_seen(way, monkeypatch):
    from hypergrad.losses.jax_tracing import Call, Compiled

    right, kept = Compiled.pulled, Call.__call__
    twice = lambda *args: Twice(right(*args))

    def kept_twice(call, leaves):
        results = kept(call, leaves)
        pull_back = call.pull_back
        call.pull_back = lambda cotangents: [2.0 * bar for bar in pull_back(cotangents)]
        return results

    valid, plain_valid = both(lambda xp, w: xp.sum(xp.cos(w) ** 3))
    ours, plain = (grad(f) if way == "first" else lambda w, f=f: grad(grad(f))(w[0]) for f in (valid, plain_valid))
    if way == "first":
        monkeypatch.setattr(Call, "__call__", kept_twice)
    else:
        monkeypatch.setattr(Compiled, "pulled", twice)
    assert relative_error(ours(X[0]), plain(X[0])) > 0.5
