"""The experiment on advice: its truths and shares computed again, and what log and documentation say of them."""

from typing import NamedTuple

import autograd.numpy as anp
import numpy as np
import pytest

import hypergrad as hg
from experiments import advice as module
from experiments import check_log
from experiments.parts.advice import advice_errors, advice_measured
from experiments.parts.advice.advice_problems import Case
from experiments.shared import log_numbers
from experiments.shared.intervals import clopper_pearson
from experiments.shared.results import FIGURES, ROOT, load


class Part(NamedTuple):
    config: advice_measured.Config
    results: advice_measured.Results


PARTS = {part: Part(*load(module, FIGURES / "advice", part)) for part in module.PARTS}
LOG = (ROOT / "experiments" / "LOG.md").read_text()
ENTRY = LOG[LOG.index(": which estimator of the hypergradient will be the best here") :].split("\n## ")[0]


def problem_of(f, steps=1):
    """A training that leaves its start where it is: the objective is f."""
    return hg.meta.Problem(
        lambda w, hyper, step: 0.0 * anp.sum(w),
        init=lambda h, seed: anp.array([f(h)]),
        optimizer=lambda h: hg.SGD(0.1, 0.0),
        outer_loss=lambda w: w[0],
        steps=steps,
    )


def test_the_truth_below_the_edge_is_the_derivative_and_past_it_that_of_the_smoothed_function():
    """E sin(ω (x + σ z)) = exp(−ω² σ² / 2) sin ω x."""
    calm = advice_errors.truth_of(Case("calm", problem_of(lambda h: anp.sin(3.0 * h)), 0.4, step=0.5))
    assert not calm.past and calm.gradient == pytest.approx(3.0 * np.cos(1.2)) and calm.missed < 1e-3
    rough = Case("rough", problem_of(lambda h: anp.sin(3.0 * h) + 1e-3 * anp.sin(1e5 * h)), 0.4, step=0.5)
    found = advice_errors.truth_of(rough)
    expected = 3.0 * np.exp(-9.0 * 0.25 / 2.0) * np.cos(1.2)
    assert found.past and found.gradient == pytest.approx(expected, rel=0.05) and found.unsure < 0.02


def test_the_truth_of_two_hyperparameters():
    """Each is smoothed over step / √2."""
    f = lambda h: anp.sin(3.0 * h[0]) + 2.0 * h[1] + 1e-3 * anp.sin(1e5 * (h[0] + h[1]))
    found = advice_errors.truth_of(Case("two", problem_of(f), np.array([0.4, 0.1]), step=0.5))
    assert found.past
    np.testing.assert_allclose(found.gradient, [3.0 * np.exp(-9.0 * 0.125 / 2.0) * np.cos(1.2), 2.0], rtol=0.05)
    many = advice_errors.truth_of(Case("three", problem_of(lambda h: anp.sum(anp.sin(1e5 * h))), np.arange(3.0)))
    assert many.past and np.isnan(many.gradient).all(), "none is known"


def test_what_fits_the_budget():
    config = advice_measured.Config(round=0)
    cases = {case.name: case for case in config.cases()}
    assert len(cases) == len(config.cases()) and len(cases) > 30
    few, enough = cases["sum past the edge, one training"], cases["sum, rate e^3"]
    assert [one.name for one in advice_errors.candidates(few)] == ["persistent"]
    names = {one.name for one in advice_errors.candidates(enough)}
    assert names == set(advice_measured.NAMES) - {"implicit"}


@pytest.mark.parametrize("part", PARTS)
def test_a_few_points_below_the_edge_are_reproduced(part):
    config, found = PARTS[part]
    cases = config.cases()
    quick = [p for p in np.flatnonzero(found.past == 0) if cases[int(found.index[p])].problem.steps <= 30]
    assert len(quick) > 5
    by_cost = sorted(quick, key=lambda p: found.budget[p] * cases[int(found.index[p])].problem.steps)
    enough = [p for p in by_cost if found.budget[p] >= 6.0]  # for several estimators
    for p in (*by_cost[:2], enough[0]):
        again = advice_measured.point(config, found.index[p])
        for name, value in again.items():
            np.testing.assert_allclose(value, getattr(found, name)[p], rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("part", PARTS)
def test_the_shares_are_those_of_the_results(part):
    config, found = PARTS[part]
    floor = lambda errors: np.where(np.isfinite(errors), np.maximum(errors, 1e-3), np.inf)
    hits = trials = 0
    for p in range(len(found.index)):
        every = [*floor(found.error[p]), *floor(found.advised_error[p : p + 1])]
        if not np.isfinite(min(every)) or found.unsure[p] > min(every):
            continue
        trials, hits = trials + 1, hits + (every[-1] <= 2.0 * min(every))
    numbers = advice_measured.numbers(found, config)
    assert (numbers["within, all"], numbers["judged, all"]) == (hits, trials)
    assert numbers["share, all"] == pytest.approx(100.0 * hits / trials)
    np.testing.assert_allclose(numbers["interval, all"], 100.0 * np.array(clopper_pearson(hits, trials)))
    assert trials + numbers["not judged"] == len(found.index)


def test_held_out_problems_are_enough_and_on_both_sides():
    for part, (config, found) in PARTS.items():
        if config.round:
            numbers = advice_measured.numbers(found, config)
            assert numbers["judged, all"] >= 30 and min(numbers["judged, below"], numbers["judged, past"]) >= 10, part
            assert len({case.name for case in config.cases()}) == len(config.cases())


def test_the_misses_are_those_that_the_log_tells():
    rows = [row for part in PARTS.values() for row in advice_measured.misses(part.results, part.config)]
    table = [line for line in ENTRY.splitlines() if line.startswith("| ") and not line.startswith("| problem")]
    assert table == rows


def test_the_numbers_of_the_documentation_are_those_of_the_results():
    page = (ROOT / "docs" / "estimators.md").read_text()
    assert len(log_numbers.marks(page)) > 3
    assert log_numbers.disagreements(page, check_log.numbers_of) == []
