"""Compiled loops: the same bits as NumPy, the same errors, and none where they are not wanted."""

import math
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, value_and_grad
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import written
from two_ways import assert_same_bits, both

import hypergrad as hg
from hypergrad.compiled import SWITCH
from hypergrad.errors import (
    DivergedError,
    FixedPointOverflowError,
    ImpureLossError,
    NonFiniteLossGradientError,
    ReversalError,
)
from hypergrad.fixed import arithmetic as exact
from hypergrad.fixed import compiled
from hypergrad.optimizers import Decaying
from hypergrad.workspace import PIECE

pytest.importorskip("numba", reason="the extra `fast` is not installed")

factors = st.one_of(
    st.integers(2**16, exact.DENOMINATOR - 1),
    st.sampled_from([2**16, 2**16 + 1, 2**31, exact.DENOMINATOR - 1, exact.numerator(0.9), exact.numerator(0.999)]),
)


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
