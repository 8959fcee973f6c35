"""The building blocks and models for sequences against JAX: value, gradient and Hessian-vector product in float64."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.builtins import tuple as autograd_tuple
from autograd.core import make_vjp
from beside_jax import drawn, jax
from derivatives import error

import hypergrad as hg
from hypergrad.nests import flatten, unflatten

pytestmark = pytest.mark.usefixtures("double")
jnp, lax = jax.numpy, jax.lax


def norm(x, gain, bias):
    return jax.nn.standardize(x, axis=-1, epsilon=1e-5) * gain + bias


def attended(window, causal):
    """In float64 throughout; jax.nn.dot_product_attention takes its softmax in float32."""

    def attention(q, k, v):
        back = jnp.arange(q.shape[-2])[:, None] - jnp.arange(q.shape[-2])
        seen = ((back >= 0) | (not causal)) & (back < (back.size if window is None else window))
        scores = jnp.einsum("...td,...sd->...ts", q, k) / q.shape[-1] ** 0.5
        return jnp.einsum("...ts,...se->...te", jax.nn.softmax(scores, where=seen), v)

    return attention


def turned(x):
    angles = jnp.arange(x.shape[-2])[:, None] * 10_000.0 ** (-jnp.arange(0, x.shape[-1], 2) / x.shape[-1])
    a, b = x[..., ::2], x[..., 1::2]
    sine, cosine = jnp.sin(angles), jnp.cos(angles)
    return jnp.stack([a * cosine - b * sine, a * sine + b * cosine], axis=-1).reshape(x.shape)


def scanned(z, x):
    """By lax.scan over the positions, axis −2 of both."""
    z = jnp.broadcast_to(z, x.shape)
    step = lambda h, zx: (zx[0] * h + zx[1],) * 2
    first = jnp.zeros_like(z[..., 0, :] * x[..., 0, :])
    return jnp.moveaxis(lax.scan(step, first, (jnp.moveaxis(z, -2, 0), jnp.moveaxis(x, -2, 0)))[1], 0, -2)


def complex_recurrence(recurrence, np_):
    def of_parts(size, angle, a, b):
        h = recurrence(np_.exp(-np_.exp(size) + 1j * angle), a + 1j * b)
        return np_.concatenate([np_.real(h), np_.imag(h)], axis=-1)

    return of_parts


SEQUENCES = tuple(drawn(2, 3, 9, 4, seed=i) for i in range(3))
LONG = tuple(drawn(2, 1, 80, 4, seed=i) for i in range(3))
INDICES = np.array([[0, 2, 2], [4, 0, 2]])
X = drawn(2, 12, 3)
CASES = {
    "layer_norm": (hg.nn.layer_norm, norm, (drawn(3, 4, 5), drawn(5), drawn(5, seed=1))),
    "embedding": (
        lambda table: hg.nn.embedding(table, INDICES),
        lambda table: jnp.take(table, INDICES, axis=0),
        (drawn(5, 3),),
    ),
    "rotary": (hg.nn.rotary, turned, (drawn(2, 7, 6),)),
    **{
        f"attention, causal={causal}, window={window}, {len(sequences[0][0, 0])} positions": (
            lambda q, k, v, c=causal, w=window: hg.nn.attention(q, k, v, causal=c, window=w),
            attended(window, causal),
            sequences,
        )
        for causal, window, sequences in (
            (True, None, SEQUENCES),
            (False, None, SEQUENCES),
            (True, 1, SEQUENCES),
            (True, 5, SEQUENCES),
            (True, 5, LONG),
        )
    },
    "recurrence": (hg.nn.diagonal_recurrence, scanned, (0.5 * drawn(3), X)),
    "recurrence, varying": (hg.nn.diagonal_recurrence, scanned, (0.5 * drawn(2, 12, 3, seed=1), X)),
    **{
        f"complex recurrence, {name}": (
            complex_recurrence(hg.nn.diagonal_recurrence, anp),
            complex_recurrence(scanned, jnp),
            (drawn(*shape, seed=2), drawn(*shape, seed=3), X, drawn(*X.shape, seed=4)),
        )
        for name, shape in {"constant": (3,), "varying": X.shape}.items()
    },
}


def agree(ours, other, args):
    """Value, gradient and product of a scalar loss of both."""
    rng = np.random.default_rng(0)
    d = [rng.standard_normal(np.shape(x)) for x in args]
    gradient = grad(lambda args: ours(*args))
    args = autograd_tuple(args)
    both = jax.jit(lambda args, d: jax.jvp(jax.value_and_grad(lambda args: other(*args)), (args,), (d,)))
    (value, slopes), (_, expected) = both(tuple(args), tuple(d))
    assert ours(*args) == pytest.approx(float(value), rel=1e-12)
    assert error(gradient(args), slopes) < 1e-10
    assert error(make_vjp(gradient, args)[0](autograd_tuple(d)), expected) < 1e-10


@pytest.mark.parametrize("name", CASES)
def test_blocks(name):
    ours, other, args = CASES[name]
    weights = np.random.default_rng(1).standard_normal(np.shape(ours(*args)))
    np.testing.assert_allclose(ours(*args), other(*args), rtol=1e-10, atol=1e-12)

    def bent(function, np_):
        """Weighted, and not linear, so that there are second derivatives."""
        return lambda *args: (
            np_.sum(weights * function(*args) + 0.3 * np_.sin(function(*args)))
            + 0.01 * sum(np_.sum(np_.sin(x)) for x in args)
        )

    agree(bent(ours, anp), bent(other, jnp), args)


def transformer(params, X, heads):
    """The default one: norms, gelu, rotary positions, all in sight."""
    n, length = X.shape
    split = lambda x: jnp.swapaxes(x.reshape(n, length, heads, -1), 1, 2)
    x = params["embedding"][X]
    for block in params["blocks"]:
        a = norm(x, **block["norm"])
        q, k, v = (split(a @ block[name]) for name in ("query", "key", "value"))
        seen = attended(None, True)(turned(q), turned(k), v)
        x = x + jnp.swapaxes(seen, 1, 2).reshape(x.shape) @ block["output"]
        up = norm(x, **block["mlp_norm"]) @ block["up"] + block["up_bias"]
        x = x + jax.nn.gelu(up, approximate=False) @ block["down"] + block["down_bias"]
    return norm(x, **params["norm"]) @ params["head"]


def recurrent(params, X):
    """With gates and one level."""
    (level,) = params["levels"]
    time = jax.nn.sigmoid(level["gate"][X] + level["gate_bias"])
    z = jnp.exp(time * (1j * level["angle"] - jnp.exp(level["log_decay"])))
    return jnp.real(scanned(z, time * level["input"][X])) @ params["output"] + params["output_bias"]


MODELS = {
    "transformer": (hg.nn.Transformer(7, width=8, depth=2, heads=2, length=8), lambda p, X: transformer(p, X, 2)),
    "recurrence": (hg.nn.DiagonalRecurrence(7, 4, 7, gated=True), recurrent),
}


@pytest.mark.parametrize("name", MODELS)
def test_models(name):
    model, other = MODELS[name]
    text = np.random.default_rng(0).integers(0, 7, (3, 9))
    X, T = text[:, :-1], text[:, 1:]
    leaves, structure = flatten(model.init(0))
    leaves = [leaf + 0.1 * drawn(*leaf.shape, seed=i) for i, leaf in enumerate(leaves)]

    def loss(*leaves):
        logits = jax.nn.log_softmax(other(unflatten(structure, list(leaves)), X))
        return -jnp.mean(jnp.take_along_axis(logits, T[..., None], axis=-1))

    agree(lambda *leaves: model.loss(unflatten(structure, list(leaves)), text), loss, leaves)
