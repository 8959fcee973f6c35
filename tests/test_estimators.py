"""Estimators of the hypergradient, each against the exact one or its own definition worked out another way."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, value_and_grad
from problems import classifier

import hypergrad as hg
from hypergrad import errors
from hypergrad.meta import Problem, estimators
from hypergrad.nests import flatten

MODEL, LOSS, PARAMS, X, T = classifier()
STEPS = 6
HYPERS = {"log_lr": np.linspace(-1.0, 0.0, STEPS), "momentum": 0.6, "log_scale": -1.0, "log_penalty": -3.0}


def flat(nest):
    return np.concatenate([np.ravel(leaf) for leaf in flatten(nest)[0]])


def penalized(params, hyper, step):
    return LOSS(params, None, step) + anp.exp(hyper) * sum(anp.sum(W**2) for W, _ in params)


def problem(optimizer=hg.SGD, **options):
    settings = {
        hg.SGD: lambda h: hg.SGD(anp.exp(h["log_lr"]), h["momentum"]),
        hg.Adam: lambda h: hg.Adam(0.1 * anp.exp(h["log_lr"]), b1=h["momentum"]),
    }
    return Problem(
        penalized,
        init=lambda h, seed: hg.init.scaled_normal(MODEL.shapes, anp.exp(h["log_scale"]), seed),
        optimizer=settings[optimizer],
        outer_loss=lambda params: MODEL.loss(params, X, T),
        steps=STEPS,
        hyper=lambda h: h["log_penalty"],
        **options,
    )


def line(objective="sum", steps=6, **options):
    """w ← w − α (w − h): the outer losses are quadratic in h."""
    return Problem(
        lambda w, hyper, step: 0.5 * anp.sum((w - hyper) ** 2),
        init=lambda h, seed: np.zeros(2),
        optimizer=lambda h: hg.SGD(0.3, 0.5),
        outer_loss=lambda w: anp.sum((w - np.array([1.0, 2.0])) ** 2),
        steps=steps,
        hyper=lambda h: h,
        objective=objective,
        **options,
    )


# Through the training


@pytest.mark.parametrize("optimizer", [hg.SGD, hg.Adam])
@pytest.mark.parametrize("options", [{}, {"objective": "sum"}, {"objective": "sum", "every": 3}])
def test_truncation_at_the_whole_length_is_exact(optimizer, options):
    whole = problem(optimizer, **options)
    value, expected = value_and_grad(whole.f)(HYPERS, 3)
    for estimator in (
        estimators.exact(whole),
        estimators.exact(whole.f),
        estimators.forward(whole),
        estimators.truncated(whole, steps=STEPS),
    ):
        found = estimator(HYPERS, 3)
        assert found.value == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(
            flat(found.gradient), flat(expected), rtol=1e-9, atol=1e-9 * np.linalg.norm(flat(expected))
        )
    assert list(found.gradient) == list(HYPERS)


@pytest.mark.parametrize("steps", [1, 4])
def test_the_truncated_final_loss_is_that_of_the_adjoint(steps):
    expected = grad(problem(adjoint=hg.Truncated(steps=steps)).f)(HYPERS, 0)
    found = estimators.truncated(problem(), steps=steps)(HYPERS, 0)
    np.testing.assert_allclose(flat(found.gradient), flat(expected), rtol=1e-9, atol=1e-12)
    assert "biased" in found.diagnostics.note and found.diagnostics.products == 2 * STEPS + 2 * steps
    assert np.linalg.norm(flat(found.gradient) - flat(grad(problem().f)(HYPERS, 0))) > 1e-3


@pytest.mark.parametrize("back", [1, 2, 5])
def test_a_truncated_sum_by_its_definition(back):
    """Each outer loss through a training of its own, of the last steps, from parameters held constant."""
    loss = lambda w, hyper, step: anp.sum(hyper * w**2) / 2.0 + anp.sum(w**4) * (1.0 + step) / 40.0
    of = Problem(
        loss,
        init=lambda h, seed: np.array([1.0, -1.5]),
        optimizer=lambda h: hg.SGD(h["lr"], 0.0),
        outer_loss=lambda w: anp.sum(anp.sin(w)),
        steps=STEPS,
        hyper=lambda h: h["curvature"],
        objective="sum",
    )
    hypers = {"lr": np.linspace(0.1, 0.4, STEPS), "curvature": np.array([1.0, 2.0])}

    def window(h, start, stop, w):
        shifted = lambda w, hyper, step: loss(w, hyper, step + start)
        trained = hg.train(shifted, w, hg.SGD(h["lr"][start:stop], 0.0), h["curvature"], steps=stop - start)
        return of.outer_loss(trained)

    expected = 0.0
    for count in range(1, STEPS + 1):
        start = max(count - back, 0)
        at_start = of.init(hypers, 0)
        if start:
            at_start = hg.train(loss, at_start, hg.SGD(hypers["lr"][:start], 0.0), hypers["curvature"], steps=start)
        expected = expected + flat(grad(window)(hypers, start, count, at_start))
    found = estimators.truncated(of, steps=back)(hypers)
    np.testing.assert_allclose(flat(found.gradient), expected, rtol=1e-9)
    if back == 1:
        np.testing.assert_allclose(flat(estimators.greedy(of)(hypers).gradient), expected, rtol=1e-9)


def test_greedy_is_the_product_of_neighbouring_gradients():
    loss = lambda w, hyper, step: anp.sum(w**4) / 4.0
    of = Problem(
        loss,
        lambda h, seed: np.array([1.0, 0.5]),
        lambda h: hg.SGD(h, 0.0),
        lambda w: loss(w, None, 0),
        4,
        objective="sum",
    )
    rates, w = np.array([0.1, 0.2, 0.3, 0.1]), np.array([1.0, 0.5])
    expected = []
    for rate in rates:
        before, w = w, w - rate * w**3
        expected.append(-np.dot(w**3, before**3))
    np.testing.assert_allclose(estimators.greedy(of)(rates).gradient, expected, rtol=1e-12)


# At a stationary point


def ridge(steps=600, **options):
    rng = np.random.default_rng(0)
    A, y, B, z = (
        rng.standard_normal((8, 3)),
        rng.standard_normal(8),
        rng.standard_normal((5, 3)),
        rng.standard_normal(5),
    )
    of = Problem(
        lambda w, hyper, step: 0.5 * anp.sum((anp.dot(A, w) - y) ** 2) + 0.5 * anp.sum(anp.exp(hyper) * w**2),
        init=lambda h, seed: np.zeros(3),
        optimizer=lambda h: hg.SGD(0.05, 0.5),
        outer_loss=lambda w: 0.5 * anp.sum((anp.dot(B, w) - z) ** 2),
        steps=steps,
        hyper=lambda h: h,
        **options,
    )

    def solved(h):
        w = anp.linalg.solve(np.dot(A.T, A) + anp.diag(anp.exp(h)), np.dot(A.T, y))
        return of.outer_loss(w)

    return of, solved, A, B, z


def test_implicit_is_the_derivative_of_the_solution():
    of, solved, *_ = ridge()
    h = np.array([-1.0, 0.0, 0.5])
    found = estimators.implicit(of)(h)
    np.testing.assert_allclose(found.gradient, grad(solved)(h), rtol=1e-7)
    assert found.diagnostics.gradient_norm < 1e-8 and "is stationary" in found.diagnostics.note
    early = estimators.implicit(ridge(steps=5)[0])(h)
    assert early.diagnostics.gradient_norm > 0.1


def test_the_neumann_series_by_dense_matrices():
    of, _, A, B, z = ridge()
    h, rate, terms = np.array([-1.0, 0.0, 0.5]), 0.03, 7
    unrolled = hg.train(of.loss, np.zeros(3), hg.SGD(0.05, 0.5), h, steps=600)
    H = A.T @ A + np.diag(np.exp(h)) + 0.1 * np.eye(3)
    series = rate * sum(np.linalg.matrix_power(np.eye(3) - rate * H, i) for i in range(terms))
    expected = -np.exp(h) * unrolled * (series @ (B.T @ (B @ unrolled - z)))
    found = estimators.implicit(of, method="neumann", terms=terms, rate=rate, damping=0.1)(h)
    np.testing.assert_allclose(found.gradient, expected, rtol=1e-9)
    assert found.diagnostics.products == 2 * 600 + 2 * terms


# Smoothed


def quadratic(h, seed):
    return anp.sum(h["a"] ** 2) + 3.0 * h["a"][0] * h["b"] + 0.1 * seed


AT = {"a": np.array([1.0, -2.0]), "b": 0.5}


def within_four_errors(samples, expected):
    samples = np.array(samples)
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    assert np.all(error > 0.0) and np.all(np.abs(samples.mean(axis=0) - expected) < 4.0 * error)


def test_smoothed_is_unbiased_on_a_quadratic_and_knows_its_error():
    estimator = estimators.smoothed(quadratic, sigma={"a": 0.3, "b": 0.1}, samples=8)
    found = [estimator(AT, seed) for seed in range(300)]
    expected = flat(grad(quadratic)(AT, 0))
    within_four_errors([flat(e.gradient) for e in found], expected)
    spread = np.std([flat(e.gradient) for e in found], axis=0)
    errors_known = np.sqrt(np.mean([flat(e.diagnostics.error) ** 2 for e in found], axis=0))
    np.testing.assert_allclose(errors_known, spread, rtol=0.2)
    assert found[0].diagnostics.samples == 16


def test_smoothed_is_the_gradient_of_the_smoothed_function_by_quadrature():
    f = lambda h, seed: anp.sin(4.0 * h)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    expected = np.sum(weights * 4.0 * np.cos(4.0 * (0.3 + 0.5 * nodes))) / weights.sum()
    for make in (estimators.smoothed, estimators.mixed):
        estimator = make(f, sigma=0.5, samples=20)
        within_four_errors([estimator(0.3, seed).gradient for seed in range(200)], expected)


def test_workers_draw_the_same_numbers():
    for make in (estimators.smoothed, estimators.mixed):
        one, two = (make(quadratic, sigma=0.1, samples=3, n_jobs=jobs)(AT, 5) for jobs in (1, 2))
        assert flat(one.gradient).tolist() == flat(two.gradient).tolist()


def test_a_mix_trusts_hypergradients_in_the_calm_and_values_in_chaos():
    calm = estimators.mixed(quadratic, sigma=0.1, samples=5)(AT, 0).diagnostics.weights
    rough = lambda h, seed: anp.sum(h["a"] ** 2) + h["b"] + 1e-3 * anp.sin(1e7 * h["b"])
    chaotic = estimators.mixed(rough, sigma=0.1, samples=5)(AT, 0).diagnostics.weights
    assert calm[0] > 0.9 and chaotic[1] > 0.99 and sum(calm) == pytest.approx(1.0)


def diverging(h, seed=0):
    loss = lambda w, hyper, step: anp.sum(w**4)
    return anp.sum(hg.train(loss, np.ones(2), hg.SGD(anp.exp(h), 0.0), steps=40))


@pytest.mark.filterwarnings("ignore:overflow")
def test_samples_that_diverge_are_counted_and_the_worst():
    for make in (estimators.smoothed, estimators.mixed):
        found = make(diverging, sigma=1.5, samples=6)(-1.5, 1)
        assert 0 < found.diagnostics.diverged < 12 and np.isfinite(found.gradient) and np.isfinite(found.value)
        with pytest.raises(errors.ArgumentError, match=r"all 12 samples of .* diverged: make sigma smaller"):
            make(diverging, sigma=0.1, samples=6)(5.0, 1)
    assert found.diagnostics.weights == (0.0, 1.0)


# Persistent


def test_one_piece_of_the_whole_length_is_plain_smoothing():
    of = line()
    h = np.array([0.5, 0.2])
    one = estimators.persistent(of, sigma=0.3, samples=4, steps=6)(h, 7)
    two = estimators.smoothed(of, sigma=0.3, samples=4)(h, 7)
    np.testing.assert_allclose(one.gradient, two.gradient, rtol=1e-10)
    assert one.value == pytest.approx(two.value, rel=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_pieces_of_a_training_add_up_to_the_gradient_of_the_whole(steps):
    """Where the objective is quadratic in the hyperparameters, smoothing does not change its gradient."""
    of, h = line(), np.array([0.5, 0.2])
    estimator = estimators.persistent(of, sigma=0.3, samples=4, steps=steps)
    sums = []
    for episode in range(150):
        sums.append(sum(estimator(h, 100 * episode + i).gradient for i in range(6 // steps)))
        assert estimator.step == 0
    within_four_errors(sums, grad(of.f)(h))


def test_particles_go_on_where_they_were(tmp_path):
    of, h = line(), np.array([0.5, 0.2])
    one = estimators.persistent(of, sigma=0.3, samples=2, steps=2)
    one(h, 0)
    np.savez(tmp_path / "state.npz", **one.state())
    expected = [one(h + 0.1, 1).gradient, one(h, 2).gradient, one(h, 3).gradient]
    two = estimators.persistent(of, sigma=0.3, samples=2, steps=2)
    two.restore(dict(np.load(tmp_path / "state.npz")))
    np.testing.assert_array_equal([two(h + 0.1, 1).gradient, two(h, 2).gradient, two(h, 3).gradient], expected)
    assert one.step == two.step == 2


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_particle_that_diverged_stays_so_until_the_next_training():
    of = Problem(
        lambda w, hyper, step: anp.sum(w**4),
        init=lambda h, seed: np.ones(2),
        optimizer=lambda h: hg.SGD(anp.exp(h), 0.0),
        outer_loss=lambda w: anp.sum(w**2),
        steps=40,
        objective="sum",
    )
    estimator = estimators.persistent(of, sigma=1.5, samples=6, steps=20)
    first, second, third = (estimator(-1.5, seed).diagnostics.diverged for seed in (1, 2, 3))
    assert 0 < first <= second and third < 12


# In a descent


@pytest.mark.parametrize("name", ["truncated", "smoothed", "persistent"])
def test_a_descent_by_an_estimator_goes_on_with_the_same_bits(tmp_path, name):
    of, start = line(), np.array([0.5, 0.2])
    make = {
        "truncated": lambda: estimators.truncated(of, steps=2),
        "smoothed": lambda: estimators.smoothed(of, sigma=0.1, samples=2),
        "persistent": lambda: estimators.persistent(of, sigma=0.1, samples=2, steps=2),
    }[name]
    descend = lambda steps, store, **more: hg.meta.minimize(
        of.f, start, steps=steps, optimizer=hg.Adam(0.05), estimator=make(), store=store, progress=False, **more
    )
    expected = descend(7, None)
    assert expected.history[0].gradient.tolist() == make()(start, 0).gradient.tolist()
    descend(3, tmp_path)
    found = descend(7, tmp_path)
    assert [(e.value, *e.hypers) for e in found.history] == [(e.value, *e.hypers) for e in expected.history]
    again = descend(7, tmp_path, recheck=False)
    assert [e.value for e in again.history] == [e.value for e in expected.history]
    assert of.f(expected.history[-1].hypers) < of.f(start)


def test_the_gradient_of_an_estimator_is_pulled_back_through_maps():
    of = line()
    start, maps = np.array([0.5, 0.2]), hg.meta.maps.log()
    found = next(hg.meta.descend(of.f, start, maps=maps, step_size=0.1, estimator=estimators.exact(of)))
    expected = next(hg.meta.descend(of.f, start, maps=maps, step_size=0.1))
    np.testing.assert_allclose(found.gradient, expected.gradient, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: estimators.truncated(problem(), steps=7), "truncated takes at most the 6 steps .* got steps=7"),
        (lambda: estimators.truncated(quadratic, steps=2), "truncated needs the training itself"),
        (lambda: estimators.exact(3.0), "exact needs a hypergrad.meta.Problem or a function"),
        (lambda: estimators.greedy(problem()), 'greedy needs the outer losses on the way: Problem.*objective="sum"'),
        (lambda: estimators.smoothed(quadratic, sigma=0.0)(AT), "sigma of smoothed must be a number above 0, got 0.0"),
        (
            lambda: estimators.mixed(quadratic, sigma={"a": 1.0, "b": -1.0})(AT),
            r"sigma of mixed\['b'\] must be a number",
        ),
        (
            lambda: estimators.smoothed(quadratic, sigma=1.0, samples=0),
            "samples of smoothed must be an integer ≥ 1, got 0",
        ),
        (lambda: estimators.persistent(problem(), sigma=1.0), "persistent needs the outer losses on the way"),
        (
            lambda: estimators.persistent(line(), sigma=1.0, steps=9),
            "steps of persistent must be a multiple of every=1 and",
        ),
        (lambda: estimators.implicit(ridge()[0], method="lu"), 'method of implicit must be "cg" or "neumann"'),
        (lambda: estimators.implicit(ridge()[0], method="neumann"), "needs a rate above 0"),
        (lambda: estimators.implicit(ridge()[0], damping=-1.0), "damping of implicit must be ≥ 0"),
        (
            lambda: estimators.implicit(problem())(HYPERS),
            "sees hyperparameters of the loss alone, but init and optimizer",
        ),
        (lambda: Problem(LOSS, None, None, None, 3), "Problem.init must be a function, got None"),
        (lambda: problem(objective="mean"), 'Problem.objective must be "final" or "sum", got \'mean\''),
        (lambda: problem(objective="sum", every=4), "Problem.every must divide the number of steps, 6, got 4"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(errors.ArgumentError, match=message):
        make()
