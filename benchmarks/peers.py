"""What a user would take instead: the same derivative by other libraries, each an optional install.

Every entry is a function ``make(problem) -> derivative`` of :class:`benchmarks.__main__.Problem`, where
``derivative()`` is d(training loss after training)/d(log learning rate) at 0 in float64. An import
that fails is a line in the table.
"""

from __future__ import annotations

import autograd.numpy as np
import numpy as onp
from autograd import grad


def algorithm_of_2015(problem):
    """Every step stored; Hessian-vector products as the gradient of gradient · vector."""
    from hypergrad.nests import flatten, unflatten

    leaves, structure = flatten(problem.params)
    flat_loss = lambda ws, step: problem.loss(unflatten(structure, list(ws)), None, step)
    gradient = grad(flat_loss)
    dotted = lambda ws, vector, step: sum(np.sum(g * v) for g, v in zip(gradient(ws, step), vector))
    hessian_vector = grad(dotted)
    final = grad(lambda ws: problem.model.loss(unflatten(structure, list(ws)), problem.X, problem.T))

    def derivative():
        lr, momentum = 1.0, 0.9
        w, v = tuple(leaves), tuple(onp.zeros_like(x) for x in leaves)
        history = []
        for step in range(problem.steps):
            history.append(w)
            v = tuple(momentum * a - (1 - momentum) * g for a, g in zip(v, gradient(w, step)))
            w = tuple(a + lr * b for a, b in zip(w, v))
            history[-1] = history[-1], v
        w_bar, v_bar, lr_bar = final(w), tuple(onp.zeros_like(x) for x in leaves), 0.0
        for step in reversed(range(problem.steps)):
            w, v = history[step]
            lr_bar += sum(onp.vdot(a, b) for a, b in zip(w_bar, v))
            v_bar = tuple(a + lr * b for a, b in zip(v_bar, w_bar))
            products = hessian_vector(w, tuple((1 - momentum) * a for a in v_bar), step)
            w_bar = tuple(a - p for a, p in zip(w_bar, products))
            v_bar = tuple(momentum * a for a in v_bar)
        return lr * lr_bar

    return derivative


def _torch_problem(problem):
    """The data and initial weights as tensors, and the loss as a function of a list of weights."""
    import torch

    as_tensor = lambda a: torch.tensor(a, dtype=torch.float64)
    X, T = as_tensor(problem.X), as_tensor(problem.T)
    weights = [as_tensor(w) for layer in problem.params for w in layer]

    def loss(ws, X, T):
        a = X
        for i in range(0, len(ws), 2):
            a = torch.addmm(ws[i + 1], a, ws[i])
            a = torch.tanh(a) if i + 2 < len(ws) else a
        return -(T * torch.log_softmax(a, dim=1)).sum() / len(T)

    def batch(step):
        rows = slice(step % 4 * 250, step % 4 * 250 + 250)
        return X[rows], T[rows]

    return torch, weights, loss, batch, X, T


def pytorch(problem):
    """PyTorch: the unrolled loop with ``create_graph``."""
    torch, weights, loss, batch, X, T = _torch_problem(problem)

    def derivative():
        log_lr = torch.zeros((), dtype=torch.float64, requires_grad=True)
        lr, ws = torch.exp(log_lr), [w.clone().requires_grad_() for w in weights]
        vs = [torch.zeros_like(w) for w in ws]
        for step in range(problem.steps):
            gs = torch.autograd.grad(loss(ws, *batch(step)), ws, create_graph=True)
            vs = [0.9 * v - (1 - 0.9) * g for v, g in zip(vs, gs)]
            ws = [w + lr * v for w, v in zip(ws, vs)]
        return float(torch.autograd.grad(loss(ws, X, T), log_lr)[0])

    return derivative


def higher(problem):
    """higher: its differentiable SGD with momentum, in which our β and α are dampening and lr."""
    import higher as library

    torch, weights, loss, batch, X, T = _torch_problem(problem)

    class Weights(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.ws = torch.nn.ParameterList([torch.nn.Parameter(w.clone()) for w in weights])

        def forward(self, X, T):
            return loss(list(self.parameters()), X, T)

    def derivative():
        log_lr = torch.zeros((), dtype=torch.float64, requires_grad=True)
        module = Weights()
        optimizer = torch.optim.SGD(module.parameters(), lr=1.0, momentum=0.9)
        with library.innerloop_ctx(
            module, optimizer, override={"lr": [torch.exp(log_lr) * (1 - 0.9)]}, copy_initial_weights=False
        ) as (functional, differentiable):
            for step in range(problem.steps):
                differentiable.step(functional(*batch(step)))
            return float(torch.autograd.grad(functional(X, T), log_lr)[0])

    return derivative


def torchopt(problem):
    """TorchOpt: its functional SGD, with the learning rate applied to the updates outside."""
    import torchopt as library

    torch, weights, loss, batch, X, T = _torch_problem(problem)

    def derivative():
        log_lr = torch.zeros((), dtype=torch.float64, requires_grad=True)
        lr, ws = torch.exp(log_lr) * (1 - 0.9), [w.clone().requires_grad_() for w in weights]
        optimizer = library.sgd(lr=1.0, momentum=0.9)
        state = optimizer.init(ws)
        for step in range(problem.steps):
            gs = list(torch.autograd.grad(loss(ws, *batch(step)), ws, create_graph=True))
            updates, state = optimizer.update(gs, state, params=ws, inplace=False)
            ws = [w + lr * u for w, u in zip(ws, updates)]
        return float(torch.autograd.grad(loss(ws, X, T), log_lr)[0])

    return derivative


def jax(problem):
    """JAX: ``scan`` over checkpointed steps under ``jit`` (compiled before it is timed)."""
    import jax as library
    import jax.numpy as jnp

    library.config.update("jax_enable_x64", True)
    X, T = jnp.asarray(problem.X), jnp.asarray(problem.T)
    batches = X.reshape(4, 250, -1), T.reshape(4, 250, -1)
    weights = [jnp.asarray(w) for layer in problem.params for w in layer]

    def loss(ws, X, T):
        a = X
        for i in range(0, len(ws), 2):
            a = a @ ws[i] + ws[i + 1]
            a = jnp.tanh(a) if i + 2 < len(ws) else a
        return -(T * library.nn.log_softmax(a, axis=1)).sum() / len(T)

    def final(log_lr):
        @library.checkpoint
        def one(carry, step):
            ws, vs = carry
            gs = library.grad(loss)(ws, batches[0][step % 4], batches[1][step % 4])
            vs = [0.9 * v - (1 - 0.9) * g for v, g in zip(vs, gs)]
            return ([w + jnp.exp(log_lr) * v for w, v in zip(ws, vs)], vs), None

        start = weights, [jnp.zeros_like(w) for w in weights]
        (ws, _), _ = library.lax.scan(one, start, jnp.arange(problem.steps))
        return loss(ws, X, T)

    compiled = library.jit(library.grad(final))
    return lambda: float(compiled(0.0))


PEERS = {
    "2015 algorithm on today's autograd": algorithm_of_2015,
    "PyTorch, unrolled with create_graph": pytorch,
    "higher": higher,
    "TorchOpt": torchopt,
    "JAX, scan + checkpoint under jit": jax,
}
