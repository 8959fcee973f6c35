"""Thousands of tiny networks trained at once, each with hyperparameters of its own, and a tangent along each.

One hidden layer without biases, in the mean-field form of Sohl-Dickstein (2024, The boundary of neural
network trainability is fractal, arXiv:2402.06184): ŷ(x) = 1/h Σ_j W1_j φ(a Σ_i W0_ij x_i) for h hidden units
and d inputs, a = √(1/d) for the identity and √(2/d) otherwise; mean squared loss, plain gradient descent.
The runs are the last axis of every array, so that each product with the data is one matrix product for all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hypergrad.nn.activations import get

CEILING = 1e6  # where relative losses are cut off in the measure of convergence
LOST = 1e12  # a run is given up when its relative loss is past this


class Runs(NamedTuple):
    """Of G runs over T steps.

    Attributes:
      loss: (T, G), the loss of the minibatch before every step, relative to that of all data before training;
        infinite once a run is given up, past LOST.
      growth: (G,), λ = 1/t log(‖δ_t‖ / ‖δ_0‖) of a tangent δ of the parameters, per step; t is T, or the
        step at which the run was given up.
    """

    loss: np.ndarray
    growth: np.ndarray


def draw(seed: int, data: int, inputs: int, hidden: int, dtype=np.float64) -> tuple[np.ndarray, ...]:
    """Standard normal X (data, inputs), y (data,), W0 (inputs, hidden), W1 (hidden,), and a tangent of norm 1."""
    rng = np.random.default_rng((seed, 24))
    shapes = [(data, inputs), (data,), *[(inputs, hidden), (hidden,)] * 2]
    X, y, W0, W1, D0, D1 = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    norm = np.sqrt(np.sum(D0**2) + np.sum(D1**2))
    return X, y, W0, W1, D0 / norm, D1 / norm


def scaled_inputs(activation: str, X):
    """a · X."""
    return X * X.dtype.type(np.sqrt((1.0 if activation == "identity" else 2.0) / X.shape[1]))


def train(activation: str, X, y, params, tangent, lrs, steps: int, batch_size: int) -> Runs:
    """Train G networks for some steps of w ← w − α ∂loss, minibatches in order; a tangent of each is renormalised.

    Args:
      activation: "tanh", "relu", "identity" or "gelu".
      X, y: inputs (n, d) and targets (n,).
      params: (W0, W1) of shapes (d, h, G) and (h, G).
      tangent: of norm 1 in the shapes of one run, (d, h) and (h,), or of all.
      lrs: learning rates (G,) of W0 and of W1.
      steps: number of steps T ≥ 1.
      batch_size: examples a step, a divisor of n.

    Returns:
      The :class:`Runs`.

    Cost, in matrix products a step: 4; memory about 6 · batch_size · h · G numbers.
    """
    X, W0, W1 = scaled_inputs(activation, X), *params
    D0, D1 = (np.broadcast_to(d if d.ndim == w.ndim else d[..., None], w.shape) for d, w in zip(tangent, params))
    batches = [slice(i, i + batch_size) for i in range(0, len(X), batch_size)]
    running, lrs = np.arange(W1.shape[-1]), np.asarray(lrs, dtype=X.dtype)
    loss, growth, reached = np.full((steps, running.size), np.inf), np.zeros(running.size), np.zeros(running.size)
    with np.errstate(over="ignore", invalid="ignore"):
        initial = np.mean(gradients(activation, X, y, W0, W1, D0, D1)[0], axis=0)
        for step in range(steps):
            batch = batches[step % len(batches)]
            squares, g0, g1, h0, h1 = gradients(activation, X[batch], y[batch], W0, W1, D0, D1)
            relative = np.mean(squares, axis=0) / initial
            W0, W1, D0, D1 = W0 - lrs[0] * g0, W1 - lrs[1] * g1, D0 - lrs[0] * h0, D1 - lrs[1] * h1
            norm = np.sqrt(np.einsum("ijg,ijg->g", D0, D0) + np.einsum("jg,jg->g", D1, D1))
            D0, D1 = D0 / norm, D1 / norm
            kept = np.isfinite(norm) & (relative < LOST)
            if not kept.all():
                running, lrs, initial, relative, norm, W0, W1, D0, D1 = (
                    array[..., kept] for array in (running, lrs, initial, relative, norm, W0, W1, D0, D1)
                )
            loss[step, running] = relative
            growth[running] += np.log(norm)
            reached[running] += 1
    return Runs(loss, growth / np.maximum(reached, 1))


def gradients(activation: str, X, y, W0, W1, D0, D1) -> tuple:
    """The squared error of every example, its mean's gradient by W0 and W1, and how that changes along (D0, D1)."""
    (n, d), (h, runs) = X.shape, W1.shape
    phi = get(activation)

    def of_data(w):
        return (X @ w.reshape(d, h * runs)).reshape(n, h, runs)

    def back(a):
        return (X.T @ a.reshape(n, h * runs)).reshape(d, h, runs)

    z, dz = of_data(W0), of_data(D0)
    a = phi.value(z)
    slope = phi.slope(z, a)
    da = slope * dz
    error = np.einsum("njg,jg->ng", a, W1) / h - y[:, None]
    derror = (np.einsum("njg,jg->ng", da, W1) + np.einsum("njg,jg->ng", a, D1)) / h
    dslope = derror[:, None] * slope
    if phi.bend is not None:
        dslope += error[:, None] * phi.bend(z, a, slope) * dz
    factor = X.dtype.type(2.0 / (n * h))
    by_slope, W1, D1 = back(error[:, None] * slope), factor * W1, factor * D1
    g0, g1 = W1 * by_slope, factor * np.einsum("ng,njg->jg", error, a)
    h0 = D1 * by_slope + W1 * back(dslope)
    h1 = factor * (np.einsum("ng,njg->jg", derror, a) + np.einsum("ng,njg->jg", error, da))
    return error**2, g0, g1, h0, h1


def convergence(loss) -> np.ndarray:
    """A measure after Sohl-Dickstein's, of runs with these relative losses (T, G), which are cut off at CEILING.

    −Σ_t loss_t for runs whose mean loss over the last tenth of the steps lies below 1 (converged), and
    Σ_t 1/loss_t for the others (diverged): for both about the number of steps that it took.
    """
    cut = np.minimum(loss, CEILING)
    converged = np.mean(cut[-max(1, len(cut) // 10) :], axis=0) < 1.0
    return np.where(converged, -np.sum(cut, axis=0), np.sum(1.0 / np.maximum(cut, 1.0 / CEILING), axis=0))
