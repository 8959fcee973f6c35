"""The experiment on trials over depth: its numbers computed again, and what the log says of the checked-in results."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import binom

import hypergrad as hg
from experiments import depth_trials
from experiments.parts.depth_trials import deep_nets, depth_causes, fit_coverage
from experiments.shared import results

PART1, PART2, PART3 = (results.load(depth_trials, results.FIGURES / "depth_trials", part) for part in (1, 2, 3))


def test_a_calm_trial_is_reproduced():
    config, stored = PART1
    again = depth_trials.trial(config, {"weight_decay": 5e-4, "depth": 2}, 1)
    for name, array in (("smooth", stored.value), ("test error", stored.error), ("training error", stored.wrong)):
        assert again[name] == pytest.approx(array[1, 0, 1], rel=1e-5), name
    np.testing.assert_allclose(again["loss"], stored.curve[1, 0, 1], rtol=1e-5)
    np.testing.assert_allclose(again["sharpness"][stored.looked_at], stored.sharpness[1, 0, 1], rtol=1e-4)
    np.testing.assert_allclose(again["start"], stored.start[1, 0, 1], rtol=1e-6)
    assert np.mean(again["growth"]) == pytest.approx(np.mean(stored.growth[1, 0, 1]), abs=1e-4)


def test_the_smoothed_loss_is_the_mean_of_the_last_steps_and_what_is_irregular_follows_from_it():
    config, stored = PART1
    np.testing.assert_allclose(stored.value, stored.curve[..., -config.window :].mean(axis=-1), rtol=1e-5)
    for i, leave in enumerate(deep_nets.LEAVES):
        for w in range(2):
            flagged, score, predicted = deep_nets.irregular(config.depths, stored.value[w], leave)
            np.testing.assert_array_equal(flagged, stored.flagged[i, w])
            np.testing.assert_allclose(score, stored.score[i, w], rtol=1e-2, atol=1e-2)
            np.testing.assert_allclose(predicted, stored.predicted[i, w], rtol=1e-3)


def test_what_the_log_says_in_words_of_the_first_two_parts():
    (config, stored), (_, causes) = PART1, PART2
    assert config.seeds == stored.value.shape[-1] >= 10
    odd = stored.flagged[1, :, -1]
    assert (odd[0] == odd[1]).all() and odd[0].nonzero()[0].tolist() == [0, 3, 4, 7, 8]
    assert (stored.value[:, -1][odd > 0.0] > stored.predicted[1, :, -1][odd > 0.0]).all(), "always too high"
    assert np.argwhere(stored.flagged[:, :, :-1]).tolist() == [[1, 1, 3, 1]] and (stored.diverged_at == -1).all()
    assert stored.score[1, 1, 3, 1] < 0.0, "that of depth 7 is too low"
    assert np.flatnonzero(np.isfinite(depth_trials.parting(stored)[0, -1])).tolist() == [0, 3, 4, 7]
    assert (np.exp(causes.edge) > 0.5 * config.lr).all(), "half the rate is below the edge"
    above = depth_causes.excess(causes, PART2[0])
    scatter = [np.std(above[name], ddof=1) for name in ("rate × 0.5, all depths", "as it was")]
    assert scatter[0] > 1.5 * scatter[1]


def test_a_diverged_trial_is_left_out_of_the_form():
    loss = (
        0.5
        + 1.0 / np.array([2.0, 3.0, 5.0, 7.0, 9.0])[:, None]
        + 1e-3 * np.random.default_rng(0).standard_normal((5, 4))
    )
    loss[4, 1] = np.nan
    table = deep_nets.irregular((2, 3, 5, 7, 9), loss, "one")
    assert np.isnan(table[:, 4, 1]).all() and np.isfinite(table[1:]).sum() == 2 * 19
    loss[1:] = np.nan
    assert np.nansum(deep_nets.irregular((2, 3, 5, 7, 9), loss, "one")) == 0.0


def test_calm_outcomes_of_the_second_part_are_reproduced():
    config, stored = PART2
    net = depth_trials.net_of(config)
    lr = config.factors[1] * config.lr
    loss, error = deep_nets.outcome(net, 3, depth_causes.FRESH + 2, lr, config.weight_decay)
    assert loss == pytest.approx(stored.value[1, 1, 2], rel=1e-5) and error == pytest.approx(stored.error[1, 1, 2])
    assert len(stored.search) == config.trainings() // config.learned_from
    assert (
        stored.search[0]
        != stored.descent[0]
        == pytest.approx(float(depth_causes.mean_loss(config, np.full(9, np.log(config.gain)))), rel=1e-3)
    )
    np.testing.assert_allclose(stored.deepest[0, :, 0], stored.value[0, -1], rtol=1e-6)


def test_seeds_of_the_test_are_none_that_anything_was_chosen_by():
    config, _ = PART2
    learned = range(depth_causes.LEARNING, depth_causes.LEARNING + max(config.learned_from, config.edge_seeds))
    fresh = range(depth_causes.FRESH, depth_causes.FRESH + config.seeds)
    assert len(fresh) >= 10 and not set(fresh) & set(learned) and not set(fresh) & set(range(PART1[0].seeds))


def test_intervals_hold_the_truth_in_at_least_90_of_100_draws():
    """If 95 of 100 held it in the long run, fewer than 90 would in one experiment of a hundred.

    Those from samples of the residuals are known to be narrow; the docstring of the fit says how much.
    """
    config, stored = PART3
    assert stored.value.shape[2] == 100 and binom.cdf(89, 100, config.level) == pytest.approx(0.0115, abs=1e-3)
    held, at = fit_coverage.held(stored), config.resample.index("points")
    counts = [held[law, :, : len(names)] for law, names in enumerate(fit_coverage.NAMES)]
    points, residuals = (np.concatenate([of_law[i] for of_law in counts]) for i in (at, 1 - at))
    assert len(points) == 8 and (points >= 90).all(), points
    words = f"they held {residuals.min()} to {residuals.max()} at nominally 95 %, those of points {points.min()} to"
    assert " ".join(f"{words} {points.max()}".split()) in " ".join(hg.fit.power_law.__doc__.split())
    assert np.isnan(stored.value[0, ..., 3:]).all()


def test_a_trial_is_irregular_from_where_it_stays_so():
    _, stored = PART1
    since = depth_trials.parting(stored)
    assert np.isfinite(since).any()
    for place in np.argwhere(np.isfinite(since)):
        w, d, s = place
        flags = stored.flagged_by[:, w, d, s]
        assert (
            flags[stored.looked_at >= since[w, d, s]].all() and not flags[stored.looked_at < since[w, d, s]][-1:].any()
        )


def test_a_draw_is_reproduced():
    config, stored = PART3
    again = fit_coverage.draw(dataclasses.replace(config, bootstraps=1), 1, "points", 7.0)
    np.testing.assert_allclose(again["value"], stored.value[1, 0, 7], rtol=1e-3)


def test_full_runs_are_larger_ones_of_the_same():
    for part, config in depth_trials.FULL.items():
        smaller = depth_trials.PARTS[part]
        assert type(config) is type(smaller) and config != smaller
        if part < 3:
            assert config.width > smaller.width and config.images > smaller.images and config.depths == smaller.depths
    assert hg.nn.MLP([196, *[200] * 8, 10]).shapes[-1] == ((200, 10), (10,))
