"""Losses in jax.numpy under every optimizer, adjoint and mode, against the same losses in autograd.numpy."""

import pickle
import threading

import autograd.numpy as anp
import numpy as np
import pytest
import unrolled
from autograd import grad, make_jvp, value_and_grad
from optimizer_table import OPTIMIZERS, draw
from pages import namespace_of
from problems import relative_error

import hypergrad as hg
from hypergrad import errors
from hypergrad.engine.purity import Replay
from hypergrad.nests import flatten, unflatten

jax = pytest.importorskip("jax", reason="needs the extra jax: pip install -e '.[jax]'")
jnp = jax.numpy

from hypergrad.losses.jax import CompiledStep, JaxLoss  # noqa: E402

STEPS, SAVE_AT, ROWS = 6, [0, 2, 6], 5
rng = np.random.default_rng(0)
X, T = rng.standard_normal((10, 4)), np.eye(3)[rng.integers(0, 3, 10)]
PARAMS = [
    (0.5 * rng.standard_normal((4, 3)), 0.1 * rng.standard_normal(3)),
    (rng.standard_normal((3, 3)), 0.1 * rng.standard_normal(3)),
]
HYPER = {"weights": [-3.0, -2.0], "biases": (np.array([-1.0, -2.0, -3.0]), -1.5)}


def network(xp, batch):
    """The cross-entropy of a small net on a minibatch, with penalties whose log weights are in ``hyper``."""

    def loss(params, hyper, step):
        rows, targets = batch(X, step), batch(T, step)
        for W, b in params[:-1]:
            rows = xp.tanh(rows @ W + b)
        W, b = params[-1]
        logits = rows @ W + b
        total = xp.mean(xp.log(xp.sum(xp.exp(logits), axis=1)) - xp.sum(targets * logits, axis=1))
        if hyper is None:
            return total
        for (W, b), log_w, log_b in zip(params, hyper["weights"], hyper["biases"]):
            total = total + xp.exp(log_w) * xp.sum(W**2) + xp.sum(xp.exp(log_b) * b**4)
        return total

    return loss


IN_JAX = network(jnp, lambda data, step: jax.lax.dynamic_slice_in_dim(data.copy(), step % 2 * ROWS, ROWS))
LOSS = hg.losses.from_jax(IN_JAX)
PLAIN = network(anp, lambda data, step: data[step % 2 * ROWS : step % 2 * ROWS + ROWS])
ADJOINTS = {
    "Stored": hg.Stored(),
    "Checkpointed(1)": hg.Checkpointed(1),
    "Checkpointed(3)": hg.Checkpointed(3),
    "Truncated(all)": hg.Truncated(STEPS),
}


def objective(saved):
    return sum((i + 1) * PLAIN(params, None, i) + anp.sum(params[0][0] ** (i + 1)) for i, params in enumerate(saved))


def ours(make, adjoint=None, loss=LOSS):
    def f(inputs):
        params, hyper, schedules = inputs
        return objective(hg.train(loss, params, make(*schedules), hyper, steps=STEPS, adjoint=adjoint, save_at=SAVE_AT))

    return f


def reference(entry):
    def f(inputs):
        params, hyper, schedules = inputs
        return objective(unrolled.train(PLAIN, params, entry.update, schedules, hyper, STEPS, SAVE_AT))

    return f


def inputs_of(entry, form="per array"):
    return PARAMS, HYPER, draw(entry, form, STEPS, 2, 1)


def check(gradient, expected, tolerance):
    for a, b in zip([*gradient[:2], *gradient[2]], [*expected[:2], *expected[2]]):
        assert relative_error(a, b) < tolerance


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_adjoint_and_forward_mode_against_unrolled_autograd(name):
    entry = OPTIMIZERS[name]
    inputs = inputs_of(entry)
    expected_value, expected = value_and_grad(reference(entry))(inputs)
    for adjoint in ADJOINTS.values():
        value, gradient = value_and_grad(ours(entry.make, adjoint))(inputs)
        assert value == pytest.approx(expected_value, rel=1e-12)
        check(gradient, expected, 1e-9)
    leaves, structure = flatten(inputs)
    direction = [np.asarray(np.random.default_rng(5).standard_normal(np.shape(leaf))) for leaf in leaves]
    value, forward = make_jvp(ours(entry.make))(inputs)(unflatten(structure, direction))
    assert value == pytest.approx(expected_value, rel=1e-12)
    assert forward == pytest.approx(sum(np.vdot(g, d) for g, d in zip(flatten(expected)[0], direction)), rel=1e-9)


@pytest.mark.parametrize("name", [name for name, entry in OPTIMIZERS.items() if entry.exact])
def test_exact_runs_are_reversed_bit_for_bit(name):
    entry = OPTIMIZERS[name]
    inputs = inputs_of(entry)
    value, gradient = value_and_grad(ours(entry.exact, hg.Stored()))(inputs)
    for adjoint in (hg.Reversible(), hg.Checkpointed(2)):
        other_value, other = value_and_grad(ours(entry.exact, adjoint))(inputs)
        assert other_value == value
        for a, b in zip(flatten(gradient)[0], flatten(other)[0]):
            np.testing.assert_array_equal(a, b)
    check(gradient, grad(reference(entry))(inputs), 1e-5)


@pytest.mark.parametrize("wants", range(3))
def test_one_input_alone_has_the_gradient_it_has_with_all(wants):
    """What is not differentiated takes another way through the products."""
    inputs = inputs_of(OPTIMIZERS["SGD"], "per step")
    f = ours(hg.SGD)
    alone = grad(lambda x: f((*inputs[:wants], x, *inputs[wants + 1 :])))(inputs[wants])
    assert relative_error(alone, grad(f)(inputs)[wants]) < 1e-12
    if wants != 1:
        without_hyper = lambda f: lambda x: f((*((x, None, inputs[2]) if wants == 0 else (PARAMS, None, x)),))
        expected = grad(without_hyper(reference(OPTIMIZERS["SGD"])))(inputs[wants])
        assert relative_error(grad(without_hyper(f))(inputs[wants]), expected) < 1e-9
        ones = unflatten(flatten(inputs[wants])[1], [np.ones(np.shape(leaf)) for leaf in flatten(inputs[wants])[0]])
        forward = make_jvp(without_hyper(f))(inputs[wants])(ones)[1]
        assert forward == pytest.approx(sum(np.sum(leaf) for leaf in flatten(expected)[0]), rel=1e-9)


def test_the_trajectory_does_not_depend_on_what_is_differentiated():
    def bits(f, x):
        return [leaf.tobytes() for leaf in flatten(f(x))[0]]

    def run(x, adjoint=None):
        return hg.train(LOSS, PARAMS, hg.SGD(x, 0.8), HYPER, steps=STEPS, adjoint=adjoint)

    kept = []

    def keeping(function):
        def f(x):
            trained = run(x)
            kept.append([np.array(hg.bridge.getval(leaf)).tobytes() for leaf in flatten(trained)[0]])
            return anp.sum(trained[0][0])

        return function(f)

    keeping(grad)(0.3)
    keeping(make_jvp)(0.3)(1.0)
    assert kept == [bits(run, 0.3)] * 2


def test_finite_differences():
    def f(x):
        params, rates = [(W * x["scale"], b) for W, b in PARAMS], hg.SGD(anp.exp(x["log_lr"]), x["momentum"])
        return LOSS(hg.train(LOSS, params, rates, x["hyper"], steps=4), x["hyper"], 0)

    hg.testing.check_hypergradient(f, {"scale": 0.9, "log_lr": np.full(4, -1.0), "momentum": 0.5, "hyper": HYPER})


def test_check_loss_takes_it():
    hg.testing.check_loss(LOSS, PARAMS, HYPER)
    hg.testing.check_loss(LOSS, PARAMS)


@pytest.mark.parametrize("product", ["pull", "pull_with_hyper"])
def test_a_wrong_product_is_caught(product, monkeypatch):
    right = getattr(CompiledStep, product).func

    def wrong(self):
        linear = right(self)
        return linear._replace(apply=lambda kept, ds: [1.01 * part for part in linear.apply(kept, ds)])

    monkeypatch.setattr(CompiledStep, product, property(wrong))
    loss = hg.losses.from_jax(IN_JAX)
    with pytest.raises(hg.testing.LossDerivativeError, match="Hessian-vector product"):
        hg.testing.check_loss(loss, PARAMS, HYPER)
    inputs, entry = inputs_of(OPTIMIZERS["SGD"]), OPTIMIZERS["SGD"]
    inputs = inputs if product == "pull_with_hyper" else (PARAMS, None, inputs[2])
    by_params = lambda f: grad(lambda params: f((params, *inputs[1:])))(PARAMS)
    by_all = grad(ours(hg.SGD, loss=loss))(inputs)[0] if inputs[1] else by_params(ours(hg.SGD, loss=loss))
    assert relative_error(by_all, by_params(reference(entry))) > 1e-4


BOWL = hg.losses.from_jax(lambda w, h, t: jnp.mean(jnp.sin(X @ w + 0.1 * t) ** 2) + jnp.exp(h) * jnp.sum(w**4))


@pytest.mark.parametrize("dtype", [None, np.float32])
def test_two_thousand_steps_backwards(dtype):
    """The way back raises where it does not meet the start; and its gradient is that of steps run forwards again."""
    loss = hg.losses.from_jax(BOWL.function, dtype=dtype)

    def f(adjoint, x):
        w = hg.train(loss, x[0], hg.SGD(x[1], x[2], exact=True), x[3], steps=2_000, adjoint=adjoint)
        return anp.sum(w**3)

    at = np.ones(4), 0.3, 0.5, -3.0
    backwards, again = (value_and_grad(lambda x, a=a: f(a, x))(at) for a in (hg.Reversible(), hg.Checkpointed(50)))
    assert backwards[0] == again[0]
    assert all(np.array_equal(a, b) for a, b in zip(backwards[1], again[1]))
    assert backwards[1][0].dtype == np.float64


def test_float32_is_computed_in_float32():
    single = [(W.astype(np.float32), b.astype(np.float32)) for W, b in PARAMS]
    given = grad(lambda p: objective(hg.train(LOSS, p, hg.SGD(0.3), HYPER, steps=4, save_at=[4])))
    trained = hg.train(LOSS, single, hg.SGD(0.3), HYPER, steps=4)
    assert all(leaf.dtype == np.float32 for leaf in flatten(trained)[0])
    right = given(PARAMS)
    assert 1e-9 < relative_error(given(single), right) < 1e-4
    cast = hg.losses.from_jax(IN_JAX, dtype="float32")
    trained = hg.train(cast, PARAMS, hg.SGD(0.3), HYPER, steps=4)
    assert all(leaf.dtype == np.float64 for leaf in flatten(trained)[0])
    expected = hg.train(LOSS, PARAMS, hg.SGD(0.3), HYPER, steps=4)
    assert 1e-9 < relative_error(trained, expected) < 1e-5
    in_double = hg.losses.from_jax(IN_JAX, dtype=np.float64)
    from_single = [(W.astype(float), b.astype(float)) for W, b in single]
    gradients = []
    for loss, params in ((in_double, single), (LOSS, from_single)):
        callback = lambda step, p, s, g, v: gradients.append(g)
        hg.train(loss, params, hg.SGD(0.3), HYPER, steps=1, callback=callback)
    assert relative_error(*gradients) < 1e-7
    assert all(leaf.dtype == np.float32 for leaf in flatten(gradients[0])[0])


def test_the_x64_flag_stays_as_it_is():
    assert not jax.config.jax_enable_x64
    grad(ours(hg.SGD))(inputs_of(OPTIMIZERS["SGD"]))
    assert not jax.config.jax_enable_x64 and jnp.ones(2).dtype == jnp.float32
    seen = []
    hg.train(LOSS, PARAMS, hg.SGD(0.1), steps=1, callback=lambda *_: seen.append(jnp.ones(2).dtype))
    assert seen == [jnp.float32]


def test_a_flag_that_is_switched_makes_another_function():
    bowl = hg.losses.from_jax(lambda w, h, t: jnp.sum(w**2) * (t + 1), dtype=np.float32)
    before = hg.train(bowl, np.ones(3), hg.SGD(0.1), steps=3)
    jax.config.update("jax_enable_x64", True)
    try:
        within = hg.train(bowl, np.ones(3), hg.SGD(0.1), steps=3)
    finally:
        jax.config.update("jax_enable_x64", False)
    assert relative_error(within, before) < 1e-6


def test_it_is_traced_once():
    calls = []

    def counted(params, hyper, step):
        calls.append(step)
        return IN_JAX(params, hyper, step)

    loss = hg.losses.from_jax(counted)
    for _ in range(2):
        grad(ours(hg.SGD, hg.Checkpointed(2), loss))(inputs_of(OPTIMIZERS["SGD"]))
    make_jvp(ours(hg.SGD, loss=loss))(inputs_of(OPTIMIZERS["SGD"]))(inputs_of(OPTIMIZERS["SGD"]))
    assert len(calls) == 1
    hg.train(loss, PARAMS, hg.SGD(0.1), steps=2)
    assert len(calls) == 2, "without hyper it is another one"
    compiled = list(loss._made.values())
    assert [step.run.function._cache_size() for step in compiled] == [1, 1]


def test_threads():
    """In float64 and float32 at once: JAX's context is that of a thread."""
    dtypes = (np.float64, np.float32)
    make = lambda dtype: ours(hg.SGD, hg.Checkpointed(2), hg.losses.from_jax(IN_JAX, dtype=dtype))
    alone = [flatten(grad(make(dtype))(inputs_of(OPTIMIZERS["SGD"])))[0] for dtype in dtypes]
    found, barrier = {}, threading.Barrier(4)
    shared = [make(dtype) for dtype in dtypes]

    def work(number):
        barrier.wait()
        found[number] = [flatten(grad(shared[number % 2])(inputs_of(OPTIMIZERS["SGD"])))[0] for _ in range(3)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for number, runs in found.items():
        for run in runs:
            assert all(np.array_equal(a, b) for a, b in zip(run, alone[number % 2]))
    assert not np.array_equal(alone[0][0], alone[1][0])


def test_a_gradient_with_a_rule_of_its_own():
    """Then second derivatives are not symmetric, and reverse mode must transpose what forward mode applies."""
    rolled = jax.custom_vjp(lambda w: jnp.sum(w))
    rolled.defvjp(lambda w: (jnp.sum(w), w), lambda w, g: (g * jnp.roll(w, 1) ** 2,))
    loss = hg.losses.from_jax(lambda w, h, t: rolled(w) + h * jnp.sum(w**2))

    def update(w, h):  # the gradient as such, to be differentiated by autograd
        return anp.roll(w, 1) ** 2 + 2 * h * w

    def by_hand(x):
        w = x[0]
        for _ in range(3):
            w = w - 0.1 * update(w, x[1])
        return anp.sum(w**2)

    f = lambda x: anp.sum(hg.train(loss, x[0], hg.SGD(0.1, 0.0), x[1], steps=3) ** 2)
    at = np.array([0.3, 0.7, -0.5]), 0.2
    expected = grad(by_hand)(at)
    assert relative_error(grad(f)(at), expected) < 1e-12
    direction = np.array([1.0, -2.0, 0.5]), 0.3
    forward = make_jvp(f)(at)(direction)[1]
    assert forward == pytest.approx(np.dot(expected[0], direction[0]) + expected[1] * direction[1], rel=1e-12)


def test_random_numbers_are_made_from_the_step():
    key = jax.random.key(3)

    def dropout(w, h, t):
        keep = jax.random.bernoulli(jax.random.fold_in(key, t), 0.5, X.shape)
        return jnp.mean((jnp.where(keep, X, 0.0) @ w - X[:, 0]) ** 2)

    loss = hg.losses.from_jax(dropout)
    f = lambda lr: anp.sum(hg.train(loss, np.ones(4), hg.SGD(lr, 0.5), steps=8) ** 2)
    hg.testing.check_hypergradient(f, 0.1)


def test_what_it_captures_is_constant():
    data = X.copy()
    loss = hg.losses.from_jax(lambda w, h, t: jnp.mean((data @ w) ** 2))
    before = hg.train(loss, np.ones(4), hg.SGD(0.1), steps=3)
    data[:] = 0.0
    np.testing.assert_array_equal(hg.train(loss, np.ones(4), hg.SGD(0.1), steps=3), before)


def test_absent_leaves_and_scalars():
    loss = hg.losses.from_jax(lambda p, h, t: p["a"] ** 2 * (1.0 if p["b"] is None else 2.0) + h["c"] * p["a"])
    f = lambda x: hg.train(loss, {"a": x, "b": None}, hg.SGD(0.1, 0.0), {"c": 0.5, "d": None}, steps=1)["a"]
    assert f(1.0) == pytest.approx(1.0 - 0.1 * 2.5) and grad(f)(1.0) == pytest.approx(0.8)


def test_callbacks_sweeps_and_divergence():
    values = []
    hg.train(LOSS, PARAMS, hg.SGD(0.1), HYPER, steps=3, callback=lambda step, p, s, g, value: values.append((p, value)))
    for step, (params, value) in enumerate(values):
        assert value == pytest.approx(PLAIN(params, HYPER, step), rel=1e-12)
    f = lambda log_lr: BOWL(hg.train(BOWL, np.ones(4), hg.SGD(anp.exp(log_lr)), -3.0, steps=9), -3.0, 0)
    sweep = hg.probe.sweep(f, np.linspace(-3.0, -1.0, 3), progress=False)
    np.testing.assert_allclose(sweep.gradient.ravel(), [grad(f)(x) for x in sweep.values], rtol=1e-9)
    with pytest.raises(errors.DivergedError):
        hg.train(BOWL, np.ones(4), hg.SGD(1e4), 3.0, steps=100)
    root = hg.losses.from_jax(lambda w, h, t: jnp.sum(jnp.sqrt(w)))
    with pytest.raises(errors.NonFiniteLossGradientError):
        hg.train(root, np.array([0.0, 1.0]), hg.SGD(0.1), steps=2)


def test_hyper_that_is_not_used_is_told_of():
    ignoring = hg.losses.from_jax(lambda w, h, t: jnp.sum(w**2))
    f = lambda h: anp.sum(hg.train(ignoring, np.ones(3), hg.SGD(0.1), h, steps=2))
    with pytest.warns(errors.UnusedHyperWarning):
        assert grad(f)(1.0) == 0.0
    with pytest.warns(errors.UnusedHyperWarning):
        assert make_jvp(f)(1.0)(1.0)[1] == 0.0


def quartic(w, h, t):
    return jnp.sum(w**4)


def test_it_can_be_pickled_and_not_changed():
    loss = hg.losses.from_jax(quartic, dtype=np.float32)
    again = pickle.loads(pickle.dumps(loss))
    assert type(again) is JaxLoss and again.function is quartic and again.dtype == np.float32
    with pytest.raises(AttributeError, match="cannot be changed"):
        loss.function = len
    with pytest.raises(TypeError, match="cannot be derived from"):
        type("Mine", (JaxLoss,), {})


def test_memory_is_planned_without_what_is_captured():
    data = np.ones((500, 40))
    loss = hg.losses.from_jax(lambda w, h, t: jnp.mean(jnp.tanh(data[:3] @ w) ** 2) + jnp.mean(jnp.tanh(data @ w) ** 2))
    plan = lambda steps: hg.plan(loss, np.ones(40), hg.SGD(0.1), steps=steps, memory_budget="1GB").memory
    per_step = (plan(40) - plan(20)) / 20
    assert 500 * 8 < per_step < 10 * 500 * 8 < data.nbytes


def test_it_is_compiled_into_other_functions_of_jax():
    assert jax.jit(lambda w: LOSS(w, HYPER, 1))(PARAMS) == pytest.approx(PLAIN(PARAMS, HYPER, 1), rel=1e-5)


def test_a_model_of_equinox():
    eqx = pytest.importorskip("equinox", reason="needs the extra models: pip install -e '.[models]'")
    model = eqx.nn.MLP(4, "scalar", 3, 1, activation=jnp.tanh, key=jax.random.key(0))
    arrays, rest = eqx.partition(model, eqx.is_inexact_array)
    leaves, form = jax.tree.flatten(arrays)
    target = X[:, 0]

    def loss(params, hyper, step):
        network = eqx.combine(jax.tree.unflatten(form, params), rest)
        return jnp.mean((jax.vmap(network)(X) - target) ** 2) + hyper * sum(jnp.sum(w**2) for w in params)

    start = [np.asarray(leaf, dtype=float) for leaf in leaves]
    in_jax = hg.losses.from_jax(loss)
    f = lambda x: in_jax(hg.train(in_jax, start, hg.SGD(x[0], 0.5), x[1], steps=5), 0.0, 0)

    def plain(params, hyper, step):
        W, b, V, c = params
        out = anp.tanh(X @ W.T + b) @ V[0] + c[0]
        return anp.mean((out - target) ** 2) + hyper * sum(anp.sum(w**2) for w in params)

    g = lambda x: plain(hg.train(plain, start, hg.SGD(x[0], 0.5), x[1], steps=5), 0.0, 0)
    assert relative_error(grad(f)((0.3, 0.01)), grad(g)((0.3, 0.01))) < 1e-9
    with pytest.raises(errors.NestError, match="is a module of equinox: give the list of its arrays"):
        hg.train(in_jax, arrays, hg.SGD(0.1), 0.0, steps=1)


def test_the_page_says_what_is_so():
    page = namespace_of("docs/jax.md")
    model = hg.nn.MLP([6, 8, 2])

    def in_autograd(hypers):
        def loss(params, hyper, step):
            rows = slice(step % 4 * 30, step % 4 * 30 + 30)
            penalty = anp.exp(hyper["log_l2"]) * sum(anp.sum(W**2) for W, b in params)
            return model.loss(params, page["X"][rows], page["T"][rows]) + penalty

        params = hg.init.scaled_normal(model.shapes, anp.exp(hypers["log_scale"]), seed=0)
        rates = anp.exp(hypers["log_lr"])
        trained = hg.train(loss, params, hg.SGD(rates), {"log_l2": hypers["log_l2"]}, steps=40)
        return model.loss(trained, page["X_valid"], page["T_valid"]) + 1e-3 * anp.sum(rates**2)

    expected = value_and_grad(in_autograd)(page["hypers"])
    assert page["value"] == pytest.approx(expected[0], rel=1e-10)
    assert relative_error(page["hypergradient"], expected[1]) < 1e-9
    pytest.importorskip("equinox", reason="needs the extra models: pip install -e '.[models]'")
    model_loss = hg.losses.from_jax(page["model_loss"])
    start, end = (model_loss(params, None, 0) for params in (page["start"], page["trained"]))
    assert end < 0.9 * start
    assert jax.vmap(page["trained_model"])(jnp.asarray(page["X_valid"])).shape == (120, 2)


def steps_computed_again(loss, adjoint, monkeypatch, steps=6):
    """At how many steps of a reverse run what it has is compared with what it had."""
    seen, compared = [], Replay.compared_product
    monkeypatch.setattr(Replay, "compared_product", lambda *given: seen.append(given[2]) or compared(*given))
    grad(lambda lr: anp.sum(hg.train(loss, np.ones(4), hg.SGD(lr), steps=steps, adjoint=adjoint) ** 2))(0.1)
    monkeypatch.undo()
    return len(seen)


def test_a_trace_is_not_compared_with_itself_where_nothing_is_computed_twice(monkeypatch):
    loss = hg.losses.from_jax(lambda w, h, t: jnp.sum(jnp.tanh(w) ** 2))
    for adjoint, expected in ((hg.Stored(), 0), (hg.Truncated(3), 0), (hg.Checkpointed(2), 1)):
        assert steps_computed_again(loss, adjoint, monkeypatch) == expected
    assert steps_computed_again(hg.losses.from_jax(calling_back), hg.Stored(), monkeypatch) == 1


@jax.custom_jvp
def from_outside(x):
    return jax.pure_callback(np.asarray, jax.ShapeDtypeStruct((), x.dtype), x)


from_outside.defjvp(lambda primals, tangents: (from_outside(*primals), tangents[0]))


def calling_back(w, h, t):
    return from_outside(jnp.sum(jnp.tanh(w) ** 2))
