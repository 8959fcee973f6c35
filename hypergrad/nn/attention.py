"""Scaled dot-product attention with its softmax fused, for use in any loss.

For queries q, keys k and values v, with scores S = q kᵀ / √D, hidden ones at −∞, and weights P = softmax(S) by rows:

    o = P v

Write C(S) = S − Σ_rows P ⊙ S, so that the tangent of P is P ⊙ C(Ṡ). With M = C(Ṡ), and E = C(g vᵀ) for a cotangent g
of o, the first derivatives are

    ȯ = (P ⊙ M) v + P v̇          Ṡ = (q̇ kᵀ + q k̇ᵀ) / √D
    q̄ = (P ⊙ E) k / √D           k̄ = (P ⊙ E)ᵀ q / √D           v̄ = Pᵀ g

and the second ones, the tangents of q̄, k̄, v̄ and of ȯ in one more direction (with N = C(S̊) in the same way),

    R = P ⊙ C(M ⊙ E + g v̇ᵀ)
    q̄˙ = (R k + (P ⊙ E) k̇) / √D   k̄˙ = (Rᵀ q + (P ⊙ E)ᵀ q̇) / √D   v̄˙ = (P ⊙ M)ᵀ g
    ȯ˚ = P ⊙ C(M ⊙ N + (q̇ k̊ᵀ + q̊ k̇ᵀ) / √D) v + (P ⊙ M) v̊ + (P ⊙ N) v̇.

Each line is a primitive, and the first two are each other's adjoints. All go through a few sequences at a time, so that
what they work with stays in the cache; only P is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import autograd.numpy as anp
import numpy as np

from ..bridge import defjvp, defjvp_argnums, defvjp, defvjp_argnums, primitive, sum_outgrads
from ..checks import check_integer
from ..errors import ArgumentError, DifferentiationError
from .arrays import check_floats, shape_of

_BLOCK = 32  # positions whose keys are taken together in a sliding window, or as many as the window has if more
_IN_CACHE = 2**20  # bytes of scores that are worked on at a time

# What overflows here shows in the parameters, where training looks for it and reports the step.
_reported = np.errstate(over="ignore", invalid="ignore")


def attention(q, k, v, *, causal: bool = True, window: int | None = None):
    """Attention of queries to keys: means of the values, weighted by a softmax.

        o_t = Σ_s p_{ts} v_s,   p_t = softmax over the s in sight of ⟨q_t, k_s⟩ / √D

    Position t sees s ≤ t if ``causal``, all positions if not; with a ``window`` W the last W of those, itself among
    them: t − W < s ≤ t. Differentiable in q, k and v to second order, in both modes and in any order of them.

    Args:
      q, k: floats of shape (…, T, D).
      v: floats of shape (…, T, E), with the same leading axes.
      causal: whether later positions are hidden.
      window: how many positions are seen, an integer ≥ 1; 1 is the position alone, None all. Only if causal.

    Returns:
      An array of shape (…, T, E).

    Raises:
      ArgumentError: an argument that is none of these.
      DifferentiationError: a third derivative is asked for.

    Costs O(T²) for each sequence, hidden positions included, in time and in memory for the weights; with a window
    O(T · max(W, 32)). For the value 2 products of matrices, for the gradient 4 more, for a product with the Hessian 13.

    Source: Vaswani et al. (2017).

    >>> q, v = np.zeros((3, 2)), np.array([[0.0], [1.0], [5.0]])
    >>> attention(q, q, v).ravel().tolist(), attention(q, q, v, window=2).ravel().tolist()
    ([0.0, 0.5, 2.0], [0.0, 0.5, 3.0])
    """
    q, k, v = (check_floats(x, name, ("T", "D")) for x, name in ((q, "q"), (k, "k"), (v, "v")))
    shape = shape_of(q)
    if shape_of(k) != shape or shape_of(v)[:-1] != shape[:-1]:
        raise ArgumentError(
            f"q, k and v have shapes {shape}, {shape_of(k)} and {shape_of(v)}, but must agree: (…, T, D), "
            "(…, T, D) and (…, T, E)"
        )
    if not isinstance(causal, bool | np.bool_):
        raise ArgumentError(f"causal must be True or False, got {causal!r}")
    if window is not None:
        window = check_integer(window, "window", 1)
        if not causal:
            raise ArgumentError(f"window is {window}, but a window looks back only: give causal=True with it")
    if len(shape) == 2:  # the first axis is gone through in parts
        q, k, v = (anp.reshape(x, (1, *shape_of(x))) for x in (q, k, v))
    length = shape[-2]
    if window is None or _block(window) + window > length:
        hidden = _hidden(length, window) if causal else None
        out = _attend(q, k, v, hidden, _Kept())
    else:
        back = window - 1
        bands = _bands(q, 0, window), _bands(k, back, window), _bands(v, back, window)
        out = _from_bands(_attend(*bands, _hidden_in_bands(length, window), _Kept()), 0, window, length)
    return anp.reshape(out, out.shape[1:]) if len(shape) == 2 else out


def _block(window: int) -> int:
    return max(_BLOCK, window)


def _hidden(length: int, window: int | None) -> np.ndarray:
    """Which keys (columns) a query (row) does not see."""
    back = np.arange(length)[:, None] - np.arange(length)
    return (back < 0) | (back >= (length if window is None else window))


def _hidden_in_bands(length: int, window: int) -> np.ndarray:
    """The same for blocks of positions and the keys in front of and within them, shape (blocks, block, keys)."""
    block = _block(window)
    queries = np.arange(block)[:, None] + window - 1
    keys = np.arange(block + window - 1)
    starts = np.arange(0, length, block)[:, None, None] - (window - 1)
    return (keys > queries) | (keys <= queries - window) | (starts + keys < 0)


@primitive
def _bands(x, back, window):
    """Blocks of positions, each with the ``back`` positions before it: (…, T, D) as (…, blocks, back + block, D).

    Zeros stand for positions before the first and after the last.
    """
    block, length = _block(window), x.shape[-2]
    blocks = -(-length // block)
    padded = np.zeros((*x.shape[:-2], back + blocks * block, x.shape[-1]), x.dtype)
    padded[..., back : back + length, :] = x
    *leading, along, across = padded.strides
    shape = (*x.shape[:-2], blocks, back + block, x.shape[-1])
    return np.lib.stride_tricks.as_strided(padded, shape, (*leading, block * along, along, across), writeable=False)


@primitive
def _from_bands(g, back, window, length):
    """The adjoint of :func:`_bands`: each position gets the sum over the blocks that it is in."""
    block, blocks = _block(window), g.shape[-3]
    sums = np.zeros((*g.shape[:-3], back + blocks * block, g.shape[-1]), g.dtype)
    for index in range(blocks):
        sums[..., index * block : index * block + back + block, :] += g[..., index, :, :]
    return sums[..., back : back + length, :]


defvjp(_bands, lambda ans, x, back, window: lambda g: _from_bands(g, back, window, np.shape(x)[-2]), argnums=(0,))
defjvp(_bands, lambda g, ans, x, back, window: _bands(g, back, window), argnums=(0,))
defvjp(_from_bands, lambda ans, g, back, window, length: lambda c: _bands(c, back, window), argnums=(0,))
defjvp(_from_bands, lambda c, ans, g, back, window, length: _from_bands(c, back, window, length), argnums=(0,))


class _Kept:
    """The weights P of one call, plain numbers: what the derivatives of that call start from."""

    __slots__ = ("weights",)

    weights: np.ndarray


def _parts(weights: np.ndarray) -> Iterator[slice]:
    """Ranges of the first axis, so large that their scores fit the cache."""
    step = max(1, _IN_CACHE // max(1, weights[0].nbytes)) if len(weights) else 1
    return (slice(start, start + step) for start in range(0, len(weights), step))


def _like(x: np.ndarray, *others) -> np.ndarray:
    """Memory for an array of that shape, laid out like it, in the common dtype."""
    return np.empty_like(x, dtype=np.result_type(x, *others))


def _t(a: np.ndarray) -> np.ndarray:
    return np.swapaxes(a, -1, -2)


def _softmax(scores: np.ndarray, hidden: np.ndarray | None) -> None:
    """Softmax of the rows, in place; no row is hidden as a whole."""
    if hidden is not None:
        np.copyto(scores, -np.inf, where=hidden)
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)


def _centre(weights: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """C(S), in place."""
    scores -= np.vecdot(weights, scores)[..., None]
    return scores


def _scale(q: np.ndarray) -> float:
    return q.shape[-1] ** -0.5


def _scores_dot(scale: float, *factors) -> Any:
    """The sum of the products a bᵀ times ``scale``, without those of which a or b is None; None if that are all."""
    scores = None
    for a, b in factors:
        if a is not None and b is not None:
            product = np.matmul(a, _t(b))
            scores = product if scores is None else np.add(scores, product, out=scores)
    return None if scores is None else np.multiply(scores, scale, out=scores)


def _cut(rows: slice, *arrays) -> tuple:
    return tuple(None if a is None else a[rows] for a in arrays)


@primitive
@_reported
def _attend(q, k, v, hidden, kept):
    dtype = np.result_type(q, k, v)
    weights = kept.weights = np.empty((*q.shape[:-1], k.shape[-2]), dtype)
    out = np.empty_like(q, dtype=dtype, shape=(*q.shape[:-1], v.shape[-1]))
    for rows in _parts(weights):
        np.matmul(q[rows] * _scale(q), _t(k[rows]), out=weights[rows])
        _softmax(weights[rows], hidden)
        np.matmul(weights[rows], v[rows], out=out[rows])
    return out


@primitive
@_reported
def _tangent(q, k, v, q_dot, k_dot, v_dot, kept):
    """ȯ; a direction that is None is 0."""
    weights = kept.weights
    out = np.zeros((*q.shape[:-1], v.shape[-1]), weights.dtype)
    for rows in _parts(weights):
        P, (q_, k_, v_, dq, dk, dv) = weights[rows], _cut(rows, q, k, v, q_dot, k_dot, v_dot)
        moved = _scores_dot(_scale(q), (dq, k_), (q_, dk))
        if moved is not None:
            moved = _centre(P, moved)
            moved *= P
            out[rows] += np.matmul(moved, v_)
        if dv is not None:
            out[rows] += np.matmul(P, dv)
    return out


@primitive
@_reported
def _cotangents(q, k, v, g, kept):
    """q̄, k̄ and v̄."""
    weights = kept.weights
    q_bar, k_bar, v_bar = (_like(x, weights, g) for x in (q, k, v))
    for rows in _parts(weights):
        P, (q_, k_, v_, g_) = weights[rows], _cut(rows, q, k, v, g)
        errors = _centre(P, np.matmul(g_, _t(v_)))
        errors *= P
        errors *= _scale(q)
        np.matmul(errors, k_, out=q_bar[rows])
        np.matmul(_t(errors), q_, out=k_bar[rows])
        np.matmul(_t(P), g_, out=v_bar[rows])
    return q_bar, k_bar, v_bar


@primitive
@_reported
def _cotangents_dot(q, k, v, g, q_dot, k_dot, v_dot, kept):
    """The tangents of q̄, k̄ and v̄ in a direction of q, k and v; one that is None is 0."""
    weights = kept.weights
    q_bar, k_bar, v_bar = (_like(x, weights, g) for x in (q, k, v))
    for rows in _parts(weights):
        P, (q_, k_, v_, g_, dq, dk, dv) = weights[rows], _cut(rows, q, k, v, g, q_dot, k_dot, v_dot)
        errors = _centre(P, np.matmul(g_, _t(v_)))
        moved = _scores_dot(_scale(q), (dq, k_), (q_, dk))
        if moved is None:
            second = np.zeros_like(errors)
            v_bar[rows] = 0.0
        else:
            moved = _centre(P, moved)
            second = moved * errors
            moved *= P
            np.matmul(_t(moved), g_, out=v_bar[rows])
        if dv is not None:
            second += np.matmul(g_, _t(dv))
        second = _centre(P, second)
        second *= P
        second *= _scale(q)
        np.matmul(second, k_, out=q_bar[rows])
        np.matmul(_t(second), q_, out=k_bar[rows])
        errors *= P
        errors *= _scale(q)
        if dk is not None:
            q_bar[rows] += np.matmul(errors, dk)
        if dq is not None:
            k_bar[rows] += np.matmul(_t(errors), dq)
    return q_bar, k_bar, v_bar


@primitive
@_reported
def _tangent_dot(q, k, v, q_dot, k_dot, v_dot, q_ring, k_ring, v_ring, kept):
    """The tangent of ȯ in a second direction of q, k and v; one that is None is 0."""
    weights = kept.weights
    out = np.zeros((*q.shape[:-1], v.shape[-1]), weights.dtype)
    for rows in _parts(weights):
        P, (q_, k_, v_) = weights[rows], _cut(rows, q, k, v)
        dq, dk, dv, rq, rk, rv = _cut(rows, q_dot, k_dot, v_dot, q_ring, k_ring, v_ring)
        second = _scores_dot(_scale(q), (dq, rk), (rq, dk))
        first = [_scores_dot(_scale(q), (a, k_), (q_, b)) for a, b in ((dq, dk), (rq, rk))]
        first = [None if moved is None else _centre(P, moved) for moved in first]
        if first[0] is not None and first[1] is not None:
            product = first[0] * first[1]
            second = product if second is None else second + product
        if second is not None:
            second = _centre(P, second)
            second *= P
            out[rows] += np.matmul(second, v_)
        for moved, direction in zip(first, (rv, dv)):
            if moved is not None and direction is not None:
                out[rows] += np.matmul(P * moved, direction)
    return out


def _chosen(argnums: tuple, first: int, values: Any) -> list:
    """From argument ``first`` on: the value for each of three, None for those that are not among the arguments."""
    given = dict(zip(argnums, values))
    return [given.get(first + i) for i in range(3)]


def _has(argnums: tuple, first: int) -> bool:
    return any(first <= argnum < first + 3 for argnum in argnums)


def _attend_vjp(argnums, ans, args, kwargs):
    q, k, v, _, kept = args

    def pull(g):
        bars = _cotangents(q, k, v, g, kept)
        return tuple(bars[argnum] for argnum in argnums)

    return pull


def _attend_jvp(argnums, gs, ans, args, kwargs):
    q, k, v, _, kept = args
    return _tangent(q, k, v, *_chosen(argnums, 0, gs), kept)


def _tangent_vjp(argnums, ans, args, kwargs):
    q, k, v, *dots, kept = args

    def pull(g):
        bars = _cotangents_dot(q, k, v, g, *dots, kept) if _has(argnums, 0) else None
        dots_bar = _cotangents(q, k, v, g, kept) if _has(argnums, 3) else None
        return tuple(bars[argnum] if argnum < 3 else dots_bar[argnum - 3] for argnum in argnums)

    return pull


def _tangent_jvp(argnums, gs, ans, args, kwargs):
    q, k, v, *dots, kept = args
    tangents = []
    if _has(argnums, 0):
        tangents.append(_tangent_dot(q, k, v, *dots, *_chosen(argnums, 0, gs), kept))
    if _has(argnums, 3):
        tangents.append(_tangent(q, k, v, *_chosen(argnums, 3, gs), kept))
    return sum_outgrads(tangents)


def _cotangents_vjp(argnums, ans, args, kwargs):
    q, k, v, g, kept = args

    def pull(directions):
        dots = [directions[i] for i in range(3)]
        bars = _cotangents_dot(q, k, v, g, *dots, kept) if _has(argnums, 0) else None
        return tuple(bars[n] if n < 3 else _tangent(q, k, v, *dots, kept) for n in argnums)

    return pull


def _cotangents_jvp(argnums, gs, ans, args, kwargs):
    q, k, v, g, kept = args
    tangents = []
    if _has(argnums, 0):
        tangents.append(_cotangents_dot(q, k, v, g, *_chosen(argnums, 0, gs), kept))
    if 3 in argnums:
        tangents.append(_cotangents(q, k, v, gs[argnums.index(3)], kept))
    return sum_outgrads(tangents)


def _no_further(*_):
    raise DifferentiationError(
        "hg.nn.attention has derivatives to second order; write it with autograd.numpy for third ones"
    )


defvjp_argnums(_attend, _attend_vjp)
defjvp_argnums(_attend, _attend_jvp)
defvjp_argnums(_tangent, _tangent_vjp)
defjvp_argnums(_tangent, _tangent_jvp)
defvjp_argnums(_cotangents, _cotangents_vjp)
defjvp_argnums(_cotangents, _cotangents_jvp)
for _function in (_cotangents_dot, _tangent_dot):
    defvjp_argnums(_function, _no_further)
    defjvp_argnums(_function, _no_further)
