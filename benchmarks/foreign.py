"""The losses of the problems in PyTorch and in JAX: for their own libraries, and for our ``from_torch_function`` and
``from_jax``.

Weights are a list of arrays, in the order of the problem's flattened parameters. ``loss(ws, X, T)`` is the mean over
the rows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import hypergrad as hg
from benchmarks.problems import Attention, Network
from hypergrad.nests import flatten


def in_torch(problem, torch) -> Callable:
    """The loss in PyTorch."""

    def of_network(ws, X, T):
        a = X
        for i in range(0, len(ws), 2):
            a = torch.addmm(ws[i + 1], a, ws[i])
            a = torch.tanh(a) if i + 2 < len(ws) else a
        return -(T * torch.log_softmax(a, dim=1)).sum() / len(T)

    def of_attention(ws, X, T):
        embedding, query, key, value, hidden, classes = ws
        tokens = X @ embedding
        scores = (tokens @ query) @ (tokens @ key).transpose(1, 2) / problem.width**0.5
        mixed = tokens + torch.softmax(scores, dim=2) @ (tokens @ value)
        logits = torch.tanh(mixed.mean(dim=1) @ hidden) @ classes
        return -(T * torch.log_softmax(logits, dim=1)).sum() / len(T)

    return {Network: of_network, Attention: of_attention}[type(problem)]


def in_jax(problem, jax) -> Callable:
    """The loss in JAX."""
    jnp = jax.numpy

    def of_network(ws, X, T):
        a = X
        for i in range(0, len(ws), 2):
            a = a @ ws[i] + ws[i + 1]
            a = jnp.tanh(a) if i + 2 < len(ws) else a
        return -(T * jax.nn.log_softmax(a, axis=1)).sum() / len(T)

    def of_attention(ws, X, T):
        embedding, query, key, value, hidden, classes = ws
        tokens = X @ embedding
        scores = (tokens @ query) @ (tokens @ key).swapaxes(1, 2) / problem.width**0.5
        mixed = tokens + jax.nn.softmax(scores, axis=2) @ (tokens @ value)
        logits = jnp.tanh(mixed.mean(axis=1) @ hidden) @ classes
        return -(T * jax.nn.log_softmax(logits, axis=1)).sum() / len(T)

    return {Network: of_network, Attention: of_attention}[type(problem)]


def ours_in_torch(problem, device: str | None = None, dtype=np.float64) -> tuple[Callable, Callable]:
    """Our loss on minibatches, and the loss on all images, both from PyTorch."""
    import torch

    loss = in_torch(problem, torch)
    X, T = (torch.tensor(a.astype(dtype), device=device) for a in (problem.X, problem.T))
    size = problem.batch_size

    def batch_loss(params, hyper, step):
        rows = slice(step % problem.batches * size, (step % problem.batches + 1) * size)
        return loss(flatten(params)[0], X[rows], T[rows])

    value = hg.losses.torch_function(lambda params: loss(flatten(params)[0], X, T), device=device)
    return hg.losses.from_torch_function(batch_loss, device=device), value


def ours_in_jax(problem, dtype=np.float64) -> tuple[Callable, Callable]:
    """Our loss on minibatches, and the loss on all images, both from JAX."""
    import jax

    loss = in_jax(problem, jax)
    X, T = (a.astype(dtype) for a in (problem.X, problem.T))
    batches = [np.ascontiguousarray(a.reshape(problem.batches, problem.batch_size, *a.shape[1:])) for a in (X, T)]

    def batch_loss(params, hyper, step):
        index = step % problem.batches
        return loss(flatten(params)[0], *(jax.numpy.asarray(a)[index] for a in batches))

    value = hg.losses.jax_function(lambda params: loss(flatten(params)[0], X, T))
    return hg.losses.from_jax(batch_loss), value
