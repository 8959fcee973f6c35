"""Losses written with PyTorch: every adjoint, optimizer and mode against unrolled autograd of the same loss."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import autograd.numpy as anp
import numpy as np
import pytest
import unrolled
from autograd import grad, hessian, jacobian, make_jvp, make_vjp, value_and_grad
from optimizer_table import OPTIMIZERS, draw
from problems import norm, relative_error

import hypergrad as hg
from hypergrad import errors
from hypergrad.engine.purity import Replay
from hypergrad.losses import _torch_run
from hypergrad.nests import flatten

torch = pytest.importorskip("torch", reason="needs the extra torch: pip install -e '.[torch]'")

STEPS, SAVE_AT = 7, [0, 2, 5, 7]
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((12, 4)), RNG.standard_normal((12, 2))
PARAMS = [(0.5 * RNG.standard_normal((4, 3)), 0.1 * np.ones(3)), (0.5 * RNG.standard_normal((3, 2)), 0.1 * np.ones(2))]
HYPER = {"log_penalty": np.array(-2.0), "targets": 0.1 * RNG.standard_normal((12, 2))}
ADJOINTS = {"Stored": hg.Stored(), "Checkpointed": hg.Checkpointed(2), "Truncated": hg.Truncated(STEPS)}


def with_torch(params, hyper, step):
    rows = slice(step % 3 * 4, step % 3 * 4 + 4)
    (W, b), (V, c) = params
    out = torch.tanh(torch.as_tensor(X[rows]).to(W.dtype) @ W + b) @ V + c
    errors = out - (torch.as_tensor(Y[rows]).to(W.dtype) + hyper["targets"][rows])
    return (errors**2).mean() + torch.exp(hyper["log_penalty"]) * sum((w**2).sum() for pair in params for w in pair)


def with_autograd(params, hyper, step):
    rows = slice(step % 3 * 4, step % 3 * 4 + 4)
    (W, b), (V, c) = params
    out = anp.dot(anp.tanh(anp.dot(X[rows], W) + b), V) + c
    errors = out - (Y[rows] + hyper["targets"][rows])
    return anp.mean(errors**2) + anp.exp(hyper["log_penalty"]) * sum(anp.sum(w**2) for pair in params for w in pair)


LOSS = hg.losses.from_torch_function(with_torch)


def wrapped(params, hyper, step):
    """A function that calls it: autograd's derivatives, reverse over reverse."""
    return 0.5 * LOSS(params, hyper, step) + 0.5 * with_autograd(params, hyper, step)


def objective(saved):
    return sum((i + 1) * anp.sum(anp.sin(w)) for i, params in enumerate(saved) for pair in params for w in pair)


def through(make, adjoint=None, loss=LOSS):
    def f(inputs):
        params, hyper, schedules = inputs
        return objective(hg.train(loss, params, make(*schedules), hyper, steps=STEPS, adjoint=adjoint, save_at=SAVE_AT))

    return f


def expected_of(entry, inputs):
    def f(inputs):
        params, hyper, schedules = inputs
        return objective(unrolled.train(with_autograd, params, entry.update, schedules, hyper, STEPS, SAVE_AT))

    return value_and_grad(f)(inputs)


def check(found, expected, tolerance=1e-9):
    for ours, theirs in zip(found, expected):
        assert relative_error(ours, theirs) < tolerance


@pytest.mark.parametrize("adjoint", ADJOINTS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_against_unrolled_autograd(name, adjoint):
    entry = OPTIMIZERS[name]
    inputs = PARAMS, HYPER, draw(entry, "per step", STEPS, 2, 0)
    value, gradient = value_and_grad(through(entry.make, ADJOINTS[adjoint]))(inputs)
    expected_value, expected = expected_of(entry, inputs)
    assert value == pytest.approx(expected_value, rel=1e-12)
    check(gradient, expected)
    with pytest.raises(AssertionError):
        check((gradient[0], {**gradient[1], "log_penalty": gradient[1]["log_penalty"] * (1 + 1e-6)}), expected)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_forward_mode_and_a_function_that_calls_it(name):
    entry = OPTIMIZERS[name]
    inputs = PARAMS, HYPER, draw(entry, "per array", STEPS, 2, 1)
    f = through(entry.make)
    gradient = grad(f)(inputs)
    check(grad(through(entry.make, loss=wrapped))(inputs), expected_of(entry, inputs)[1])
    tangent = make_jvp(f)(inputs)(gradient)[1]
    assert tangent == pytest.approx(norm(gradient) ** 2, rel=1e-10)
    assert make_jvp(through(entry.make, loss=wrapped))(inputs)(gradient)[1] == pytest.approx(tangent, rel=1e-10)


@pytest.mark.parametrize("name", [name for name, entry in OPTIMIZERS.items() if entry.exact])
def test_reversed_bit_for_bit(name):
    entry = OPTIMIZERS[name]
    inputs = PARAMS, HYPER, draw(entry, "scalar", STEPS, 2, 0)
    value, gradient = value_and_grad(through(entry.exact, hg.Stored()))(inputs)
    for adjoint in (hg.Reversible(), hg.Checkpointed(1)):
        other_value, other = value_and_grad(through(entry.exact, adjoint))(inputs)
        assert other_value == value
        for a, b in zip(flatten(gradient)[0], flatten(other)[0]):
            np.testing.assert_array_equal(a, b)
    check(gradient, expected_of(entry, inputs)[1], 1e-5)


@pytest.mark.parametrize("dtype", [None, np.float32])
def test_a_long_run_reversed(dtype):
    """Reversible raises unless it meets its start; the state is float64, the loss may be float32."""
    loss = hg.losses.from_torch_function(with_torch, dtype=dtype)
    f = lambda lr: objective(
        [hg.train(loss, PARAMS, hg.SGD(lr, 0.9, exact=True), HYPER, steps=400, adjoint=hg.Reversible())]
    )
    plain = lambda lr: objective([hg.train(LOSS, PARAMS, hg.SGD(lr, 0.9), HYPER, steps=400, adjoint=hg.Stored())])
    assert grad(f)(0.1) == pytest.approx(grad(plain)(0.1), rel=1e-6 if dtype is None else 1e-2)


MODES = {
    "plain": lambda f: f,
    "reverse": grad,
    "forward": lambda f: lambda x: make_jvp(f)(x)(x),
}


@pytest.mark.parametrize("names", [("lr",), ("lr", "hyper"), ("params",)])
def test_the_trajectory_does_not_depend_on_the_mode(names):
    at = {"params": PARAMS, "lr": 0.1, "hyper": HYPER}
    seen = {mode: [] for mode in MODES}
    for mode, differentiated in MODES.items():

        def f(x, mode=mode):
            given = {**at, **{name: x[name] for name in names}}
            note = lambda step, params, state, gradient, value: seen[mode].extend([*flatten(gradient)[0], value])
            loss, optimizer = LOSS, hg.SGD(given["lr"])
            return objective([hg.train(loss, given["params"], optimizer, given["hyper"], steps=5, callback=note)])

        differentiated(f)({name: at[name] for name in names})
    assert len(seen["plain"]) == 25
    for mode in ("reverse", "forward"):
        for a, b in zip(seen["plain"], seen[mode], strict=True):
            np.testing.assert_array_equal(a, b)


def test_against_pytorchs_own_graph_through_everything():
    module = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3)).double()
    inputs, labels = torch.as_tensor(X), torch.arange(12) % 3
    loss = hg.losses.from_torch(module, torch.nn.functional.cross_entropy, [(inputs, labels)])
    lr = np.linspace(0.5, 1.0, 6)

    def ours(lr):
        trained = hg.train(loss, loss.params(), hg.SGD(lr, 0.8), steps=6)
        return loss(trained, None, 0)

    rate = torch.tensor(lr, requires_grad=True)
    params = dict(module.named_parameters())
    of = lambda params: torch.nn.functional.cross_entropy(torch.func.functional_call(module, params, (inputs,)), labels)
    velocity = dict.fromkeys(params, 0.0)
    for step in range(6):
        gradient = torch.autograd.grad(of(params), list(params.values()), create_graph=True)
        velocity = {n: 0.8 * velocity[n] - 0.2 * g for n, g in zip(params, gradient)}
        params = {n: p + rate[step] * velocity[n] for n, p in params.items()}
    (expected,) = torch.autograd.grad(of(params), rate)
    for derivative in (grad(ours), jacobian(ours)):
        assert relative_error(derivative(lr), expected.numpy()) < 1e-9


def test_the_checks_of_the_package():
    hg.testing.check_loss(LOSS, PARAMS, HYPER)
    f = lambda x: through(hg.SGD)((PARAMS, x["hyper"], (x["lr"], 0.5)))
    hg.testing.check_hypergradient(f, {"hyper": HYPER, "lr": 0.1})
    sweep = hg.probe.sweep(lambda lr: through(hg.SGD)((PARAMS, HYPER, (lr, 0.5))), [0.1, 0.2], progress=False)
    assert np.isfinite(sweep.gradient).all()


def test_a_wrong_product_is_caught(monkeypatch):
    right = _torch_run.pulled_back

    def wrong(outputs, inputs, cotangents, create_graph=False):
        bars = right(outputs, inputs, cotangents, create_graph)
        return bars if create_graph else [None if bar is None else 1.001 * bar for bar in bars]

    monkeypatch.setattr(_torch_run, "pulled_back", wrong)
    with pytest.raises(hg.testing.LossDerivativeError, match="Hessian-vector product"):
        hg.testing.check_loss(LOSS, PARAMS, HYPER)


def test_what_a_detached_tensor_loses_is_found_by_the_check():
    cut = hg.losses.from_torch_function(lambda w, h, t: (w.detach() * w**2).sum())
    with pytest.raises(hg.testing.LossDerivativeError):
        hg.testing.check_loss(cut, np.array([1.0, 2.0]))


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_linear_losses_and_unused_hyper(mode):
    linear = hg.losses.from_torch_function(lambda w, h, t: (torch.arange(3.0, dtype=w.dtype) * w).sum())
    f = lambda lr: anp.sum(hg.train(linear, np.ones(3), hg.SGD(lr, 0.0), steps=4))
    assert (grad(f)(0.1) if mode == "reverse" else make_jvp(f)(0.1)(1.0)[1]) == pytest.approx(-12.0)
    g = lambda h: anp.sum(hg.train(linear, np.ones(3), hg.SGD(0.1), h, steps=2))
    with pytest.warns(errors.UnusedHyperWarning):
        derivative = grad(g)(0.5) if mode == "reverse" else make_jvp(g)(0.5)(1.0)[1]
    assert derivative == 0.0


def test_float32_all_the_way():
    params = [tuple(w.astype(np.float32) for w in pair) for pair in PARAMS]
    dtypes = []

    def spy(params, hyper, step):
        dtypes.append({w.dtype for pair in params for w in pair} | {hyper["log_penalty"].dtype})
        return with_torch(params, hyper, step)

    f = through(hg.SGD, loss=hg.losses.from_torch_function(spy))
    gradient = grad(f)((params, HYPER, (0.1, 0.5)))
    assert all(found == {torch.float32} for found in dtypes)
    assert gradient[0][0][0].dtype == np.float32 and gradient[1]["targets"].dtype == np.float64
    check(gradient[:2], grad(through(hg.SGD))((PARAMS, HYPER, (0.1, 0.5)))[:2], 1e-4)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_where_gradients_are_switched_off(mode):
    f = through(hg.SGD)
    at = (PARAMS, HYPER, (0.1, 0.5))
    expected = value_and_grad(f)(at)
    with mode():
        value, gradient = value_and_grad(f)(at)
        assert not torch.is_grad_enabled()
    assert value == expected[0]
    check(gradient, expected[1], 1e-15)


def test_threads_give_what_one_gives():
    module = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Dropout(0.3), torch.nn.Linear(5, 2)).double()
    loss = hg.losses.from_torch(module, torch.nn.functional.mse_loss, [(X[:6], Y[:6]), (X[6:], Y[6:])])

    def derivative(number):  # each takes the module's own parameters while others have theirs in it
        params = {name: w + 0.01 * number for name, w in loss.params().items()}
        f = lambda lr: sum(anp.sum(w**2) for w in hg.train(loss, params, hg.SGD(lr), steps=4).values())
        return value_and_grad(f)(0.1)

    expected = [derivative(number) for number in range(24)]
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(derivative, range(24))) == expected
    assert len(set(expected)) == 24


def test_functions_of_boxes_in_both_modes_and_to_second_order():
    A = torch.as_tensor(X[:4])
    f = hg.losses.torch_function(lambda nest, power: torch.sin(A @ nest["w"]) ** power * nest["s"])
    plain = lambda nest, power: anp.sin(anp.dot(X[:4], nest["w"])) ** power * nest["s"]
    at = {"w": np.arange(4.0) / 3, "s": 0.7}
    np.testing.assert_allclose(f(at, 2), plain(at, 2), rtol=1e-13)
    for of in (f, plain):
        assert isinstance(of(at, 2), np.ndarray)
    scalar = lambda of: lambda w: anp.sum(of({"w": w, "s": w[0] ** 2}, 3) ** 2) + anp.sum(anp.cos(w))
    jacobians = [jacobian(lambda w, of=of: of({"w": w, "s": 1.5}, 2))(at["w"]) for of in (f, plain)]
    np.testing.assert_allclose(*jacobians, rtol=1e-12)
    ours, theirs = scalar(f), scalar(plain)
    np.testing.assert_allclose(grad(ours)(at["w"]), grad(theirs)(at["w"]), rtol=1e-12)
    np.testing.assert_allclose(hessian(ours)(at["w"]), hessian(theirs)(at["w"]), rtol=1e-11)
    over = lambda of: make_jvp(grad(of))(at["w"])(at["w"])[1]
    np.testing.assert_allclose(over(ours), over(theirs), rtol=1e-11)
    tangents = [make_jvp(lambda w, of=of: of({"w": w, "s": 1.5}, 2))(at["w"])(at["w"])[1] for of in (f, plain)]
    np.testing.assert_allclose(*tangents, rtol=1e-12)
    hg.testing.check_hypergradient(ours, at["w"])
    single = hg.losses.torch_function(lambda w, s: (w**2).sum() * s)
    value, (by_w, by_s) = value_and_grad(lambda x: single(*x))((np.ones(3, np.float32), 2.0))
    assert value == 6.0 and by_s == 3.0 and by_w.dtype == value.dtype == np.float32 and by_s.dtype == np.float64


@pytest.mark.parametrize("output", ["scalar", "vector"])
def test_a_first_derivative_does_not_compute_the_value_again(output):
    calls = []

    def f(w):
        calls.append(1)
        return torch.sin(w) ** 3 if output == "vector" else (torch.sin(w) ** 3).sum()

    ours = lambda w: anp.sum(hg.losses.torch_function(f)(w) ** 2)
    of = (lambda w: anp.sin(w) ** 3) if output == "vector" else (lambda w: anp.sum(anp.sin(w) ** 3))
    plain = lambda w: anp.sum(of(w) ** 2)
    at = np.arange(1.0, 4.0)
    np.testing.assert_allclose(grad(ours)(at), grad(plain)(at), rtol=1e-13)
    assert len(calls) == 1
    np.testing.assert_allclose(make_jvp(ours)(at)(at)[1], make_jvp(plain)(at)(at)[1], rtol=1e-13)
    assert len(calls) == 2
    pull, _ = make_vjp(ours)(at)
    np.testing.assert_array_equal(pull(1.0), pull(1.0))  # what was recorded is let go after the first


def test_a_gradient_is_its_own_memory():
    """That of a sum is one number to PyTorch, spread out."""
    found = grad(hg.losses.torch_function(lambda w: w.sum()))(np.ones(3))
    found[0] = 5.0
    assert found.tolist() == [5.0, 1.0, 1.0]


def test_an_outer_function_mixes_autograd_and_pytorch():
    valid = hg.losses.torch_function(lambda params: torch.tanh(torch.as_tensor(X) @ params[0][0]).square().mean())

    def outer(x):
        trained = hg.train(LOSS, PARAMS, hg.SGD(anp.exp(x["log_lr"])), HYPER, steps=4)
        return valid(trained) + 0.1 * anp.sum(trained[1][0] ** 2)

    hg.testing.check_hypergradient(outer, {"log_lr": -2.0})


def test_bytes_kept_are_those_of_the_graph():
    data = torch.as_tensor(np.random.default_rng(1).standard_normal((200, 500)))
    loss = hg.losses.from_torch_function(lambda w, h, t: torch.tanh(data @ w).square().sum())
    start = np.full((500, 4), 0.1)
    inputs = hg.losses._Inputs(flatten(start)[1], None, [], False)
    linear = _torch_run.LossOfTorch(loss, inputs).linearize([start], 0, [np.empty_like(start)], None)
    hidden, weights = 200 * 4 * 8, 500 * 4 * 8
    assert 2 * hidden + weights <= linear.nbytes() <= 8 * hidden + 2 * weights < data.nbytes
    plan = hg.plan(loss, start, hg.SGD(0.1), steps=100, memory_budget="1GB")
    assert plan.adjoint == hg.Stored() and 100 * linear.nbytes() < plan.memory < 200 * linear.nbytes()


def test_objects_are_frozen_and_can_be_pickled():
    with pytest.raises(AttributeError, match="cannot be"):
        LOSS.function = len
    again = pickle.loads(pickle.dumps(LOSS))
    assert again(PARAMS, HYPER, 1) == LOSS(PARAMS, HYPER, 1) == pytest.approx(with_autograd(PARAMS, HYPER, 1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that PyTorch can use")
def test_on_a_gpu():
    def f(device):
        def on(params, hyper, step):
            assert {w.device.type for pair in params for w in pair} == {device}
            x = torch.as_tensor(X, device=device)
            return sum((torch.tanh(x @ params[0][0]) ** 2).mean() * (w**2).sum() for pair in params for w in pair)

        loss = hg.losses.from_torch_function(on, device=device)
        return lambda lr: objective([hg.train(loss, PARAMS, hg.SGD(lr), steps=5)])

    assert grad(f("cuda"))(0.1) == pytest.approx(grad(f("cpu"))(0.1), rel=1e-9)


def test_random_numbers_that_begin_later_are_those_of_their_step():
    """Without any at the first step they are not looked for, until the global generator moves; it is moved back."""

    def loss(params, hyper, step):
        noise = torch.randn(3) if step >= 2 else torch.zeros(3, dtype=torch.float64)
        return torch.sum((params + 0.1 * noise) ** 4)

    def from_the_start(params, hyper, step):
        noise = torch.randn(3)
        return torch.sum((params + 0.1 * (noise if step >= 2 else 0.0 * noise)) ** 4)

    run, always = (hg.losses.from_torch_function(f, seed=4) for f in (loss, from_the_start))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    final = lambda lr, of, adjoint: anp.sum(hg.train(of, np.ones(3), hg.SGD(lr, 0.9), steps=6, adjoint=adjoint) ** 2)
    found = [
        value_and_grad(final)(0.05, of, adjoint)
        for of in (run, always)
        for adjoint in (hg.Stored(), hg.Checkpointed(2))
    ]
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_allclose(found, [found[0]] * 4, rtol=1e-12)


def test_a_step_is_computed_again_in_the_first_run_of_so_many_steps(monkeypatch):
    seen, compared = [], Replay.compared_product
    monkeypatch.setattr(Replay, "compared_product", lambda *given: seen.append(given[2]) or compared(*given))
    loss = hg.losses.from_torch_function(lambda w, h, t: torch.tanh(w).square().sum())

    def run(steps, adjoint):
        grad(lambda lr: anp.sum(hg.train(loss, np.ones(4), hg.SGD(lr), steps=steps, adjoint=adjoint) ** 2))(0.1)
        return len(seen)

    stored = hg.Stored()
    assert [run(steps, stored) for steps in (6, 6, 4, 7, 7)] == [1, 1, 1, 2, 2]
    assert [run(6, hg.Checkpointed(2)) for _ in range(2)] == [3, 4]
    of_any = hg.losses.from_torch_function(lambda w, h, t: torch.tanh(w["w"] if isinstance(w, dict) else w).sum())

    def inside(lr):
        return anp.sum(hg.train(of_any, {"w": np.ones(4)}, hg.SGD(lr), steps=6, adjoint=stored)["w"])

    grad(lambda lr: anp.sum(hg.train(of_any, np.ones(4), hg.SGD(lr), steps=6, adjoint=stored)))(0.1)
    assert len(seen) == 5
    for _ in range(2):  # other nests are another matter
        grad(inside)(0.1)
        assert len(seen) == 6


def test_an_impure_loss_is_told_in_every_run():
    draw = np.random.default_rng(0)
    loss = hg.losses.from_torch_function(lambda w, h, t: (w * draw.standard_normal()).square().sum())
    f = lambda lr: anp.sum(hg.train(loss, np.ones(4), hg.SGD(lr), steps=6, adjoint=hg.Stored()) ** 2)
    for _ in range(3):
        with pytest.raises(errors.ImpureLossError):
            grad(f)(0.1)
