"""Compiled loops: the same bits as NumPy, the same errors, and none where they are not wanted."""

import math
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, value_and_grad
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from problems import written

import hypergrad as hg
from hypergrad import compiled as compiled_loops
from hypergrad.compiled import SWITCH, in_halves, loops, plain_numpy
from hypergrad.errors import (
    DivergedError,
    FixedPointOverflowError,
    ImpureLossError,
    NonFiniteLossGradientError,
    ReversalError,
)
from hypergrad.fixed import arithmetic as exact
from hypergrad.fixed import compiled
from hypergrad.optimizers import Decaying, sgd
from hypergrad.optimizers.base import written_code
from hypergrad.workspace import PIECE

pytest.importorskip("numba", reason="the extra `fast` is not installed")

factors = st.one_of(
    st.integers(2**16, exact.DENOMINATOR - 1),
    st.sampled_from([2**16, 2**16 + 1, 2**31, exact.DENOMINATOR - 1, exact.numerator(0.9), exact.numerator(0.999)]),
)


def both(compute):
    """The result with compiled loops and that with NumPy alone."""
    assert compiled.loops() is not None
    fast = compute()
    with plain_numpy():
        assert compiled.loops() is None
        return fast, compute()


def assert_same_bits(fast: list, plain: list):
    for a, b in zip(fast, plain, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


@settings(max_examples=150, deadline=None)
@given(st.lists(factors, min_size=1, max_size=40), st.integers(0, 70), st.integers(0, 61), st.integers(0, 2**32))
def test_exact_arithmetic_has_the_same_bits(sequence, size, magnitude_bits, seed):
    def compute():
        rng = np.random.default_rng(seed)
        numbers = rng.integers(-(2**magnitude_bits), 2**magnitude_bits, size, endpoint=True)
        start, terms = numbers.copy(), rng.standard_normal((len(sequence), size)) * 2.0 ** (magnitude_bits - 54)
        buffer, seen = exact.InformationBuffer(size), []
        for n, term in zip(sequence, terms):
            exact.multiply(numbers, n, buffer)
            exact.add(numbers, term, 52)
            seen += [numbers.copy(), buffer.words.copy(), buffer.stack.held.copy()]
        floats = np.empty(size)
        exact.from_fixed(numbers, 52, floats)
        for n, term in zip(reversed(sequence), reversed(terms)):
            exact.add(numbers, term, 52, -1)
            exact.divide(numbers, n, buffer)
        assert buffer.is_initial() and np.array_equal(numbers, start)
        return [*seen, floats]

    assert_same_bits(*both(compute))


@settings(max_examples=100, deadline=None)
@given(factors, st.integers(0, 2**32))
def test_quotients_next_to_whole_numbers(n, seed):
    """Where a quotient in floats is one off: the dividends are multiples of n, and one more or less."""

    def compute():
        rng = np.random.default_rng(seed)
        size, near = 200, lambda quotients: quotients * n + rng.integers(-1, 2, len(quotients))
        most = min(2**62 // n, 2**47)
        numbers, buffer = near(rng.integers(-most, most, size)), exact.InformationBuffer(size)
        buffer.words[:] = near(rng.integers(2**48 // n + 2, 2**63 // n - 2, size)).astype(np.uint64)
        begin = [numbers.copy(), buffer.words.copy()]
        exact.multiply(numbers, n, buffer)
        seen = [numbers.copy(), buffer.words.copy(), buffer.stack.held.copy()]
        exact.divide(numbers, n, buffer)
        assert_same_bits([numbers, buffer.words], begin)
        numbers[:], buffer.words[:] = begin  # as if they came out of a multiplication that had spilled these:
        buffer.stack.push(rng.integers(0, 2**16, size).astype(np.uint16))
        exact.divide(numbers, n, buffer)
        return [*seen, numbers, buffer.words]

    assert_same_bits(*both(compute))


SHAPES = {"w": (3, PIECE // 2), "b": (7,), "c": ()}  # more than a piece, less, and a number


def loss(params, hyper, step):
    ripples = sum(anp.sum(anp.cos(2.0 * w + step)) for w in params.values())
    return sum(anp.sum((w - 0.3) ** 2) for w in params.values()) - 0.2 * ripples


def draw(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    return {name: np.asarray(rng.standard_normal(shape)) for name, shape in SHAPES.items()}


MAKERS = {
    "SGD": lambda lr, decay: hg.SGD(lr, decay, exact=True),
    "Adam": lambda lr, decay: hg.Adam(0.1 * lr, decay, exact=True),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("adjoint", [hg.Reversible(), hg.Checkpointed(2)], ids=["reversible", "checkpointed"])
def test_a_run_and_its_derivatives_have_the_same_bits(name, adjoint):
    """But for those by schedules, which are sums over entries in another order."""
    params = draw(0)

    def f(inputs):
        w, lr, decay = inputs
        trained = hg.train(loss, w, MAKERS[name](lr, decay), steps=7, adjoint=adjoint, save_at=[3, 7])
        return sum(anp.sum(w**3) for nest in trained for w in nest.values())

    def compute():
        inputs = (params, np.linspace(0.05, 0.1, 7), np.linspace(0.3, 0.95, 7))
        value, (w_bar, lr_bar, decay_bar) = value_and_grad(f)(inputs)
        return [value, *w_bar.values()], [lr_bar, decay_bar]

    (fast, fast_sums), (plain, plain_sums) = both(compute)
    assert_same_bits(fast, plain)
    np.testing.assert_allclose(fast_sums, plain_sums, rtol=1e-12)


@pytest.mark.parametrize(
    ("lr", "scale", "error"),
    [(1e5, 1.0, FixedPointOverflowError), (0.1, 1e4, FixedPointOverflowError), (0.1, anp.inf, DivergedError)],
    ids=["displacement", "gradient", "infinite gradient"],
)
def test_the_same_errors(lr, scale, error):
    scaled = lambda params, hyper, step: loss(params, hyper, step) * (scale if step == 3 else 1.0)

    def compute():
        with pytest.raises(error) as caught, np.errstate(all="ignore"):
            hg.train(scaled, draw(0), hg.SGD(lr, 0.5, exact=True), steps=5)
        return [str(caught.value), caught.value.step, caught.value.args, getattr(caught.value, "norm", None)]

    fast, plain = both(compute)
    assert fast == plain


def test_what_is_below_the_limit_entry_by_entry_is_no_error():
    """Although the sum of squares, which is looked at first, is above it."""
    w = np.full(3_000, 500.0)
    keep = lambda params, hyper, step: 0.0 * anp.sum(params**2)
    fast, plain = both(lambda: [hg.train(keep, w, hg.SGD(0.1, exact=True), steps=2)])
    assert_same_bits(fast, plain)
    assert np.array_equal(fast[0], w)


def test_undoing_something_else_is_reported():
    class Forgetful:
        """Its gradient is another one on the way back."""

        def __call__(self, w, hyper, step):
            return anp.sum(w**2)

        def gradient(self, w, hyper, step):
            return 2.0 * w

        def gradient_with_hvp(self, w, hyper, step):
            return 2.1 * w, lambda d: 2.0 * d

    def f(lr, check_purity):
        options = {"adjoint": hg.Reversible(), "check_purity": check_purity}
        return anp.sum(hg.train(written(Forgetful()), np.ones(50), hg.SGD(lr, 0.5, exact=True), steps=80, **options))

    with pytest.raises(ReversalError, match="bit for bit"):
        grad(f)(0.1, False)
    with pytest.raises(ImpureLossError, match="the gradient was not the same"):
        grad(f)(0.1, True)


class Frozen:
    """A part of an optimizer that comes in from the side."""

    def displacement(self, s, g, h, step):
        return 0.0 * s[0]


class FrozenSGD(Frozen, hg.SGD):
    pass


class Halved(hg.SGD):
    def displacement(self, s, g, h, step):
        return 0.5 * h.lr * s[0]


class OtherDecay(hg.SGD):
    decays = ("lr",)


@dataclass(frozen=True)
class OneMoreField(hg.SGD):
    note: float = 0.5


class Late(hg.SGD):
    pass


Late.increments = lambda self, g, h: (-0.1 * g,)


@pytest.mark.parametrize("kind", [FrozenSGD, Halved, OtherDecay, OneMoreField, Late])
def test_an_update_of_ones_own_does_not_get_that_of_sgd(kind):
    def compute(kind=kind):
        trained = hg.train(loss, draw(1), kind(0.25, 0.5, exact=True), steps=4)
        return list(trained.values())

    fast, plain = both(compute)
    assert_same_bits(fast, plain)
    same = all(np.array_equal(a, b) for a, b in zip(fast, compute(hg.SGD)))
    assert same == (kind is OneMoreField)


def test_a_huge_rate_at_a_velocity_of_zero():
    """No product may be regrouped: rate · 2⁵² overflows."""
    still = lambda w, hyper, step: 0.0 * anp.sum(w)

    def compute():
        f = lambda lr: anp.sum(hg.train(still, np.ones(8), hg.SGD(lr, 0.5, exact=True), steps=3))
        return value_and_grad(f)(1e300)

    assert_same_bits(*both(compute))
    assert compute() == (8.0, 0.0)


@pytest.mark.parametrize("scale", [1e5, anp.nan])
def test_ones_own_displacement_never_sees_a_state_that_does_not_fit(scale):
    @dataclass(frozen=True)
    class Own(Decaying):
        lr: Any
        momentum: Any = 0.5
        exact: bool = True

        decays: ClassVar = ("momentum",)
        reversible: ClassVar = True
        fraction_bits: ClassVar = (52,)

        def increments(self, g, h):
            return ((1.0 - h.momentum) * g**2,)

        def displacement(self, s, g, h, step):
            return -h.lr * s[0] / math.sqrt(s[0].mean())

    scaled = lambda w, hyper, step: anp.sum(w**2) * (scale if step == 2 else 1.0)
    error = FixedPointOverflowError if anp.isfinite(scale) else NonFiniteLossGradientError

    def compute():
        with pytest.raises(error) as caught, np.errstate(all="ignore"):
            hg.train(scaled, np.ones(3), Own(0.1), steps=5)
        return [caught.value.step]

    assert both(compute) == ([2], [2])


@pytest.mark.parametrize("order", ["C", "F", "strided", "read-only"])
def test_gradients_in_any_layout(order):
    class Quadratic:
        def __call__(self, w, hyper, step):
            return 0.5 * anp.sum(w**2)

        def gradient(self, w, hyper, step):
            if order == "strided":
                return np.repeat(w, 2, axis=0)[::2]
            g = np.array(w, order="F" if order == "F" else "C")
            g.flags.writeable = order != "read-only"
            return g

        def gradient_with_hvp(self, w, hyper, step):
            return self.gradient(w, hyper, step), lambda d: d

    w = np.random.default_rng(0).standard_normal((3, 4))
    f = lambda lr: anp.sum(
        hg.train(written(Quadratic()), w, hg.SGD(lr, 0.5, exact=True), steps=5, adjoint=hg.Reversible()) ** 2
    )
    fast, plain = both(lambda: value_and_grad(f)(0.3))
    assert_same_bits(fast, plain)


def test_arrays_from_other_processes_are_served_too():
    assert compiled.loops(pickle.loads(pickle.dumps(np.ones(3)))) is not None
    assert compiled.loops(np.ones(3, np.float32)) is None


TRAINING = """
import sys
import autograd.numpy as np
import hypergrad as hg
loss = lambda w, hyper, step: 0.5 * np.sum(w**2)
hg.train(loss, np.ones(3), hg.SGD(0.1), steps=1)
assert "numba" not in sys.modules, "floats do without"
trained = hg.train(loss, np.ones(3), hg.SGD(0.5, 0.5, exact=True), steps=1)
assert np.array_equal(trained, np.full(3, 0.75))
from hypergrad.fixed.compiled import loops
print(loops() is not None, "numba" in sys.modules)
"""


def run_apart(**environment):
    command = [sys.executable, "-c", TRAINING]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
    assert run.returncode == 0, run.stderr
    return run


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "True True"),
        ({SWITCH: "0"}, "False False"),
        ({"NUMBA_DISABLE_JIT": "1"}, "False True"),
        ({"NUMBA_CACHE_DIR": "/dev/null/nowhere"}, "True True"),
    ],
    ids=["by default", "switched off", "numba switched off", "no place to keep machine code"],
)
def test_when_loops_are_compiled(environment, expected):
    assert run_apart(**environment).stdout.strip() == expected


def test_damaged_machine_code_is_made_again(tmp_path):
    run_apart(NUMBA_CACHE_DIR=str(tmp_path))
    kept = list(tmp_path.rglob("*.nb*"))
    assert kept
    for file in kept:
        file.write_bytes(b"")
    assert run_apart(NUMBA_CACHE_DIR=str(tmp_path)).stdout.strip() == "True True"


def test_a_numba_that_does_not_work_is_a_warning(tmp_path):
    (tmp_path / "numba.py").write_text("import numpy\nnumpy.gone_since_long\n")
    run = run_apart(PYTHONPATH=f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    assert run.stdout.strip() == "False False"
    assert "numba is installed but cannot compile (AttributeError" in run.stderr


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
