"""The experiment on estimators by problem: a few points computed again, closed forms, and what the log says."""

import autograd.numpy as anp
import numpy as np
import pytest
from scipy.stats import norm

import hypergrad as hg
from experiments import estimators_by_problem as module
from experiments.parts.estimators_by_problem import (
    estimator_costs,
    estimator_horizons,
    estimator_inverse_time,
    estimator_particles,
    estimator_penalties,
    estimator_recurrent,
    estimator_recurrent_descents,
    estimator_winners,
    many_rates,
)
from experiments.parts.estimators_by_problem.costs import allocated, timed
from experiments.parts.estimators_by_problem.estimator_pieces import Pieces
from experiments.shared import pooled
from experiments.shared.intervals import t_interval
from experiments.shared.results import FIGURES, load

HORIZONS, WINNERS, INVERSE, PENALTIES, RECURRENT, ENDS, COSTS, PARTICLES = (
    load(module, FIGURES / "estimators_by_problem", part) for part in module.PARTS
)


@pytest.mark.parametrize("part", module.PARTS)
def test_every_part_has_ten_seeds(part):
    config, found = load(module, FIGURES / "estimators_by_problem", part)
    assert config.seeds == 10
    assert sum(len(array) == 10 for array in found) >= 2


# Many learning rates at once


def test_many_rates_at_once_are_trainings_by_train():
    """Losses, derivatives, truncated derivatives and growth, against the library's own."""
    model, batch_loss = pooled.network(60, 7, (5,), 20)
    params, X, T = model.init(3), batch_loss.X, batch_loss.T
    log_lrs, horizons, shares = np.array([-1.0, 0.5]), (4, 12), (0.25, 0.5)
    found = many_rates.swept(X, T, params, log_lrs, 0.9, 20, horizons, shares, 0)
    for g, x in enumerate(log_lrs):
        for t, steps in enumerate(horizons):
            problem = hg.meta.Problem(
                batch_loss,
                init=lambda h, seed: params,
                optimizer=lambda h: hg.SGD(anp.exp(h), 0.9),
                outer_loss=lambda p: model.loss(p, X, T),
                steps=steps,
            )
            exact = hg.meta.estimators.exact(problem)(x)
            assert found.loss[t, g] == pytest.approx(exact.value, rel=1e-9)
            assert found.exact[t, g] == pytest.approx(exact.gradient, rel=1e-9)
            for k, share in enumerate(shares):
                truncated = hg.meta.estimators.truncated(problem, steps=int(share * steps))(x)
                assert found.truncated[t, k, g] == pytest.approx(truncated.gradient, rel=1e-9)
    noise = np.random.default_rng((0, 34)).standard_normal(sum(w.size for layer in params for w in layer))

    def trained(w):
        """Parameters and velocity after 12 steps at the second learning rate, by hand."""
        v, shapes = np.zeros_like(w), [a.shape for layer in params for a in layer]
        for step in range(12):
            arrays = [a.reshape(s) for a, s in zip(np.split(w, np.cumsum([np.prod(s) for s in shapes])[:-1]), shapes)]
            layers = list(zip(arrays[::2], arrays[1::2]))
            g = model.gradient(layers, *batch_loss.batch(step))
            v = 0.9 * v - 0.1 * np.concatenate([np.ravel(a) for layer in g for a in layer])
            w = w + np.exp(0.5) * v
        return np.concatenate([w, v])

    start = np.concatenate([np.ravel(a) for layer in params for a in layer])
    moved = trained(start + 1e-6 * noise / np.linalg.norm(noise)) - trained(start)
    assert found.growth[1, 1] == pytest.approx(np.log(np.linalg.norm(moved) / 1e-6) / 12.0, abs=1e-5)


def test_smoothing_finds_the_derivative_of_a_sine():
    """E sin(ω (x + σ z)) has the derivative ω exp(−ω² σ² / 2) cos ω x; pairs have the variance of their integral."""
    config = estimator_horizons.Config(low=0.0, high=1.0, spacing=0.0125)
    x = config.log_lrs()
    truth, rough, pair, gradients = estimator_horizons.smoothed(np.sin(6.0 * x), 6.0 * np.cos(6.0 * x), config)
    inside = x[config.reach() : -config.reach()]
    expected = 6.0 * np.exp(-36.0 * config.sigma**2 / 2.0) * np.cos(6.0 * inside)
    np.testing.assert_allclose(truth, expected, atol=0.02 * 6.0)
    np.testing.assert_allclose(rough, truth, atol=0.02 * 6.0)
    z = np.linspace(-8.0, 8.0, 4001)
    weight = norm.pdf(z) / norm.pdf(z).sum()
    at = np.argmin(np.abs(inside - 0.5))
    draws = (np.sin(6.0 * (0.5 + config.sigma * z)) - np.sin(6.0 * (0.5 - config.sigma * z))) * z / (2.0 * config.sigma)
    assert pair[at] == pytest.approx(np.sqrt(weight @ draws**2 - (weight @ draws) ** 2), rel=0.1)
    means = 3.0 * (np.cos(6.0 * (0.5 + config.sigma * z)) + np.cos(6.0 * (0.5 - config.sigma * z)))
    assert gradients[at] == pytest.approx(np.sqrt(weight @ means**2 - (weight @ means) ** 2), rel=0.1)


def test_the_first_horizons_are_reproduced():
    config, found = HORIZONS
    short = estimator_horizons.Config(**{**config.__dict__, "horizons": config.horizons[:2]})
    again = estimator_horizons.seed_of(short, 0)
    calm = found.growth[0, 1] * config.horizons[1] < 2.0
    assert calm.sum() > 20
    for name in ("loss", "gradient", "truth"):
        np.testing.assert_allclose(again[name][:2, calm], getattr(found, name)[0, :2, calm].T, rtol=1e-5, atol=1e-8)


def test_values_win_past_the_edge_and_hypergradients_before_it():
    """The medians that the log quotes, counted over the runs once more."""
    config, found = HORIZONS
    horizon, errors = found.growth * np.array(config.horizons)[:, None], found.errors(config)
    exact, smoothed = (errors[estimator_horizons.NAMES.index(name)] for name in ("exact", "smoothed"))
    assert np.median(exact[horizon < 1.0]) < 0.1 * np.median(smoothed[horizon < 1.0])
    assert np.median(exact[horizon > 10.0]) > 10.0 * np.median(smoothed[horizon > 10.0])
    assert horizon.max() > 300.0 and (horizon > 10.0).sum() > 100


# Descents


def test_the_costs_of_descents_are_equal():
    config, _ = WINNERS
    for name in estimator_winners.NAMES:
        spent = config.updates(name) * config.trainings(name)
        assert 0.75 * config.budget() <= spent <= config.budget()


def test_no_descent_is_surely_better_than_plain_search_by_much():
    """The first sentence of the log entry."""
    _, found = WINNERS
    by_seed = np.median(found.value, axis=-1)
    better = [
        t_interval(by_seed[:, e, c, m] - by_seed[:, -1, c, m])
        for e in range(4)
        for c in range(by_seed.shape[2])
        for m in range(by_seed.shape[3])
    ]
    surely = [interval.mean for interval in better if interval.high < 0.0]
    assert all(mean > -0.01 for mean in surely)
    chaotic = by_seed[:, :-1, 1:, -1] - by_seed[:, -1:, 1:, -1]
    assert (chaotic.mean(axis=0) > 0.5).all(), "from the most chaotic start, 5 and 25 rates"


def test_one_descent_is_reproduced():
    config, found = WINNERS
    hypers, value, _ = estimator_winners.descended(config, 0, "exact", 1, config.starts[0])
    assert value == pytest.approx(found.objective[0, 0, 0, 0], rel=1e-6)
    _, tested, _ = estimator_winners.setting(config, 0)
    np.testing.assert_allclose(tested(hypers), found.value[0, 0, 0, 0], rtol=1e-6)


# The inverse-time learning rate


def test_pieces_are_the_truncated_hypergradient_where_each_has_one_loss():
    config = estimator_inverse_time.Config(images=100, batch_size=50, outer_images=50)
    problem = estimator_inverse_time.problem_of(config, 40)
    h = np.array([-1.0, 0.5])
    value, total = estimator_inverse_time.passed(Pieces(problem, 10), h, 2, problem)
    expected = hg.meta.estimators.truncated(problem, steps=10)(h, 2)
    assert value == pytest.approx(expected.value, rel=1e-9)
    np.testing.assert_allclose(total, expected.gradient, rtol=1e-9)


def test_one_piece_of_everything_is_exact():
    config = estimator_inverse_time.Config(images=100, batch_size=50, outer_images=50)
    problem = estimator_inverse_time.problem_of(config, 40)
    h = np.array([-1.0, 0.5])
    found, exact = Pieces(problem, 40)(h, 2), hg.meta.estimators.exact(problem)(h, 2)
    np.testing.assert_allclose(found.gradient, exact.gradient, rtol=1e-9)
    assert found.value == pytest.approx(exact.value, rel=1e-9)


def test_the_schedule_is_the_published_one():
    """α_t = θ0 / (1 + t/T)^θ1, from θ0 = 0.003 and θ1 = 30."""
    config, _ = INVERSE
    problem = estimator_inverse_time.problem_of(config, 1_000)
    lr = problem.optimizer(np.array(config.start)).lr
    expected = 0.003 / (1.0 + np.arange(1_000) / 1_000.0) ** 30.0
    np.testing.assert_allclose(lr, expected, rtol=2e-2)


def test_truncated_gradients_of_5000_steps_are_reproduced():
    config, found = INVERSE
    problem = estimator_inverse_time.problem_of(config, config.steps)
    _, total = estimator_inverse_time.passed(Pieces(problem, 100), np.array(config.places[0]), 0, problem)
    np.testing.assert_allclose(total, found.gradient[0, 0, 2], rtol=1e-6)


def test_short_pieces_point_the_wrong_way_at_a_good_rate_and_descents_end_where_they_point():
    """What the log says of part 3, from the stored gradients and losses themselves."""
    _, found = INVERSE
    exact, short = (
        found.gradient[:, 1, 0],
        found.gradient[:, 1, estimator_inverse_time.NAMES.index("truncated, K = 10")],
    )
    assert (exact[:, 0] < 0.0).all() and (short[:, 0] > 0.0).all(), "more rate helps, and is said to harm"
    cosine = np.sum(exact * short, axis=1) / (np.linalg.norm(exact, axis=1) * np.linalg.norm(short, axis=1))
    assert cosine.mean() < -0.9
    names = (*estimator_inverse_time.NAMES, estimator_inverse_time.SEARCH)
    losses = dict(zip(names, found.unseen.mean(axis=-1).T))
    beside_search = t_interval(losses["exact"] - losses[estimator_inverse_time.SEARCH])
    assert -0.02 < beside_search.low < 0.0 < beside_search.high < 0.02, "level"
    assert t_interval(losses["truncated, K = 10"] - losses["exact"]).low > 0.1


def test_particles_have_no_bias_that_their_noise_would_not_explain():
    _, found = INVERSE
    for name in ("persistent, K = 10", "persistent, K = 100", "smoothed"):
        off = found.gradient[:, :, estimator_inverse_time.NAMES.index(name)] - found.gradient[:, :, 0]
        standard_error = off.std(axis=0, ddof=1) / np.sqrt(len(off))
        assert (np.abs(off.mean(axis=0)) < 3.0 * standard_error).all(), name


def test_the_search_of_the_inverse_time_rate_is_reproduced():
    config, found = INVERSE
    again = estimator_inverse_time.descent(config, estimator_inverse_time.SEARCH, 0)
    np.testing.assert_allclose(again["found"], found.found[0, -1], rtol=1e-9)
    np.testing.assert_allclose(again["unseen"], found.unseen[0, -1], rtol=1e-5)


# Penalties


def test_short_runs_of_penalties_are_reproduced():
    config, found = PENALTIES
    short = estimator_penalties.Config(**{**config.__dict__, "horizons": config.horizons[:2]})
    again = estimator_penalties.gradients(short, 1)
    for name in ("cosine", "ratio", "stationary"):
        np.testing.assert_allclose(again[name], getattr(found, name)[1, :2], rtol=1e-4)


def test_implicit_differentiation_is_right_where_training_rests_and_wrong_where_it_does_not():
    _, found = PENALTIES
    cosine = np.median(found.cosine[:, :, estimator_penalties.NAMES.index("implicit, CG")], axis=0)
    rest = np.median(found.stationary, axis=0)
    assert (np.diff(cosine) > 0.0).all() and (np.diff(rest) < 0.0).all()
    assert cosine[0] < 0.6 and cosine[-1] > 0.99


def test_penalties_by_the_exact_hypergradient_beat_one_by_search():
    _, found = PENALTIES
    for losses in (found.own, found.unseen.mean(axis=-1)):
        assert t_interval(losses[:, 0] - losses[:, -1]).high < 0.0


def test_the_products_of_the_estimators_are_those_of_their_definitions():
    config, found = PENALTIES
    T = np.array(config.horizons)
    np.testing.assert_allclose(found.products[:, 0], 2.0)
    np.testing.assert_allclose(found.products[:, 1], 1.5)
    np.testing.assert_allclose(found.products[:, 2], 1.1)
    np.testing.assert_allclose(found.products[:, 4], 1.0 + config.terms / T, rtol=0.02)


# The recurrent net


def test_quadrature_in_two_dimensions_on_a_polynomial():
    """f = x² y + y, of which E has the gradient (2 x y, x² + σ² + 1)."""
    found = estimator_recurrent.gradient_by_quadrature(lambda x: x[0] ** 2 * x[1] + x[1], np.array([0.5, -2.0]), 0.3, 4)
    np.testing.assert_allclose(found, [-2.0, 0.25 + 0.09 + 1.0], rtol=1e-9)


def test_the_exact_hypergradient_of_the_recurrent_net_is_reproduced():
    config, found = RECURRENT
    problem = estimator_recurrent.problem_of(config, 0)
    h = np.array([config.log_lrs[0], config.log_scale])
    again = hg.meta.estimators.exact(problem)(h, 0)
    np.testing.assert_allclose(again.gradient, found.gradient[0, 0, 0], rtol=1e-5)
    np.testing.assert_allclose(found.gradient[:, 0, 1], found.gradient[:, 0, 0], rtol=1e-6)


def test_the_costs_of_descents_on_the_recurrent_net_are_equal():
    config, found = ENDS
    for e, name in enumerate(estimator_recurrent_descents.NAMES):
        spent = config.updates(name) * config.trainings(name)
        assert 0.9 * config.budget() <= spent <= config.budget()
        assert (found.updates[..., e] <= config.updates(name) + 1).all()
    assert config.budget() == 150 and config.updates("exact") == config.updates("truncated") == 50


def test_a_descent_on_the_recurrent_net_ends_where_it_did():
    """Its objective and that of unseen problems, from the stored hyperparameters."""
    config, found = ENDS
    h = found.found[0, 0, -1]
    value = estimator_recurrent_descents.value
    problem = estimator_recurrent.problem_of(config, 0)
    assert value(problem, h, 0) == pytest.approx(found.own[0, 0, -1], rel=1e-5)
    assert value(estimator_recurrent.problem_of(config, 10_003), h, 10_003) == pytest.approx(
        found.unseen[0, 0, -1, 3], rel=1e-5
    )
    start = np.array([config.starts[0], config.log_scale])
    assert value(problem, start, 0) == pytest.approx(found.own_start[0, 0], rel=1e-5)


def test_search_surely_wins_on_its_own_recurrent_problem_and_nothing_does_on_unseen_ones():
    """What the log says of part 6, from the stored losses themselves."""
    config, found = ENDS
    own, unseen = found.own[:, 0], np.minimum(np.median(found.unseen[:, 0], axis=-1), 10.0)
    for e in range(own.shape[1] - 1):
        assert t_interval(own[:, e] - own[:, -1]).low > 0.0
        less = t_interval(unseen[:, e] - unseen[:, -1])
        assert less.low < 0.0 < less.high
    assert (found.unseen[:, 0, :-1] < 10.0).all() and (found.unseen[:, 0, -1] > 10.0).sum() == 7
    assert found.unseen.shape == (10, 1, 6, config.fresh)


# Costs and particles of the inverse-time rate


def test_memory_of_reverse_mode_grows_with_the_steps_and_that_of_pieces_does_not():
    _, found = COSTS
    exact = found.memory[:, estimator_costs.NAMES["one rate"].index("exact")]
    assert exact[-1] > 4.0 * exact[0]
    pieces = [e for e, name in enumerate(estimator_costs.NAMES["inverse time"]) if "K = 10" in name]
    assert len(pieces) == 4
    assert (found.inverse_memory[-1, pieces] < 1.5 * found.inverse_memory[0, pieces]).all()
    assert (found.inverse_seconds > 0.0).all() and (found.seconds > 0.0).all()


def test_the_hours_of_longer_descents_are_those_of_their_updates():
    config, found = COSTS
    seconds = dict(zip(estimator_costs.NAMES["inverse time"], np.median(found.inverse_seconds, axis=0)[-1]))
    updates = {"exact": 50, "truncated, K = 10": 75, "truncated, K = 100": 75, "smoothed": 75}
    updates |= {"persistent, K = 10": 75, "persistent, K = 100": 75}
    total = sum(updates[name] * seconds[name] for name in updates) + 75 * seconds["smoothed"]
    hours = estimator_costs.numbers(found, config)[f"hours, {config.horizons[-1]}"]
    assert hours == pytest.approx(10 * total / 3_600.0)
    by_steps = found.inverse_seconds[:, 1] / found.inverse_seconds[:, 0]
    assert np.median(by_steps) == pytest.approx(config.horizons[1] / config.horizons[0], rel=0.25)


def test_particles_of_all_seeds_at_once_are_those_of_the_library():
    config = estimator_particles.Config(images=100, batch_size=50, outer_images=50, pairs=2)
    place, steps = np.array([-1.0, 0.5]), 40
    found = estimator_particles.pairs_of(config, place, [3, 4], 10, steps)
    problem = estimator_inverse_time.problem_of(config, steps)
    for row, seed in zip(found, (3, 4)):
        estimator = hg.meta.estimators.persistent(problem, sigma=config.sigma, samples=2, steps=10)
        _, total = estimator_inverse_time.passed(estimator, place, seed, problem)
        np.testing.assert_allclose(row.mean(axis=0), total, rtol=1e-7)


def test_the_first_pair_of_particles_is_that_of_the_comparison():
    config, found = PARTICLES
    (_, place), compared = INVERSE[0].places, INVERSE[1]
    assert config.places == (place,)
    np.testing.assert_allclose(found.exact[:, 0], compared.gradient[:, 1, 0], rtol=1e-5)
    for k, name in enumerate(("persistent, K = 10", "persistent, K = 100")):
        e = estimator_inverse_time.NAMES.index(name)
        np.testing.assert_allclose(found.pair[:, 0, k, 0], compared.gradient[:, 1, e], rtol=1e-4)


def test_the_error_falls_with_the_root_of_the_number_of_particles():
    config, found = PARTICLES
    errors = found.errors()
    off = np.linalg.norm(found.pair.mean(axis=3) - found.exact[:, :, None], axis=-1)
    expected = np.sqrt(np.mean((off / np.linalg.norm(found.exact, axis=-1)[..., None]) ** 2, axis=0))
    np.testing.assert_allclose(errors[..., -1], expected)
    gains = errors[..., 0] / errors[..., -1]
    assert (gains > 0.6 * np.sqrt(config.pairs)).all() and (gains < 1.6 * np.sqrt(config.pairs)).all()


def test_what_a_call_costs():
    found, seconds = timed(lambda: sum(range(100_000)))
    assert found == 4_999_950_000 and 0.0 < seconds < 1.0
    assert 8e6 <= allocated(lambda: np.ones(1_000_000)) < 9e6
