"""One small network trained at many constant learning rates at once, with derivatives by each, over any horizon.

Each run is that of ``hg.train`` with ``hg.SGD(exp(x), momentum)`` and a tanh network with one hidden layer; the tests
compare. Here all runs share their matrix products with the data, so that thousands of steps at a hundred learning rates
take seconds. Along with each run go tangents: of everything since step 0 by x; the same since T − K only, which is what
truncation to the last K steps sees; and one of a random perturbation, whose growth is λ.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Swept(NamedTuple):
    """For t horizons, k windows and g learning rates."""

    loss: np.ndarray  # (t, g), on all data after T steps, nats
    exact: np.ndarray  # (t, g), its derivative by the log learning rate
    truncated: np.ndarray  # (t, k, g), through the last K steps
    growth: np.ndarray  # (t, g), λ = 1/T log of how much a random perturbation grew


def swept(X, targets, params, log_lrs, momentum: float, batch_size: int, horizons, shares, seed: int) -> Swept:
    """Train at every log learning rate.

    Args:
      X, targets: all data, (n, d) and one-hot (n, c); minibatches in order.
      params: [(W1, b1), (W2, b2)] of one run.
      log_lrs: (g,).
      horizons: T, increasing.
      shares: K / T, rounded up to a step.
      seed: of the perturbation.
    """
    lr, sizes = np.exp(np.asarray(log_lrs))[:, None], [np.shape(w) for layer in params for w in layer]
    w = np.tile(np.concatenate([np.ravel(a) for layer in params for a in layer]), (len(lr), 1))
    v = np.zeros_like(w)
    windows = [(T, k, T - int(np.ceil(share * T))) for T in horizons for k, share in enumerate(shares)]
    noise = np.random.default_rng((seed, 34)).standard_normal(w.shape[1])
    # Tangents by name: of the parameters and of the velocity.
    tangents = {"all": [np.zeros_like(w), np.zeros_like(w)]}
    tangents["growth"] = [np.tile(noise / np.linalg.norm(noise), (len(lr), 1)), np.zeros_like(w)]
    grown = np.zeros(len(lr))
    found = Swept(*(np.full((len(horizons), *extra, len(lr)), np.nan) for extra in ((), (), (len(shares),), ())))
    batches = [slice(i, i + batch_size) for i in range(0, len(X), batch_size)]
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(horizons[-1]):
            for T, k, start in windows:
                if step == start:
                    tangents[T, k] = [np.zeros_like(w), np.zeros_like(w)]
            batch = batches[step % len(batches)]
            along = np.stack([dw for dw, _ in tangents.values()])
            _, g, products = derivatives(X[batch], targets[batch], w, along, sizes)
            v = momentum * v - (1.0 - momentum) * g
            w = w + lr * v
            for (name, tangent), hdw in zip(tangents.items(), products):
                tangent[1] = momentum * tangent[1] - (1.0 - momentum) * hdw
                tangent[0] = tangent[0] + lr * (tangent[1] if name == "growth" else tangent[1] + v)
            norm = np.sqrt(np.sum(tangents["growth"][0] ** 2 + tangents["growth"][1] ** 2, axis=1, keepdims=True))
            tangents["growth"] = [part / norm for part in tangents["growth"]]
            grown += np.log(norm[:, 0])
            if step + 1 in horizons:
                t, T = list(horizons).index(step + 1), step + 1
                loss, g, _ = derivatives(X, targets, w, np.zeros((0, *w.shape)), sizes)
                found.loss[t], found.growth[t] = loss, grown / T
                found.exact[t] = np.sum(g * tangents["all"][0], axis=1)
                for k in range(len(shares)):
                    found.truncated[t, k] = np.sum(g * tangents.pop((T, k))[0], axis=1)
    return found


def derivatives(X, targets, w, along, sizes) -> tuple:
    """Of the mean cross-entropy of each run its value (g,), its gradient (g, p), and that times tangents (c, g, p)."""
    everything = np.concatenate([w[None], along])
    c, g, _ = everything.shape
    (d, h), n = sizes[0], len(X)
    W1, b1, W2, b2 = (
        part.reshape(c, g, *size)
        for part, size in zip(np.split(everything, np.cumsum([np.prod(s) for s in sizes])[:-1], axis=2), sizes)
    )
    by_data = (X @ W1.transpose(2, 0, 1, 3).reshape(d, -1)).reshape(n, c, g, h).transpose(1, 2, 0, 3) + b1[:, :, None]
    a = np.tanh(by_data[0])
    slope = 1.0 - a**2
    da = slope * by_data[1:]
    logits = a @ W2[0] + b2[0][:, None]
    logits -= logits.max(axis=-1, keepdims=True)
    e = np.exp(logits)
    total = e.sum(axis=-1, keepdims=True)
    p = e / total
    loss = np.mean(np.log(total[..., 0]) - np.sum(targets * logits, axis=-1), axis=-1)
    delta = (p - targets) / n
    dlogits = da @ W2[0] + a @ W2[1:] + b2[1:][:, :, None]
    ddelta = p * (dlogits - np.sum(p * dlogits, axis=-1, keepdims=True)) / n
    back = delta @ W2[0].transpose(0, 2, 1)
    dback = ddelta @ W2[0].transpose(0, 2, 1) + delta @ W2[1:].transpose(0, 1, 3, 2)
    through = np.concatenate([(back * slope)[None], dback * slope - 2.0 * back * a * da])
    gW1 = (X.T @ through.transpose(2, 0, 1, 3).reshape(n, -1)).reshape(d, c, g, h).transpose(1, 2, 0, 3)
    a_t = a.transpose(0, 2, 1)
    gW2 = np.concatenate([(a_t @ delta)[None], da.transpose(0, 1, 3, 2) @ delta + a_t @ ddelta])
    gb2 = np.concatenate([delta.sum(axis=1)[None], ddelta.sum(axis=2)])
    parts = (gW1, through.sum(axis=2), gW2, gb2)
    flat = np.concatenate([part.reshape(c, g, -1) for part in parts], axis=2)
    return loss, flat[0], flat[1:]
