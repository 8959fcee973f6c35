"""``python -m benchmarks``: what a hypergradient costs, relative to the training it differentiates.

The problem is 784-200-50-10 tanh on 1,000 MNIST images, minibatches of 250, the derivative of the
training loss by the log learning rate. Every derivative is checked against the others before it is
timed. ``floor`` is the matrix products of training and nothing else.
"""

from __future__ import annotations

import argparse

import autograd.numpy as np
import numpy as onp
from autograd import grad, make_jvp

import hypergrad as hg
from benchmarks.timing import interleaved


def problem(steps: int):
    """The entries to time: name to function without arguments."""
    ((X, T),) = hg.data.load_mnist(1_000)
    model = hg.nn.MLP([784, 200, 50, 10])
    loss = hg.nn.MinibatchLoss(model, X, T, batch_size=250)
    params = hg.init.scaled_normal(model.shapes, onp.exp(-2.0), seed=0)

    def through(train):
        return lambda log_lr: model.loss(train(log_lr), X, T)

    ours = through(lambda log_lr: hg.train(loss, params, hg.SGD(np.exp(log_lr)), steps=steps))
    generic_loss = lambda p, hyper, step: loss(p, hyper, step)
    generic = through(lambda log_lr: hg.train(generic_loss, params, hg.SGD(np.exp(log_lr)), steps=steps))
    unrolled = through(lambda log_lr: unrolled_sgd(generic_loss, params, np.exp(log_lr), 0.9, steps))
    derivatives = {
        "stored reverse": lambda: grad(ours)(0.0),
        "forward": lambda: make_jvp(ours)(0.0)(1.0)[1],
        "stored reverse, autograd's Hessian products": lambda: grad(generic)(0.0),
        "unrolled autograd, reverse": lambda: grad(unrolled)(0.0),
    }
    expected = derivatives["stored reverse"]()
    for name, derivative in derivatives.items():
        error = abs(derivative() / expected - 1.0)
        assert error < 1e-9, f"{name} is off by {error:.1e}"
    return {
        "plain training": lambda: ours(0.0),
        "floor": lambda: products(params, loss.batch(0)[0], steps),
    } | derivatives


def unrolled_sgd(loss, params, lr, momentum, steps):
    """The plain loop, which autograd records operation by operation."""
    weights = [w for layer in params for w in layer]
    velocities = [np.zeros(w.shape) for w in weights]
    gradient = grad(lambda ws, step: loss([(ws[i], ws[i + 1]) for i in range(0, len(ws), 2)], None, step))
    for step in range(steps):
        g = gradient(np_tuple(weights), step)
        velocities = [momentum * v - (1 - momentum) * g for v, g in zip(velocities, g)]
        weights = [w + lr * v for w, v in zip(weights, velocities)]
    return [(weights[i], weights[i + 1]) for i in range(0, len(weights), 2)]


def np_tuple(items):
    from autograd.builtins import tuple as autograd_tuple

    return autograd_tuple(items)


def products(params, X, steps):
    """The matrix products of training alone: activations forwards, weights and errors backwards."""
    inputs, outputs = [X], []
    for W, _ in params:
        outputs.append(onp.dot(inputs[-1], W))
        inputs.append(outputs[-1])
    gradients = [onp.empty_like(W) for W, _ in params]
    errors = [onp.empty_like(a) for a in inputs]
    for _ in range(steps):
        for layer, (W, _) in enumerate(params):
            onp.dot(inputs[layer], W, out=outputs[layer])
        for layer in reversed(range(len(params))):
            onp.dot(inputs[layer].T, outputs[layer], out=gradients[layer])
            if layer > 0:
                onp.dot(outputs[layer], params[layer][0].T, out=errors[layer])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    entries = problem(args.steps)
    for threads in (1, 2):
        seconds = interleaved(entries, threads=threads, repeats=args.repeats)
        print(f"\n{args.steps} steps, {threads} BLAS thread(s), medians of {args.repeats}")
        for name, value in seconds.items():
            print(f"  {name:<46} {value * 1e3:8.1f} ms  {value / seconds['plain training']:6.2f} × training")


if __name__ == "__main__":
    main()
