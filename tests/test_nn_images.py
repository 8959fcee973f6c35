"""Convolution, pooling, dropout and the convolutional network: definitions, derivatives, training, what is refused."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, make_jvp, value_and_grad
from derivatives import check
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import norm, relative_error

import hypergrad as hg
from hypergrad import errors
from hypergrad.nn import convolution


def plain_padding(length, kernel, stride, padding):
    if padding == "same":
        total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
        return total // 2, total - total // 2
    return (0, 0) if padding == "valid" else (padding, padding)


def plain_conv(x, w, stride, padding):
    """By the definition: the sum over the places of the kernel."""
    kh, kw = w.shape[:2]
    around = [plain_padding(x.shape[axis], k, stride, padding) for axis, k in ((1, kh), (2, kw))]
    x = anp.pad(x, ((0, 0), *around, (0, 0)), "constant")
    rows, columns = ((x.shape[axis] - k) // stride + 1 for axis, k in ((1, kh), (2, kw)))
    return sum(
        anp.dot(x[:, a : a + (rows - 1) * stride + 1 : stride, b : b + (columns - 1) * stride + 1 : stride], w[a, b])
        for a in range(kh)
        for b in range(kw)
    )


def plain_pool(x, size, stride, reduce):
    rows, columns = ((length - size) // stride + 1 for length in x.shape[1:3])
    window = lambda i, j: x[:, i * stride : i * stride + size, j * stride : j * stride + size]
    return anp.stack(
        [anp.stack([reduce(window(i, j), axis=(1, 2)) for j in range(columns)], axis=1) for i in range(rows)], axis=1
    )


def drawn(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(3, 6), st.integers(3, 6), st.integers(1, 3)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.integers(1, 2),
    st.integers(1, 3),
    st.one_of(st.sampled_from(["same", "valid"]), st.integers(1, 4)),
)
def test_convolution_over_shapes(shape, kernel, outputs, stride, padding):
    x, w = drawn(*shape), drawn(*kernel, shape[-1], outputs)
    f = lambda x, w: hg.nn.conv2d(x, w, stride=stride, padding=padding)
    if padding == "valid" and (kernel[0] > shape[1] or kernel[1] > shape[2]):
        with pytest.raises(errors.ArgumentError, match="does not fit"):
            f(x, w)
        return
    check(f, x, w, plain=lambda x, w: plain_conv(x, w, stride, padding), differences=False)


def test_convolution_against_differences_and_in_blocks(monkeypatch):
    x, w = drawn(5, 6, 5, 2), drawn(3, 3, 2, 3)
    f = lambda x, w: hg.nn.conv2d(x, w, stride=2)
    check(f, x, w)
    whole = f(x, w)
    monkeypatch.setattr(convolution, "_BLOCK", 1)
    check(f, x, w, plain=lambda x, w: plain_conv(x, w, 2, "same"))
    np.testing.assert_allclose(f(x, w), whole, rtol=1e-13)
    for stride in (1, 2):  # three images at a time, two of them left over
        monkeypatch.setattr(convolution, "_BLOCK", 3 * 8 * 5 * (8 * 6 + 2 * 6 * 3))
        check(
            lambda x, w, s=stride: hg.nn.conv2d(x, w, stride=s),
            x,
            w,
            plain=lambda x, w, s=stride: plain_conv(x, w, s, "same"),
        )


def test_convolution_of_a_view():
    """Channels first in memory, and every other image."""
    x, w = drawn(6, 2, 5, 4).transpose(0, 2, 3, 1)[::2], drawn(3, 2, 3, 3).transpose(2, 3, 1, 0)
    for padding in ("same", "valid"):
        np.testing.assert_allclose(
            hg.nn.conv2d(x, w[:, :, ::-1], padding=padding), plain_conv(x, w[:, :, ::-1], 1, padding), rtol=1e-12
        )


def test_the_three_maps_are_adjoints_and_third_derivatives_are_right():
    x, w, d = drawn(2, 4, 4, 2), drawn(3, 3, 2, 2), drawn(2, 4, 4, 2, seed=1)
    f = lambda conv: lambda x: anp.sum(conv(anp.sin(conv(x, w)), w) ** 3)
    third = lambda f: grad(lambda x: anp.sum(d * grad(lambda x: anp.sum(d * grad(f)(x)))(x)))(x)
    ours, plain = third(f(hg.nn.conv2d)), third(f(lambda x, w: plain_conv(x, w, 1, "same")))
    np.testing.assert_allclose(ours, plain, rtol=1e-9, atol=1e-9 * np.abs(plain).max())


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(3, 7), st.integers(3, 7), st.integers(1, 3)),
    st.integers(1, 3),
    st.one_of(st.none(), st.integers(1, 4)),
)
def test_pooling_over_shapes(shape, size, stride):
    x = drawn(*shape)
    step = size if stride is None else stride
    for pool, reduce in ((hg.nn.max_pool, anp.max), (hg.nn.mean_pool, anp.mean)):
        f = lambda x, pool=pool: pool(x, size, stride)
        check(f, x, plain=lambda x, reduce=reduce: plain_pool(x, size, step, reduce), differences=False)
        assert f(x).dtype == x.dtype


def test_pooling_against_differences():
    for pool in (hg.nn.max_pool, hg.nn.mean_pool):
        check(lambda x, pool=pool: pool(x, 2), drawn(2, 5, 4, 3))
        check(lambda x, pool=pool: pool(x, 3, 2), drawn(2, 5, 6, 3))


def test_the_first_of_equal_entries_is_taken_and_nan_is_seen():
    x = np.zeros((1, 2, 4, 1))
    x[0, 1, 2:] = 1.0
    taken = grad(lambda x: anp.sum(hg.nn.max_pool(x, 2)))(x)[0, :, :, 0]
    np.testing.assert_array_equal(taken, [[1, 0, 0, 0], [0, 0, 1, 0]])
    x[0, 0, 1] = np.nan
    x[0, 1, 2] = np.nan
    f = lambda x: hg.nn.max_pool(x, 2)
    assert np.isnan(f(x)).all() and np.isnan(value_and_grad(lambda x: anp.sum(f(x)))(x)[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_stays(dtype):
    x, w = drawn(2, 5, 5, 2).astype(dtype), drawn(3, 3, 2, 2).astype(dtype)
    blocks = {
        "conv2d": lambda x, w: hg.nn.conv2d(x, w),
        "strided": lambda x, w: hg.nn.conv2d(x, w, stride=2),
        "max_pool": lambda x, w: hg.nn.max_pool(x, 2) * w[0, 0, 0],
        "mean_pool": lambda x, w: hg.nn.mean_pool(x, 3, 1) * w[0, 0, 0],
        "dropout": lambda x, w: hg.nn.dropout(x, 0.3, 0, 1) * w[0, 0, 0],
    }
    for f in blocks.values():
        loss = lambda x, w, f=f: anp.sum(f(x, w) ** 2)
        second = lambda x, w, loss=loss: anp.sum(grad(loss)(x, w) ** 2) + anp.sum(grad(loss, 1)(x, w) ** 2)
        assert f(x, w).dtype == dtype
        for argument in (0, 1):
            assert grad(loss, argument)(x, w).dtype == dtype and grad(second, argument)(x, w).dtype == dtype


def test_the_check_fails_on_a_wrong_adjoint(monkeypatch):
    from autograd.core import primitive_jvps, primitive_vjps
    from autograd.extend import defvjp

    x, w = drawn(2, 4, 4, 2), drawn(3, 3, 2, 2)
    check(hg.nn.conv2d, x, w)
    monkeypatch.setitem(primitive_vjps, convolution._conv, primitive_vjps[convolution._conv])
    monkeypatch.setitem(primitive_jvps, convolution._conv, primitive_jvps[convolution._conv])
    defvjp(
        convolution._conv,
        lambda ans, x, w, geometry: lambda g: convolution._to_images(g, w[::-1], geometry),
        lambda ans, x, w, geometry: lambda g: convolution._to_kernel(x, g, geometry),
    )
    with pytest.raises(AssertionError, match="forward against reverse"):
        check(hg.nn.conv2d, x, w)


def test_dropout():
    x = drawn(40, 50)
    kept = hg.nn.dropout(x, 0.3, (3, 0), 5)
    assert 0.26 < np.mean(kept == 0.0) < 0.34
    np.testing.assert_allclose(kept[kept != 0.0], (x / 0.7)[kept != 0.0], rtol=1e-14)
    np.testing.assert_array_equal(kept, hg.nn.dropout(x, 0.3, (3, 0), 5))
    for other in (((3, 1), 5), ((3, 0), 6), ((4, 0), 5), (3, 5)):
        assert np.mean((hg.nn.dropout(x, 0.3, *other) == 0.0) == (kept == 0.0)) < 0.7
    assert hg.nn.dropout(x, 0.0, 0, 0) is x
    check(lambda x: hg.nn.dropout(x, 0.5, 1, 2), x[:3, :4])


def test_training_with_dropout_is_the_same_whichever_way_it_goes_back():
    X, y = drawn(12, 5), drawn(12)

    def loss(w, scale, step):
        hidden = hg.nn.dropout(hg.nn.gelu(anp.dot(X, w["in"]) * scale), 0.4, (0, 1), step)
        return anp.mean((anp.dot(hidden, w["out"]) - y) ** 2)

    start = {"in": drawn(5, 6), "out": drawn(6)}
    f = lambda h, adjoint=None: loss(
        hg.train(loss, start, hg.SGD(h["lr"]), h["scale"], steps=6, adjoint=adjoint), 1.0, 0
    )
    at = {"lr": 0.1, "scale": 0.8}
    hg.testing.check_hypergradient(f, at)
    ways = [grad(f)(at, adjoint) for adjoint in (hg.Stored(), hg.Checkpointed(2))]
    assert relative_error(ways[0], ways[1]) < 1e-12


def network(activation="gelu", dtype=np.float64):
    model = hg.nn.ConvNet(3, 2, classes=4, image=(6, 5, 2), activation=activation)
    X, T = drawn(10, 6, 5, 2), np.random.default_rng(0).integers(0, 4, 10)
    return model, model.init(0, dtype=dtype), X, T


def test_a_convolutional_network_is_what_it_says():
    model, params, X, T = network("tanh")
    assert model.shapes == [((3, 3, 2, 3), (3,)), ((3, 3, 3, 6), (6,)), ((6, 4), (4,))]
    (W0, b0), (W1, b1), (W2, b2) = params
    a = plain_pool(np.tanh(plain_conv(X, W0, 1, "same") + b0), 2, 2, np.max)
    a = plain_pool(np.tanh(plain_conv(a, W1, 1, "same") + b1), 2, 2, np.max)
    z = a.reshape(10, -1) @ W2 + b2
    np.testing.assert_allclose(model.logits(params, X), z, rtol=1e-12)
    np.testing.assert_array_equal(model.logits(params, X.reshape(10, -1)), model.logits(params, X))
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    assert model.loss(params, X, T) == pytest.approx(-np.mean(np.log(p[np.arange(10), T])), rel=1e-12)
    assert model.loss(params, X, np.eye(4)[T]) == pytest.approx(model.loss(params, X, T), rel=1e-12)
    hits = np.argmax(z, 1) == T
    assert 0 < hits.sum() < 10
    assert model.accuracy(params, X, T) == hits.mean() == pytest.approx(1.0 - model.error_rate(params, X, T))
    assert model.accuracy(params, X, np.eye(4)[T]) == hits.mean()
    deep = hg.nn.ConvNet(2, 4, image=(5, 4, 1))
    assert deep.logits(deep.init(0), drawn(3, 20)).shape == (3, 10) and deep.shapes[-1][0] == (16, 10)


def test_initial_parameters():
    model = hg.nn.ConvNet(32, 2)
    for activation, gain in (("relu", 2.0), ("tanh", 1.0), (hg.nn.leaky_relu(0.5), 1.6)):
        for net in (hg.nn.ConvNet(32, 2, activation=activation), hg.nn.MLP([300, 200, 10], activation)):
            for (W, b), (shape, _) in zip(net.init(3), net.shapes):
                assert W.std() == pytest.approx(np.sqrt(gain / np.prod(shape[:-1])), rel=0.1) and not b.any()
    assert all(w.dtype == np.float32 for layer in model.init(0, dtype=np.float32) for w in layer)
    scaled = lambda s: anp.sum(model.init(0, [(s, 0.0), (s, 0.0), (1.0, 0.0)])[0][0] ** 2)
    assert grad(scaled)(0.5) == pytest.approx(4 * scaled(0.5), rel=1e-12)
    assert norm(hg.nn.MLP([3, 2]).init(0, 1.0)) == norm(hg.init.scaled_normal([((3, 2), (2,))], 1.0, 0))


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_derivatives_of_the_network(activation):
    model, params, X, T = network(activation)
    f = lambda scale: model.loss(model.init(0, scale), X, T)
    hg.testing.check_hypergradient(f, 0.4)
    gradient = grad(lambda p: model.loss(p, X, T))
    direction = model.init(1, 1.0)
    ahead = make_jvp(gradient)(params)(direction)[1]
    h = 1e-6
    moved = lambda s: [tuple(w + s * h * d for w, d in zip(a, b)) for a, b in zip(params, direction)]
    numeric = [
        tuple((p - q) / (2 * h) for p, q in zip(a, b)) for a, b in zip(gradient(moved(1.0)), gradient(moved(-1.0)))
    ]
    assert relative_error(ahead, numeric) < 1e-6


def test_training_a_network():
    model, params, X, T = network()
    loss = hg.nn.MinibatchLoss(model, X, T, 4)

    def f(h, adjoint=None):
        trained = hg.train(loss, params, hg.SGD(anp.exp(h["log_lr"]), h["momentum"]), steps=5, adjoint=adjoint)
        return model.loss(trained, X, T)

    at = {"log_lr": np.linspace(-1.0, 0.0, 5), "momentum": 0.6}
    hg.testing.check_hypergradient(f, at)
    ways = [grad(f)(at, adjoint) for adjoint in (hg.Stored(), hg.Checkpointed(2))]
    assert relative_error(ways[0], ways[1]) < 1e-12
    by_direction = make_jvp(f)(at)({"log_lr": np.ones(5), "momentum": 1.0})[1]
    assert by_direction == pytest.approx(np.sum(ways[0]["log_lr"]) + ways[0]["momentum"], rel=1e-9)
    exact = lambda h: model.loss(
        hg.train(loss, params, hg.SGD(np.exp(-1.0), h, exact=True), steps=5, adjoint=hg.Reversible()), X, T
    )
    plain = lambda h: f({"log_lr": np.full(5, -1.0), "momentum": h})
    assert grad(exact)(0.5) == pytest.approx(grad(plain)(0.5), rel=1e-5)


def test_float32_networks_and_a_network_that_learns():
    model, params, X, T = network(dtype=np.float32)
    loss = hg.nn.MinibatchLoss(model, X, T)
    trained = hg.train(loss, params, hg.SGD(1.0), steps=60)
    assert all(w.dtype == np.float32 for layer in trained for w in layer)
    assert model.accuracy(trained, X, T) == 1.0 > model.accuracy(params, X, T)


def test_mlps_take_integer_classes_with_the_same_bits():
    model = hg.nn.MLP([4, 5, 3])
    params, X, T = model.init(0), drawn(9, 4), np.random.default_rng(0).integers(0, 3, 9)
    one_hot = np.eye(3)[T]
    assert model.loss(params, X, T) == model.loss(params, X, one_hot)
    assert model.error_rate(params, X, T) == model.error_rate(params, X, one_hot) == 1.0 - model.accuracy(params, X, T)
    for f in (model.gradient, lambda *given: model.gradient_with_hvp(*given)[1](params)):
        assert relative_error(f(params, X, T), f(params, X, one_hot)) == 0.0
    for dtype in (np.int64, np.uint8):
        losses = [hg.nn.MinibatchLoss(model, X, labels, 4) for labels in (T.astype(dtype), one_hot)]
        run = lambda lr, loss: model.loss(hg.train(loss, params, hg.SGD(lr), steps=4), X, T)
        assert value_and_grad(run)(0.3, losses[0]) == value_and_grad(run)(0.3, losses[1])


NET, PARAMS, X, T = network()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hg.nn.conv2d(X, drawn(3, 3, 4, 2)), r"x has 2 channels .* but w is for 4"),
        (lambda: hg.nn.conv2d(X, drawn(4, 2, 3, 3)), r"w is for 3 .*use w.transpose\(2, 3, 1, 0\)"),
        (lambda: hg.nn.conv2d(X[0], drawn(3, 3, 2, 2)), r"x has shape \(6, 5, 2\), but images have .*x\[None\]"),
        (lambda: hg.nn.conv2d(X, drawn(3, 3, 2)), r"w has shape \(3, 3, 2\)"),
        (lambda: hg.nn.conv2d(X.astype(int), drawn(3, 3, 2, 2)), r"x has dtype int64.*astype\(float\)"),
        (lambda: hg.nn.conv2d(X, drawn(3, 3, 2, 2), stride=0), r"stride must be an integer ≥ 1, got 0"),
        (lambda: hg.nn.conv2d(X, drawn(3, 3, 2, 2), padding="full"), r"padding must be 'same', 'valid' or"),
        (lambda: hg.nn.conv2d(X, drawn(3, 3, 2, 2), padding=-1), r"padding must be an integer ≥ 0, got -1"),
        (lambda: hg.nn.conv2d(X, drawn(9, 3, 2, 2), padding=1), r"kernel of 9 × 3 does not fit images of 6 × 5"),
        (lambda: hg.nn.max_pool(X, 6), r"windows of 6 × 6 do not fit images of 6 × 5"),
        (lambda: hg.nn.mean_pool(X, 2, 0), r"stride must be an integer ≥ 1, got 0"),
        (lambda: hg.nn.max_pool(X[0], 2), r"x has shape \(6, 5, 2\)"),
        (lambda: hg.nn.dropout(X, 1.0, 0, 0), r"rate of dropout must be a number in \[0, 1\).*got 1.0"),
        (lambda: grad(lambda rate: anp.sum(hg.nn.dropout(X, rate, 0, 0)))(0.5), r"cannot be differentiated"),
        (lambda: hg.nn.dropout(X, 0.5, (0, -1), 0), r"seed must be an integer ≥ 0, got -1"),
        (lambda: hg.nn.dropout(X, 0.5, 0, 1.5), r"step must be an integer ≥ 0, got 1.5"),
        (lambda: hg.nn.ConvNet(0, 2), r"width must be an integer ≥ 1, got 0"),
        (lambda: hg.nn.ConvNet(2, 2, image=(28, 28)), r"image must be \(height, width, channels\), got \(28, 28\)"),
        (lambda: hg.nn.ConvNet(2, 2, activation="sine"), r"activation must be one of"),
        (lambda: NET.loss(PARAMS, X[:, 1:], T), r"X has shape \(10, 5, 5, 2\).*\(n, 6, 5, 2\) or \(n, 60\)"),
        (lambda: NET.loss(PARAMS[1:], X, T), r"params of ConvNet.* must be a list of \(W, b\) of shapes"),
        (lambda: NET.loss(PARAMS, X, T[:3]), r"integers of shape \(3,\).*shape \(10,\)"),
        (lambda: NET.error_rate(PARAMS, X, T.astype(float)), r"T have shape \(10,\) and dtype float64"),
        (lambda: hg.nn.MinibatchLoss(NET, X, T + 2), r"T\[\d\] is [45], but there are 4 classes"),
        (lambda: hg.nn.MinibatchLoss(NET, X[..., :1], T), r"X has shape \(10, 6, 5, 1\)"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(errors.ArgumentError, match=message):
        make()
