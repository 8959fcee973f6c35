"""What a user would take instead: the same hypergradient by other means.

Every entry is ``make(problem) -> derivative`` for a :class:`benchmarks.problems.Network`, where
``derivative()`` is the gradient of the training loss after training by ``problem.hypers``, all arrays
flattened into one, in float64. Libraries are optional installs: an import that fails is a line in the
table, and so is a :class:`NotExpressible`.
"""

from __future__ import annotations

from functools import partial

import autograd.numpy as anp
import numpy as np
from autograd import grad
from autograd.builtins import tuple as autograd_tuple

from benchmarks.foreign import in_jax, in_torch
from hypergrad.nests import flatten, unflatten


class NotExpressible(Exception):
    """The library has no way to say this problem."""


def _flat(arrays) -> np.ndarray:
    return np.concatenate([np.ravel(a) for a in arrays])


def unrolled(problem):
    """The plain loop of SGD, which autograd records operation by operation."""
    leaves, structure = flatten(problem.params)
    gradient = grad(lambda ws, step: problem.loss(unflatten(structure, list(ws)), None, step))

    def final(hypers):
        lr, momentum = problem.rates(hypers)
        ws, vs = list(leaves), [np.zeros_like(w) for w in leaves]
        for step in range(problem.steps):
            gs = gradient(autograd_tuple(ws), step)
            for i, g in enumerate(gs):
                a, b = problem.at(lr, step, i // 2), problem.at(momentum, step, i // 2)
                vs[i] = b * vs[i] - (1.0 - b) * g
                ws[i] = ws[i] + a * vs[i]
        return problem.value(unflatten(structure, ws))

    return lambda: _flat(grad(final)(autograd_tuple(problem.hypers)))


def algorithm_of_2015(problem):
    """Every step stored; Hessian-vector products as the gradient of gradient · vector."""
    leaves, structure = flatten(problem.params)
    flat_loss = lambda ws, step: problem.loss(unflatten(structure, list(ws)), None, step)
    gradient = grad(flat_loss)
    dotted = lambda ws, vector, step: sum(anp.sum(g * v) for g, v in zip(gradient(ws, step), vector))
    hessian_vector = grad(dotted)
    final = grad(lambda ws: problem.value(unflatten(structure, list(ws))))

    def derivative():
        lr, momentum = problem.rates(problem.hypers, np.exp)
        at = lambda step: [
            (problem.at(lr, step, i // 2), problem.at(momentum, step, i // 2)) for i in range(len(leaves))
        ]
        lr_bar, momentum_bar = np.zeros_like(lr), np.zeros_like(momentum)
        w, v = tuple(leaves), tuple(np.zeros_like(x) for x in leaves)
        history = []
        for step in range(problem.steps):
            gs = gradient(w, step)
            before, v_before = w, v
            v = tuple(b * x - (1 - b) * g for (_, b), x, g in zip(at(step), v, gs))
            w = tuple(x + a * y for (a, _), x, y in zip(at(step), w, v))
            history.append((before, v_before, gs, v))
        w_bar, v_bar = final(w), tuple(np.zeros_like(x) for x in leaves)
        for step in reversed(range(problem.steps)):
            w, v_before, gs, v = history[step]
            rates = at(step)
            v_bar = tuple(y + a * x for (a, _), x, y in zip(rates, w_bar, v_bar))
            for i in range(len(leaves)):
                where = (step, i // 2) if problem.scheduled else ()
                lr_bar[where] += np.vdot(w_bar[i], v[i])
                if problem.scheduled:
                    momentum_bar[where] += np.vdot(v_bar[i], v_before[i] + gs[i])
            if step == 0:  # only the initial weights would need more
                break
            products = hessian_vector(w, tuple((1 - b) * y for (_, b), y in zip(rates, v_bar)), step)
            w_bar = tuple(x - p for x, p in zip(w_bar, products))
            v_bar = tuple(b * y for (_, b), y in zip(rates, v_bar))
        return _flat([lr * lr_bar, momentum_bar][: len(problem.hypers)])

    return derivative


class _Torch:
    """The problem in tensors."""

    def __init__(self, problem, device: str | None = None, dtype=np.float64):
        import torch

        self.torch, self.problem, self.loss = torch, problem, in_torch(problem, torch)
        self.device, self.dtype = device, dtype
        self.X, self.T = self.tensor(problem.X), self.tensor(problem.T)
        self.weights = [self.tensor(w) for w in flatten(problem.params)[0]]

    def tensor(self, array):
        return self.torch.tensor(np.asarray(array, self.dtype), device=self.device)

    def batch(self, step):
        size = self.problem.batch_size
        start = step % self.problem.batches * size
        return self.X[start : start + size], self.T[start : start + size]

    def hypers(self):
        return [self.tensor(h).requires_grad_() for h in self.problem.hypers]

    def gradient(self, value, hypers):
        return _flat([g.cpu().numpy() for g in self.torch.autograd.grad(value, hypers)])


def pytorch(problem, device: str | None = None, dtype=np.float64):
    """PyTorch: the unrolled loop with ``create_graph``."""
    t = _Torch(problem, device, dtype)

    def derivative():
        hypers = t.hypers()
        lr, momentum = problem.rates(hypers, t.torch.exp)
        ws = [w.clone().requires_grad_() for w in t.weights]
        vs = [t.torch.zeros_like(w) for w in ws]
        for step in range(problem.steps):
            gs = t.torch.autograd.grad(t.loss(ws, *t.batch(step)), ws, create_graph=True)
            for i, g in enumerate(gs):
                a, b = problem.at(lr, step, i // 2), problem.at(momentum, step, i // 2)
                vs[i] = b * vs[i] - (1 - b) * g
                ws[i] = ws[i] + a * vs[i]
        return t.gradient(t.loss(ws, t.X, t.T), hypers)

    return derivative


def higher(problem):
    """higher: its differentiable SGD, a group for each layer, with rates of its own at each step.

    Its velocity is u ← μ u + g, w ← w − ρ u, so that ρ = α (1 − β) and μ_t = β_t (1 − β_{t−1}) / (1 − β_t).
    """
    import higher as library

    t = _Torch(problem)

    class Weights(t.torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.ws = t.torch.nn.ParameterList([t.torch.nn.Parameter(w.clone()) for w in t.weights])

        def forward(self, X, T):
            return t.loss(list(self.parameters()), X, T)

    def rates_of(lr, momentum, step):
        layers = range(problem.layers)
        now, before = ([problem.at(momentum, at, layer) for layer in layers] for at in (step, max(step - 1, 0)))
        rho = [problem.at(lr, step, layer) * (1 - b) for layer, b in zip(layers, now)]
        return {"lr": rho, "momentum": [b * (1 - c) / (1 - b) for b, c in zip(now, before)]}

    def derivative():
        hypers = t.hypers()
        lr, momentum = problem.rates(hypers, t.torch.exp)
        module = Weights()
        groups = [{"params": list(module.ws[i : i + 2])} for i in range(0, len(module.ws), 2)]
        optimizer = t.torch.optim.SGD(groups, lr=1.0, momentum=0.9)
        with library.innerloop_ctx(module, optimizer, copy_initial_weights=False) as (functional, differentiable):
            for step in range(problem.steps):
                differentiable.step(functional(*t.batch(step)), override=rates_of(lr, momentum, step))
            return t.gradient(functional(t.X, t.T), hypers)

    return derivative


def torchopt(problem):
    """TorchOpt: its functional SGD, with the learning rate applied to the updates outside."""
    import torchopt as library

    if problem.scheduled:
        raise NotExpressible("its SGD takes no rate for each step and layer")
    t = _Torch(problem)

    def derivative():
        hypers = t.hypers()
        lr, momentum = problem.rates(hypers, t.torch.exp)
        ws = [w.clone().requires_grad_() for w in t.weights]
        optimizer = library.sgd(lr=1.0, momentum=momentum)
        state = optimizer.init(ws)
        for step in range(problem.steps):
            gs = list(t.torch.autograd.grad(t.loss(ws, *t.batch(step)), ws, create_graph=True))
            updates, state = optimizer.update(gs, state, params=ws, inplace=False)
            ws = [w + lr * (1 - momentum) * u for w, u in zip(ws, updates)]
        return t.gradient(t.loss(ws, t.X, t.T), hypers)

    return derivative


def jax(problem, checkpointed: bool, dtype=np.float64):
    """JAX: ``scan`` under ``jit``, compiled before it is timed; with each step checkpointed or stored."""
    import jax as library
    import jax.numpy as jnp

    library.config.update("jax_enable_x64", True)
    shape = lambda a: (problem.batches, problem.batch_size, *a.shape[1:])
    data = tuple(jnp.asarray(a, dtype) for a in (problem.X, problem.T))
    weights = [jnp.asarray(w, dtype) for w in flatten(problem.params)[0]]
    loss = in_jax(problem, library)

    def final(hypers, weights, X, T):
        lr, momentum = problem.rates(hypers, jnp.exp)
        batches = X.reshape(shape(X)), T.reshape(shape(T))

        def one(carry, step):
            ws, vs = carry
            index = step % problem.batches
            gs = library.grad(loss)(ws, batches[0][index], batches[1][index])
            rates = [(problem.at(lr, step, i // 2), problem.at(momentum, step, i // 2)) for i in range(len(ws))]
            vs = [b * v - (1 - b) * g for (_, b), v, g in zip(rates, vs, gs)]
            return ([w + a * v for (a, _), w, v in zip(rates, ws, vs)], vs), None

        start = weights, [jnp.zeros_like(w) for w in weights]
        (ws, _), _ = library.lax.scan(
            library.checkpoint(one) if checkpointed else one, start, jnp.arange(problem.steps)
        )
        return loss(ws, X, T)

    compiled = library.jit(library.grad(final))
    hypers = tuple(jnp.asarray(h, dtype) for h in problem.hypers)
    return lambda: _flat(compiled(hypers, weights, *data))


PEERS = {
    "autograd through the unrolled loop": unrolled,
    "2015 algorithm on today's autograd": algorithm_of_2015,
    "PyTorch, unrolled with create_graph": pytorch,
    "higher": higher,
    "TorchOpt": torchopt,
    "JAX, scan under jit": partial(jax, checkpointed=False),
    "JAX, scan + checkpoint under jit": partial(jax, checkpointed=True),
}
