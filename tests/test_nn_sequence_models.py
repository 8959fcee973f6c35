"""Models of sequences: their definitions, hypergradients through their training, and what they refuse."""

import sys

import numpy as np
import pytest
from autograd import grad, make_jvp
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import relative_error

import hypergrad as hg
from hypergrad import errors
from hypergrad.nests import flatten, unflatten

TEXT = np.random.default_rng(0).integers(0, 7, (6, 9))
X, T = TEXT[:, :-1], TEXT[:, 1:]
REALS = np.random.default_rng(1).standard_normal((6, 8, 3))


def transformer(**options):
    return hg.nn.Transformer(7, **{"width": 8, "depth": 2, "heads": 2, "length": 8, **options})


def cross_entropy(z, labels):
    p = np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)
    return -np.mean(np.log(np.take_along_axis(p, labels[..., None], axis=-1)))


def by_positions(level, inputs, gated):
    """The states of a level for one sequence, written with loops; inputs of shape (T, …)."""
    size, states = np.exp(-np.exp(level["log_decay"])), []
    h = np.zeros(len(size), complex)
    for x in inputs:
        t = 1 / (1 + np.exp(-(level["gate_bias"] + x @ level["gate"]))) if gated else np.ones(len(size))
        h = size**t * np.exp(1j * level["angle"] * t) * h + t * (x @ level["input"])
        states.append(h.real)
    return np.array(states)


@settings(max_examples=20, deadline=None)
@given(st.booleans(), st.integers(1, 3), st.booleans(), st.integers(1, 4), st.integers(1, 5), st.integers(0, 99))
def test_the_recurrent_model_is_its_definition(gated, levels, integers, n, length, seed):
    model = hg.nn.DiagonalRecurrence(3, 4, 2, gated=gated, levels=levels, activation="tanh")
    params = model.init(seed)
    rng = np.random.default_rng(seed)
    rows = np.eye(3)[rng.integers(0, 3, (n, length))] if integers else rng.standard_normal((n, length, 3))
    expected = []
    for a in rows:
        for number, level in enumerate(params["levels"]):
            a = by_positions(level, np.tanh(a) if number else a, gated)
        expected.append(a @ params["output"] + params["output_bias"])
    given_rows = np.argmax(rows, axis=-1) if integers else rows
    logits = model.logits(params, given_rows)
    np.testing.assert_allclose(logits, expected, rtol=1e-9, atol=1e-12)
    labels = rng.integers(0, 2, (n, length))
    assert model.loss(params, given_rows, labels) == pytest.approx(cross_entropy(logits, labels), rel=1e-12)
    reals = hg.nn.DiagonalRecurrence(3, 4, 2, gated=gated, levels=levels, activation="tanh", targets="reals")
    targets = rng.standard_normal(logits.shape)
    assert reals.loss(params, given_rows, targets) == pytest.approx(np.mean((logits - targets) ** 2), rel=1e-12)


@pytest.mark.parametrize("data", [X, np.random.default_rng(0).standard_normal((4, 100, 7))], ids=["integers", "reals"])
def test_at_time_one_the_gated_model_is_the_other(data):
    plain = hg.nn.DiagonalRecurrence(7, 5, 3)
    gated = hg.nn.DiagonalRecurrence(7, 5, 3, gated=True)
    params = plain.init(0)
    level = {**params["levels"][0], "gate": np.zeros((7, 5)), "gate_bias": np.full(5, 50.0)}  # σ(50) = 1 in float64
    np.testing.assert_allclose(
        gated.logits({**params, "levels": [level]}, data), plain.logits(params, data), rtol=1e-12, atol=1e-12
    )


def test_initial_sizes_and_angles():
    for dtype in (np.float32, np.float64):
        level = hg.nn.DiagonalRecurrence(3, 2_000, 2, gated=True).init(0, dtype=dtype)["levels"][0]
        assert all(leaf.dtype == dtype for leaf in level.values())
        lost, angle = 1.0 - np.exp(-np.exp(level["log_decay"].astype(float))), level["angle"]
        for values, low, high in ((lost, 1e-4, 1e-3), (angle, 2 * np.pi / 1000, 2 * np.pi)):
            assert low * 0.999 < values.min() < low * 1.05 and high * 0.95 < values.max() < high * 1.001
            middle = np.mean(np.log(values))  # log-uniform
            assert middle == pytest.approx(np.log(low * high) / 2, abs=0.05 * np.log(high / low))


def plain_transformer(params, X, heads, window, norm, activation, position):
    """For one sequence, in loops over heads and positions; the logits."""

    def normed(x, at):
        if not norm:
            return x
        mean, var = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
        return (x - mean) / np.sqrt(var + 1e-5) * at["gain"] + at["bias"]

    def turned(x):
        pairs = np.array([[x[t, 2 * i] + 1j * x[t, 2 * i + 1] for i in range(x.shape[1] // 2)] for t in range(len(x))])
        angles = np.arange(len(x))[:, None] * 10_000.0 ** (-2 * np.arange(x.shape[1] // 2) / x.shape[1])
        pairs = pairs * np.exp(1j * angles)
        return np.stack([pairs.real, pairs.imag], axis=-1).reshape(x.shape)

    x = params["embedding"][X] + (params["position"][: len(X)] if position == "learned" else 0.0)
    each = x.shape[1] // heads
    for block in params["blocks"]:
        a = normed(x, block.get("norm"))
        seen = np.zeros_like(x)
        for head in range(heads):
            columns = slice(head * each, (head + 1) * each)
            q, k, v = (a @ block[name][:, columns] for name in ("query", "key", "value"))
            q, k = (turned(q), turned(k)) if position == "rotary" else (q, k)
            for t in range(len(X)):
                sight = slice(0 if window is None else max(0, t + 1 - window), t + 1)
                weights = np.exp(k[sight] @ q[t] / np.sqrt(each))
                seen[t, columns] = weights @ v[sight] / weights.sum()
        x = x + seen @ block["output"]
        a = normed(x, block.get("mlp_norm"))
        x = x + activation(a @ block["up"] + block["up_bias"]) @ block["down"] + block["down_bias"]
    return normed(x, params.get("norm")) @ params["head"]


@pytest.mark.parametrize("window", [None, 1, 2, 5])
@pytest.mark.parametrize("norm", ["layer", None])
@pytest.mark.parametrize("position", ["rotary", "learned"])
@pytest.mark.parametrize("activation", ["gelu", hg.nn.relu])
def test_the_transformer_is_its_definition(window, norm, position, activation):
    model = transformer(window=window, norm=norm, position=position, activation=activation)
    leaves, structure = flatten(model.init(3))
    rng = np.random.default_rng(4)  # gains and biases too
    params = unflatten(structure, [leaf + 0.1 * rng.standard_normal(leaf.shape) for leaf in leaves])
    phi = {"gelu": hg.nn.gelu}.get(activation, activation)
    expected = [plain_transformer(params, x, 2, window, norm, phi, position) for x in X]
    logits = model.logits(params, X)
    np.testing.assert_allclose(logits, expected, rtol=1e-9, atol=1e-11)
    assert model.loss(params, X, T) == pytest.approx(cross_entropy(logits, T), rel=1e-12)
    assert model.loss(params, TEXT) == model.loss(params, X, T)


def test_initial_weights_of_the_transformer():
    model = hg.nn.Transformer(50, width=100, depth=3, heads=5, length=40, position="learned")
    unit = model.init(0)
    block = unit["blocks"][1]
    expected = {"query": 0.1, "key": 0.1, "value": 0.1, "output": 0.1 / 6**0.5, "up": 0.1, "down": 0.05 / 6**0.5}
    for name, std in expected.items():
        assert np.std(block[name]) == pytest.approx(std, rel=0.05)
    assert np.std(unit["head"]) == pytest.approx(0.1, rel=0.05)
    assert np.std(unit["embedding"]) == pytest.approx(1.0, rel=0.05)
    assert np.std(unit["position"]) == pytest.approx(1.0, rel=0.05)
    for name in ("up_bias", "down_bias"):
        assert not block[name].any()
    for norm in (unit["norm"], block["norm"], block["mlp_norm"]):
        assert (norm["gain"] == 1).all() and not norm["bias"].any()
    touched = {
        "embedding": {"embedding"},
        "position": {"position"},
        "qkv": {"query", "key", "value"},
        "value": {"value"},
        "output": {"output"},
        "mlp": {"up", "down"},
        "head": {"head"},
    }
    for scale, names in touched.items():
        scaled = model.init(0, {scale: 3.0})
        for nest, other in ((unit, scaled), (block, scaled["blocks"][1])):
            for name, leaf in nest.items():
                if isinstance(leaf, np.ndarray):
                    np.testing.assert_allclose(other[name], (3.0 if name in names else 1.0) * leaf, rtol=1e-14)
    assert all(leaf.dtype == np.float32 for leaf in flatten(model.init(0, {"mlp": 2.0}, np.float32))[0])


def test_accuracy_is_the_share_of_right_predictions():
    model = transformer()
    params = model.init(0)
    right = 0
    for sequence, targets in zip(model.logits(params, X), T):
        for logits, target in zip(sequence, targets):
            right += max(range(7), key=lambda c, logits=logits: logits[c]) == target
    assert 0 < right < T.size
    assert model.accuracy(params, X, T) == model.accuracy(params, TEXT) == right / T.size
    assert model.error_rate(params, X, T) == pytest.approx(1.0 - right / T.size, rel=1e-15)
    assert np.mean(model.predict(params, X) == T) == right / T.size


def test_accuracy_of_a_recurrence_against_a_count_by_hand():
    """A model without memory whose most probable character after c is c + 1, of five; on three sequences of four.

    ``x[:][y]`` is ``x[y]``: it takes whole rows of x, where one entry of each row is wanted, and of one sequence or of
    square shapes gives numbers that look right. Neither shape here is square, and no other pairing has this count.
    """
    model = hg.nn.DiagonalRecurrence(5, 5, 5)
    level = {"input": np.eye(5), "log_decay": np.full(5, 10.0), "angle": np.zeros(5)}  # forgets at once
    params = {"levels": [level], "output": np.roll(np.eye(5), 1, axis=1), "output_bias": np.zeros(5)}
    X = np.array([[0, 1, 2, 3], [4, 4, 0, 2], [3, 1, 1, 0]])
    np.testing.assert_array_equal(model.predict(params, X), [[1, 2, 3, 4], [0, 0, 1, 3], [4, 2, 2, 1]])
    T = np.array([[1, 2, 0, 4], [0, 1, 1, 0], [3, 3, 2, 2]])  # right: 1, 2, 4; 0, 1; 2
    assert model.accuracy(params, X, T) == 6 / 12
    assert [model.accuracy(params, X[i : i + 1], T[i : i + 1]) for i in range(3)] == [3 / 4, 2 / 4, 1 / 4]
    assert model.error_rate(params, X, T) == 6 / 12
    assert model.accuracy(params, X, np.eye(5)[T]) == 6 / 12, "one-hot"
    assert model.accuracy(params, X[::-1], T) == model.accuracy(params, X, T[::-1]) == 3 / 12
    ordered = np.array([[0, 1, 2, 4], [4, 0, 1, 3]])  # without targets; after 0, 1, 4, 0 and 1 comes what it says
    assert model.accuracy(params, ordered) == 4 / 6


def test_later_characters_have_no_influence_and_a_window_ends():
    model = transformer(window=2, depth=1)
    params, changed = model.init(0), X.copy()
    changed[:, 4] = (X[:, 4] + 1) % 7
    before, after = (model.logits(params, data) for data in (X, changed))
    differs = np.abs(before - after).max(axis=(0, 2)) > 1e-12
    assert differs.tolist() == [False] * 4 + [True, True] + [False] * 2


MODELS = {
    "transformer": (transformer(depth=1, width=4), ("qkv", "value", "output", "mlp", "head", "embedding"), X, T, 0.5),
    "transformer, window, no norm": (
        transformer(depth=1, width=4, window=2, norm=None, activation=hg.nn.silu, position="learned"),
        ("position", "mlp"),
        X,
        T,
        0.3,
    ),
    "recurrence": (hg.nn.DiagonalRecurrence(7, 3, 7), ("input", "output"), X, T, 0.01),
    "recurrence, gated, of reals": (
        hg.nn.DiagonalRecurrence(3, 4, 2, gated=True, levels=2, activation="tanh", targets="reals"),
        ("input", "gate", "output"),
        REALS,
        REALS[..., :2] ** 2,
        0.01,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_hypergradients(name):
    """By initial scales and learning rate: reverse, forward and differences; and one adjoint against another."""
    model, names, inputs, targets, lr = MODELS[name]
    loss = hg.nn.MinibatchLoss(model, inputs, targets, batch_size=2)

    def f(h, adjoint=None, **options):
        start = model.init(0, {name: h[name] for name in names})
        trained = hg.train(loss, start, hg.SGD(h["lr"], 0.5, **options), steps=5, adjoint=adjoint)
        return model.loss(trained, inputs, targets)

    h = {**{name: 0.9 + 0.1 * i for i, name in enumerate(names)}, "lr": lr}
    hg.testing.check_hypergradient(f, h)
    stored = grad(f)(h, hg.Stored())
    again = grad(f)(h, hg.Checkpointed(2))
    assert relative_error(again, stored) < 1e-12
    forward = {key: make_jvp(lambda x, key=key: f({**h, key: x}))(h[key])(1.0)[1] for key in h}
    assert relative_error(forward, stored) < 1e-9


@pytest.mark.parametrize("name", ["transformer", "recurrence"])
def test_runs_that_go_back_exactly(name):
    model, names, inputs, targets, lr = MODELS[name]
    loss = hg.nn.MinibatchLoss(model, inputs, targets, batch_size=3)

    def f(h, adjoint):
        start = model.init(0, {names[0]: h["scale"]})
        trained = hg.train(loss, start, hg.SGD(h["lr"], 0.5, exact=True), steps=6, adjoint=adjoint)
        return model.loss(trained, inputs, targets)

    h = {"scale": 1.1, "lr": lr}
    backwards, checkpointed = (grad(f)(h, adjoint) for adjoint in (hg.Reversible(), hg.Checkpointed(2)))
    assert relative_error(backwards, checkpointed) < 1e-12


@pytest.mark.parametrize("name", MODELS)
def test_training_lowers_the_loss_in_float32_too(name):
    model, _, inputs, targets, _ = MODELS[name]
    loss = hg.nn.MinibatchLoss(model, inputs, targets)
    for dtype in (np.float64, np.float32):
        start = model.init(1, dtype=dtype)
        trained = hg.train(loss, start, hg.Adam(0.02), steps=20)
        assert all(leaf.dtype == dtype for leaf in flatten(trained)[0])
        assert model.loss(trained, inputs, targets) < 0.9 * model.loss(start, inputs, targets)


def test_frozen_sizes_and_angles():
    """As the docstring says: a loss that fills them in."""
    model = hg.nn.DiagonalRecurrence(7, 3, 7)
    start = model.init(0)
    memory = {name: start["levels"][0].pop(name) for name in ("log_decay", "angle")}
    whole = lambda p: {
        **{k: p[k] for k in ("output", "output_bias")},
        "levels": [{**memory, "input": p["levels"][0]["input"]}],
    }
    trained = hg.train(lambda p, h, t: model.loss(whole(p), X, T), start, hg.SGD(0.01), steps=3)
    assert model.loss(whole(trained), X, T) < model.loss(whole(start), X, T)


def test_sequences_as_hyperparameters():
    """Real inputs and targets may be differentiated."""
    model = hg.nn.DiagonalRecurrence(3, 2, 1, targets="reals")
    loss = lambda p, data, step: model.loss(p, data["X"], data["T"])
    f = lambda data: loss(hg.train(loss, model.init(0), hg.SGD(0.01), data, steps=3), data, 0)
    hg.testing.check_hypergradient(f, {"X": REALS[:2, :4], "T": REALS[:2, :4, :1]})


MODEL, RECURRENT = transformer(), hg.nn.DiagonalRecurrence(7, 3, 7)
REAL = hg.nn.DiagonalRecurrence(3, 2, 1, targets="reals")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: transformer(heads=3), r"width must be a multiple of heads, got width=8 and heads=3"),
        (lambda: transformer(heads=8), r"width / heads must be even, got 1; or give position='learned'"),
        (lambda: transformer(norm="batch"), r"norm must be 'layer' or None, got 'batch'"),
        (lambda: transformer(position="none"), r"position must be 'rotary' or 'learned', got 'none'"),
        (lambda: transformer(activation="swish"), r"activation must be one of"),
        (lambda: transformer(window=0), r"window must be an integer ≥ 1, got 0"),
        (lambda: MODEL.init(0, {"quiver": 1.0}), r"scales has the key 'quiver', but there are embedding, qkv"),
        (lambda: MODEL.init(0, {"position": 1.0}), r"scales has the key 'position'"),
        (lambda: MODEL.init(0, {"qkv": np.nan}), r"scales\['qkv'\] must be finite, got nan"),
        (lambda: MODEL.init(0, {"qkv": [1.0]}), r"scales\['qkv'\] must be a number, got \[1\.0\]"),
        (lambda: MODEL.init(0, 2.0), r"scales must be a dict with some of the keys embedding"),
        (lambda: MODEL.init(-1), r"seed must be an integer ≥ 0"),
        (lambda: RECURRENT.init(-1), r"seed must be an integer ≥ 0"),
        (lambda: MODEL.logits(MODEL.init(0), X + 0.0), r"dtype float64.*integers of shape \(n, T\), in 0 … 6.*astype"),
        (lambda: MODEL.logits(MODEL.init(0), X[0]), r"X has shape \(8,\)"),
        (lambda: MODEL.logits(MODEL.init(0), X + 3), r"X\[\d, \d\] is \d+, but there are 7 classes: 0 … 6"),
        (lambda: MODEL.logits(MODEL.init(0), TEXT), r"X has 9 positions, but Transformer.* has length 8"),
        (lambda: MODEL.loss(MODEL.init(0), X, T[:, 1:]), r"labels are integers of shape \(6, 7\)"),
        (lambda: MODEL.loss(MODEL.init(0), X[:, :1]), r"without T .* it has shape \(6, 1\)"),
        (lambda: MODEL.logits(transformer(depth=1).init(0), X), r"params of Transformer.* must be a nest like its"),
        (lambda: MODEL.logits({**MODEL.init(0), "head": np.ones((8, 6))}, X), r"params\['head'\] has shape \(8, 6\)"),
        (lambda: hg.nn.MinibatchLoss(MODEL, X, T + 1), r"T\[\d, \d\] is 7, but there are 7 classes"),
        (lambda: hg.nn.MinibatchLoss(MODEL, TEXT, TEXT), r"X has 9 positions"),
        (lambda: hg.nn.DiagonalRecurrence(3, 0, 1), r"units must be an integer ≥ 1, got 0"),
        (lambda: hg.nn.DiagonalRecurrence(3, 1, 1, gated=1), r"gated must be True or False, got 1"),
        (
            lambda: hg.nn.DiagonalRecurrence(3, 1, 1, targets="real"),
            r"targets must be 'classes' or 'reals', got 'real'",
        ),
        (
            lambda: RECURRENT.logits(RECURRENT.init(0), REALS),
            r"X has shape \(6, 8, 3\).*needs floats of shape \(n, T, 7\)",
        ),
        (lambda: RECURRENT.logits(RECURRENT.init(0), X + 3), r"X\[\d, \d\] is \d+, but there are 7 classes"),
        (
            lambda: REAL.loss(REAL.init(0), REALS, X),
            r"T has shape \(6, 8\) and dtype int64.*floats of shape \(6, 8, 1\)",
        ),
        (lambda: REAL.loss(REAL.init(0), REALS), r"T has shape \(\)"),
        (lambda: REAL.accuracy(REAL.init(0), REALS, X), r"accuracy is of classes, but the targets"),
        (lambda: REAL.predict(REAL.init(0), REALS), r"predict is of classes"),
        (lambda: hg.nn.MinibatchLoss(REAL, REALS, REALS), r"T has shape \(6, 8, 3\).*\(6, 8, 1\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(errors.ArgumentError, match=message):
        call()


def test_a_wrong_derivative_of_a_block_is_found_in_training(monkeypatch):
    loss = lambda model: lambda p, h, t: model.loss(p, X, T)
    model = transformer(depth=1, width=4)
    f = lambda lr: model.loss(hg.train(loss(model), model.init(0), hg.SGD(lr), steps=3), X, T)
    hg.testing.check_hypergradient(f, 0.3)
    module = sys.modules["hypergrad.nn.attention"]
    monkeypatch.setattr(
        module, "_cut", lambda rows, *arrays: tuple(None if a is None else 1.001 * a[rows] for a in arrays)
    )
    with pytest.raises(hg.testing.HypergradientError):
        hg.testing.check_hypergradient(f, 0.3)
