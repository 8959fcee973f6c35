"""Networks: the written-out derivatives against autograd, and the loss against its definition."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, make_jvp
from autograd.core import make_vjp
from problems import classifier, relative_error, written

import hypergrad as hg
from hypergrad.nests import flatten, unflatten
from hypergrad.nn.activations import ACTIVATIONS


def random_like(nest, seed):
    leaves, structure = flatten(nest)
    rng = np.random.default_rng(seed)
    return unflatten(structure, [rng.standard_normal(leaf.shape) for leaf in leaves])


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", [(6, 3), (6, 5, 3), (4, 7, 5, 6, 2)])
def test_written_out_derivatives_equal_autograd(activation, sizes):
    model, _loss, params, X, T = classifier(sizes, activation)
    T = T * np.linspace(0.5, 2.0, len(T))[:, None]  # rows need not sum to one
    gradient = grad(lambda p: model.loss(p, X, T))
    assert relative_error(model.gradient(params, X, T), gradient(params)) < 1e-12
    from_hvp, hvp = model.gradient_with_hvp(params, X, T)
    assert relative_error(from_hvp, gradient(params)) < 1e-12
    direction = random_like(params, 3)
    expected = make_vjp(gradient, params)[0](direction)
    assert relative_error(hvp(direction), expected) < 1e-12
    assert relative_error(hvp(direction), expected) < 1e-12, "a second call must give the same"


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_derivatives(activation):
    phi = ACTIVATIONS[activation]
    z = np.linspace(-3.0, 3.0, 50)  # without 0, where relu has no derivative; see the next test
    a, h = phi.value(z), 1e-5
    slope = phi.slope(z, a)
    np.testing.assert_allclose(slope, (phi.value(z + h) - phi.value(z - h)) / (2 * h), rtol=1e-8, atol=1e-9)
    bend = np.zeros_like(z) if phi.bend is None else phi.bend(z, a, slope)
    numeric = (phi.slope(z + h, phi.value(z + h)) - phi.slope(z - h, phi.value(z - h))) / (2 * h)
    np.testing.assert_allclose(bend, numeric, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_both_paths_agree_at_zero(activation):
    """A first layer of zeros: every preactivation is 0, where relu's derivative is a convention."""
    model, _, params, X, T = classifier((6, 5, 4, 3), activation)
    params[0] = tuple(np.zeros_like(w) for w in params[0])
    gradient = grad(lambda p: model.loss(p, X, T))
    direction = random_like(params, 3)
    assert relative_error(model.gradient(params, X, T), gradient(params)) < 1e-12
    hvp = model.gradient_with_hvp(params, X, T)[1](direction)
    assert relative_error(hvp, make_vjp(gradient, params)[0](direction)) < 1e-12


def test_a_subclass_that_changes_the_loss_does_not_keep_the_old_derivatives():
    class Penalised(hg.nn.MinibatchLoss):
        def __call__(self, params, hyper, step):
            return super().__call__(params, hyper, step) + 0.1 * sum(anp.sum(W**2) for W, b in params)

    class Sharper(hg.nn.MLP):
        def loss(self, params, X, T):
            return 2.0 * super().loss(params, X, T)

    class Shifted(hg.nn.MLP):
        def logits(self, params, X):
            return super().logits(params, X) * 0.5

    _, loss, params, X, T = classifier()
    for changed in (
        Penalised(loss.model, X, T, 7),
        hg.nn.MinibatchLoss(Sharper([6, 5, 4, 3]), X, T, 7),
        hg.nn.MinibatchLoss(Shifted([6, 5, 4, 3]), X, T, 7),
    ):
        f = lambda function: lambda lr: loss.model.loss(hg.train(function, params, hg.SGD(lr), steps=4), X, T)
        by_hand = lambda p, h, t, changed=changed: changed(p, h, t)
        assert f(changed)(0.3) == f(by_hand)(0.3) != f(loss)(0.3)
        assert grad(f(changed))(0.3) == grad(f(by_hand))(0.3)


@pytest.mark.parametrize("optimizer", [hg.SGD, hg.Adam])
def test_a_loss_may_use_one_buffer_for_all_its_gradients(optimizer):
    """And return another type of sequence, and Python floats; but it cannot change what it is given."""

    class Buffered:
        buffer = np.zeros(3)

        def __call__(self, params, hyper, step):
            return anp.sum(params[0] ** 4) / 4 + params[1] ** 2 / 2

        def gradient(self, params, hyper, step):
            self.buffer[:] = params[0] ** 3
            return self.buffer, float(params[1])

        def gradient_with_hvp(self, params, hyper, step):
            curvature = 3 * params[0] ** 2

            def hvp(direction):
                self.buffer[:] = curvature * direction[0]
                return self.buffer, float(direction[1])

            return self.gradient(params, hyper, step), hvp

    start = [np.array([0.5, -0.3, 0.9]), np.array(0.7)]
    f = lambda loss: lambda lr: sum(anp.sum(w**2) for w in hg.train(loss, start, optimizer(lr), steps=6))
    plain = lambda p, h, t: Buffered.__call__(None, p, h, t)
    for adjoint_free in (grad, lambda g: lambda x: make_jvp(g)(x)(1.0)[1]):
        assert adjoint_free(f(written(Buffered())))(0.1) == pytest.approx(grad(f(plain))(0.1), rel=1e-12)

    class Meddling(Buffered):
        def gradient(self, params, hyper, step):
            params[0][:] *= 2
            return params

    with pytest.raises(ValueError, match="read-only"):
        hg.train(written(Meddling()), start, optimizer(0.1), steps=1)


def test_gradients_are_taken_in_the_dtype_of_their_parameter():
    _, loss, params, *_ = classifier()
    mixed = [tuple(w.astype(np.float32) for w in params[0]), *params[1:]]
    trained = flatten(hg.train(loss, mixed, hg.SGD(0.1), steps=2))[0]
    assert [w.dtype for w in trained] == [w.dtype for w in flatten(mixed)[0]]


def test_loss_is_the_cross_entropy_of_the_softmax_and_survives_large_logits():
    model, _, params, X, T = classifier()
    z = model.logits(params, X)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    assert model.loss(params, X, T) == pytest.approx(-(T * np.log(p)).sum(1).mean(), rel=1e-12)
    large = [(1e3 * W, b) for W, b in params]
    assert np.isfinite(model.loss(large, X, T))
    assert all(np.isfinite(leaf).all() for leaf in flatten(grad(lambda q: model.loss(q, X, T))(large))[0])


def test_predictions_and_error_rate():
    model = hg.nn.MLP([2, 2], "identity")
    params = [(np.eye(2), np.zeros(2))]
    X = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [0.0, 3.0]])
    T = np.eye(2)[[0, 1, 1, 1]]
    assert model.predict(params, X).tolist() == [0, 1, 0, 1]
    assert model.error_rate(params, X, T) == 0.25


def test_minibatches_go_through_the_data_in_order_and_again():
    _, loss, _params, X, T = classifier(rows=20, batch_size=8)
    rows = [loss.batch(step)[0] for step in range(6)]
    assert [len(batch) for batch in rows] == [8, 8, 4, 8, 8, 4]
    np.testing.assert_array_equal(np.concatenate(rows[:3]), X)
    np.testing.assert_array_equal(rows[3], rows[0])
    whole = hg.nn.MinibatchLoss(loss.model, X, T)
    np.testing.assert_array_equal(whole.batch(5)[0], X)


def test_a_model_of_the_user_without_derivatives_works_in_a_minibatch_loss():
    class Linear:
        def loss(self, params, X, T):
            return anp.mean((anp.dot(X, params) - T) ** 2)

    rng = np.random.default_rng(0)
    X, T = rng.standard_normal((12, 3)), rng.standard_normal(12)
    loss = hg.nn.MinibatchLoss(Linear(), X, T, 4)
    f = lambda lr: Linear().loss(hg.train(loss, np.zeros(3), hg.SGD(lr), steps=6), X, T)
    hg.testing.check_hypergradient(f, 0.3)


@pytest.mark.parametrize("scale", [0.5, [0.5, 2.0, 3.0], [(0.5, 0.1), (2.0, 0.2), (3.0, 0.3)]])
def test_scaled_normal(scale):
    shapes = hg.nn.MLP([6, 5, 4, 3]).shapes
    unit = flatten(hg.init.scaled_normal(shapes, 1.0, seed=4))[0]
    scales = np.ravel(np.broadcast_to(scale if np.ndim(scale) != 1 else np.c_[scale, scale], (3, 2)))
    scaled = flatten(hg.init.scaled_normal(shapes, scale, seed=4))[0]
    for s, w, w_scaled in zip(scales, unit, scaled):
        np.testing.assert_allclose(w_scaled, s * w, rtol=1e-15)

    def f(s):
        return sum(anp.sum(w**3) for w in flatten(hg.init.scaled_normal(shapes, s, seed=4))[0])

    expected = [3 * s**2 * np.sum(w**3) for s, w in zip(scales, unit)]
    assert np.sum(flatten(grad(f)(scale))[0]) == pytest.approx(np.sum(expected), rel=1e-12)
    assert not np.array_equal(unit[0], flatten(hg.init.scaled_normal(shapes, 1.0, seed=5))[0][0])


def test_scaled_normal_in_float32_is_the_rounded_float64_draw():
    shapes = [((3, 2), (2,))]
    single, double = (hg.init.scaled_normal(shapes, np.float64(0.5), 0, dtype) for dtype in ("f4", "f8"))
    for a, b in zip(flatten(single)[0], flatten(double)[0]):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu", "identity"])
@pytest.mark.parametrize("kinds", ["444", "488", "448", "844", "884", "888"])
def test_both_gradients_have_the_same_bits_whatever_the_precision_of_each_layer(activation, kinds):
    rng = np.random.default_rng(0)
    model = hg.nn.MLP([6, 5, 4, 3], activation)
    params = [
        tuple(rng.standard_normal(shape).astype(f"f{kind}") for shape in layer)
        for kind, layer in zip(kinds, model.shapes)
    ]
    X, T = rng.standard_normal((8, 6)), np.eye(3)[rng.integers(0, 3, 8)]
    for one, other in zip(model.gradient(params, X, T), model.gradient_with_hvp(params, X, T)[0]):
        for g, h in zip(one, other):
            np.testing.assert_array_equal(g, h)


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu", "identity"])
def test_the_loss_is_differentiated_in_both_modes(activation):
    model = hg.nn.MLP([6, 5, 3], activation)
    X, T = np.random.default_rng(0).standard_normal((8, 6)), np.eye(3)[np.arange(8) % 3]
    f = lambda scale: model.loss(hg.init.scaled_normal(model.shapes, scale, seed=0), X, T)
    hg.testing.check_hypergradient(f, 0.7)
