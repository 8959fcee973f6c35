"""Tiny networks trained at once against training one of them, and box counting on sets of known dimension."""

from dataclasses import replace

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import make_jvp

import hypergrad as hg
from experiments import trainability_map as trainability
from experiments.parts.trainability_map import tiny_nets
from experiments.parts.trainability_map.box_counting import boundary, dimension
from experiments.shared import results

SEED, DATA, UNITS, STEPS = 3, 12, 5, 30
LOG_LRS = np.array([[1.0, 0.5, 2.5, -1.0], [0.5, 1.5, 0.0, 2.0]])  # of four runs, calm ones


def trained_at_once(activation, batch_size, log_lrs, dtype=np.float64, steps=STEPS):
    X, y, W0, W1, *tangent = tiny_nets.draw(SEED, DATA, UNITS, UNITS, dtype)
    params = [np.repeat(w[..., None], log_lrs.shape[1], axis=-1) for w in (W0, W1)]
    return tiny_nets.train(activation, X, y, params, tangent, np.exp(log_lrs), steps, batch_size)


def trained_alone(activation, batch_size, log_lrs):
    """Relative losses, and the norm of the tangent at the end."""
    X, y, W0, W1, D0, D1 = tiny_nets.draw(SEED, DATA, UNITS, UNITS)
    phi = {"tanh": anp.tanh, "relu": lambda z: z * (z > 0.0), "identity": lambda z: z}[activation]
    factor = np.sqrt((1.0 if activation == "identity" else 2.0) / UNITS)

    def loss(params, rows=slice(None)):
        return anp.mean((phi(factor * anp.dot(X[rows], params[0])) @ params[1] / UNITS - y[rows]) ** 2)

    def rows(step):
        start = step * batch_size % DATA
        return slice(start, start + batch_size)

    def train(params):
        optimizer = hg.SGD(list(np.exp(log_lrs)), momentum=0.0)
        batch_loss = lambda params, hyper, step: loss(params, rows(step))
        return hg.train(batch_loss, params, optimizer, steps=STEPS, save_at=list(range(STEPS + 1)))

    saved, tangents = make_jvp(train)([W0, W1])([D0, D1])
    losses = [loss(params, rows(step)) / loss([W0, W1]) for step, params in enumerate(saved[:-1])]
    return losses, np.sqrt(sum(np.sum(d**2) for d in tangents[-1]))


@pytest.mark.parametrize("batch_size", [DATA, 4])
@pytest.mark.parametrize("activation", ["tanh", "relu", "identity"])
def test_each_run_and_its_growth_rate_are_those_of_train_and_forward_mode(activation, batch_size):
    runs = trained_at_once(activation, batch_size, LOG_LRS)
    for i, log_lrs in enumerate(LOG_LRS.T):
        losses, norm = trained_alone(activation, batch_size, log_lrs)
        np.testing.assert_allclose(runs.loss[:, i], losses, rtol=1e-9)
        assert runs.growth[i] == pytest.approx(np.log(norm) / STEPS, rel=1e-9, abs=1e-12)
    assert np.ptp(runs.growth) > 1e-3


def test_runs_that_are_given_up_leave_the_others_as_they_are():
    lost = np.array([[9.0], [9.0]])
    together = trained_at_once("relu", 4, np.hstack([LOG_LRS[:, :2], lost, LOG_LRS[:, 2:]]))
    apart = trained_at_once("relu", 4, LOG_LRS)
    others = [0, 1, 3, 4]
    np.testing.assert_allclose(together.loss[:, others], apart.loss, rtol=1e-12)
    np.testing.assert_allclose(together.growth[others], apart.growth, rtol=1e-12)
    assert np.isinf(together.loss[-1, 2]) and together.growth[2] > 1.0
    assert tiny_nets.convergence(together.loss)[2] > 0.0 and (tiny_nets.convergence(apart.loss) < 0.0).all()


def test_the_measure_of_convergence_on_numbers_worked_out_by_hand():
    falling = 0.5 ** np.arange(20.0)
    rising = 2.0 ** np.arange(20.0)
    gone = np.where(np.arange(20) < 3, 1.0, np.inf)
    measure = tiny_nets.convergence(np.stack([falling, rising, gone], axis=1))
    assert measure == pytest.approx([-2.0, 2.0, 3.0], rel=1e-4)


def koch_curve(n, depth):
    """The Koch curve on a grid (n, n)."""
    points = np.array([0.0, 1.0 + 0.0j])
    turn = np.array([0.0, 1.0, 1.0 + np.exp(1j * np.pi / 3), 2.0])
    for _ in range(depth):
        steps = np.diff(points) / 3
        points = np.append((points[:-1, None] + steps[:, None] * turn).ravel(), points[-1])
    cells = np.zeros((n, n), dtype=bool)
    cells[(points.imag * n * 0.99).astype(int), (points.real * n * 0.99).astype(int)] = True
    return cells


def half_plane(n, slope):
    row, column = np.indices((n, n))
    return boundary(row - n / 2 > slope * (column - n / 2))


@pytest.mark.parametrize(
    ("cells", "expected", "tolerance"),
    [
        (half_plane(256, 0.0), 1.0, 0.02),
        (half_plane(256, 0.37), 1.0, 0.03),
        (half_plane(256, -2.1), 1.0, 0.03),
        (half_plane(256, -1.0), 1.0, 0.03),
        (koch_curve(256, 7), np.log(4) / np.log(3), 0.05),
        (np.ones((256, 256), dtype=bool), 2.0, 0.05),
        (boundary(np.random.default_rng(0).random((256, 256)) < 0.5), 2.0, 0.1),
    ],
    ids=["line", "slanted line", "falling line", "diagonal", "Koch curve", "plane", "noise"],
)
def test_the_dimension_of_known_sets(cells, expected, tolerance):
    found = dimension(cells)
    assert found.value == pytest.approx(expected, abs=tolerance)
    assert 0.0 <= found.error < tolerance


def test_an_empty_set_has_no_dimension():
    assert np.isnan(dimension(boundary(np.ones((64, 64), dtype=bool))).value)


def test_a_zoom_holds_the_boundary_of_what_rounding_does_not_decide():
    measure, growth = np.ones((64, 64), dtype=np.int8), np.full((64, 64), 127, dtype=np.int8)
    measure[40:43, 10:13], growth[40:43, 10:13] = -1, 1
    measure[:16:2, 40:56:2] = -1  # a larger boundary, but of runs with a growth rate of 1
    frame = trainability.zoomed(trainability.PARTS[1], [(0.0, 64.0), (100.0, 164.0)], measure, growth)
    (left, right), (low, high) = frame
    assert right - left == high - low == 8.0
    assert left <= 9.0 and right >= 13.0 and low <= 139.0 and high >= 143.0


@pytest.mark.parametrize(
    ("part", "level", "number"),
    [(1, 0, 100), (4, 0, 100), (5, 0, 100), (7, 0, 100), (1, -1, 227), (4, -1, 52), (5, -1, 2), (7, -1, 102)],
)
def test_calm_runs_of_the_checked_in_maps_are_reproduced(part, level, number):
    """In blocks of the whole map and of the deepest zoom that hold calm runs and diverged ones."""
    config, stored = results.load(trainability, results.FIGURES / "trainability_map", part)
    # Of calm runs the tangent grows so little that a rounding error stays below 0.02 % of the parameters.
    calm_growth = np.log(2e-4 / np.finfo(config.dtype).eps) / config.steps
    again = trainability.block(config, 0, stored.frames[0, level], number)
    rows = slice(number * trainability.BLOCK, (number + 1) * trainability.BLOCK)
    measure, growth = (a[0, level].ravel()[rows] for a in (stored.measure, stored.growth))
    calm = (measure < 0) & (growth < trainability.packed(calm_growth, 1.0))
    assert calm.sum() >= 20
    assert np.mean((again["measure"] > 0) == (measure > 0)) > 0.95
    for name, array in (("measure", measure), ("growth", growth)):
        apart = np.abs(again[name].astype(int) - array)[calm]
        assert (apart > 1).sum() <= max(1, 0.01 * calm.sum()), (
            name
        )  # the products of other processors round differently
        assert (apart <= 3).all(), name


def test_rounding_to_float32_is_no_more_than_a_small_shift_in_the_deepest_zoom():
    """What the log says of precision, on a few rows."""
    config, stored = results.load(trainability, results.FIGURES / "trainability_map", 3)
    frame = stored.frames[0, -1]
    shifted = frame + np.array([[0.01], [0.0]]) * np.ptp(frame[0]) / config.resolution
    double = replace(config, dtype="float64")
    single, exact, near = (
        np.concatenate([trainability.block(c, 0, f, k)["measure"] > 0 for k in (100, 200)])
        for c, f in ((config, frame), (double, frame), (double, shifted))
    )
    assert np.mean(single != exact) < 0.02
    assert np.mean(near != exact) < 0.03
