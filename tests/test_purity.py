"""A loss that is no pure function of (params, hyper, step) is noticed by every adjoint, and planning calls it no
more.
"""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, make_jvp, value_and_grad
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import written

import hypergrad as hg
from hypergrad import errors
from hypergrad.bridge import getval
from hypergrad.engine.purity import replayed_step

X = np.random.default_rng(0).standard_normal((40, 5))
Y = X @ np.arange(5.0)
ADJOINTS = {
    "Stored": hg.Stored(),
    "Checkpointed(1)": hg.Checkpointed(1),
    "Checkpointed(3)": hg.Checkpointed(3),
    "Checkpointed(20)": hg.Checkpointed(20),
    "Truncated": hg.Truncated(6),
    "planned": None,
}


def dropout():
    """A mask from a generator that goes on."""
    rng = np.random.default_rng(1)
    return lambda w, hyper, step: anp.mean((anp.dot(X * (rng.random(X.shape) > 0.5), w) - Y) ** 2)


def running_mean():
    """Statistics in plain numbers, updated by the loss."""
    mean = [np.zeros(5)]

    def loss(w, hyper, step):
        mean[0] = 0.9 * mean[0] + 0.1 * getval(getval(w))
        return anp.mean((anp.dot(X, w) - Y) ** 2) + 0.5 * anp.sum((w - mean[0]) ** 2)

    return loss


def loader():
    """Minibatches from an iterator, over and over."""

    def forever():
        while True:
            yield from ((X[i : i + 8], Y[i : i + 8]) for i in range(0, 40, 8))

    batches = forever()

    def loss(w, hyper, step):
        inputs, targets = next(batches)
        return anp.mean((anp.dot(inputs, w) - targets) ** 2)

    return loss


def written_dropout():
    """The same with derivatives written out."""
    rng = np.random.default_rng(1)

    class Ridge:
        def __call__(self, w, hyper, step):
            return anp.mean((anp.dot(X, w) - Y) ** 2)

        def gradient(self, w, hyper, step):
            return self.gradient_with_hvp(w, hyper, step)[0]

        def gradient_with_hvp(self, w, hyper, step):
            kept = X * (rng.random(X.shape) > 0.5)
            return 2 * kept.T @ (kept @ w - Y) / len(Y), lambda d: 2 * kept.T @ (kept @ d) / len(Y)

    return written(Ridge())


def counter():
    """A penalty that depends on how often the loss was called."""
    calls = [0]

    def loss(w, hyper, step):
        calls[0] += 1
        return anp.mean((anp.dot(X, w) - Y) ** 2) + 0.01 * calls[0] * anp.sum(w**2)

    return loss


def run(make, lr, adjoint, steps=12, exact=False, **options):
    optimizer = hg.SGD(lr, 0.5, exact=exact)
    return anp.sum(hg.train(make(), np.zeros(5), optimizer, steps=steps, adjoint=adjoint, **options) ** 2)


IMPURE = (dropout, running_mean, loader, written_dropout, counter)


@pytest.mark.parametrize("adjoint", ADJOINTS)
@pytest.mark.parametrize("make", IMPURE)
def test_impure_losses_are_refused_with_the_step_and_the_usual_causes(make, adjoint):
    with pytest.raises(errors.ImpureLossError, match=r"step \d+ was computed again.*random numbers.*loader") as caught:
        grad(lambda lr: run(make, lr, ADJOINTS[adjoint]))(0.05)
    assert 0 <= caught.value.step < 11, "never the last"


@pytest.mark.parametrize("make", (dropout, counter))
def test_exact_runs_are_refused_too(make):
    for adjoint in (hg.Reversible(), hg.Stored(), None):
        with pytest.raises(errors.ImpureLossError):
            grad(lambda lr, adjoint=adjoint: run(make, lr, adjoint, exact=True))(0.05)


@pytest.mark.parametrize("steps", [2, 3, 7, 12, 30])
@pytest.mark.parametrize("batches", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_a_buffer_filled_again_at_every_step(adjoint, batches, steps):
    """Either the derivative is right, or the run is refused: Checkpointed may never look at a stale buffer."""
    if adjoint == "Truncated" and steps < 6:
        pytest.skip("more steps than the run has")
    size = 40 // batches

    def make():
        buffer = np.empty((size, 5))

        def loss(w, hyper, step):
            rows = slice(step % batches * size, step % batches * size + size)
            buffer[...] = X[rows]
            return anp.mean((anp.dot(buffer, w) - Y[rows]) ** 2)

        return loss

    expected = make_jvp(lambda lr: run(make, lr, None, steps))(0.05)(1.0)[1]
    try:
        found = grad(lambda lr: run(make, lr, ADJOINTS[adjoint], steps))(0.05)
    except errors.ImpureLossError as error:
        assert "Hessian-vector product" in str(error)
    else:
        assert steps == 2 or adjoint.startswith("Checkpointed"), "with two steps the first needs no product"
        assert found == pytest.approx(expected, rel=1e-9)


def test_with_one_step_only_what_was_kept_is_compared():
    buffer = np.array(X)

    def f(lr):
        buffer[...] = X
        loss = lambda w, hyper, step: anp.mean((anp.dot(buffer, w - 0.1 * lr) - Y) ** 2)
        w = hg.train(
            lambda w, h, t: anp.mean((anp.dot(buffer, w) - h * Y) ** 2), np.zeros(5), hg.SGD(0.1, 0.0), lr, steps=1
        )
        buffer[...] = 2 * X  # the outer loss uses the same memory
        return loss(w, None, 0)

    with pytest.raises(errors.ImpureLossError, match="step 0 was computed again, and the Hessian-vector product"):
        grad(f)(0.5)
    calls = []

    def noisy(w, hyper, step):
        calls.append(step)
        return anp.sum((w - hyper) ** 2)

    grad(lambda h: anp.sum(hg.train(noisy, np.zeros(2), hg.SGD(0.1, 0.0), h, steps=1)))(0.3)
    assert calls == [0], "the loss itself is not called again"


def test_the_check_can_be_switched_off_and_costs_one_call():
    def counted(calls):
        def loss(w, hyper, step):
            calls.append(step)
            return anp.mean((anp.dot(X, w) - Y) ** 2)

        return lambda: loss

    for check, extra in ((True, 1), (False, 0)):
        calls = []
        grad(lambda lr, calls=calls, check=check: run(counted(calls), lr, hg.Stored(), check_purity=check))(0.05)
        assert len(calls) == 12 + extra
    value, gradient = value_and_grad(lambda lr: run(dropout, lr, hg.Stored(), check_purity=False))(0.05)
    ahead, back = (run(dropout, 0.05 + d, None) for d in (1e-6, -1e-6))
    assert value == run(dropout, 0.05, None) and gradient == pytest.approx((ahead - back) / 2e-6, rel=1e-5)


def test_the_value_of_a_run_is_that_of_plain_training_although_the_loss_is_random():
    """Planning calls the loss no more than the run does."""
    options = {"check_purity": False}
    assert value_and_grad(lambda lr: run(dropout, lr, None, **options))(0.05)[0] == run(dropout, 0.05, None)


def test_forward_mode_goes_once_through_whatever_the_loss_does():
    ahead, back = (run(dropout, 0.05 + d, None) for d in (1e-6, -1e-6))
    assert make_jvp(lambda lr: run(dropout, lr, None))(0.05)(1.0)[1] == pytest.approx((ahead - back) / 2e-6, rel=1e-5)


@pytest.mark.parametrize("mode", ["plain", "reverse", "forward"])
def test_values_that_survive_from_an_earlier_step_are_noticed_at_once(mode):
    seen = []

    def loss(w, hyper, step):
        seen.append(step)
        mean[0] = 0.9 * mean[0] + 0.1 * w
        return anp.mean((anp.dot(X, w) - Y) ** 2) + 0.5 * anp.sum((w - mean[0]) ** 2)

    f = lambda lr: anp.sum(hg.train(loss, np.zeros(5), hg.SGD(lr, 0.0), steps=6) ** 2)
    mean = [np.zeros(5)]
    with pytest.raises(errors.DifferentiationError, match="at an earlier step was kept and used again"):
        {"plain": f, "reverse": grad(f), "forward": lambda lr: make_jvp(f)(lr)(1.0)}[mode](0.1)
    assert seen == [0, 1]


@pytest.mark.parametrize("along", [0.0, 0.5], ids=["alone", "with values of this step"])
@pytest.mark.parametrize("mode", ["plain", "reverse"])
def test_values_that_survive_are_noticed_in_a_training_inside_the_loss_too(mode, along):
    seen, kept = [], []

    def loss(w, hyper, step):
        seen.append(step)
        kept.append(anp.sum(w))
        nearest = hg.train(lambda v, goal, t: anp.sum((v - goal) ** 2), along * w, hg.SGD(0.1), kept[0], steps=2)
        return anp.sum((w - nearest) ** 2)

    f = lambda lr: anp.sum(hg.train(loss, np.ones(2), hg.SGD(lr, 0.0), steps=4, adjoint=hg.Stored()) ** 2)
    with pytest.raises(errors.DifferentiationError, match="at an earlier step was kept and used again"):
        {"plain": f, "reverse": grad(f)}[mode](0.1)
    assert seen == [0, 1]


@given(st.integers(1, 300), st.integers(0, 300), st.integers(1, 300))
@settings(max_examples=300, deadline=None)
def test_the_step_computed_again_is_one_the_way_back_goes_over_and_never_the_last(steps, first, last):
    candidates = range(first, min(last, steps))
    step = replayed_step(candidates, steps)
    if step is None:
        assert not [s for s in candidates if s < steps - 1]
        return
    assert step in candidates and step < steps - 1
    if candidates.stop == steps:
        assert all((steps - 1 - step) % batches for batches in range(2, 11)), "a cycle brings the last minibatch back"


@pytest.mark.parametrize("steps", [2, 5, 12, 18, 20, 44, 50])
@pytest.mark.parametrize("save", [None, "early"])
@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_every_length_of_run_is_looked_at(adjoint, save, steps):
    """Also where the way back goes over some of the steps only."""
    if adjoint == "Truncated" and steps < 7:
        pytest.skip("more steps than the run has")
    save_at = None if save is None else [max(1, steps // 2) if adjoint != "Truncated" else steps - 2]

    def f(lr, make):
        trained = hg.train(
            make(), np.zeros(5), hg.SGD(lr, 0.5), steps=steps, adjoint=ADJOINTS[adjoint], save_at=save_at
        )
        return anp.sum((trained if save_at is None else trained[0]) ** 2)

    with pytest.raises(errors.ImpureLossError):
        grad(f)(0.05, dropout)
    pure = lambda: lambda w, h, t: anp.mean((anp.dot(X, w) - Y) ** 2)
    assert np.isfinite(grad(f)(0.05, pure))


@pytest.mark.filterwarnings("ignore::hypergrad.errors.CostWarning")
@pytest.mark.parametrize("steps", [18, 44])
def test_a_planned_run_with_checkpoints_of_a_pure_loss(steps):
    """Whichever step is computed again, it is compared with itself."""
    loss = lambda w, h, t: anp.sum(anp.cos(w + 0.1 * t)) + 0.3 * anp.sum(w**2)
    start = np.linspace(-1.0, 1.0, 2_000)
    f = lambda lr, **o: anp.sum(hg.train(loss, start, hg.SGD(lr), steps=steps, **o) ** 2)
    least = 700_000
    while True:
        try:
            planned = grad(f)(0.1, memory_budget=least)
            break
        except errors.MemoryBudgetError:
            least = int(1.05 * least)
    assert planned == pytest.approx(grad(f)(0.1, adjoint=hg.Stored()), rel=1e-12)


def test_closures_over_what_is_differentiated_further_out_are_one_thing_in_every_adjoint():
    """Without effect on the gradient they are left alone; with one they are refused, in either order of writing."""
    start = np.array([1.0, -2.0, 0.5])
    for adjoint in ADJOINTS.values():
        options = {"steps": 8, "adjoint": adjoint}
        for add in (lambda c, w: anp.sum(w**2) + c, lambda c, w: c + anp.sum(w**2)):
            loss = lambda c, add=add: lambda w, h, t: add(c, w)
            f = lambda c, loss=loss, options=options: anp.sum(c * hg.train(loss(c), start, hg.SGD(c), **options))
            g = lambda c, options=options: anp.sum(
                c * hg.train(lambda w, h, t: anp.sum(w**2), start, hg.SGD(c), **options)
            )
            assert grad(f)(0.1) == pytest.approx(grad(g)(0.1), rel=1e-12)
    leaked = []
    grad(lambda x: leaked.append(x) or x**2)(2.0)
    for loss in (lambda w, h, t: anp.sum(w * leaked[0] * w), lambda w, h, t: anp.sum(leaked[0] * w**2)):
        with pytest.raises(errors.DifferentiationError):
            hg.train(loss, start, hg.SGD(0.1), steps=2)
