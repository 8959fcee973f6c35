"""Vectors and arenas: views that cover everything once, memory that is handed out apart and used again."""

import gc

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, value_and_grad
from hypothesis import given, settings
from hypothesis import strategies as st

import hypergrad as hg
from hypergrad import workspace
from hypergrad.engine.updates import hyperparameter_type
from hypergrad.engine.vector_updates import VectorUpdates
from hypergrad.nests import flatten
from hypergrad.optimizers import SGD, Adam
from hypergrad.optimizers.hyperparameters import expand
from hypergrad.problem import updates_of
from hypergrad.ranges import Range
from hypergrad.workspace import PIECE, Arena, Layout, pieces, release_kept, same_bits

shapes = st.lists(
    st.tuples(st.lists(st.integers(0, 5), max_size=3).map(tuple), st.sampled_from([np.float64, np.float32])),
    min_size=1,
    max_size=6,
)


@given(shapes, st.integers(0, 2**31))
@settings(max_examples=200, deadline=None)
def test_a_vector_has_the_arrays_of_its_nest_and_nothing_else(forms, seed):
    rng = np.random.default_rng(seed)
    arrays = [np.asarray(rng.standard_normal(shape), dtype) for shape, dtype in forms]
    layout = Layout(arrays)
    vector = layout.of(arrays)
    for array, view in zip(arrays, vector.arrays):
        assert view.dtype == array.dtype and view.shape == array.shape
        np.testing.assert_array_equal(view, array)
    assert sum(buffer.nbytes for buffer in vector.buffers) == sum(a.nbytes for a in arrays) == layout.nbytes
    copy = layout.copy(vector)
    assert copy.same_bits(vector)
    for number, buffer in enumerate(copy.buffers):
        buffer += np.arange(1, 1 + buffer.size).astype(buffer.dtype)
        covered = np.concatenate([np.ravel(a) for a, (n, _) in zip(copy.arrays, layout.places) if n == number] or [[]])
        np.testing.assert_array_equal(covered, buffer)
    assert vector.norm() == pytest.approx(np.sqrt(sum(np.sum(np.square(a, dtype=float)) for a in arrays)), rel=1e-5)


@given(st.lists(st.tuples(st.integers(0, 4_000), st.booleans()), max_size=40))
@settings(max_examples=100, deadline=None)
def test_an_arena_hands_out_memory_apart_and_again_after_a_release(requests):
    arena, alive, marks = Arena(), [], []
    for number, (size, take_back) in enumerate(requests):
        if take_back and marks:
            mark, count = marks.pop()
            arena.release(mark)
            del alive[count:]
            marks = [m for m in marks if m[1] <= count]
        marks.append((arena.mark(), len(alive)))
        array = arena.empty(size)
        array.fill(number)
        assert array.size == 0 or array.ctypes.data % 64 == 0
        alive.append((array, number))
        assert all((a == n).all() for a, n in alive), "an array lies in the memory of another"
    arena.release((0, 0))
    places = [arena.empty(100).ctypes.data for _ in range(3) if arena.release((0, 0)) is None]
    assert len(set(places)) == 1


def test_what_is_expected_comes_from_one_block():
    arena = Arena()
    arena.empty(10)
    arena.expect(100 * 8_000)
    for _ in range(100):
        arena.empty(1_000)
    assert len(arena._blocks) == 2


def block(nbytes):
    """The memory of a run that needs so much, and where it lies."""
    arena = Arena()
    array = arena.empty(nbytes, np.uint8)
    return arena, array, array.ctypes.data


def test_the_next_run_has_the_memory_that_nothing_refers_to_any_more():
    release_kept()
    size = 2**22
    arena, array, place = block(size)
    view = array[:10].reshape(2, 5)
    view[...] = 3
    del arena, array
    gc.collect()
    assert block(size)[2] != place, "a view refers to it"
    assert (view == 3).all()
    release_kept()
    del view
    gc.collect()
    assert block(3 * size)[2] != place, "it is too small"
    assert block(size // 4)[2] != place, "too much would lie idle"
    assert block(size - 1)[2] == place


def test_what_is_kept_for_the_next_run_has_a_limit(monkeypatch):
    release_kept()
    kept = lambda: sum(memory.nbytes for memory in workspace._Memory.kept)
    monkeypatch.setattr(workspace, "_KEPT", 10 * 2**20)
    several = [block(4 * 2**20) for _ in range(4)]
    several.append(block(2**24))
    assert kept() == 0
    several.clear()
    gc.collect()
    assert 2**22 < kept() <= 10 * 2**20
    release_kept()
    assert kept() == 0


def test_a_run_in_memory_used_before_has_the_same_bits():
    X, T = np.random.default_rng(0).standard_normal((50, 784)), np.eye(10)[np.arange(50) % 10]
    model = hg.nn.MLP([784, 100, 10])
    loss, params = hg.nn.MinibatchLoss(model, X, T), hg.init.scaled_normal(model.shapes, 0.05, seed=0)
    f = lambda lr: model.loss(hg.train(loss, params, SGD(lr), steps=8, adjoint=hg.Stored()), X, T)
    release_kept()
    first = value_and_grad(f)(0.3)
    gc.collect()
    for memory in workspace._Memory.kept:
        memory[...] = 255  # NaN, if it were read
    assert value_and_grad(f)(0.3) == first


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, 2 * PIECE + 1])
def test_pieces_cover_everything_once(size):
    array = np.zeros(size)
    for part in pieces(size):
        array[part] += 1.0
        assert part.stop - part.start <= PIECE
    assert (array == 1.0).all()


def test_bits_are_compared():
    a = np.array([1.0, np.nan, 0.3])
    assert same_bits(a, a.copy()) and not same_bits(a, np.array([1.0, np.nan, np.nextafter(0.3, 1.0)]))
    assert not same_bits(a, np.array([1.0, 0.0, 0.3]))


NEST = [(np.ones((3, 4)), np.ones(4)), (np.ones((4, 2)), np.ones(2))]


@pytest.mark.parametrize(
    ("lr", "momentum", "expected"),
    [
        (0.1, 0.9, [[0, 1, 2, 3]]),
        ([0.1, 0.2], 0.9, [[0, 1], [2, 3]]),
        ([0.1, 0.2], [0.5, 0.9], [[0, 1], [2, 3]]),
        ([(0.1, 0.2), 0.3], 0.9, [[0], [1], [2, 3]]),
        (0.1, [(0.5, 0.9), (0.5, 0.9)], [[0], [1], [2], [3]]),
    ],
)
def test_neighbouring_arrays_with_the_same_schedules_are_updated_in_one_pass(lr, momentum, expected):
    leaves, structure = flatten(NEST)
    given = (("lr", lr), ("momentum", momentum))
    shapes = [np.shape(leaf) for leaf in leaves]
    schedules = [expand(value, structure, shapes, 3, name=name, allowed=Range()) for name, value in given]
    updates = updates_of(SGD(lr, momentum), Layout(leaves), schedules, structure, (True, True))
    assert isinstance(updates, VectorUpdates)
    assert [[index for index, _ in run.ends] for run in updates.runs] == expected


@pytest.mark.parametrize("optimizer", [SGD(0.1, 0.8), Adam(0.02)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_updates_on_vectors_are_those_array_by_array(optimizer, dtype):
    """To the last bit, also where an array is larger than a piece."""
    rng = np.random.default_rng(0)
    params = {"w": rng.standard_normal((3, PIECE // 2)).astype(dtype), "b": rng.standard_normal(7).astype(dtype)}
    loss = lambda p, h, t: anp.sum(anp.sin(p["w"] + t)) + anp.sum(p["b"] ** 2)
    trained = hg.train(loss, params, optimizer, steps=3)
    states = {name: optimizer.init(w) for name, w in params.items()}
    h, expected = hyperparameter_type(optimizer.names), dict(params)
    h = h(*(getattr(optimizer, name) for name in optimizer.names))
    for step in range(3):
        gradient = grad(lambda p, step=step: loss(p, None, step))(expected)
        for name, w in expected.items():
            expected[name], states[name] = optimizer.step(w, states[name], gradient[name], h, step)
    for name, w in expected.items():
        np.testing.assert_array_equal(trained[name], w)


class Hoarder:
    """A loss with derivatives of its own that keeps what it is given, or hands out what it keeps."""

    def __init__(self, hand_out):
        self.seen, self.hand_out, self.buffer = [], hand_out, np.zeros((30, 40))

    def __call__(self, w, hyper, step):
        return 0.5 * anp.sum(w**2)

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
    ("adjoint", "exact"),
    [(hg.Stored(), False), (hg.Checkpointed(2), False), (hg.Reversible(), True), (hg.Checkpointed(2), True)],
)
def test_written_losses_may_keep_what_they_are_given_and_reuse_what_they_return(hand_out, adjoint, exact):
    start = np.random.default_rng(0).standard_normal((30, 40))
    untouched, hoarder = start.copy(), Hoarder(hand_out)
    loss = hg.losses.WrittenLoss(hoarder, gradient=hoarder.gradient, gradient_with_hvp=hoarder.gradient_with_hvp)
    plain = lambda w, hyper, step: 0.5 * anp.sum(w**2)

    def f(lr, loss):
        return anp.sum(hg.train(loss, start, hg.SGD(lr, 0.5, exact=exact), steps=6, adjoint=adjoint) ** 2)

    assert grad(f)(0.3, loss) == pytest.approx(grad(f)(0.3, plain), rel=1e-9)
    assert f(0.3, loss) == pytest.approx(f(0.3, plain), rel=1e-12)
    np.testing.assert_array_equal(start, untouched)
    assert hoarder.seen
    for array, as_given in hoarder.seen:
        np.testing.assert_array_equal(array, as_given)


@pytest.mark.parametrize("optimizer", [SGD(0.1, 0.8, 0.1), hg.Clipped(SGD(0.1, 0.8), 0.5), SGD(0.1, 0.8, exact=True)])
def test_no_inner_product_of_the_engine_wakes_threads_of_blas(optimizer, monkeypatch):
    """OpenBLAS takes one for up to 10,000 entries."""
    from autograd import value_and_grad

    sizes, vdot = [], np.vdot

    def noted(a, b):
        sizes.append(a.size)
        return vdot(a, b)

    monkeypatch.setattr(np, "vdot", noted)
    loss = lambda w, h, t: anp.sum(anp.sin(w + t))
    f = lambda w: anp.sum(hg.train(loss, w, optimizer, steps=3) ** 2)
    value_and_grad(f)(np.random.default_rng(0).standard_normal(PIECE + 7))
    assert 8_000 < max(sizes) <= 10_000


@pytest.mark.parametrize("size", [0, 5, 2**13, 2**13 + 1, 3 * 2**13 + 5])
def test_inner_products(size):
    from hypergrad.workspace import inner

    a, b = np.random.default_rng(size).standard_normal((2, size))
    assert inner(a, b) == pytest.approx(float(np.sum(a * b)), rel=1e-12)
    assert inner(np.append(a, np.nan), np.append(b, 1.0)) != inner(a, b)
