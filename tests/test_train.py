"""``train`` against autograd through the unrolled loop, mode against mode, and its other promises."""

import itertools

import autograd.numpy as anp
import numpy as np
import pytest
import unrolled
from autograd import grad, jacobian, make_jvp, value_and_grad
from problems import by_autograd, classifier, penalised, relative_error

import hypergrad as hg
from hypergrad.bridge import getval
from hypergrad.nn import backprop

STEPS, SAVE_AT = 8, [0, 3, 5, 8]
RNG = np.random.default_rng(1)
SCHEDULES = {
    "scalar": (0.3, 0.8),
    "per step": (RNG.uniform(0.1, 0.5, STEPS), RNG.uniform(0.0, 0.9, STEPS)),
    "per layer": ([0.3, 0.1, 0.2], [0.9, 0.5, 0.0]),
    "per layer and step": (list(RNG.uniform(0.1, 0.5, (3, STEPS))), list(RNG.uniform(0.0, 0.9, (3, STEPS)))),
    "per array": ([(0.3, 0.1), (0.2, 0.4), (0.1, 0.3)], [(0.9, 0.1), (0.8, 0.2), (0.7, 0.3)]),
    "mixed": ([RNG.uniform(0.1, 0.5, STEPS), (0.2, RNG.uniform(0.1, 0.5, STEPS)), 0.1], [0.5, (0.3, 0.9), 0.0]),
}
MODEL, LOSS, PARAMS, X, T = classifier()
LOSSES = {"own gradient": LOSS, "autograd": by_autograd(LOSS), "with hyper": penalised(LOSS)}
HYPER = {"weights": [-3.0, -2.0, -4.0], "biases": (-3.0, -1.0, -2.0)}


def inputs_for(loss, schedule):
    """Everything a run of this loss depends on."""
    lr, momentum = SCHEDULES[schedule]
    inputs = {"params": PARAMS, "lr": lr, "momentum": momentum}
    return inputs | {"hyper": HYPER} if loss == "with hyper" else inputs


def objective(saved):
    """Depends on the parameters at every step count, each in another way."""
    return sum((i + 1) * MODEL.loss(params, X, T) + anp.sum(params[0][0] ** (i + 1)) for i, params in enumerate(saved))


def ours(loss):
    def f(inputs):
        optimizer = hg.SGD(inputs["lr"], inputs["momentum"])
        return objective(hg.train(loss, inputs["params"], optimizer, inputs.get("hyper"), steps=STEPS, save_at=SAVE_AT))

    return f


def reference(loss):
    def f(inputs):
        schedules = inputs["lr"], inputs["momentum"]
        return objective(
            unrolled.train(loss, inputs["params"], unrolled.sgd, schedules, inputs.get("hyper"), STEPS, SAVE_AT)
        )

    return f


def test_the_cases_use_the_derivatives_they_are_named_after(monkeypatch):
    """A wrong Hessian-vector product of the loss's own shows in "own gradient" and nowhere else."""
    right = backprop.gradient_with_hvp

    def wrong(*given):
        hvp = right(*given)
        return lambda direction, *rest: hvp([(2.0 * U, 2.0 * u) for U, u in direction], *rest)

    monkeypatch.setattr(backprop, "gradient_with_hvp", wrong)
    for loss in LOSSES:
        inputs = inputs_for(loss, "per layer")
        error = relative_error(grad(ours(LOSSES[loss]))(inputs)["lr"], grad(reference(LOSSES[loss]))(inputs)["lr"])
        assert (error > 1e-3) == (loss == "own gradient")


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_gradient_equals_unrolled_autograd(loss, schedule):
    inputs = inputs_for(loss, schedule)
    function = LOSSES[loss]
    value, gradient = value_and_grad(ours(function))(inputs)
    expected_value, expected = value_and_grad(reference(function))(inputs)
    assert value == pytest.approx(expected_value, rel=1e-12)
    for name in inputs:
        assert relative_error(gradient[name], expected[name]) < 1e-9, name


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_forward_mode_equals_reverse_mode(loss, schedule):
    """The dot-product test, along one direction in all inputs at once."""
    inputs = inputs_for(loss, schedule)
    leaves, structure = hg.nests.flatten(inputs)
    rng = np.random.default_rng(2)
    direction = [np.asarray(rng.standard_normal(np.shape(leaf))) for leaf in leaves]
    f = ours(LOSSES[loss])
    value, tangent = make_jvp(f)(inputs)(hg.nests.unflatten(structure, direction))
    gradient = hg.nests.flatten(grad(f)(inputs))[0]
    assert value == pytest.approx(f(inputs), rel=1e-14)
    assert tangent == pytest.approx(sum(np.vdot(g, d) for g, d in zip(gradient, direction)), rel=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_trajectory_does_not_depend_on_what_is_differentiated(loss):
    """Bit for bit: plain training, forward and reverse mode."""
    from autograd.core import make_vjp

    def run(lr):
        hyper = HYPER if loss == "with hyper" else None
        return hg.train(LOSSES[loss], PARAMS, hg.SGD(lr, 0.8), hyper, steps=STEPS, save_at=SAVE_AT)

    plain = hg.nests.flatten(run(0.3))[0]
    for derived in (make_jvp(run)(0.3)(1.0)[0], make_vjp(run, 0.3)[1]):
        assert all(np.array_equal(a, b) for a, b in zip(plain, hg.nests.flatten(getval(derived))[0]))


def test_differentiating_one_input_gives_the_same_as_all():
    inputs = inputs_for("with hyper", "per step")
    f = ours(LOSSES["with hyper"])
    everything = grad(f)(inputs)
    for name in inputs:
        alone = grad(lambda x, name=name: f({**inputs, name: x}))(inputs[name])
        assert relative_error(alone, everything[name]) < 1e-12, name


def test_jacobian_of_several_losses():
    def losses(log_lr):
        saved = hg.train(LOSS, PARAMS, hg.SGD(anp.exp(log_lr)), steps=STEPS, save_at=SAVE_AT)
        return anp.array([MODEL.loss(params, X, T) for params in saved])

    log_lr = np.full(STEPS, -1.0)
    rows = jacobian(losses)(log_lr)
    assert rows.shape == (len(SAVE_AT), STEPS)
    assert not rows[0].any()
    for k in range(1, len(SAVE_AT)):
        assert relative_error(rows[k], grad(lambda x, k=k: losses(x)[k])(log_lr)) < 1e-12
    for k, count in enumerate(SAVE_AT):
        assert not rows[k, count:].any(), "a loss cannot depend on later steps"


@pytest.mark.parametrize(
    "params",
    [
        np.array([0.3, -0.2]),
        {"b": np.array([0.3]), "a": [np.array([[1.0]]), (np.array(0.5),)]},
        (np.array([0.3]), 0.7),
    ],
    ids=["array", "dict", "tuple with a float"],
)
def test_any_nest_of_params(params):
    def loss(nest, hyper, step):
        return sum(anp.sum(anp.sin(w * (i + 1)) + w**4) for i, w in enumerate(hg.nests.flatten(nest)[0]))

    def trained_loss(train):
        return lambda inputs: loss(train(inputs), None, 0)

    f = trained_loss(lambda x: hg.train(loss, x[0], hg.SGD(x[1], 0.5), steps=4))
    g = trained_loss(lambda x: unrolled.train(loss, x[0], unrolled.sgd, (x[1], 0.5), None, 4, [4])[0])
    assert relative_error(grad(f)((params, 0.1)), grad(g)((params, 0.1))) < 1e-9
    trained = hg.train(loss, params, hg.SGD(0.1), steps=4)
    assert hg.nests.flatten(trained)[1] == hg.nests.flatten(params)[1]


def test_the_result_itself_can_be_returned_from_a_differentiated_function():
    """A plain nest of boxes would look constant to autograd."""
    _trained, tangent = make_jvp(lambda lr: hg.train(LOSS, PARAMS, hg.SGD(lr), steps=3))(0.3)(1.0)
    differences = [
        (a - b) / 2e-6
        for a, b in zip(
            *(hg.nests.flatten(hg.train(LOSS, PARAMS, hg.SGD(lr), steps=3))[0] for lr in (0.3 + 1e-6, 0.3 - 1e-6))
        )
    ]
    assert relative_error(hg.nests.flatten(tangent)[0], differences) < 1e-7


def test_no_steps_is_the_identity():
    assert relative_error(hg.train(LOSS, PARAMS, hg.SGD(0.1), steps=0), PARAMS) == 0.0
    gradient = grad(lambda p: MODEL.loss(hg.train(LOSS, p, hg.SGD(0.1), steps=0), X, T))(PARAMS)
    assert relative_error(gradient, MODEL.gradient(PARAMS, X, T)) < 1e-12


def test_inputs_are_left_alone_and_results_are_fresh():
    before = [w.copy() for w in hg.nests.flatten(PARAMS)[0]]
    first, last = hg.train(LOSS, PARAMS, hg.SGD(0.1), steps=3, save_at=[0, 3])
    assert not any(np.shares_memory(a[0], b[0]) for a, b in zip(first, PARAMS))
    assert relative_error(hg.nests.flatten(PARAMS)[0], before) == 0.0
    assert relative_error(last, first) > 0.0


def test_changing_a_result_does_not_change_the_gradient():
    from autograd.core import make_vjp

    def run(lr):
        return hg.train(LOSS, PARAMS, hg.SGD(lr), steps=3)

    vjp, trained = make_vjp(run, 0.3)
    cotangent = hg.nests.unflatten(hg.nests.flatten(PARAMS)[1], [np.ones_like(w) for w in hg.nests.flatten(PARAMS)[0]])
    first = vjp(cotangent)
    for W, b in trained:
        W[...] = 0.0
        b[...] = 0.0
    assert vjp(cotangent) == first


def test_callback_sees_every_step_once_and_cannot_change_the_run():
    seen = []

    def callback(step, params, state, gradient):
        seen.append((step, params[0][0].copy(), state.velocity[0][0].copy(), gradient[0][0].copy()))
        params[0][0][...] = np.nan
        state.velocity[0][0][...] = np.nan

    def f(lr):
        return MODEL.loss(hg.train(LOSS, PARAMS, hg.SGD(lr, 0.9), steps=4, callback=callback), X, T)

    quiet = MODEL.loss(hg.train(LOSS, PARAMS, hg.SGD(0.3, 0.9), steps=4), X, T)
    for value_of in (f, lambda lr: value_and_grad(f)(lr)[0], lambda lr: make_jvp(f)(lr)(1.0)[0]):
        assert value_of(0.3) == quiet
        assert [entry[0] for entry in seen] == [0, 1, 2, 3]
        assert not seen[0][2].any()
        for (_, w, v, g), (_, w_next, v_next, _) in itertools.pairwise(seen):
            np.testing.assert_allclose(v_next, 0.9 * v - 0.1 * g, rtol=1e-12)
            np.testing.assert_allclose(w_next, w + 0.3 * v_next, rtol=1e-12)
        seen.clear()


@pytest.mark.parametrize("loss", LOSSES)
def test_float32_stays_float32(loss):
    single = hg.init.scaled_normal(MODEL.shapes, 0.5, 0, dtype=np.float32)

    def f(inputs, check=None):
        optimizer = hg.SGD(inputs["lr"], inputs["momentum"])
        trained = hg.train(LOSSES[loss], inputs["params"], optimizer, inputs.get("hyper"), steps=STEPS)
        if check:
            assert all(leaf.dtype == check for leaf in hg.nests.flatten(trained)[0])
        return MODEL.loss(trained, X, T)

    hyper32 = {key: type(h)(np.float32(x) for x in h) for key, h in HYPER.items()}
    inputs32 = {"params": single, "lr": 0.3, "momentum": 0.8} | ({"hyper": hyper32} if loss == "with hyper" else {})
    f(inputs32, check=np.float32)
    gradient = grad(f)(inputs32)
    expected = grad(f)(
        {**inputs32, "params": PARAMS, "hyper": HYPER} if "hyper" in inputs32 else {**inputs32, "params": PARAMS}
    )
    assert all(leaf.dtype == np.float32 for leaf in hg.nests.flatten(gradient["params"])[0])
    assert relative_error(gradient["params"], expected["params"]) < 1e-3
    assert gradient["lr"] == pytest.approx(expected["lr"], rel=1e-3)
    one = make_jvp(lambda lr: f({**inputs32, "lr": lr}))(0.3)(1.0)[1]
    assert one == pytest.approx(expected["lr"], rel=1e-3)


def test_divergence_is_reported_with_its_step_and_norm():
    def cubic(w, hyper, step):
        return anp.sum(w**4)

    params, lr = np.array([1.0, 2.0]), 1.0
    w, norms = params.copy(), []
    with np.errstate(all="ignore"):
        while np.isfinite(w).all():
            norms.append(np.linalg.norm(w))
            w = w - lr * 4 * w**3
    run = lambda lr: anp.sum(hg.train(cubic, params, hg.SGD(lr, momentum=0.0), steps=50))
    for attempt in (run, grad(run), lambda lr: make_jvp(run)(lr)(1.0)):
        with pytest.raises(hg.DivergedError, match=f"step {len(norms) - 1}.*params") as caught:
            attempt(lr)
        assert caught.value.step == len(norms) - 1
        assert caught.value.norm == pytest.approx(norms[-1], rel=1e-9)


def test_overflow_of_the_derivative_alone_is_a_warning_with_its_step():
    """w ← w − lr·sin(100 w)·50 stays bounded while its derivative grows without end."""

    def loss(w, hyper, step):
        return -anp.sum(anp.cos(100.0 * w)) / 2.0

    def f(w):
        return anp.sum(hg.train(loss, w, hg.SGD(1.0, momentum=0.0), steps=400))

    w = np.array([0.3])
    with pytest.warns(hg.errors.NonFiniteGradientWarning, match="step"):
        make_jvp(f)(w)(np.ones(1))
    with pytest.warns(hg.errors.NonFiniteGradientWarning, match="step"):
        grad(f)(w)
