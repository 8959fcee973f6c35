"""Forward mode in several directions by one run: against one run for each, and against reverse mode."""

import functools
import gc
import tracemalloc
from dataclasses import dataclass
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, jacobian, make_jvp
from optimizer_table import FORMS, OPTIMIZERS, draw
from problems import by_autograd, classifier, penalised, relative_error

import hypergrad as hg
from hypergrad import errors
from hypergrad.nests import flatten, unflatten
from hypergrad.nn import backprop
from hypergrad.workspace import release_kept

STEPS, SAVE_AT, K = 6, [0, 2, 6], 4
MODEL, LOSS, PARAMS, X, T = classifier()
LOSSES = {
    "written MLP": LOSS,
    "autograd": by_autograd(LOSS),
    "written by hand": hg.losses.WrittenLoss(
        lambda w, hyper, step: LOSS(w, None, step),
        gradient=lambda w, hyper, step: MODEL.gradient(w, *LOSS.batch(step)),
        gradient_with_hvp=lambda w, hyper, step: MODEL.gradient_with_hvp(w, *LOSS.batch(step)),
    ),
    "with hyper": penalised(LOSS),
}
HYPER = {"weights": [-3.0, -2.0, -4.0], "biases": (-3.0, -1.0, -2.0)}


def losses_after(loss, make, adjoint=None, save_at=SAVE_AT, model=MODEL):
    """Losses at several step counts as a function of everything that a run depends on."""

    def f(inputs):
        saved = hg.train(
            loss,
            inputs["params"],
            make(*inputs["schedules"]),
            inputs.get("hyper"),
            steps=STEPS,
            save_at=save_at,
            adjoint=adjoint,
        )
        return anp.array([model.loss(params, X, T) for params in saved])

    return f


def random_directions(nest, count=K, seed=0):
    leaves, structure = flatten(nest)
    rng = np.random.default_rng(seed)
    dtypes = [np.asarray(leaf).dtype for leaf in leaves]
    stacks = [rng.standard_normal((count, *np.shape(leaf))).astype(d) for leaf, d in zip(leaves, dtypes)]
    return unflatten(structure, stacks)


def each(directions):
    """The nests of single directions."""
    leaves, structure = flatten(directions)
    return [unflatten(structure, [leaf[k] for leaf in leaves]) for k in range(len(leaves[0]))]


def one_by_one(f, inputs, directions):
    """As many runs of make_jvp."""
    return np.array([make_jvp(f)(inputs)(direction)[1] for direction in each(directions)])


def error_of(found, expected):
    assert np.linalg.norm(expected) > 0.0
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def check_against_single_runs(f, inputs, tolerance=1e-12):
    directions = random_directions(inputs)
    value, derivatives = hg.forward_tangents(f, inputs, directions)
    assert np.array_equal(value, f(inputs)), "the trajectory does not depend on what is differentiated"
    assert derivatives.shape == (K, *np.shape(value))
    assert error_of(derivatives, one_by_one(f, inputs, directions)) < tolerance
    return directions, derivatives


def inputs_of(loss, schedules):
    inputs = {"params": PARAMS, "schedules": schedules}
    return inputs | {"hyper": HYPER} if loss == "with hyper" else inputs


@pytest.mark.parametrize(
    ("loss", "form"), [*(("written MLP", form) for form in FORMS), *((loss, "per array") for loss in list(LOSSES)[1:])]
)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_one_run_equals_a_run_for_each_direction(loss, form, optimizer):
    entry = OPTIMIZERS[optimizer]
    inputs = inputs_of(loss, draw(entry, form, STEPS, layers=3, seed=3))
    check_against_single_runs(losses_after(LOSSES[loss], entry.make), inputs)


@pytest.mark.parametrize("loss", ["written MLP", "with hyper"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_it_equals_reverse_mode(loss, optimizer):
    """The dot-product test, in each direction and for every loss."""
    entry = OPTIMIZERS[optimizer]
    inputs = inputs_of(loss, draw(entry, "per array", STEPS, layers=3, seed=3))
    f, directions = losses_after(LOSSES[loss], entry.make, hg.Stored()), random_directions(inputs)
    derivatives = hg.forward_tangents(f, inputs, directions).derivatives
    gradients = [flatten(grad(lambda x, i=i: f(x)[i])(inputs))[0] for i in range(len(SAVE_AT))]
    expected = [
        [sum(np.vdot(g, d) for g, d in zip(gradient, flatten(direction)[0])) for gradient in gradients]
        for direction in each(directions)
    ]
    assert error_of(derivatives, np.array(expected)) < 1e-9


@pytest.mark.parametrize("activation", ["relu", "gelu", "sigmoid", "identity", hg.nn.leaky_relu(0.1)])
@pytest.mark.parametrize("sizes", [(6, 3), (6, 4, 3), (6, 5, 4, 4, 3)])
@pytest.mark.parametrize("optimizer", ["SGD", "normalised"])
def test_nets_of_any_depth_and_activation(activation, sizes, optimizer):
    """Under "normalised" the first matrix lies row by row."""
    model, loss, params, *_ = classifier(sizes, activation)
    inputs = {"params": params, "schedules": draw(OPTIMIZERS[optimizer], "scalar", STEPS, len(params), seed=3)}
    check_against_single_runs(losses_after(loss, OPTIMIZERS[optimizer].make, model=model), inputs)


@pytest.mark.parametrize("name", [name for name, entry in OPTIMIZERS.items() if entry.exact])
def test_exact_arithmetic(name):
    """Against one direction, and against the run taken back."""
    entry = OPTIMIZERS[name]
    inputs = inputs_of("written MLP", draw(entry, "per layer", STEPS, layers=3, seed=3))
    directions, derivatives = check_against_single_runs(losses_after(LOSS, entry.exact), inputs)
    reverse = losses_after(LOSS, entry.exact, hg.Reversible())
    gradient = flatten(grad(lambda x: reverse(x)[2])(inputs))[0]
    expected = [sum(np.vdot(g, d) for g, d in zip(gradient, flatten(each_)[0])) for each_ in each(directions)]
    assert error_of(derivatives[:, 2], np.array(expected)) < 1e-9


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("optimizer", ["SGD", "clipped SGD", "Adam", "Nesterov"])
def test_float32_stays_float32(loss, optimizer):
    single = hg.init.scaled_normal(MODEL.shapes, 0.5, 0, dtype=np.float32)
    inputs = inputs_of(loss, draw(OPTIMIZERS[optimizer], "per step", STEPS, layers=3, seed=3)) | {"params": single}
    kinds, make = [], OPTIMIZERS[optimizer].make

    def f(x):
        optimizer = make(*x["schedules"])
        saved = hg.train(LOSSES[loss], x["params"], optimizer, x.get("hyper"), steps=STEPS)
        kinds.append(hg.bridge.getval(saved[0][0]).dtype)
        return anp.sum(saved[0][0] ** 2) + anp.sum(saved[2][0])

    directions = random_directions(inputs)
    found = hg.forward_tangents(f, inputs, directions).derivatives
    assert error_of(found, one_by_one(f, inputs, directions)) < 2e-6
    assert set(kinds) == {np.dtype(np.float32)}
    double = inputs | {"params": [tuple(w.astype(float) for w in layer) for layer in single]}
    twice = [tuple(w.astype(float) for w in layer) for layer in directions["params"]]
    assert error_of(found, hg.forward_tangents(f, double, directions | {"params": twice}).derivatives) < 1e-4


@pytest.mark.parametrize("form", ["PerWeight", "Constant"])
def test_hyperparameters_that_are_arrays(form):
    w, target = np.array([[0.5, -1.0], [2.0, 0.3]]), np.array([[1.0, 0.2], [0.4, -1.0]])
    bowl = lambda w, hyper, step: anp.sum(anp.cos(w - target) ** 2)

    @dataclass(frozen=True)
    class Mixed(hg.Optimizer):
        mix: Any

        def init(self, w):
            return (0.0 * w, 0)

        def step(self, w, s, g, h, step):
            return w - anp.dot(h.mix, g) + 0.1 * s[0], (s[0] + w * g, s[1] + 1)

    make = (lambda a: hg.SGD(hg.PerWeight(a), 0.5)) if form == "PerWeight" else lambda a: Mixed(hg.Constant(a))
    f = lambda x: anp.array([anp.sum(p**2) for p in hg.train(bowl, x["w"], make(x["a"]), steps=5, save_at=[1, 5])])
    check_against_single_runs(f, {"w": w, "a": np.array([[0.1, 0.2], [0.05, 0.15]])})


@pytest.mark.parametrize("loss", ["written MLP", "with hyper"])
def test_without_directions_it_is_the_whole_gradient(loss):
    inputs = inputs_of(loss, (np.full(STEPS, 0.3), [0.5, (0.4, 0.3), 0.2]))
    f = losses_after(LOSSES[loss], hg.SGD)
    value, rows = hg.forward_tangents(f, inputs)
    for i in range(1, len(SAVE_AT)):
        expected = grad(lambda x, i=i: f(x)[i])(inputs)
        assert relative_error(unflatten(flatten(inputs)[1], [r[i] for r in flatten(rows)[0]]), expected) < 1e-9
    last = lambda x: f(x)[-1]
    number, gradient = hg.forward_tangents(last, inputs)
    assert np.ndim(number) == 0 and number == value[-1]
    assert [np.shape(g) for g in flatten(gradient)[0]] == [np.shape(x) for x in flatten(inputs)[0]]
    assert relative_error(gradient, grad(last)(inputs)) < 1e-9


def test_what_f_returns():
    squares = lambda x: [x["a"] ** 2, anp.sum(x["b"]) * x["a"], 3.0]
    x = {"a": 2.0, "b": np.array([[1.0, 2.0]])}
    value, rows = hg.forward_tangents(squares, x)
    np.testing.assert_array_equal(value, [4.0, 6.0, 3.0])
    np.testing.assert_array_equal(rows["a"], [4.0, 3.0, 0.0])
    np.testing.assert_array_equal(rows["b"], [[[0.0, 0.0]], [[2.0, 2.0]], [[0.0, 0.0]]])
    matrix = lambda w: anp.outer(w, w)
    np.testing.assert_allclose(
        hg.forward_tangents(matrix, np.array([1.0, 2.0])).derivatives, jacobian(matrix)(np.array([1.0, 2.0]))
    )
    constant = hg.forward_tangents(lambda w: 5.0, np.ones(3))
    assert constant.value == 5.0 and not constant.derivatives.any() and constant.derivatives.shape == (3,)


def test_f_runs_once_and_a_step_computes_its_gradient_once(monkeypatch):
    calls = {"f": 0, "linearize": 0, "loss": 0}
    right = backprop.linearize

    def counted(*given):
        calls["linearize"] += 1
        return right(*given)

    monkeypatch.setattr(backprop, "linearize", counted)

    def own_loss(params, hyper, step):
        calls["loss"] += 1
        return LOSS(params, None, step)

    def f(lrs, loss):
        calls["f"] += 1
        return MODEL.loss(hg.train(loss, PARAMS, hg.SGD(lrs), steps=STEPS), X, T)

    for loss, name in ((LOSS, "linearize"), (own_loss, "loss")):
        calls.update(dict.fromkeys(calls, 0))
        hg.forward_tangents(functools.partial(f, loss=loss), np.full(STEPS, 0.3))
        assert calls["f"] == 1 and calls[name] == STEPS


def test_several_trainings_one_after_the_other_and_in_each_other():
    """The second starts where the first ended, with rates that depend on it; a third is not differentiated."""

    def f(x):
        first = hg.train(LOSS, PARAMS, hg.SGD(x["lr"]), steps=3)
        size = anp.sum(first[0][0] ** 2)
        second = hg.train(penalised(LOSS), first, hg.Adam(0.01 / size, x["b1"]), HYPER, steps=4)
        third = hg.train(LOSS, PARAMS, hg.SGD(0.1), steps=2)
        return [MODEL.loss(params, X, T) * size for params in (first, second, third)]

    x = {"lr": np.array([0.3, 0.2, 0.4]), "b1": 0.8}
    check_against_single_runs(lambda x: anp.array(f(x)), x)
    assert f(x)[2] != f(x)[1]

    def outer_loss(w, hyper, step):
        inner = hg.train(lambda v, h, t: anp.sum((v - h) ** 2), np.zeros(2), hg.SGD(0.1), w, steps=2)
        return anp.sum(inner**2)

    with pytest.raises(errors.DifferentiationError, match="derivatives of derivatives through train"):
        hg.forward_tangents(lambda lr: anp.sum(hg.train(outer_loss, np.ones(2), hg.SGD(lr), steps=2)), 0.1)


def test_autograd_inside_of_f():
    """A gradient of the loss after training, in f itself."""

    def f(lrs):
        trained = hg.train(LOSS, PARAMS, hg.SGD(lrs), steps=3)
        return sum(anp.sum(w**2) for layer in grad(lambda p: MODEL.loss(p, X, T))(trained) for w in layer)

    check_against_single_runs(f, np.array([0.3, 0.2, 0.4]))


def test_second_derivatives_are_refused():
    f = lambda lr: MODEL.loss(hg.train(LOSS, PARAMS, hg.SGD(lr), steps=2), X, T)
    with pytest.raises(errors.DifferentiationError, match=r"hypers of forward_tangents is being differentiated.*once"):
        grad(lambda lr: anp.sum(hg.forward_tangents(f, lr).derivatives))(0.1)
    with pytest.raises(errors.DifferentiationError, match="derivatives of derivatives through train"):
        hg.forward_tangents(grad(f), 0.1)
    with pytest.raises(errors.DifferentiationError, match="derivatives of derivatives through train"):
        hg.forward_tangents(lambda lr: make_jvp(f)(lr)(1.0)[1], 0.1)
    kept = []
    stale = lambda w, hyper, step: anp.sum((w - kept[0]) ** 2)
    hg.forward_tangents(lambda x: [kept.append(x), x][1], 1.0)
    with pytest.raises(errors.DifferentiationError):
        hg.forward_tangents(lambda lr: anp.sum(hg.train(stale, np.ones(2), hg.SGD(lr), steps=1)), 0.1)


def test_divergence_is_that_of_one_run():
    cubic = lambda w, hyper, step: anp.sum(w**4)
    w = np.array([1.0, 2.0])
    run = lambda x: anp.sum(hg.train(cubic, x["w"], hg.SGD(x["lr"], momentum=0.0), steps=50))
    x, caught = {"w": w, "lr": 1.0}, []
    with np.errstate(all="ignore"):
        for attempt in (lambda: make_jvp(run)(x)(x), lambda: hg.forward_tangents(run, x)):
            with pytest.raises(hg.DivergedError) as error:
                attempt()
            caught.append(error.value)
        assert str(caught[0]) == str(caught[1])

        def saved(x):
            options = {"steps": 50, "save_at": [1, 50], "on_divergence": "nan"}
            return [anp.sum(p) for p in hg.train(cubic, x["w"], hg.SGD(x["lr"], momentum=0.0), **options)]

        value, rows = hg.forward_tangents(saved, x, random_directions(x))
    assert np.isfinite(value[0]) and np.isfinite(rows[:, 0]).all()
    assert np.isnan(value[1]) and np.isnan(rows[:, 1]).all()


@pytest.mark.parametrize("optimizer", ["SGD", "Nesterov"])
def test_a_tangent_that_overflows_is_a_warning_and_leaves_the_others_alone(optimizer):
    loss = lambda w, hyper, step: -anp.sum(anp.cos(100.0 * w)) / 2.0 if step is not None else 0.0
    make = OPTIMIZERS[optimizer].make
    f = lambda x: hg.train(loss, x["w"], make(1.0, 0.0), steps=400)
    x = {"w": np.array([0.3, 0.0])}  # the second entry is at rest
    with pytest.warns(errors.NonFiniteGradientWarning, match="the tangent overflowed at step .* of 400: it grew"):
        found = hg.forward_tangents(f, x, {"w": np.array([[1.0, 0.0], [0.0, 1e-200]])}).derivatives
    assert not np.isfinite(found[0, 0])


def test_only_what_moves_is_not_zero():
    """Losses before a step do not depend on its rate."""
    f = lambda lrs: [
        MODEL.loss(p, X, T) for p in hg.train(LOSS, PARAMS, hg.SGD(lrs), steps=STEPS, save_at=list(range(STEPS + 1)))
    ]
    rows = hg.forward_tangents(f, np.full(STEPS, 0.3)).derivatives
    for count in range(STEPS + 1):
        assert not rows[count, count:].any() and rows[count, :count].all()


@pytest.mark.parametrize(
    ("hypers", "directions", "error", "message"),
    [
        ({"a": 1.0}, {"b": np.ones(2)}, errors.NestError, "directions must be a nest like hypers.*same keys"),
        ({"a": 1.0}, np.ones(2), errors.NestError, "directions must be a nest like hypers"),
        ([1.0, 2.0], [np.ones(2)], errors.NestError, "directions must be a nest like hypers"),
        ({"a": 1.0}, {"a": 1.0}, errors.ArgumentError, r"directions\['a'\] has shape \(\), but it must be \(K,\)"),
        (np.ones(3), np.ones(3), errors.ArgumentError, r"directions has shape \(3,\), but it must be \(K, 3\)"),
        (np.ones(3), np.ones((2, 4)), errors.ArgumentError, r"directions has shape \(2, 4\), but it must be \(K, 3\)"),
        ({"a": 1.0, "b": 2.0}, {"a": np.ones(2), "b": np.ones(3)}, errors.ArgumentError, "equally many in every array"),
        (np.ones(3), np.ones((0, 3)), errors.ArgumentError, "directions has none: give at least one"),
        ({}, None, errors.ArgumentError, "hypers has no numbers"),
        ({}, {}, errors.ArgumentError, "directions has none"),
        ({"a": 1}, None, errors.NestError, r"hypers\['a'\] is the integer 1"),
        ({"a": "x"}, None, errors.NestError, r"hypers\['a'\] is a builtins\.str"),
        (np.ones(2), np.ones((1, 2), int), errors.NestError, "directions has dtype int64"),
    ],
)
def test_bad_input(hypers, directions, error, message):
    def forbidden(hypers):
        raise AssertionError("f was called")

    with pytest.raises(error, match=message):
        hg.forward_tangents(forbidden, hypers, directions)


@pytest.mark.parametrize("result", [None, "x", {"a": 1.0}, 3])
def test_a_result_that_is_no_array(result):
    with pytest.raises(errors.ArgumentError, match="f must return a number, an array or a list of numbers"):
        hg.forward_tangents(lambda x: result, 1.0)


def test_a_function_without_a_rule_is_named():
    import autograd.extend

    @autograd.extend.primitive
    def ruleless(x):
        return 2.0 * x

    with pytest.raises(errors.DifferentiationError, match=r"no forward-mode derivative \(JVP\) for `ruleless`"):
        hg.forward_tangents(ruleless, np.ones(2))


def shared_rates(steps, bins=10):
    """A small regression by rates that ``bins`` equal parts of a long run share, and where they start."""
    rng = np.random.default_rng(5)
    X, y = rng.standard_normal((12, 3)), rng.standard_normal(12)

    def gradient(w, hyper, step):
        rows = slice(step % 3 * 4, step % 3 * 4 + 4)
        return X[rows].T @ np.tanh(X[rows] @ w - y[rows]) / 4

    def gradient_with_hvp(w, hyper, step):
        rows = slice(step % 3 * 4, step % 3 * 4 + 4)
        slope = 1.0 - np.tanh(X[rows] @ w - y[rows]) ** 2
        return gradient(w, hyper, step), lambda d: X[rows].T @ (slope * (X[rows] @ d)) / 4

    def value(w, hyper, step):
        rows = slice(step % 3 * 4, step % 3 * 4 + 4)
        return anp.mean(anp.log(anp.cosh(anp.dot(X[rows], w) - y[rows])))

    loss = hg.losses.WrittenLoss(value, gradient=gradient, gradient_with_hvp=gradient_with_hvp)
    hg.testing.check_loss(loss, np.ones(3))

    def f(log_lrs):
        lr = anp.exp(hg.schedules.binned(log_lrs, steps))
        trained = hg.train(loss, np.zeros(3), hg.SGD(lr, 0.5), steps=steps, adjoint=hg.Stored())
        return anp.mean((anp.dot(X, trained) - y) ** 2)

    return f, np.linspace(-2.0, -6.0, bins)


def test_ten_shared_rates_over_ten_thousand_steps_equal_reverse_mode():
    f, log_lrs = shared_rates(10_000)
    value, gradient = hg.forward_tangents(f, log_lrs)
    expected = grad(f)(log_lrs)
    assert value == pytest.approx(f(log_lrs), rel=1e-15)
    assert np.linalg.norm(gradient - expected) < 1e-9 * np.linalg.norm(expected)


def test_memory_does_not_grow_with_the_steps_but_by_the_schedules():
    """K + 1 numbers a step for a rate, and as many while it is made; a state would be 50,000 numbers a step."""
    rng = np.random.default_rng(0)
    target = rng.standard_normal(5_000)
    bowl = hg.losses.WrittenLoss(
        lambda w, hyper, step: 0.5 * anp.sum((w - target) ** 2),
        gradient=lambda w, hyper, step: w - target,
        gradient_with_hvp=lambda w, hyper, step: (w - target, lambda d: d),
    )

    def peak(steps):
        f = lambda log_lrs: anp.sum(
            hg.train(bowl, np.zeros(5_000), hg.SGD(anp.exp(hg.schedules.binned(log_lrs, steps)), 0.0), steps=steps) ** 2
        )
        gc.collect()
        release_kept()
        tracemalloc.start()
        hg.forward_tangents(f, np.full(10, -7.0))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(10)
    assert peak(1_000) - peak(100) < 900 * 8 * 10 * 10 < 900 * 8 * 50_000


def test_a_jax_loss():
    jnp = pytest.importorskip("jax.numpy", reason="needs jax: pip install -e '.[jax]'")

    def loss(params, hyper, step):
        a = jnp.tanh(jnp.asarray(X) @ params["W"] + params["b"])
        return jnp.mean((a - jnp.asarray(T)) ** 2) + jnp.exp(hyper["l2"]) * jnp.sum(params["W"] ** 2)

    check_foreign(hg.losses.from_jax(loss))


def test_a_torch_loss():
    torch = pytest.importorskip("torch", reason="needs torch: pip install -e '.[torch]'")
    data, targets = torch.tensor(X), torch.tensor(T)

    def loss(params, hyper, step):
        a = torch.tanh(data @ params["W"] + params["b"])
        return ((a - targets) ** 2).mean() + torch.exp(hyper["l2"]) * (params["W"] ** 2).sum()

    check_foreign(hg.losses.from_torch_function(loss))


def check_foreign(loss):
    start = {"W": 0.3 * np.random.default_rng(0).standard_normal((6, 3)), "b": np.zeros(3)}

    def f(x):
        saved = hg.train(loss, x["params"], hg.Adam(x["lr"]), x["hyper"], steps=5, save_at=[2, 5], adjoint=hg.Stored())
        return anp.array([anp.sum(p["W"] ** 2) + anp.sum(p["b"]) for p in saved])

    moved = {"params": start, "lr": np.linspace(0.01, 0.05, 5), "hyper": {"l2": -2.0}}
    directions, derivatives = check_against_single_runs(f, moved)
    gradient = flatten(grad(lambda x: f(x)[1])(moved))[0]
    expected = [sum(np.vdot(g, d) for g, d in zip(gradient, flatten(each_)[0])) for each_ in each(directions)]
    assert error_of(derivatives[:, 1], np.array(expected)) < 1e-9
    check_against_single_runs(lambda lr: f(moved | {"lr": lr}), moved["lr"])
