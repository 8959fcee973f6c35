"""Large arrays: memory that is used again never shows through, and pieces cover everything once."""

import gc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace

import autograd.numpy as np
import numpy as onp
import pytest
from autograd import grad, make_jvp
from hypothesis import given, settings
from hypothesis import strategies as st

import hypergrad as hg
from hypergrad import arrays
from hypergrad.dynamics import hyperparameter_type
from hypergrad.optimizers import SGD, Optimizer

LARGE = (300, 400)


def test_memory_of_a_dead_array_is_used_again_and_that_of_a_live_one_is_not():
    first = arrays.empty(LARGE)
    place = first.ctypes.data
    view = first[5:].T
    del first
    second = arrays.empty(LARGE)
    assert second.ctypes.data != place, "a view still refers to it"
    del view, second
    gc.collect()
    places = {arrays.empty(LARGE).ctypes.data for _ in range(3)}
    assert len(places) == 1


@given(st.lists(st.integers(0, 300), min_size=0, max_size=3), st.sampled_from([np.float64, np.float32]))
@settings(max_examples=60, deadline=None)
def test_empty_has_the_shape_and_type_asked_for(shape, dtype):
    array = arrays.empty(tuple(shape), dtype)
    assert array.shape == tuple(shape) and array.dtype == dtype and array.flags.c_contiguous and array.flags.writeable


def test_no_more_than_the_limit_is_kept(monkeypatch):
    monkeypatch.setattr(arrays._pool, "limit", 3 * 8 * 300 * 400)
    monkeypatch.setattr(arrays._pool, "blocks", arrays.defaultdict(list))
    monkeypatch.setattr(arrays._pool, "held", 0)
    alive = [arrays.empty(LARGE) for _ in range(10)]
    del alive
    assert arrays._pool.held <= arrays._pool.limit
    other = arrays.empty((1000, 200))
    del other
    assert 8 * 1000 * 200 in arrays._pool.blocks, "sizes of earlier runs make room"
    held = arrays._pool.held
    too_large = arrays.empty((2_000, 300))
    del too_large
    assert arrays._pool.held == held, "what is not kept itself pushes nothing out"


def test_while_nothing_is_kept_the_pool_stays_as_it_is():
    array = arrays.empty(LARGE)
    del array
    held = arrays._pool.held
    with arrays.nothing_kept(), arrays.nothing_kept():
        array = arrays.empty(LARGE)
        del array
    assert arrays._pool.held == held and not arrays._pool.suspended


def test_threads_have_pools_of_their_own():
    """The planner, too, measures in each without switching off the others'."""
    loss = lambda w, hyper, step: 0.5 * np.sum(w**2)
    f = lambda lr: np.sum(hg.train(loss, onp.ones(20_000), hg.SGD(lr), steps=3))
    expected = grad(f)(0.1)
    with ThreadPoolExecutor(3) as threads:
        assert all(g == expected for g in threads.map(lambda _: grad(f)(0.1), range(12)))
    assert not arrays._pool.suspended


@dataclass(frozen=True)
class Normalised(hg.SGD):
    """By the norm of the gradient of a whole array."""

    def increments(self, g, h):
        return ((h.momentum - 1.0) * g / np.sqrt(np.sum(g**2)),)


@dataclass(frozen=True)
class Clipped(hg.SGD):
    """Its velocity never longer than 1."""

    def state_after(self, w, s, g, h, step):
        (v,) = super().state_after(w, s, g, h, step)
        return (v / np.sqrt(1.0 + np.sum(v**2)),)


@dataclass(frozen=True)
class OwnPullback(hg.SGD):
    """Uses the parameters on the way back."""

    def pull_back(self, w_bar, s_bar, w, s, g, s_after, h, step, wanted):
        assert w is not None and g is not None
        return super().pull_back(w_bar, s_bar, w, s, g, s_after, h, step, wanted)


@pytest.mark.parametrize("optimizer", [Normalised, Clipped, OwnPullback])
def test_subclasses_that_see_whole_arrays_are_not_cut_into_pieces(optimizer):
    start = onp.random.default_rng(0).standard_normal(arrays.PIECE + 5_000)
    loss = lambda w, hyper, step: 0.5 * np.sum((w - 1.0) ** 2)
    f = lambda lr: np.sum(hg.train(loss, start, optimizer(lr, 0.5), steps=4) ** 2)
    hg.testing.check_hypergradient(f, 0.3)
    w, v, h = start, onp.zeros_like(start), SimpleNamespace(lr=0.3, momentum=0.5)
    for step in range(4):
        w, (v,) = optimizer(0.3, 0.5).step(w, (v,), w - 1.0, h, step)
    assert f(0.3) == pytest.approx(np.sum(w**2), rel=1e-12)


@pytest.mark.parametrize("size", [0, 1, arrays.PIECE - 1, arrays.PIECE, 2 * arrays.PIECE + 1])
def test_pieces_cover_everything_once_and_can_be_written_to(size):
    array, transposed = np.zeros(size), np.arange(2.0 * size).reshape(2, size).T[:, :1]
    for piece, other in arrays.pieces(array[:, None], transposed):
        piece += other + 1.0
    onp.testing.assert_array_equal(array, np.arange(size) + 1.0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(), (7,), (2 * arrays.PIECE + 3,), (300, 400)])
def test_the_updates_in_pieces_are_the_plain_ones(shape, dtype):
    rng = np.random.default_rng(0)
    w, v, g, dw, dv, dg, w_bar, v_bar = (np.asarray(rng.standard_normal(shape), dtype) for _ in range(8))
    optimizer, kind = SGD(0.3, 0.8), hyperparameter_type
    h, dh, wanted = (kind(("lr", "momentum"))(*pair) for pair in ((0.3, 0.8), (0.5, -0.2), (True, True)))
    w_after, s_after = optimizer.step(w, (v,), g, h, 0)
    to_w, to_v = onp.empty(shape, dtype), onp.empty(shape, dtype)
    optimizer.step_into(to_w, [to_v], w, (v,), g, h, 0)
    onp.testing.assert_array_equal(to_w, w_after)
    onp.testing.assert_array_equal(to_v, s_after[0])
    rtol = 1e-12 if dtype == np.float64 else 1e-5
    for name, given_ in (
        ("push_forward", (dw, (dv,), dg, dh, w, (v,), g, s_after, h, 0)),
        ("pull_back", (w_bar, (v_bar,), w, (v,), g, s_after, h, 0, wanted)),
    ):
        ours, plain = getattr(optimizer, name)(*given_), getattr(Optimizer, name)(optimizer, *given_)
        scale = max(np.abs(np.concatenate([np.ravel(x) for x in _flat(plain)])).max(), 1.0)
        for one, other in zip(_flat(ours), _flat(plain)):
            onp.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * scale)


def _flat(nest):
    return [leaf for part in nest for leaf in (_flat(part) if isinstance(part, tuple | list) else [part])]


@pytest.mark.parametrize(
    "make", [lambda: np.ones(3), lambda: arrays.empty(LARGE), lambda: arrays.zeros_like(np.ones(2))]
)
def test_an_array_is_written_over_only_if_nothing_else_refers_to_it(make):
    held = [make()]
    places = lambda: {get(held).ctypes.data for get in (lambda a: arrays.reuse(a, 0), lambda a: arrays.own(a)[0])}
    place = held[0].ctypes.data
    assert arrays.is_sole(held, 0) and places() == {place}
    for refer in (lambda a: a, lambda a: a[1:], lambda a: a.T.view(), lambda a: [a], np.asarray, memoryview):
        other = refer(held[0])
        assert not arrays.is_sole(held, 0) and place not in places()
        del other
        assert arrays.is_sole(held, 0)


def test_a_view_is_never_written_over():
    for view in (np.ones((3, 4))[1:], np.ones((3, 4)).T, onp.frombuffer(bytearray(16)), onp.broadcast_to(1.0, 3)):
        held = [view]
        del view
        assert not arrays.is_sole(held, 0)


class Hoarder:
    """A loss with derivatives of its own that keeps what it is given, or hands out what it keeps."""

    def __init__(self, hand_out: bool):
        self.seen, self.hand_out, self.buffer = [], hand_out, onp.zeros(LARGE)

    def __call__(self, w, hyper, step):
        return 0.5 * np.sum(w**2)

    def gradient(self, w, hyper, step):
        self.seen.append((w, w.copy()))
        if not self.hand_out:
            return w
        self.buffer[...] = w
        return self.buffer

    def gradient_with_hvp(self, w, hyper, step):
        def hvp(direction):
            self.seen.append((direction, direction.copy()))
            return self.gradient(direction, hyper, step)

        return self.gradient(w, hyper, step), hvp


@pytest.mark.parametrize("hand_out", [True, False])
@pytest.mark.parametrize(
    "adjoint, exact",
    [(hg.Stored(), False), (hg.Checkpointed(2), False), (hg.Reversible(), True), (hg.Checkpointed(2), True)],
)
def test_losses_may_keep_what_they_are_given_and_reuse_what_they_return(hand_out, adjoint, exact):
    start = onp.random.default_rng(0).standard_normal(LARGE)
    untouched = start.copy()
    optimizer = lambda lr: hg.SGD(lr, 0.5, exact=exact)

    def f(lr, loss):
        return np.sum(hg.train(loss, start, optimizer(lr), steps=6, adjoint=adjoint) ** 2)

    hoarder = Hoarder(hand_out)
    plain = lambda w, hyper, step: 0.5 * np.sum(w**2)
    assert grad(f)(0.3, hoarder) == pytest.approx(grad(f)(0.3, plain), rel=1e-9)
    assert f(0.3, hoarder) == pytest.approx(f(0.3, plain), rel=1e-12)
    onp.testing.assert_array_equal(start, untouched)
    assert len(hoarder.seen) >= 6
    for array, as_given in hoarder.seen:
        onp.testing.assert_array_equal(array, as_given)
    ones, slopes = (make_jvp(f, 0)(0.3, loss)(1.0) for loss in (hoarder, plain))
    assert ones[1] == pytest.approx(slopes[1], rel=1e-9)
