"""The experiment on estimators: a few points computed again, and closed forms."""

import numpy as np
import pytest
from scipy import stats

from experiments import estimators_against_exact as module
from experiments.parts.estimators_against_exact import estimator_descents, estimator_errors, estimator_truncation
from experiments.shared.intervals import crossed_interval
from experiments.shared.results import FIGURES, load

TRUNCATION, ERRORS, DESCENTS = (load(module, FIGURES / "estimators_against_exact", part) for part in (1, 2, 3))


def test_truncation_of_a_final_loss_keeps_the_last_steps_and_nothing_else():
    """So cosine and ratio of the norms are one number."""
    config, found = TRUNCATION
    np.testing.assert_allclose(found.cosine, found.ratio, rtol=1e-9)
    again = estimator_truncation.point(config, 10)
    for name in ("steps", "cosine", "total"):
        np.testing.assert_allclose(again[name], getattr(found, name)[0], rtol=1e-9)


def by_eigenvalues(config, steps: int) -> np.ndarray:
    """The final loss of the quadratic by the log learning rate of every step, in closed form.

    Along each eigenvector a step is s ← A s for s = (w, v); the log of the rate of step t adds α v_{t+1} to w.
    """
    alpha, beta, found = config.lr, config.momentum, np.zeros(steps)
    for x in config.lambdas():
        A = np.array([[1.0 - alpha * (1.0 - beta) * x, alpha * beta], [-(1.0 - beta) * x, beta]])
        powers = [np.linalg.matrix_power(A, t) for t in range(steps + 1)]
        last = powers[steps][0, 0]
        found += [x * last * powers[steps - 1 - t][0, 0] * alpha * powers[t + 1][1, 0] for t in range(steps)]
    return found


@pytest.mark.parametrize("row", [0, 1])
def test_the_exact_and_the_truncated_hypergradient_of_the_quadratic_are_those_in_closed_form(row):
    config, found = TRUNCATION
    steps = config.lengths[row]
    exact = by_eigenvalues(config, steps)
    for k, back in enumerate(found.steps[row]):
        if np.isfinite(back):
            kept = exact[steps - int(back) :]
            assert found.ratio[row, k] == pytest.approx(np.linalg.norm(kept) / np.linalg.norm(exact), rel=1e-6)
            assert found.total[row, k] == pytest.approx(kept.sum() / exact.sum(), rel=1e-5)


def test_the_quadrature_finds_the_derivative_of_a_smoothed_sine():
    """E sin(ω (x + σ z)) = exp(−ω² σ² / 2) sin ω x."""
    found = estimator_errors.derivative_by_quadrature(lambda x: np.sin(3.0 * x), 0.4, 0.5, 24)
    assert found == pytest.approx(3.0 * np.exp(-9.0 * 0.25 / 2.0) * np.cos(1.2), rel=1e-9)


def test_a_point_in_the_calm_is_reproduced():
    config, found = ERRORS
    again = estimator_errors.point(config, 0, float(found.log_lr[0]))
    for name in ("loss", "truth", "bias", "error", "weight"):
        np.testing.assert_allclose(again[name], getattr(found, name)[0, 0], rtol=1e-6)
    calm = found.log_lr <= 1.0
    assert np.all(found.truth_error[:, calm] < 1e-3 * np.abs(found.truth[:, calm]))


def test_in_the_calm_exact_and_mixed_are_right_in_every_seed_and_past_the_edge_the_exact_one_in_none():
    config, found = ERRORS
    assert config.seeds == len(found.truth) >= 10
    off = found.error / np.abs(found.truth)[..., None]
    calm, chaos = (np.median(off[:, where], axis=1).T for where in (found.log_lr <= 1.0, found.log_lr >= 2.5))
    exact, half, tenth, values, mixed = calm
    assert max(exact.max(), mixed.max()) < 0.1 * min(rest.min() for rest in (half, tenth, values))
    assert chaos[0].min() > 1e3 and np.median(chaos[3:]) < 1.0
    counted = estimator_errors.numbers(found, config)["seeds nearer by mix than by values, chaos"]
    assert counted == sum(mix < value for value, mix in zip(*chaos[3:], strict=True))


def test_constant_rates_in_the_calm_are_reproduced(tmp_path):
    config, found = DESCENTS
    again = estimator_descents.descend(config, estimator_descents.CONSTANT, 0, tmp_path)
    e, count = (
        estimator_descents.NAMES.index(estimator_descents.CONSTANT),
        config.evaluations(estimator_descents.CONSTANT),
    )
    calm = np.flatnonzero(np.linspace(config.low, config.high, count) < 1.0)
    assert len(calm) > 30
    np.testing.assert_allclose(again[0][0, calm], found.value[e, 0, 0, calm], rtol=1e-6)
    np.testing.assert_allclose(again[3][0], found.at_start[e, 0, 0], rtol=1e-6)


def test_descents_are_compared_with_the_best_constant_rate_seed_by_seed():
    config, found = DESCENTS
    numbers, names = estimator_descents.numbers(found, config), estimator_descents.NAMES
    assert config.seeds == 10 and found.at_start[0, 0].tolist() == found.at_start[-1, -1].tolist()
    lowest = np.nanmin(found.value, axis=-1)
    for m, start in enumerate(config.starts):
        for e, name in enumerate(names[:-1]):
            logs = np.log(lowest[[e, -1], :, m])
            ends = np.exp(stats.ttest_rel(*logs).confidence_interval())
            assert numbers[f"training over the constant's, {name}, {start:g}"][1:] == pytest.approx(ends)
            assert numbers[f"training, {name}, {start:g}"][0] == pytest.approx(stats.gmean(lowest[e, :, m]))
            ratio = found.test[e, :, m] / found.test[-1, :, m]
            over = numbers[f"test over the constant's, {name}, {start:g}"]
            assert np.log(over) == pytest.approx(crossed_interval(np.log(ratio)))
            assert over.mean == pytest.approx(stats.gmean(ratio, axis=None))
