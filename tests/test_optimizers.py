"""What an optimizer promises: derivatives where the second moment is 0, exact formats, and steps of subclasses."""

import dataclasses
import inspect
from dataclasses import dataclass

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, make_jvp
from pages import ROOT
from problems import classifier

import hypergrad as hg
from hypergrad import errors
from hypergrad.nests import flatten

MODEL, LOSS, PARAMS, X, T = classifier(seed=3)


@pytest.mark.parametrize("make", [hg.RMSProp, hg.Adam, lambda lr: hg.Adam(lr, exact=True)])
def test_gradients_are_finite_and_right_where_the_second_moment_is_zero(make):
    """One parameter never gets a gradient; its update is a smooth function of the gradient even so."""

    def loss(w, hyper, step):
        return anp.sum((w[:2] - 1.0) ** 2) + hyper[0] * w[2] ** 2

    def f(inputs):
        w = hg.train(loss, inputs["w"], make(inputs["lr"]), inputs["hyper"], steps=5, adjoint=hg.Stored())
        return anp.sum(w**2) + w[2]

    inputs = {"w": np.array([0.3, -0.2, 0.0]), "lr": 0.05, "hyper": np.array([0.5])}
    gradient = grad(f)(inputs)
    assert all(np.isfinite(leaf).all() for leaf in flatten(gradient)[0])
    assert gradient["lr"] == pytest.approx((f({**inputs, "lr": 0.05 + 1e-6}) - f({**inputs, "lr": 0.05 - 1e-6})) / 2e-6)
    assert gradient["hyper"][0] == 0.0


def test_adam_at_zero_gradient_has_the_slope_of_its_update():
    """One step from g = 0: w⁺ = w − α g / (|g| + ε) to first order, so dw⁺/dg = −α / ε."""
    slope = grad(
        lambda c: anp.sum(hg.train(lambda w, c, t: c * anp.sum(w), np.ones(1), hg.Adam(0.1, eps=0.5), c, steps=1))
    )
    assert slope(0.0) == pytest.approx(-0.1 / 0.5, rel=1e-12)


def test_an_optimizer_without_its_functions_says_so():
    @dataclass(frozen=True)
    class Empty(hg.Optimizer):
        lr: float

    with pytest.raises(NotImplementedError, match=r"Empty needs init\(w\)"):
        hg.train(LOSS, PARAMS, Empty(0.1), steps=2)


@pytest.mark.parametrize(
    ("loss", "optimizer", "steps"),
    [
        (lambda w, h, t: 9000.0 * anp.sum(w), hg.SGD(1e-4, 0.9, exact=True), 30),
        (lambda w, h, t: 2500.0 * anp.sum((w + 20.0) ** 2), hg.SGD(1e-5, 0.99, exact=True), 200),
        (lambda w, h, t: 20.0 * anp.sum(w), hg.Adam(1e-3, exact=True), 600),
    ],
)
def test_a_state_that_outgrows_the_format_is_noticed(loss, optimizer, steps):
    """Its increments fit, but they add up: it must not wrap around, which reversing would not notice."""
    with pytest.raises(errors.FixedPointOverflowError, match=r"a state of parameter params|a gradient for"):
        hg.train(loss, np.zeros(2), optimizer, steps=steps)


def test_a_subclass_with_another_step_has_its_own_derivative():
    """Weight decay on top of SGD, the natural way."""

    @dataclass(frozen=True)
    class DecayedSGD(hg.SGD):
        decay: float = 0.1

        def step(self, w, s, g, h, step):
            after, s = super().step(w, s, g, h, step)
            return after - h.lr * h.decay * w, s

    loss = lambda w, h, t: 0.5 * anp.sum((w - 1.0) ** 2)
    f = lambda h: anp.sum(hg.train(loss, np.array([2.0, -1.0]), DecayedSGD(*h["sgd"], decay=h["decay"]), steps=5) ** 2)
    hg.testing.check_hypergradient(f, {"sgd": [0.3, 0.5], "decay": 0.1})
    with pytest.raises(errors.ArgumentError, match=r"exact=True is for SGD and Adam.*DecayedSGD has its own step"):
        hg.train(loss, np.ones(2), DecayedSGD(0.1, exact=True), steps=2)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", ["displacement", "increments", "decays"])
def test_an_update_from_a_mixin_has_its_own_derivative(name, exact):
    changed = {
        "displacement": lambda self, s, g, h, step: h.lr * s[0] ** 3,
        "increments": lambda self, g, h: (-h.lr * g**3,),
        "decays": ("lr",),
    }
    Mixin = type("Mixin", (), {name: changed[name]})
    Mixed = type("Mixed", (Mixin, hg.SGD), {})
    loss = lambda w, h, t: 0.5 * anp.sum((w - 1.0) ** 2)
    w = np.array([2.0, -1.0])
    f = lambda h: anp.sum(hg.train(loss, w, Mixed(*h, exact=exact), steps=5, adjoint=hg.Stored()) ** 2)
    hg.testing.check_hypergradient(f, (0.3, 0.5))


def test_parameters_given_to_an_optimizer():
    for make in (
        lambda: hg.SGD(PARAMS, lr=0.1),
        lambda: hg.Adam(PARAMS, lr=0.1),
        lambda: hg.SGD(0.1, 0.9, 0.0, False, False, 3),
    ):
        with pytest.raises(
            errors.ArgumentError, match=r"takes only its hyperparameters.*hypergrad\.train\(loss, params"
        ):
            make()


def test_a_loss_that_itself_trains_is_trained_plainly():
    A = np.diag([1.0, 2.0, 3.0])
    inner = lambda w, h, t: 0.5 * anp.dot(w, anp.dot(A, w))
    maml = lambda w, h, t: anp.sum((hg.train(inner, w, hg.SGD(0.1, 0.0), steps=3) - 1.0) ** 2)
    shrink = (1.0 - 0.1 * np.diag(A)) ** 3
    w = np.ones(3)
    for _ in range(5):
        w = w - 0.2 * shrink * (shrink * w - 1.0)
    np.testing.assert_allclose(hg.train(maml, np.ones(3), hg.SGD(0.1, 0.0), steps=5), w, rtol=1e-12)
    outer = lambda lr: anp.sum(hg.train(maml, np.ones(3), hg.SGD(lr, 0.0), steps=3))
    for attempt in (grad(outer), lambda lr: make_jvp(outer)(lr)(1.0)):
        with pytest.raises(errors.DifferentiationError, match="derivatives of derivatives"):
            attempt(0.1)


@pytest.mark.parametrize("kind", [hg.SGD, hg.Adam, hg.RMSProp, hg.Clipped, hg.Accumulated])
def test_the_signature_is_that_of_the_hyperparameters(kind):
    shown = inspect.signature(kind).parameters
    assert list(shown) == [field.name for field in dataclasses.fields(kind)]
    assert all(parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in shown.values())


def test_the_signature_of_an_optimizer_of_ones_own():
    class Mine(hg.SGD):
        def __init__(self, lr, speed=2.0): ...

    assert str(inspect.signature(Mine)) == "(lr, speed=2.0)"
    assert inspect.signature(hg.SGD).parameters["momentum"].default == 0.9
    with pytest.raises(TypeError, match="momentm"):
        hg.SGD(0.1, momentm=0.5)


def test_type_checkers_see_the_hyperparameters(tmp_path):
    api = pytest.importorskip("mypy.api")
    used = tmp_path / "used.py"
    used.write_text(
        "import hypergrad as hg\n\nreveal_type(hg.SGD)\nreveal_type(hg.Adam(0.1))\nhg.SGD(0.1, momentm=0.5)\n"
    )
    cache = ["--cache-dir", str(ROOT / ".mypy_cache")]
    told, errors, _ = api.run([str(used), "--follow-imports=silent", "--ignore-missing-imports", *cache])
    assert not errors
    assert "def (lr: Any, momentum: Any =, weight_decay: Any =, nesterov: bool =, exact: bool =) ->" in told
    assert 'Revealed type is "hypergrad.optimizers.adaptive.Adam"' in told
    assert 'Unexpected keyword argument "momentm" for "SGD"' in told
