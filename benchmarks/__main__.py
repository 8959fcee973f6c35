"""``python -m benchmarks``: what a hypergradient costs, relative to the training it differentiates.

The problem is 784-200-50-10 tanh on 1,000 MNIST images, minibatches of 250, the derivative of the
training loss by the log learning rate. Every derivative is checked against the others before it is
timed. ``floor`` is the matrix products of training and nothing else.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from functools import partial

import autograd.numpy as np
import numpy as onp
from autograd import grad, make_jvp
from autograd.builtins import tuple as autograd_tuple

import hypergrad as hg
from benchmarks.peers import PEERS
from benchmarks.problems import mnist_network
from benchmarks.timing import interleaved


class Problem:
    """Derivatives of the loss after training by the log learning rate, in every way there is."""

    def __init__(self, steps: int):
        self.steps = steps
        self.model, self.loss, self.params, self.X, self.T = mnist_network()

    def final_loss(self, make, adjoint=None, generic=False):
        """The loss after training as a function of the log learning rate."""
        loss = (lambda params, hyper, step: self.loss(params, hyper, step)) if generic else self.loss

        def f(log_lr):
            trained = hg.train(loss, self.params, make(np.exp(log_lr)), steps=self.steps, adjoint=adjoint)
            return self.model.loss(trained, self.X, self.T)

        return f

    def unrolled(self, log_lr):
        """The plain loop of SGD, which autograd records operation by operation."""
        weights = [w for layer in self.params for w in layer]
        velocities = [np.zeros(w.shape) for w in weights]
        paired = lambda ws: [(ws[i], ws[i + 1]) for i in range(0, len(ws), 2)]
        gradient = grad(lambda ws, step: self.loss(paired(ws), None, step))
        for step in range(self.steps):
            g = gradient(autograd_tuple(weights), step)
            velocities = [0.9 * v - (1 - 0.9) * g for v, g in zip(velocities, g)]
            weights = [w + np.exp(log_lr) * v for w, v in zip(weights, velocities)]
        return self.model.loss(paired(weights), self.X, self.T)

    def floor(self):
        """The matrix products of training alone: activations forwards, weights and errors backwards."""
        inputs, outputs = [self.loss.batch(0)[0]], []
        for W, _ in self.params:
            outputs.append(onp.dot(inputs[-1], W))
            inputs.append(outputs[-1])
        gradients = [onp.empty_like(W) for W, _ in self.params]
        errors = [onp.empty_like(a) for a in inputs]
        for _ in range(self.steps):
            for layer, (W, _) in enumerate(self.params):
                onp.dot(inputs[layer], W, out=outputs[layer])
            for layer in reversed(range(len(self.params))):
                onp.dot(inputs[layer].T, outputs[layer], out=gradients[layer])
                if layer > 0:
                    onp.dot(outputs[layer], self.params[layer][0].T, out=errors[layer])


def exact_sgd(lr):
    return hg.SGD(lr, exact=True)


def sgd_entries(steps: int) -> dict:
    """SGD: the first entry is what the others are relative to."""
    problem = Problem(steps)
    plain = problem.final_loss(hg.SGD)
    derivatives = {
        "Stored()": lambda: grad(problem.final_loss(hg.SGD, hg.Stored()))(0.0),
        "forward mode": lambda: make_jvp(plain)(0.0)(1.0)[1],
        "Reversible(), exact arithmetic": lambda: grad(problem.final_loss(exact_sgd, hg.Reversible()))(0.0),
        "Checkpointed(20)": lambda: grad(problem.final_loss(hg.SGD, hg.Checkpointed(20)))(0.0),
        "adjoint=None": lambda: grad(plain)(0.0),
        "Stored(), Hessian products by autograd": lambda: grad(problem.final_loss(hg.SGD, hg.Stored(), True))(0.0),
        "autograd through the unrolled loop": lambda: grad(problem.unrolled)(0.0),
    }
    check_agreement(derivatives)
    training = {
        "training": lambda: plain(0.0),
        "training, exact arithmetic": lambda: problem.final_loss(exact_sgd)(0.0),
    }
    return training | {"floor": problem.floor} | derivatives


def adam_entries(steps: int) -> dict:
    """Adam."""
    problem, log_lr = Problem(steps), -6.0
    make, exact = hg.Adam, lambda lr: hg.Adam(lr, exact=True)
    return {
        "training": lambda: problem.final_loss(make)(log_lr),
        "Stored()": lambda: grad(problem.final_loss(make, hg.Stored()))(log_lr),
        "forward mode": lambda: make_jvp(problem.final_loss(make))(log_lr)(1.0),
        "Reversible(), exact arithmetic": lambda: grad(problem.final_loss(exact, hg.Reversible()))(log_lr),
    }


def long_entries(steps: int) -> dict:
    """What needs more steps to show."""
    problem = Problem(steps)
    return {
        "training": lambda: problem.final_loss(hg.SGD)(-2.0),
        "Checkpointed(20)": lambda: grad(problem.final_loss(hg.SGD, hg.Checkpointed(20)))(-2.0),
        "Reversible(), exact arithmetic": lambda: grad(problem.final_loss(exact_sgd, hg.Reversible()))(-2.0),
    }


def peer_entries(steps: int) -> dict:
    """The same derivative by other libraries; those that are not installed are named and left out."""
    problem = Problem(steps)
    entries = {"Stored()": lambda: grad(problem.final_loss(hg.SGD, hg.Stored()))(0.0)}
    for name, make in PEERS.items():
        try:
            entries[name] = make(problem)
        except ImportError as error:
            print(f"  {name}: not measured ({error})")
    check_agreement(entries)
    return {"training": lambda: problem.final_loss(hg.SGD)(0.0)} | entries


def check_agreement(derivatives: dict) -> None:
    """Raise unless all give the same number, to 1e-6."""
    values = {name: derivative() for name, derivative in derivatives.items()}
    expected = next(iter(values.values()))
    for name, value in values.items():
        if not abs(value / expected - 1.0) < 1e-6:
            raise SystemExit(f"{name} gives {value}, others {expected}: not timed")


def measure(args) -> None:
    """Print every table, with the number of threads asked for."""
    tables = [("peers", args.steps, peer_entries, args.repeats)]
    if not args.peers:
        tables = [
            ("SGD", args.steps, sgd_entries, args.repeats),
            ("Adam", args.steps, adam_entries, args.repeats),
            ("SGD", 8 * args.steps, long_entries, args.repeats),
        ]
    for name, steps, make_entries, repeats in tables:
        seconds = interleaved(make_entries(steps), threads=args.threads, repeats=repeats)
        print(f"\n{name}, {steps} steps, {args.threads} thread(s), medians of {repeats}")
        for entry, value in seconds.items():
            print(f"  {entry:<42} {value * 1e3:8.1f} ms  {value / seconds['training']:6.2f} × training", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--peers", action="store_true", help="against other libraries, those that are installed")
    parser.add_argument("--threads", type=int, help="measure in this process with so many threads (default: 1, then 2)")
    args = parser.parse_args()
    if args.threads:
        measure(args)
        return
    for threads in (1, 2):
        # A process of its own on so many cores, because some libraries set their threads when they are imported.
        pin = partial(os.sched_setaffinity, 0, range(threads)) if hasattr(os, "sched_setaffinity") else None
        command = [sys.executable, "-m", "benchmarks", *sys.argv[1:], "--threads", str(threads)]
        subprocess.run(command, check=True, preexec_fn=pin)


if __name__ == "__main__":
    main()
