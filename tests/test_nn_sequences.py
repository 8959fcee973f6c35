"""Building blocks for sequences: their definitions, their derivatives to second order, and what they refuse."""

import sys

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, make_jvp
from autograd.extend import defjvp, defvjp, primitive
from derivatives import check
from hypothesis import given, settings
from hypothesis import strategies as st

import hypergrad as hg
from hypergrad import errors
from hypergrad.bridge import getval
from hypergrad.nn import attention, diagonal_recurrence, embedding, layer_norm, rotary

leadings = st.lists(st.integers(1, 3), max_size=2).map(tuple)
lengths, widths, seeds = st.integers(1, 7), st.integers(1, 4), st.integers(0, 99)
over_shapes = settings(max_examples=25, deadline=None)


def drawn(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


# Plain definitions, in autograd.numpy so that their derivatives are a second opinion.


def plain_norm(x, gain, bias, eps=1e-5):
    centred = x - anp.mean(x, axis=-1, keepdims=True)
    return gain * centred / anp.sqrt(anp.mean(centred**2, axis=-1, keepdims=True) + eps) + bias


def plain_attention(q, k, v, causal=True, window=None):
    """Position by position, each over the keys that it sees."""
    length, out = q.shape[-2], []
    for t in range(length):
        last = t + 1 if causal else length
        first = 0 if window is None else max(0, t + 1 - window)
        keys, values = k[..., first:last, :], v[..., first:last, :]
        weights = anp.exp(anp.sum(q[..., t : t + 1, :] * keys, axis=-1) / np.sqrt(q.shape[-1]))
        weights = weights / anp.sum(weights, axis=-1, keepdims=True)
        out.append(anp.sum(weights[..., None] * values, axis=-2))
    return anp.stack(out, axis=-2)


def plain_rotary(x, base=10_000.0):
    length, width = x.shape[-2:]
    rows = []
    for t in range(length):
        features = []
        for i in range(width // 2):
            angle = t * base ** (-2 * i / width)
            a, b = x[..., t, 2 * i], x[..., t, 2 * i + 1]
            features += [a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)]
        rows.append(anp.stack(features, axis=-1))
    return anp.stack(rows, axis=-2)


def plain_recurrence(z, x, h0=None):
    state, states = 0.0 * x[..., 0, :] if h0 is None else h0, []
    for k in range(x.shape[-2]):
        state = (z if z.ndim == 1 else z[..., k, :]) * state + x[..., k, :]
        states.append(state)
    return anp.stack(states, axis=-2)


@over_shapes
@given(leadings, st.integers(2, 6), seeds)
def test_layer_norm(leading, width, seed):
    x, gain, bias = drawn(*leading, width, seed=seed), drawn(width, seed=seed), drawn(width, seed=seed + 1)
    check(layer_norm, x, gain, bias, plain=plain_norm, seed=seed, differences=width > 2)
    check(lambda x: layer_norm(x, eps=0.1), x, plain=lambda x: plain_norm(x, 1.0, 0.0, 0.1), seed=seed)


def test_constant_rows_have_finite_derivatives():
    x = np.full((2, 4), 3.0)
    np.testing.assert_array_equal(layer_norm(x, bias=np.arange(4.0)), [np.arange(4.0)] * 2)
    check(layer_norm, x, plain=lambda x: plain_norm(x, 1.0, 0.0), differences=False)


def test_third_derivatives_of_layer_norm():
    x, d = drawn(2, 5), drawn(2, 5, seed=1)
    third = lambda f: grad(lambda x: anp.sum(d * grad(lambda x: anp.sum(d * grad(f)(x)))(x)))(x)
    of = lambda norm: third(lambda x: anp.sum(anp.sin(norm(x))))
    np.testing.assert_allclose(of(layer_norm), of(lambda x: plain_norm(x, 1.0, 0.0)), rtol=1e-9, atol=1e-12)


@over_shapes
@given(st.lists(st.integers(0, 4), max_size=3), st.integers(1, 5), widths, seeds)
def test_embedding(shape, rows, width, seed):
    indices = np.random.default_rng(seed).integers(0, rows, shape)
    one_hot = np.eye(rows)[indices]
    check(
        lambda table: embedding(table, indices),
        drawn(rows, width, seed=seed),
        plain=lambda table: anp.dot(one_hot, table),
        seed=seed,
    )


@over_shapes
@given(leadings, lengths, st.integers(1, 3), seeds)
def test_rotary(leading, length, pairs, seed):
    x = drawn(*leading, length, 2 * pairs, seed=seed)
    check(lambda x: rotary(x, 7.0), x, plain=lambda x: plain_rotary(x, 7.0), seed=seed)
    back = grad(lambda y: anp.sum(y * rotary(x)))(x)
    np.testing.assert_allclose(back, rotary(x), rtol=1e-14)
    np.testing.assert_allclose(grad(lambda x: anp.sum(rotary(x) * rotary(x)))(x), 2 * x, rtol=1e-12)  # turned back


def test_rotary_products_depend_on_the_difference_of_positions():
    q, k = np.broadcast_to(drawn(6), (5, 6)), np.broadcast_to(drawn(6, seed=1), (5, 6))
    products = rotary(q) @ rotary(k).T
    for distance in range(-4, 5):
        np.testing.assert_allclose(np.diff(np.diagonal(products, distance)), 0.0, atol=1e-13)


SIGHTS = [{}, {"causal": False}, *({"window": window} for window in (1, 2, 5, 99))]


@pytest.mark.parametrize("sight", SIGHTS, ids=str)
@settings(max_examples=12, deadline=None)
@given(leadings, lengths, widths, widths, seeds)
def test_attention(sight, leading, length, width, value_width, seed):
    q, k = (drawn(*leading, length, width, seed=seed + i) for i in range(2))
    v = drawn(*leading, length, value_width, seed=seed + 2)
    f = lambda q, k, v: attention(q, k, v, **sight)
    check(f, q, k, v, plain=lambda q, k, v: plain_attention(q, k, v, **sight), seed=seed)


@pytest.mark.parametrize("moving", ["q", "k", "v", "qk", "kv"])
def test_attention_differentiated_in_some_of_its_arguments(moving):
    fixed = {name: drawn(2, 5, 3, seed=i) for i, name in enumerate("qkv")}
    of = lambda function: lambda *given: function(**{**fixed, **dict(zip(moving, given))})
    check(of(attention), *(fixed[name] for name in moving), plain=of(plain_attention))


@pytest.mark.parametrize(("length", "window"), [(65, 1), (70, 5), (96, 33), (97, 34), (128, 64)])
def test_windows_that_are_gone_through_in_blocks(length, window):
    """Longer than a block, in two layouts."""
    q, k, v = (drawn(2, length, 2, seed=i) for i in range(3))
    f = lambda q, k, v: attention(q, k, v, window=window)
    plain = lambda q, k, v: plain_attention(q, k, v, window=window)
    check(f, q, k, v, plain=plain)
    across = lambda function: lambda q: anp.swapaxes(function(*(anp.swapaxes(q, 0, 1),) * 3), 0, 1)
    check(across(f), np.swapaxes(q, 0, 1).copy(), plain=across(plain))


def test_large_batches_are_gone_through_in_parts(monkeypatch):
    monkeypatch.setattr(sys.modules["hypergrad.nn.attention"], "_IN_CACHE", 2 * 4 * 4 * 8)
    check(attention, *(drawn(5, 4, 3, seed=i) for i in range(3)), plain=plain_attention)


def test_attention_far_out_is_finite():
    q = 100.0 * drawn(2, 6, 4)
    f = lambda q: anp.sum(attention(q, q, q, window=3) ** 2)
    assert np.isfinite(attention(q, q, q)).all()
    assert np.isfinite(grad(f)(q)).all() and np.isfinite(grad(lambda q: anp.sum(grad(f)(q) ** 2))(q)).all()


@pytest.mark.parametrize("t", range(7))
def test_what_is_hidden_has_no_influence(t):
    q, k, v = (drawn(7, 3, seed=i) for i in range(3))
    of_k = grad(lambda k: anp.sum(attention(q, k, v, window=3)[t] ** 2))(k)
    of_v = grad(lambda v: anp.sum(attention(q, k, v, window=3)[t] ** 2))(v)
    seen = list(range(max(0, t - 2), t + 1))
    assert np.flatnonzero(of_v.any(axis=1)).tolist() == seen
    assert np.flatnonzero(of_k.any(axis=1)).tolist() == (seen if t else [])  # the weight of one key is 1


def test_third_derivatives_of_attention_are_refused():
    x = drawn(3, 2)
    f = lambda x: anp.sum(attention(x, x, x) ** 2)
    twice = lambda x: anp.sum(grad(lambda x: anp.sum(grad(f)(x) ** 2))(x) ** 2)
    with pytest.raises(errors.DifferentiationError, match="to second order"):
        grad(twice)(x)
    with pytest.raises(errors.DifferentiationError, match="to second order"):
        make_jvp(twice)(x)(x)


def complex_of(function):
    """By real and imaginary parts: (a, b) for each argument; the parts of the result, beside each other."""

    def of_parts(*parts):
        h = function(*(a + 1j * b for a, b in zip(parts[::2], parts[1::2])))
        return anp.concatenate([anp.real(h), anp.imag(h)], axis=-1)

    return of_parts


@over_shapes
@given(leadings, lengths, widths, st.booleans(), st.booleans(), seeds)
def test_recurrence(leading, length, units, varies, starts, seed):
    shape = (*leading, length, units)
    shapes = [shape if varies else (units,), shape, *([(*leading, units)] if starts else [])]
    real = [0.3 * drawn(*s, seed=seed + i) for i, s in enumerate(shapes)]
    check(diagonal_recurrence, *real, plain=plain_recurrence, seed=seed)
    parts = [part for i, s in enumerate(shapes) for part in (real[i], 0.3 * drawn(*s, seed=seed + 9 + i))]
    check(complex_of(diagonal_recurrence), *parts, plain=complex_of(plain_recurrence), seed=seed)

    def mixed(function, which):
        """One argument complex, the others real."""

        def of_parts(imaginary, *args):
            args = [x + 1j * imaginary if i == which else x for i, x in enumerate(args)]
            h = function(*args)
            return anp.real(h) + 2.0 * anp.imag(h)

        return of_parts

    for which in range(len(shapes)):
        f, g = (mixed(function, which) for function in (diagonal_recurrence, plain_recurrence))
        check(f, 0.3 * drawn(*shapes[which], seed=seed + 5), *real, plain=g, seed=seed)


def in_real_arithmetic(z, x):
    """Each complex number as two real ones."""
    (a, b), (c, d) = np.moveaxis(z, -1, 0), np.moveaxis(x, -1, 0)
    states, re, im = [], 0.0, 0.0
    for k in range(x.shape[0]):
        re, im = a * re - b * im + c[k], a * im + b * re + d[k]
        states.append(np.stack([re, im], axis=-1))
    return np.stack(states)


def test_recurrence_in_real_arithmetic():
    z, x = 0.7 * drawn(3, 2), drawn(6, 3, 2)
    h = diagonal_recurrence(z[..., 0] + 1j * z[..., 1], x[..., 0] + 1j * x[..., 1])
    np.testing.assert_allclose(np.stack([h.real, h.imag], axis=-1), in_real_arithmetic(z, x), rtol=1e-13)


def test_recurrence_has_autograds_derivatives_of_complex_numbers():
    """Taken in complex arguments: the same as of autograd's own functions, ∂L/∂Re − i ∂L/∂Im."""
    z, x = 0.5 * (drawn(3) + 1j * drawn(3, seed=1)), drawn(4, 3) + 1j * drawn(4, 3, seed=1)
    loss = lambda function: lambda z, x: anp.sum(anp.abs(function(z, x)) ** 2)
    for argument in (0, 1):
        ours, plain = (grad(loss(f), argument)(z, x) for f in (diagonal_recurrence, plain_recurrence))
        np.testing.assert_allclose(ours, plain, rtol=1e-12)
    step = 1e-6
    bar = grad(loss(diagonal_recurrence))(z, x)
    for part, direction in ((bar[1].real, 1.0), (-bar[1].imag, 1j)):
        e = step * direction * np.eye(3)[1]
        numeric = (loss(diagonal_recurrence)(z + e, x) - loss(diagonal_recurrence)(z - e, x)) / (2 * step)
        assert part == pytest.approx(numeric, rel=1e-7)


def test_long_recurrences_in_both_layouts():
    z = np.exp(-np.array([1e-3, 0.3, 0.0]) + 1j * np.array([0.1, 2.0, 3.0]))
    x = drawn(4, 1000, 3)
    by_time = np.swapaxes(np.ascontiguousarray(np.swapaxes(x, 0, 1)), 0, 1)
    h = diagonal_recurrence(z, x)
    np.testing.assert_array_equal(h, diagonal_recurrence(z, by_time))
    powers = z ** np.arange(1000)[::-1, None]
    np.testing.assert_allclose(h[:, -1], np.sum(powers * x, axis=1), rtol=1e-10)
    check(lambda x: anp.real(diagonal_recurrence(z, x)), by_time[:, :50], rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_stays(dtype):
    x = drawn(2, 70, 4).astype(dtype)
    z = (0.5 * np.exp(1j * drawn(4))).astype(np.result_type(dtype, np.complex64))
    for f in (
        lambda x: layer_norm(x, x[0, 0], x[0, 1]),
        lambda x: rotary(x),
        lambda x: attention(x, x, x),
        lambda x: attention(x, x, x, window=2),
        lambda x: embedding(x[0], np.array([0, 1, 1])),
        lambda x: diagonal_recurrence(0.5 * x, x, x[:, 0]),
        lambda x: anp.real(diagonal_recurrence(z, x)),
    ):
        loss = lambda x, f=f: anp.sum(f(x) ** 2)
        gradient = grad(loss)
        assert f(x).dtype == dtype and gradient(x).dtype == dtype
        assert grad(lambda x, g=gradient: anp.sum(g(x) ** 2))(x).dtype == dtype
        value, tangent = make_jvp(loss)(x)(x)
        assert value.dtype == dtype and tangent.dtype == dtype
    assert diagonal_recurrence(z, x).dtype == z.dtype


@pytest.mark.parametrize(("reverse", "forward", "message"), [(1.0, 1.001, "forward"), (1.001, 1.001, "gradient")])
def test_the_check_fails_on_a_wrong_derivative(reverse, forward, message):
    """Of an adjoint of the recurrence with slightly other factors."""
    wrong = primitive(lambda z, x: getval(diagonal_recurrence(z, x)))
    adjoint = lambda z, g, factor: diagonal_recurrence(factor * z, g[::-1])[::-1]
    defvjp(wrong, lambda ans, z, x: lambda g: adjoint(z, g, reverse), argnums=(1,))
    defjvp(wrong, lambda g, ans, z, x: diagonal_recurrence(forward * z, g), argnums=(1,))
    z, x = np.array([0.9, -0.5]), drawn(6, 2)
    check(lambda x: diagonal_recurrence(z, x), x)
    with pytest.raises(AssertionError, match=message):
        check(lambda x: wrong(z, x), x)


A = np.zeros((2, 4, 6))
INTEGERS = np.zeros((4, 6), int)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layer_norm(1.0), r"x has shape \(\)"),
        (lambda: layer_norm(INTEGERS), r"dtype int64, but must be floats of shape \(…, D\)"),
        (lambda: layer_norm(np.zeros((3, 0))), r"x has shape \(3, 0\)"),
        (lambda: layer_norm(A, np.ones(5)), r"gain has shape \(5,\), but rows of x need \(6,\)"),
        (lambda: layer_norm(A, bias=np.ones((1, 6))), r"bias has shape \(1, 6\)"),
        (lambda: layer_norm(A, eps=0.0), r"eps of layer_norm must be a finite number > 0, got 0\.0"),
        (lambda: embedding(A, np.array([0])), r"table has shape \(2, 4, 6\), but must have shape \(rows, D\)"),
        (lambda: embedding(A[0], np.array([0.0])), r"indices have dtype float64.*indices\.astype\(int\)"),
        (lambda: embedding(A[0], np.array([0, 4])), r"indices\[1\] is 4, but there are 4 rows"),
        (lambda: embedding(A[0], np.array([[-1]])), r"indices\[0, 0\] is -1"),
        (lambda: rotary(np.zeros((2, 3))), r"x has shape \(2, 3\), but rotary turns pairs"),
        (lambda: rotary(np.zeros(4)), r"x has shape \(4,\)"),
        (lambda: rotary(A, -1.0), r"base of rotary must be a finite number > 0, got -1\.0"),
        (lambda: attention(A, A[:, :3], A), r"shapes \(2, 4, 6\), \(2, 3, 6\) and \(2, 4, 6\), but must agree"),
        (lambda: attention(A, A, A[0]), r"must agree"),
        (lambda: attention(A, INTEGERS, A), r"k has shape \(4, 6\) and dtype int64"),
        (lambda: attention(A, A, A, window=0), r"window must be an integer ≥ 1, got 0"),
        (lambda: attention(A, A, A, causal=False, window=2), r"window is 2, but a window looks back only"),
        (lambda: attention(A, A, A, causal=1), r"causal must be True or False, got 1"),
        (lambda: diagonal_recurrence(np.ones(5), A), r"z has shape \(5,\), but x of shape \(2, 4, 6\) needs \(6,\) or"),
        (lambda: diagonal_recurrence(np.ones((4, 6)), A), r"z has shape \(4, 6\)"),
        (lambda: diagonal_recurrence(np.ones(6), A, np.ones(6)), r"h0 has shape \(6,\).*needs \(2, 6\)"),
        (lambda: diagonal_recurrence(np.ones(6), INTEGERS), r"must be real or complex floats"),
        (lambda: diagonal_recurrence(np.ones(6), np.ones((0, 6))), r"x has shape \(0, 6\)"),
        (lambda: grad(lambda a: layer_norm(np.array([a, a])))(1.0), r"object array.*autograd\.numpy"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(errors.ArgumentError, match=message):
        call()


def test_training_a_loss_of_ones_own_with_the_blocks():
    """One parameter for each block, and one hyperparameter."""
    X, T = np.random.default_rng(0).integers(0, 5, (4, 6)), np.random.default_rng(1).integers(0, 5, (4, 6))
    shapes = {"table": (5, 4), "gain": (4,), "damping": (4,), "angle": (4,)}

    def loss(params, scale, step):
        x = rotary(embedding(params["table"], X))
        x = x + scale * attention(x, x, x, window=2)
        z = anp.exp(-anp.exp(params["damping"]) + 1j * params["angle"])
        h = anp.real(diagonal_recurrence(z, layer_norm(x, params["gain"])))
        return hg.nn.softmax_cross_entropy(anp.dot(h, params["table"].T), T)

    def f(h):
        start = hg.init.scaled_normal(shapes, h["scale"], seed=0)
        return loss(hg.train(loss, start, hg.SGD(h["lr"], 0.5), h["value"], steps=4), 1.0, 0)

    hg.testing.check_hypergradient(f, {"scale": 0.7, "lr": 2.0, "value": 1.3})
