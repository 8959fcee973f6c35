"""Every bad input gets a named error with the value, the place and the way out, before any training."""

from dataclasses import dataclass

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, make_jvp
from problems import classifier, written

import hypergrad as hg
from hypergrad import errors

MODEL, LOSS, PARAMS, X, T = classifier()


def forbidden_loss(params, hyper, step):
    raise AssertionError("training began")


def train(params=PARAMS, optimizer=None, hyper=None, *, loss=forbidden_loss, steps=5, **options):
    return hg.train(loss, params, hg.SGD(0.1) if optimizer is None else optimizer, hyper, steps=steps, **options)


@pytest.mark.parametrize(
    ("optimizer", "error", "message"),
    [
        (hg.SGD(np.ones(4)), errors.ScheduleError, r"SGD\.lr has shape \(4,\).*5 steps.*\(5,\)"),
        (hg.SGD([0.1, np.ones(6), 0.1]), errors.ScheduleError, r"SGD\.lr\[1\] has shape \(6,\)"),
        (hg.SGD(0.1, np.ones((5, 1)) / 2), errors.ScheduleError, r"SGD\.momentum has shape \(5, 1\)"),
        (hg.SGD([0.1] * 5), errors.NestError, r"SGD\.lr is a list of length 5.*list of length 3.*np\.array"),
        (hg.SGD({"a": 0.1}), errors.NestError, r"SGD\.lr is a dict with keys \['a'\]"),
        (
            hg.SGD([(0.1, 0.1), (0.1, 0.1), (0.1, [0.1])]),
            errors.NestError,
            r"SGD\.lr\[2\]\[1\] is a list.*single array",
        ),
        (hg.SGD(-0.1), errors.ScheduleError, r"SGD\.lr must lie in \[0, inf\), got -0\.1; .*np\.exp"),
        (hg.SGD(np.array([0.1, 0.1, np.nan, 0.1, 0.1])), errors.ScheduleError, r"got nan at step 2"),
        (hg.SGD(np.inf), errors.ScheduleError, r"SGD\.lr must lie in .* got inf"),
        (hg.SGD(0.1, 1.0), errors.ScheduleError, r"SGD\.momentum must lie in \[0, 1\), got 1\.0"),
        (hg.SGD(0.1, [0.5, 0.5, -0.1]), errors.ScheduleError, r"SGD\.momentum\[2\] must lie in"),
        (hg.SGD("fast"), errors.NestError, r"SGD\.lr is a builtins\.str"),
        (hg.SGD(0.1 + 0j), errors.NestError, r"SGD\.lr is a builtins\.complex"),
        (hg.SGD(True), errors.NestError, r"SGD\.lr is"),
        (0.1, errors.ArgumentError, r"optimizer must be .*SGD.*got 0\.1"),
    ],
)
def test_schedules(optimizer, error, message):
    with pytest.raises(error, match=message):
        train(optimizer=optimizer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": -1}, r"steps must be an integer ≥ 0, got -1"),
        ({"steps": 2.0}, r"steps must be an integer ≥ 0, got 2\.0"),
        ({"steps": True}, r"steps must be an integer"),
        ({"steps": "5"}, r"steps must be an integer"),
        ({"save_at": [0, 6]}, r"save_at has the step count 6, outside 0\.\.5"),
        ({"save_at": [-1, 5]}, r"save_at has the step count -1"),
        ({"save_at": [3, 1]}, r"save_at must increase.*got 1 after 3"),
        ({"save_at": [1, 1]}, r"save_at must increase.*got 1 after 1"),
        ({"save_at": []}, r"save_at is empty"),
        ({"save_at": [0.5]}, r"save_at must be a list of integer"),
        ({"save_at": 3}, r"save_at must be a list of integer"),
        ({"adjoint": "stored"}, r"adjoint must be .*Stored\(\).*got 'stored'"),
        ({"adjoint": hg.Stored}, r"adjoint must be .*Stored\(\)"),
        ({"loss": 3.0}, r"loss must be a function"),
    ],
)
def test_arguments(options, message):
    with pytest.raises(errors.ArgumentError, match=message):
        train(**options)


class Tensor:
    """Looks like another framework's tensor."""

    def __array__(self, dtype=None, copy=None):
        return np.ones(3)


@dataclass
class Weights:
    W: np.ndarray


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"W": np.ones(3, int)}, r"params\['W'\] has dtype int64; convert it with \.astype\(float\)"),
        ([np.ones(3), 2], r"params\[1\] is the integer 2; write it as a float: 2\.0"),
        (np.ones(3, complex), r"params has dtype complex128"),
        (np.array([np.ones(2), None], dtype=object), r"params has dtype object"),
        (np.ones(3, np.float16), r"params has dtype float16"),
        ([np.ones((0, 3))], r"params\[0\] is empty \(shape \(0, 3\)\)"),
        ([], r"params has no arrays"),
        ({"W": [np.array([[1.0, np.nan]])]}, r"params\['W'\]\[0\] is not finite.*nan at index \(0, 1\)"),
        ([Tensor()], r"params\[0\] is a test_bad_input\.Tensor; convert it first with numpy\.asarray"),
        (Weights(np.ones(3)), r"params is a test_bad_input\.Weights: nests hold dicts, lists and tuples"),
        (None, r"params is a builtins\.NoneType"),
    ],
)
def test_params(params, message):
    with pytest.raises(errors.NestError, match=message):
        train(params)


@pytest.mark.parametrize(
    ("hyper", "message"),
    [
        ({"l2": 3}, r"hyper\['l2'\] is the integer 3"),
        ({"l2": Tensor()}, r"hyper\['l2'\] is a test_bad_input\.Tensor"),
        ({"l2": np.nan}, r"hyper\['l2'\] holds NaN"),
        (Weights(np.ones(3)), r"hyper is a test_bad_input\.Weights"),
    ],
)
def test_hyper(hyper, message):
    with pytest.raises(errors.NestError, match=message):
        train(hyper=hyper)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda p, h, t: p[0][0], r"the loss has shape \(6, 5\) at step 0; it must be a scalar"),
        (lambda p, h, t: anp.sum(p[0][0], keepdims=True), r"shape \(1, 1\)"),
        (lambda p, h, t: 1.0, r"does not depend on params at step 0 \(it returned 1\.0\)"),
        (lambda p, h, t: None, r"does not depend on params"),
    ],
)
@pytest.mark.parametrize("differentiate", [False, True])
def test_losses(loss, message, differentiate):
    seen = []

    def run(lr):
        return anp.sum(train(loss=loss, optimizer=hg.SGD(lr), callback=lambda *a: seen.append(a))[0][0])

    with pytest.raises(errors.LossError, match=message):
        (grad(run) if differentiate else run)(0.1)
    assert not seen


@pytest.mark.parametrize("differentiate", [False, True])
def test_a_complex_loss(differentiate):
    run = lambda lr: anp.sum(train(loss=lambda p, h, t: 1j * anp.sum(p[0][0] ** 2), optimizer=hg.SGD(lr))[0][0])
    with pytest.raises(errors.LossError, match="the loss is complex at step 0"):
        (grad(run) if differentiate else run)(0.1)


def test_hyper_that_the_loss_does_not_use():
    """It would get a hypergradient of 0 without a word."""
    f = lambda h: MODEL.loss(train(loss=LOSS, hyper={"l2": h}), X, T)
    with pytest.warns(errors.UnusedHyperWarning, match="does not depend on it"):
        assert grad(f)(0.1) == 0.0
    with pytest.warns(errors.UnusedHyperWarning):
        make_jvp(f)(0.1)(1.0)


def test_a_tangent_of_the_wrong_shape():
    f = lambda w: anp.sum(train(w, loss=lambda w, h, t: anp.sum(w**2)))
    for tangent in (np.ones((2, 3)), 1.0):
        with pytest.raises(errors.ArgumentError, match=r"tangent given to make_jvp has shape"):
            make_jvp(f)(np.ones(3))(tangent)


class WrongGradient:
    def __init__(self, gradient):
        self.value = gradient

    def __call__(self, params, hyper, step):
        return anp.sum(params[0] ** 2)

    def gradient(self, params, hyper, step):
        return self.value

    def gradient_with_hvp(self, params, hyper, step):
        return self.value, lambda direction: self.value


@pytest.mark.parametrize(
    ("gradient", "message"),
    [
        ({"w": np.ones(2)}, r"own gradient at step 0 is not a nest like params: gradient is a dict"),
        (np.ones(2), r"own gradient at step 0 is not a nest like params: it has fewer arrays"),
        ([np.ones(3)], r"own gradient\[0\] has shape \(3,\) at step 0, its parameter \(2,\)"),
    ],
)
def test_own_gradient_of_the_wrong_shape(gradient, message):
    with pytest.raises(errors.LossError, match=message):
        train([np.ones(2), np.ones(2)][: 1 + isinstance(gradient, np.ndarray)], loss=written(WrongGradient(gradient)))


class Boxed:
    """Has its own gradient, into which a value being differentiated slips."""

    def __init__(self, h):
        self.h = h

    def __call__(self, params, hyper, step):
        return LOSS(params, None, step) * self.h

    def gradient(self, params, hyper, step):
        return [(W * self.h, b * self.h) for W, b in MODEL.gradient(params, *LOSS.batch(step))]

    def gradient_with_hvp(self, params, hyper, step):
        return self.gradient(params, hyper, step), lambda direction: direction


def by_literal(run):
    """Ways to bring a value in that would slip past a derivative."""
    return {
        "closure": lambda h: run(loss=lambda p, _, t: LOSS(p, None, t) * h),
        "closure beside a traced input": lambda h: run(loss=lambda p, _, t: LOSS(p, None, t) * h, optimizer=hg.SGD(h)),
        "own gradient": lambda h: run(loss=written(Boxed(h))),
        "own gradient beside a traced input": lambda h: run(loss=written(Boxed(h)), optimizer=hg.SGD(h)),
        "object array as hyper": lambda h: run(hyper={"weights": np.array([h, 1.0], dtype=object)}),
        "object array as schedule": lambda h: run(optimizer=hg.SGD(np.array([h] * 5, dtype=object))),
        "data of a minibatch loss": lambda h: run(loss=hg.nn.MinibatchLoss(MODEL, X * h, T, 7)),
    }


@pytest.mark.parametrize("way", by_literal(train))
@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_values_that_would_bypass_differentiation(way, mode):
    def objective(h):
        return MODEL.loss(by_literal(train)[way](h), X, T)

    with pytest.raises(errors.DifferentiationError, match=r"being differentiated"):
        grad(objective)(0.5) if mode == "reverse" else make_jvp(objective)(0.5)(1.0)


def test_a_dict_literal_of_traced_values_is_differentiated():
    def objective(h):
        loss = lambda p, hyper, t: LOSS(p, None, t) * hyper["weight"][0]
        return MODEL.loss(train(loss=loss, hyper={"weight": [h]}), X, T)

    slope = (objective(0.5 + 1e-5) - objective(0.5 - 1e-5)) / 2e-5
    assert grad(objective)(0.5) == pytest.approx(slope, rel=1e-6)
    assert make_jvp(objective)(0.5)(1.0)[1] == pytest.approx(slope, rel=1e-6)


def test_second_derivatives_through_training_are_refused():
    f = lambda lr: MODEL.loss(train(loss=LOSS, optimizer=hg.SGD(lr)), X, T)
    for second in (grad(grad(f)), lambda x: make_jvp(grad(f))(x)(1.0), grad(lambda x: make_jvp(f)(x)(1.0)[1])):
        with pytest.raises(errors.DifferentiationError, match="derivatives of derivatives"):
            second(0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hg.nn.MinibatchLoss(MODEL, X, T[:-1], 7), r"X has shape \(20, 6\) and T \(19, 3\)"),
        (lambda: hg.nn.MinibatchLoss(MODEL, X, T, 0), r"batch_size must be an integer ≥ 1, got 0"),
        (lambda: hg.nn.MinibatchLoss(MODEL, X, T, 21), r"batch_size is 21, but there are only 20 rows"),
        (lambda: hg.nn.MinibatchLoss(MODEL, X, T, 2.5), r"batch_size must be an integer"),
        (lambda: hg.nn.MinibatchLoss(MODEL, X[:, :5], T, 7), r"X has shape \(20, 5\).*\(20, 6\)"),
        (lambda: hg.nn.MinibatchLoss(MODEL, X, np.ones(20), 7), r"T has shape \(20,\) and dtype float64.*or integer"),
        (lambda: hg.nn.MinibatchLoss(MODEL, X, np.arange(20), 7), r"T\[3\] is 3, but there are 3 classes: 0 … 2"),
        (lambda: hg.nn.MinibatchLoss(MODEL, X[:0], T[:0]), r"X has no rows"),
        (lambda: MODEL.loss(PARAMS, X, T[:1]), r"T has shape \(1, 3\), but .* needs \(20, 3\)"),
        (lambda: MODEL.loss(PARAMS, X, np.ones(20)), r"T has shape \(20,\).*may also be integer classes"),
        (lambda: MODEL.loss(PARAMS, X, np.argmax(T, 1)[:5]), r"T has shape \(5, 3\), but .* needs \(20, 3\)"),
        (lambda: MODEL.loss(PARAMS, X, -np.ones(20, int)), r"T\[0\] is -1, but there are 3 classes"),
        (lambda: MODEL.error_rate(PARAMS, X, np.ones(20)), r"T has shape \(20,\)"),
        (lambda: MODEL.predict(PARAMS, X[0]), r"X has shape \(6,\), but .* needs \(n, 6\)"),
        (lambda: MODEL.loss(PARAMS[:2], X, T), r"params of MLP.* must be a list of \(W, b\) of shapes"),
        (lambda: MODEL.gradient(PARAMS[1:], X, T), r"params of MLP.* must be a list of \(W, b\) of shapes"),
        (lambda: hg.nn.MLP(5), r"sizes must name at least"),
        (lambda: hg.nn.MLP([5, 2], ["tanh"]), r"activation must be one of"),
        (lambda: hg.probe.sweep(lambda x: {"a": x}, [1.0], progress=False), r"outside an array"),
        (lambda: hg.nn.MLP([5]), r"sizes must name at least the input and the output"),
        (lambda: hg.nn.MLP([5, 0, 2]), r"sizes\[1\] must be an integer ≥ 1, got 0"),
        (lambda: hg.nn.MLP([5, 2], "sine"), r"activation must be one of tanh, relu, gelu, .*, got 'sine'"),
        (lambda: hg.init.scaled_normal(MODEL.shapes, [0.1, 0.2], 0), r"scale is a list of length 2"),
        (lambda: hg.init.scaled_normal(MODEL.shapes, np.inf, 0), r"scale must be a finite number, got inf"),
        (lambda: hg.init.scaled_normal(MODEL.shapes, np.ones(3), 0), r"scale must be a finite number"),
        (lambda: hg.init.scaled_normal([(2.5, 3)], 0.1, 0), r"shapes\[0\]\[0\] must be a tuple of integers"),
        (lambda: hg.init.scaled_normal(MODEL.shapes, 0.1, -1), r"seed must be an integer ≥ 0, got -1"),
        (lambda: hg.init.scaled_normal(MODEL.shapes, 0.1, 0, dtype=int), r"dtype must be float64 or float32"),
        (lambda: hg.probe.sweep(anp.exp, []), r"values must be a non-empty, finite array"),
        (lambda: hg.probe.sweep(anp.exp, [np.nan]), r"values must be"),
        (lambda: hg.probe.sweep(lambda x: 3.0, [1.0], progress=False), r"f\(1\.0\) does not depend on its argument"),
    ],
)
def test_nets_data_and_probes(make, message):
    with pytest.raises((errors.ArgumentError, errors.NestError), match=message):
        make()


def test_an_optimizer_of_pytorch_is_given_by_name_and_settings():
    with pytest.raises(errors.ArgumentError, match=r'a dict; give its name and settings: from_torch\("AdamW", …\)'):
        hg.optimizers.from_torch({"lr": 0.1})
    with pytest.raises(errors.ArgumentError, match=r"from_optax\("):
        hg.optimizers.from_optax(len)


def test_a_descent_on_a_problem_is_told_of_its_function():
    class Holder:
        f = staticmethod(lambda hypers, seed: 0.0)

    with pytest.raises(errors.ArgumentError, match=r"of a problem give its function, problem\.f"):
        hg.meta.minimize(Holder(), 0.1, steps=1, progress=False)
    with pytest.raises(errors.ArgumentError, match=r"got a float$"):
        hg.meta.minimize(0.5, 0.1, steps=1, progress=False)
