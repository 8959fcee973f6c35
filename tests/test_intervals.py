"""The intervals of the log."""

import numpy as np
import pytest

from experiments.shared.intervals import crossed_interval, t_interval


@pytest.mark.parametrize("runs, draws", [(0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.0, 0.0)])
def test_crossed_intervals_hold_the_truth_whatever_varies(runs, draws):
    rng = np.random.default_rng(0)
    held = []
    for _ in range(1_000):
        values = runs * rng.standard_normal((10, 1)) + draws * rng.standard_normal(12) + rng.standard_normal((10, 12))
        _, low, high = crossed_interval(values)
        held.append(low <= 0.0 <= high)
    assert np.mean(held) >= 0.935, "an interval of 95 %, less what a thousand draws can miss by"


def test_an_interval_over_the_draws_alone_is_too_short_where_runs_differ():
    rng = np.random.default_rng(1)
    values = rng.standard_normal((1_000, 10, 1)) + 0.1 * rng.standard_normal((1_000, 10, 12))
    held = [low <= 0.0 <= high for _, low, high in map(t_interval, values.mean(axis=1))]
    assert np.mean(held) < 0.3


def test_of_one_run_the_interval_is_over_the_draws():
    assert crossed_interval([[1.0, 2.0, 3.0]]) == t_interval([1.0, 2.0, 3.0])
    assert crossed_interval(np.ones((3, 4))) == (1.0, 1.0, 1.0)
