"""Growth rates and stability bounds against closed forms."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, hessian
from problems import by_autograd, classifier, penalised

import hypergrad as hg
from hypergrad import errors
from hypergrad.chaos import lyapunov, max_lr, sharpness
from hypergrad.engine.dynamics import State
from hypergrad.nests import flatten, unflatten
from hypergrad.problem import check_problem

CURVATURES = np.array([0.5, 2.0, 7.0])


def quadratic(w, hyper, step):
    return 0.5 * anp.sum(CURVATURES * w**2)


def step_matrix(curvature, lr, momentum):
    """One step of SGD with momentum on ½ h w², on (w, v)."""
    pull = (1.0 - momentum) * curvature
    return np.array([[1.0 - lr * pull, lr * momentum], [-pull, momentum]])


@pytest.mark.parametrize(("lr", "momentum"), [(0.2, 0.9), (4.0, 0.9), (0.05, 0.3), (1.0, 0.5)])
def test_exponents_of_the_momentum_recursion(lr, momentum):
    """Over many steps they are the logarithms of the moduli of the eigenvalues of its steps."""
    eigenvalues = np.concatenate([np.linalg.eigvals(step_matrix(h, lr, momentum)) for h in CURVATURES])
    expected = np.sort(np.log(np.abs(eigenvalues)))[::-1]
    result = lyapunov(quadratic, np.zeros(3), hg.SGD(lr, momentum), steps=600, directions=6)
    np.testing.assert_allclose(result.exponents, expected, rtol=0.02, atol=0.015)
    np.testing.assert_allclose(result.running[-1], result.exponents)
    np.testing.assert_allclose(result.growth.mean(axis=0), result.exponents, rtol=1e-9)


def test_all_exponents_sum_to_the_loss_of_volume():
    """A step of momentum multiplies volumes by β for each parameter, whatever the loss."""
    loss = lambda w, hyper, step: anp.sum(w**4) + anp.sum(anp.sin(3.0 * w)) * anp.sum(w)
    result = lyapunov(loss, np.array([0.3, -0.2]), hg.SGD(0.3, 0.7), steps=20, directions=4)
    np.testing.assert_allclose(result.growth.sum(axis=1), 2 * np.log(0.7), rtol=1e-9)


def test_the_logistic_map():
    """A step of descent on it is w ← 4 w (1 − w), whose exponent is log 2."""
    loss = lambda w, hyper, step: anp.sum(w**2 / 2 - 2 * w**2 + 4 * w**3 / 3)
    result = lyapunov(loss, np.array([0.3]), hg.SGD(1.0, 0.0), steps=2_000)
    assert result.exponents[0] == pytest.approx(np.log(2.0), rel=0.03)
    two = lyapunov(loss, np.array([0.3]), hg.SGD(1.0, 0.0), steps=50, directions=2)
    assert two.exponents[1] < -20, "momentum 0 forgets the velocity"


def test_what_overflows_as_a_tangent_has_an_exponent():
    """At rest on a quadratic's top the tangent grows by 10¹⁰⁰⁰ and the parameters stay."""
    result = lyapunov(quadratic, np.zeros(3), hg.SGD(101.0 / 7.0, 0.0), steps=500)
    assert result.exponents[0] == pytest.approx(np.log(100.0), rel=2e-3)
    assert np.isfinite(result.growth).all()


def test_a_loss_that_saturates_gives_a_reason():
    """A softmax and a logarithm after it: the square of a probability of e⁻⁴⁰⁰ is 0 within rounding."""

    def saturating(w, hyper, step):
        odds = anp.exp(w) / anp.sum(anp.exp(w))
        return anp.log(odds[0])

    with pytest.warns(errors.NonFiniteGradientWarning, match="not finite at step"):
        found = lyapunov(saturating, np.array([0.0, 0.0]), hg.SGD(40.0, 0.0), steps=8)
    stopped = int(np.argmax(np.isnan(found.growth[:, 0])))
    assert np.isnan(found.exponents[0]) and 0 < stopped < 8 and np.isfinite(found.growth[0]).all()
    assert f"not finite at step {stopped}: no exponents" in found.reason
    assert f"over the {stopped} steps before λ is {found.running[stopped - 1, 0]:.3g}" in found.reason


def test_a_direction_that_is_lost_is_told_and_others_need_no_reason():
    """The first step of Newton's method on ½ w² ends at 0 from everywhere."""
    bowl = lambda w, hyper, step: 0.5 * anp.sum(w**2)
    found = lyapunov(bowl, np.ones(2), hg.SGD(1.0, 0.0), steps=2)
    assert found.exponents[0] == -np.inf and "takes 1 of 1 direction to 0" in found.reason
    assert lyapunov(quadratic, np.zeros(3), hg.SGD(0.2, 0.9), steps=5).reason == ""


@pytest.mark.parametrize("optimizer", [hg.SGD(0.3, 0.8), hg.Adam(0.05), hg.RMSProp(0.05)])
def test_all_exponents_sum_to_the_determinant_by_differences(optimizer):
    """Of every step's Jacobian, in parameters and optimizer state together."""
    loss = lambda w, hyper, step: anp.sum(anp.cos(w * (step + 1.0))) + w[0] * w[1] ** 2
    start = np.array([0.4, -0.3])
    dynamics = check_problem(loss, start, optimizer, None, 5).dynamics()
    slots = len(optimizer.decays)
    pack = lambda state: np.concatenate([state.params.arrays[0], *(s.arrays[0] for s in state.slots)])

    def advance(x, step):
        vectors = [dynamics.layout.of([part]) for part in np.split(x, slots + 1)]
        return pack(dynamics.step(State(vectors[0], vectors[1:]), step))

    x = pack(dynamics.start())
    result = lyapunov(loss, start, optimizer, steps=5, directions=x.size)
    for step in range(5):
        if step > 0:  # before, the second moments are 0: their roots have no slope there
            shifts = 1e-6 * np.eye(x.size)
            jacobian = [(advance(x + d, step) - advance(x - d, step)) / 2e-6 for d in shifts]
            expected = np.linalg.slogdet(np.array(jacobian)).logabsdet
            assert result.growth[step].sum() == pytest.approx(expected, rel=1e-4)
        x = advance(x, step)


@pytest.mark.parametrize("optimizer", [hg.SGD(0.3, 0.8), hg.SGD(0.3, 0.8, exact=True)])
def test_own_products_and_exact_arithmetic_change_nothing(optimizer):
    _, loss, params, _, _ = classifier()
    result = lyapunov(loss, params, optimizer, steps=6, directions=2, seed=3)
    other = lyapunov(by_autograd(loss), params, hg.SGD(0.3, 0.8), steps=6, directions=2, seed=3)
    np.testing.assert_allclose(result.growth, other.growth, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("own", [True, False])
def test_sharpness_is_the_largest_eigenvalue(own):
    _, loss, params, _, _ = classifier()
    leaves, structure = flatten(params)
    splits = np.cumsum([leaf.size for leaf in leaves])[:-1]

    def of_vector(vector):
        parts = [p.reshape(leaf.shape) for p, leaf in zip(anp.split(vector, splits), leaves)]
        return loss(unflatten(structure, parts), None, 2)

    matrix = hessian(of_vector)(np.concatenate([leaf.ravel() for leaf in leaves]))
    expected = np.linalg.eigvalsh(matrix)[-1]
    assert sharpness(loss if own else by_autograd(loss), params, step=2) == pytest.approx(expected, rel=1e-6)


def test_sharpness_with_hyper_and_of_one_number():
    _, loss, params, _, _ = classifier()
    log_weights = [(-30.0, -30.0)] * 3
    assert sharpness(penalised(loss), params, log_weights) == pytest.approx(sharpness(loss, params), rel=1e-6)
    assert sharpness(lambda w, hyper, step: hyper * anp.sum(w**2), np.ones(1), 3.0) == pytest.approx(6.0)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.99])
def test_the_stability_bound_is_where_a_quadratic_becomes_unstable(momentum):
    bound = max_lr(sharpness(quadratic, np.ones(3)), momentum)
    for factor, stable in ((0.98, True), (1.02, False)):
        modulus = np.abs(np.linalg.eigvals(step_matrix(CURVATURES.max(), factor * bound, momentum))).max()
        assert (modulus < 1.0) == stable
        grown = lyapunov(quadratic, np.ones(3) * 1e-3, hg.SGD(factor * bound, momentum), steps=800)
        assert (grown.growth[400:].mean() < 0.0) == stable
    assert max_lr(-1.0) == np.inf


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: lyapunov(quadratic, np.ones(3), hg.SGD(0.1), steps=0), errors.ArgumentError, "steps must be .* ≥ 1"),
        (
            lambda: lyapunov(quadratic, np.ones(3), hg.SGD(0.1), steps=2, directions=7),
            errors.ArgumentError,
            "directions is 7, but the state has only 6 numbers",
        ),
        (
            lambda: lyapunov(quadratic, np.ones(3), hg.SGD(0.1), steps=2, directions=0),
            errors.ArgumentError,
            "directions must be an integer ≥ 1",
        ),
        (lambda: lyapunov(quadratic, np.ones(3), hg.SGD(-1.0), steps=2), errors.ScheduleError, r"SGD\.lr"),
        (lambda: sharpness(quadratic, [1, 2]), errors.NestError, "integer"),
        (lambda: max_lr(1.0, 1.0), errors.ScheduleError, r"momentum must lie in \[0, 1\), got 1\.0"),
        (lambda: max_lr(np.nan), errors.ArgumentError, "sharpness is nan"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_neither_can_be_differentiated():
    with pytest.raises(errors.DifferentiationError, match="lyapunov cannot be differentiated"):
        grad(lambda lr: anp.sum(lyapunov(quadratic, np.ones(3), hg.SGD(lr), steps=2).exponents))(0.1)
    with pytest.raises(errors.DifferentiationError, match="sharpness cannot be differentiated"):
        grad(lambda w: sharpness(quadratic, w))(np.ones(3))
