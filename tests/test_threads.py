"""Different threads may train at the same time, gradients inside losses included; nothing process-wide is switched."""

import os
import subprocess
import sys
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor

import autograd.numpy as anp
import joblib  # noqa: F401  it sets an environment variable when it is imported
import numpy as np
import pytest
import threadpoolctl
from autograd import grad
from problems import classifier, penalised

import hypergrad as hg

THREADS, RUNS, ROUNDS = 8, 25, 10


def problem(number):
    """A hypergradient of its own for each number: losses of every kind, optimizers, adjoints and sizes."""
    rng = np.random.default_rng(number)
    kind, adjoint = number % 5, (None, hg.Stored(), hg.Checkpointed(2))[number % 3]
    steps, start = 3 + number % 4, rng.standard_normal(2 + number % 7)
    if kind == 0:
        model, loss, params, X, T = classifier((4, 3, 2), rows=9, batch_size=4, seed=number)
        return lambda lr: model.loss(hg.train(loss, params, hg.SGD(lr), steps=steps, adjoint=adjoint), X, T)
    if kind == 1:  # the loss itself takes a gradient
        inner = lambda w: anp.sum(anp.sin(w) ** 2)
        loss = lambda w, hyper, step: anp.sum((w - 0.1 * grad(inner)(w)) ** 2)
        return lambda lr: anp.sum(hg.train(loss, start, hg.SGD(lr, 0.5), steps=steps, adjoint=adjoint) ** 2)
    if kind == 2:
        loss = lambda w, hyper, step: anp.sum(w**4) / 4 + hyper * anp.sum(w**2)
        return lambda h: anp.sum(hg.train(loss, start, hg.Adam(0.05), h, steps=steps, adjoint=adjoint))
    if kind == 3:
        loss = lambda w, hyper, step: anp.sum(anp.cos(w + step))
        options = {"steps": steps, "adjoint": hg.Reversible()}
        return lambda lr: anp.sum(hg.train(loss, start, hg.SGD(lr, 0.7, exact=True), **options) ** 3)
    _, loss, params, *_ = classifier((3, 2), rows=6, batch_size=3, seed=number)
    return lambda h: anp.sum(hg.train(penalised(loss), params, hg.RMSProp(0.01), [h, -1.0], steps=steps)[0][0])


def test_eight_threads_give_what_one_gives():
    numbers = range(THREADS * RUNS)
    expected = [grad(problem(number))(0.2) for number in numbers]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(THREADS) as threads:
            for round_ in range(ROUNDS):
                some = numbers if round_ == 0 else range(round_ * 20, round_ * 20 + 20)
                found = list(threads.map(lambda number: grad(problem(number))(0.2), some))
                assert found == [expected[number] for number in some]
    finally:
        sys.setswitchinterval(interval)


def test_planning_in_threads_while_others_allocate():
    """With tracemalloc started and stopped around a run, Python 3.11 died here."""
    loss = lambda w, hyper, step: 0.5 * anp.sum(w**2)
    f = lambda lr: anp.sum(hg.train(loss, np.ones(2_000), hg.SGD(lr), steps=3))
    expected = grad(f)(0.1)
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(lambda _: float(grad(f)(0.1)), range(400))) == {float(expected)}


def process_state():
    """What belongs to the process and not to a run."""
    pools = [(pool["internal_api"], pool["num_threads"]) for pool in threadpoolctl.threadpool_info()]
    return list(warnings.filters), tracemalloc.is_tracing(), dict(os.environ), pools, sys.getswitchinterval()


def test_a_run_switches_nothing_that_belongs_to_the_process():
    seen = []

    def loss(w, hyper, step):
        seen.append(process_state())
        return anp.sum((w - 1.0) ** 2)

    def f(log_lr):
        return anp.sum(hg.train(loss, np.zeros(3), hg.SGD(anp.exp(log_lr), 0.5), steps=2) ** 2)

    before = process_state()
    grad(f)(0.1)
    hg.probe.sweep(f, [0.1, 0.2], progress=False)
    hg.meta.minimize(f, 0.1, steps=1, step_size=0.01, progress=False)
    hg.chaos.trust(f, 0.1)
    hg.testing.check_hypergradient(f, 0.1)
    assert len(seen) > 50 and all(state == before for state in seen)
    assert process_state() == before


VERSION = """
import warnings
import importlib.metadata as metadata
real = metadata.version
metadata.version = lambda name: "9.9" if name == "autograd" else real(name)
warnings.simplefilter("error")
try:
    import hypergrad
except RuntimeWarning as warning:
    print(warning)
"""


def test_an_autograd_that_was_not_tested_is_left_alone_and_warned_of():
    run = subprocess.run([sys.executable, "-c", VERSION], capture_output=True, text=True, check=True)
    assert "not one that hypergrad was tested with" in run.stdout and "different threads must not" in run.stdout


def test_an_error_inside_a_derivative_leaves_the_depth_as_it_was():
    from autograd.tracer import trace_stack

    def raising(x):
        raise KeyError("inside")

    with pytest.raises(KeyError):
        grad(raising)(1.0)
    assert trace_stack.top == -1
