"""Exact arithmetic: multiplication undone bit for bit, at the cost in memory that information theory sets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypergrad.compiled import plain_numpy
from hypergrad.errors import ReversalError
from hypergrad.fixed.arithmetic import (
    DENOMINATOR,
    InformationBuffer,
    divide,
    from_fixed,
    multiply,
    numerator,
    to_fixed,
)


@pytest.fixture(autouse=True, scope="module", params=["numpy", "numba"])
def arithmetic(request):
    """Everything here holds for both."""
    if request.param == "numpy":
        with plain_numpy():
            yield
    else:
        pytest.importorskip("numba")
        yield


factors = st.one_of(
    st.integers(2**16, DENOMINATOR - 1),
    st.sampled_from([2**16, 2**16 + 1, 2**31, DENOMINATOR - 1, numerator(0.9), numerator(0.999)]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(factors, min_size=1, max_size=60), st.integers(1, 70), st.integers(0, 60), st.integers(0, 2**32))
def test_any_sequence_of_multiplications_is_undone(sequence, size, magnitude_bits, seed):
    rng = np.random.default_rng(seed)
    limit = 2**magnitude_bits
    numbers = rng.integers(-limit, limit, size, endpoint=True)
    numbers[rng.random(size) < 0.2] = rng.choice([0, -1, 1, limit, -limit])
    start, buffer = numbers.copy(), InformationBuffer(size)
    added = []
    for n in sequence:
        before = numbers.copy()
        multiply(numbers, n, buffer)
        exact = [int(c) * n for c in before]
        assert all(abs(int(after) * DENOMINATOR - c) <= DENOMINATOR for after, c in zip(numbers, exact))
        added.append(rng.integers(-limit // 4 - 1, limit // 4 + 1, size))
        numbers += added[-1]
    end = numbers.copy()
    for n, term in zip(reversed(sequence), reversed(added)):
        numbers -= term
        divide(numbers, n, buffer)
    np.testing.assert_array_equal(numbers, start)
    assert buffer.is_initial()
    assert size < 3 or not np.array_equal(end, start) or limit < 4


@pytest.mark.parametrize(("beta", "steps"), [(0.9, 4_000), (0.99, 4_000), (0.5, 2_000), (0.01, 500), (0.9999, 4_000)])
def test_memory_is_the_entropy_lost(beta, steps):
    rng = np.random.default_rng(0)
    size, n = 200, numerator(beta)
    numbers, buffer = to_fixed(rng.standard_normal(size), 52), InformationBuffer(size)
    for _ in range(steps):
        multiply(numbers, n, buffer)
        numbers += to_fixed((1 - beta) * rng.standard_normal(size), 52)
    lost = steps * np.log2(DENOMINATOR / n)
    held = (16 * buffer.stack.size + np.log2(buffer.words.astype(float)).sum() - 48 * size) / size
    assert held == pytest.approx(lost, rel=1e-3, abs=1e-3)
    assert 8 * buffer.nbytes / size <= 1.05 * lost + 8 * 16


def test_floats_do_not_come_back_where_this_does():
    rng = np.random.default_rng(0)
    start, beta, steps = rng.standard_normal(50), 0.9, 100
    terms = rng.standard_normal((steps, 50))
    v = start.copy()
    for term in terms:
        v = beta * v + term
    for term in reversed(terms):
        v = (v - term) / beta
    assert np.abs(v - start).max() > 1e-12, "floats lose what is multiplied away"

    numbers, buffer, n = to_fixed(start, 52), InformationBuffer(50), numerator(beta)
    fixed_start = numbers.copy()
    for term in terms:
        multiply(numbers, n, buffer)
        numbers += to_fixed(term, 52)
    for term in reversed(terms):
        numbers -= to_fixed(term, 52)
        divide(numbers, n, buffer)
    np.testing.assert_array_equal(numbers, fixed_start)
    floats = np.empty_like(start)
    from_fixed(numbers, 52, floats)
    np.testing.assert_allclose(floats, start, atol=2.0**-53)


def test_going_forwards_does_not_need_the_stack():
    rng = np.random.default_rng(0)
    recorded, forgotten = (to_fixed(rng.standard_normal(40), 52) for _ in range(2))
    forgotten[:] = recorded
    with_stack, without = InformationBuffer(40), InformationBuffer(40, record=False)
    for _ in range(300):
        multiply(recorded, numerator(0.7), with_stack)
        multiply(forgotten, numerator(0.7), without)
        for numbers in (recorded, forgotten):
            numbers += 123_456_789_012
    np.testing.assert_array_equal(recorded, forgotten)
    assert without.nbytes == 40 * 8 < with_stack.nbytes


def test_undoing_something_else_empties_the_buffer():
    numbers, buffer = to_fixed(np.ones(10), 52), InformationBuffer(10)
    with pytest.raises(ReversalError, match="buffer is empty"):
        for _ in range(100):
            divide(numbers, numerator(0.5), buffer)


def test_an_array_may_be_multiplied_in_parts():
    rng = np.random.default_rng(0)
    start = to_fixed(rng.standard_normal(1_000), 52)
    whole, cut, n = start.copy(), start.copy(), numerator(0.3)
    buffer, buffer_of_parts = InformationBuffer(1_000), InformationBuffer(1_000)
    parts = [slice(0, 400), slice(400, 401), slice(401, 1_000)]
    for _ in range(40):
        multiply(whole, n, buffer)
        for part in parts:
            multiply(cut[part], n, buffer_of_parts, part)
    np.testing.assert_array_equal(whole, cut)
    for _ in range(40):
        for part in reversed(parts):
            divide(cut[part], n, buffer_of_parts, part)
    np.testing.assert_array_equal(cut, start)
    assert buffer_of_parts.is_initial() and not buffer.is_initial()


def test_a_hundred_thousand_steps_are_reversed_bit_for_bit():
    """Of training, with a momentum schedule; the buffers hold the entropy lost and hardly more."""
    from problems import written

    import hypergrad as hg
    from hypergrad.problem import check_problem

    size, steps = 20, 100_000
    curvature = np.linspace(0.1, 1.0, size)

    class Rippled:
        """A quadratic with ripples that move from step to step."""

        def __call__(self, w, hyper, step):
            raise AssertionError("not needed: the gradients are given")

        def gradient(self, w, hyper, step):
            return curvature * w - 0.3 * np.sin(3.0 * w + step)

        def gradient_with_hvp(self, w, hyper, step):
            return self.gradient(w, hyper, step), lambda d: (curvature - 0.9 * np.cos(3.0 * w + step)) * d

    momentum = np.linspace(0.5, 0.99, steps)
    optimizer = hg.SGD(0.1, momentum, exact=True)
    dynamics = check_problem(written(Rippled()), np.ones(size), optimizer, None, steps).dynamics()
    state = dynamics.start(record=True)
    for step in range(steps):
        state = dynamics.step(state, step)
    buffer = state.fixed[0].buffers[0]
    lost = -np.log2(momentum).sum()
    assert lost < 8 * buffer.nbytes / size < 1.05 * lost + 8 * 16
    retreat = dynamics.retreat_from(state)
    for step in range(steps - 1, -1, -1):
        state = retreat(state, step).before
    assert dynamics.is_start(state)
