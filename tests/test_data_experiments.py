"""The experiments with weights of the training examples: points computed again."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

import hypergrad as hg
from experiments import attribution, hyper_cleaning
from experiments.parts.attribution import attribution_starts
from experiments.parts.hyper_cleaning.cleaning_figure import precision_and_recall
from experiments.shared import results


def checked_in(module, part=1):
    return results.load(module, results.FIGURES / module.__name__.split(".")[-1], part)


def test_a_short_descent_agrees_with_the_checked_in_one(tmp_path):
    config, stored = checked_in(hyper_cleaning)
    short = replace(config, every=config.quick_every)
    values, *_ = hyper_cleaning.clean(short, config.budgets[0], 0, tmp_path)
    np.testing.assert_allclose(values, stored.value[0, 0, : len(values)], rtol=1e-6)


def test_errors_of_the_cleaned_and_of_the_others_are_those_of_training_again():
    config, stored = checked_in(hyper_cleaning)
    (X, given), wrong, valid, test = hyper_cleaning.data(config, 1)
    np.testing.assert_array_equal(wrong, stored.wrong[1])
    error = lambda rows: hg.nn.MLP([784, 10]).error_rate(
        hyper_cleaning.train_on(config, (X[rows], given[rows]), valid), *test
    )
    kept = (~wrong, wrong | True, wrong & False, stored.filtered[1].astype(bool))
    np.testing.assert_allclose([error(rows) for rows in kept], stored.others[1], atol=2e-4)
    assert error(stored.weights[1, 1] > 0.0) == pytest.approx(stored.cleaned[1, 1], abs=2e-4)


def test_the_projection_gives_the_nearest_feasible_weights():
    """By the variational inequality ⟨w − p, v − p⟩ ≤ 0 for every feasible v."""
    rng = np.random.default_rng(0)
    for budget in (3.0, 10.0, 40.0):
        w = rng.normal(0.4, 1.0, 30)
        p = hyper_cleaning.projected(w, budget)
        assert (p >= 0.0).all() and (p <= 1.0).all() and p.sum() <= budget + 1e-9
        for _ in range(50):
            v = rng.random(30)
            v *= min(1.0, budget / v.sum())
            assert (w - p) @ (v - p) <= 1e-9
        np.testing.assert_allclose(hyper_cleaning.projected(p, budget), p, atol=1e-12)


def test_weights_are_feasible_and_what_is_removed_is_wrong():
    config, stored = checked_in(hyper_cleaning)
    for budget, weights in zip(config.budgets, stored.weights):
        assert (weights >= 0.0).all() and (weights <= 1.0).all() and (weights.sum(axis=1) <= budget + 1e-6).all()
    precision, _ = precision_and_recall(stored.weights == 0.0, stored.wrong.astype(bool))
    assert (precision > 1.5 * stored.wrong.mean()).all(), "guessing has the share of wrong labels for precision"
    assert (stored.value[..., -1] < stored.value[..., 0]).all()


@pytest.mark.parametrize("part", attribution.SIZES)
def test_scores_are_those_of_the_stored_predictions_and_measurements(part):
    config, stored = checked_in(attribution, part)
    assert stored.measured.shape[1] >= 100 and config.seeds >= 10
    ours = [
        [[spearmanr(p[:, t], y[:, t])[0] for t in range(config.tests)] for p in of_methods]
        for of_methods, y in zip(stored.predicted, stored.measured)
    ]
    np.testing.assert_allclose(ours, stored.value, atol=1e-9)
    for seed, m, t in ((0, 0, 0), (3, 1, 2), (9, 3, 3)):
        r = np.corrcoef(stored.predicted_without[seed, m, :, t], stored.measured_without[seed, :, t])[0, 1]
        assert r == pytest.approx(stored.left_out[seed, m, t], abs=1e-9)


@pytest.mark.parametrize("part", attribution.SIZES)
def test_a_few_trainings_on_halves_are_reproduced(part):
    config, stored = checked_in(attribution, part)
    few = attribution.Results(*attribution.attribute(replace(config, every=config.quick_every, tests=2), "", 0, None))
    np.testing.assert_allclose(few.measured[:, 0], stored.measured[0, : len(few.measured), 0], rtol=1e-6)
    np.testing.assert_allclose(few.predicted[0, :, 0], stored.predicted[0, 0, : len(few.measured), 0], rtol=1e-6)
    np.testing.assert_array_equal(few.helpful, stored.helpful[0])


def test_influence_functions_solve_their_equation():
    config = attribution.PARTS[1]
    model, loss, params, (X, T) = attribution.problem(config, 0)
    _, hvp = model.gradient_with_hvp(params, loss.X, loss.T)
    right = model.gradient(params, X[:1], T[:1])
    found = attribution.solve(hvp, right, 0.1)
    for h, x, b in zip(hvp(found)[0], found[0], right[0]):
        assert np.linalg.norm(h + 0.1 * x - b) < 2e-2 * np.linalg.norm(b)


@pytest.mark.parametrize("part", attribution.SIZES)
def test_the_halves_of_the_parts_on_dampings_and_starts_are_those_of_the_first_parts(part):
    config, stored = checked_in(attribution, part)
    _, again = checked_in(attribution, part + 2)
    np.testing.assert_allclose(again.measured, stored.measured, rtol=1e-6)
    rows = slice(config.halves // 2, None)
    influence = again.value[:, 1, attribution.PARTS[part + 2].dampings.index(0.1)]
    for method, found in (("through the whole run", again.whole[:, 1]), ("influence functions, λ = 0.1", influence)):
        predicted = stored.predicted[:, config.methods().index(method)]
        ours = [
            [spearmanr(p[rows, t], y[rows, t])[0] for t in range(config.tests)]
            for p, y in zip(predicted, stored.measured)
        ]
        np.testing.assert_allclose(found, ours, atol=1e-3)


@pytest.mark.parametrize("part", attribution.SIZES)
def test_the_damping_is_chosen_by_halves_that_are_not_reported(part):
    config, stored = checked_in(attribution, part + 2)
    assert len(stored.chosen) >= 10 and stored.value.shape[2] == len(config.dampings)
    for row, chosen in zip(stored.value, stored.chosen):
        assert row[0, int(chosen)].mean() == row[0].mean(axis=-1).max()


def test_trainings_from_other_initial_weights_are_reproduced():
    config, stored = checked_in(attribution, 4)
    few = attribution_starts.scored(replace(config, every=config.quick_every, starts=(1,), others=1), 0)
    np.testing.assert_allclose(few["measured"], stored.measured[0, : len(few["measured"])], rtol=1e-6)
    assert few["across"].shape == (2, 1, 1, config.tests)
