"""SGD's updates in floats by compiled loops: the bits of NumPy, on one thread or two; NumPy where they have none."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import value_and_grad
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from two_ways import assert_same_bits, both

import hypergrad as hg
from hypergrad import compiled as compiled_loops
from hypergrad.compiled import in_halves, loops
from hypergrad.optimizers import sgd
from hypergrad.optimizers.base import written_code
from hypergrad.workspace import PIECE

pytest.importorskip("numba", reason="the extra `fast` is not installed")


class Hyperparameters(NamedTuple):
    """Of a step of SGD, or which of them are wanted."""

    lr: Any
    momentum: Any
    weight_decay: Any


@pytest.fixture
def every_length(monkeypatch):
    """Compiled loops for short arrays too."""
    monkeypatch.setattr(sgd, "_LONG", 0)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([1, 7, 1_000, PIECE + 3, 2**17 + 11]),
    st.floats(0.0, 3.0),
    st.floats(0.0, 0.999),
    st.tuples(st.booleans(), st.booleans()),
    st.integers(0, 2**32),
)
def test_a_step_in_floats_and_its_pullback_have_the_same_bits(every_length, size, lr, momentum, wanted, seed):
    code, rng = written_code(hg.SGD(0.0)), np.random.default_rng(seed)
    w, v, g, v_after, w_bar, v_bar = rng.standard_normal((6, size)) * 10.0 ** rng.integers(-8, 8, (6, 1))
    h, wanted = Hyperparameters(lr, momentum, 0.0), Hyperparameters(*wanted, False)

    def compute():
        in_place, slot, bars = w.copy(), v.copy(), [w_bar.copy(), v_bar.copy(), np.empty(size)]
        square = code.step_into(hg.SGD(0.0), in_place, [slot], in_place, [slot], g, h, 0)
        found = code.pull_back(bars[0], [bars[1]], bars[2], w, [v], [v_after], h, wanted)
        return [in_place, slot, *bars], [square, *found]

    assert sgd._loops(False, h, w) is not None
    (fast, fast_sums), (plain, plain_sums) = both(compute)
    assert_same_bits(fast, plain)
    scale = np.abs(w_bar) @ np.abs(v_after), (np.abs(v_bar) + lr * np.abs(w_bar)) @ np.abs(v - v_after) / (1 - momentum)
    errors = np.abs(np.subtract(fast_sums, plain_sums))
    assert errors[0] <= 1e-13 * plain_sums[0] and errors[3] == 0.0
    assert errors[1] <= 1e-13 * scale[0] and errors[2] <= 1e-12 * scale[1]


def test_what_the_loops_do_not_have_numpy_does(every_length):
    w = np.ones(PIECE)
    assert sgd._loops(False, Hyperparameters(0.1, 0.9, 0.0), w) is not None
    assert sgd._loops(True, Hyperparameters(0.1, 0.9, 0.0), w) is None
    assert sgd._loops(False, Hyperparameters(0.1, 0.9, 1e-3), w) is None
    assert sgd._loops(False, Hyperparameters(0.1, 0.9, 0.0), w.astype(np.float32)) is None


def test_hypergradients_are_those_of_numpy(every_length):
    target = np.random.default_rng(0).standard_normal((300, 300))
    loss = lambda w, hyper, step: anp.sum(anp.cos(w - target) * (step + 1.0))

    def f(hypers):
        return anp.sum(hg.train(loss, hypers["w"], hg.SGD(hypers["lr"], hypers["momentum"]), steps=4) ** 2)

    at = {"w": 0.1 * target, "lr": np.full(4, 0.2), "momentum": np.array([0.0, 0.5, 0.9, 0.9])}
    fast, plain = both(lambda: value_and_grad(f)(at))
    assert fast[0] == plain[0]
    np.testing.assert_array_equal(fast[1]["w"], plain[1]["w"])
    for name in ("lr", "momentum"):
        np.testing.assert_allclose(fast[1][name], plain[1][name], rtol=1e-12)


def test_halves_on_two_threads_from_many_at_once(monkeypatch):
    monkeypatch.setattr(compiled_loops, "_threads", lambda: 2)
    kernels = loops(sgd._kernels)
    rng = np.random.default_rng(0)
    w, v, g = rng.standard_normal((3, 2**17 + 5))
    expected = np.empty_like(w), np.empty_like(v)
    square = kernels.sgd_step(*expected, w, v, g, 0.3, 0.9)

    def compute(_):
        found = np.empty_like(w), np.empty_like(v)
        halves = in_halves(kernels.sgd_step, (*found, w, v, g), 0.3, 0.9)
        return found, halves

    with ThreadPoolExecutor(8) as pool:
        for found, halves in pool.map(compute, range(50)):
            assert_same_bits(list(found), list(expected))
            assert len(halves) == 2 and sum(halves) == pytest.approx(square, rel=1e-13)


def test_one_thread_where_no_more_are_allowed(monkeypatch):
    kernels = loops(sgd._kernels)
    arrays = tuple(np.ones(2**17) for _ in range(5))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert len(in_halves(kernels.sgd_step, arrays, 0.3, 0.9)) == 1


FORKED = """
import os
import numpy as np
from hypergrad import compiled
from hypergrad.optimizers import sgd
compiled._threads = lambda: 2
step = lambda: compiled.in_halves(compiled.loops(sgd._kernels).sgd_step, tuple(np.ones((5, 2**17))), 0.3, 0.9)
found = step()
child = os.fork()
if not child:
    os._exit(0 if step() == found else 1)
print(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_a_thread_of_its_own():
    command = [sys.executable, "-W", "ignore", "-c", FORKED]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip() == "0"
