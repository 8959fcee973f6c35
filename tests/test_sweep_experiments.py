"""Sweeps and edges of 9, 11 and 14 January: quick runs, points computed again, what the log says."""

import dataclasses
import json
import subprocess
import sys
from functools import partial

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import make_jvp

import hypergrad as hg
from experiments import check_log
from experiments import jan09_param_scale_wiggliness as jan09
from experiments import jan11_gradient_by_magnitude as jan11
from experiments import jan14_lr_wiggliness as jan14
from experiments.parts.jan09_param_scale_wiggliness import precision
from experiments.shared import results, sweeps
from experiments.shared.intervals import t_interval
from hypergrad.probe.edge import compare, first_failure

SWEEPS = [
    (module, part) for module in (jan09, jan14) for part in module.PARTS if results.kind(module.PARTS[part]) is sweeps
]


def checked_in(module, part):
    """The config and the results that lie in figures/."""
    return results.load(module, results.FIGURES / module.__name__.split(".")[-1], part)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Output of a quick run, started as a user would."""
    output = tmp_path_factory.mktemp("quick")
    command = [
        sys.executable,
        "-m",
        "experiments.jan14_lr_wiggliness",
        "--quick",
        "--seeds",
        "1",
        "--output",
        str(output),
    ]
    run = subprocess.run(command, cwd=results.ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return output, run.stdout


def test_quick_run_says_where_the_figure_is_and_leaves_no_cache(quick):
    output, printed = quick
    assert str(output / "part1.png") in printed and "Look at" in printed
    names = {"part1.png", "part1.pdf", "part1.npz", "part1.json", ".cache"}
    assert {path.name for path in output.iterdir()} == names
    assert not any((output / ".cache").iterdir())
    description = json.loads((output / "part1.json").read_text())
    assert description["experiment"] == "jan14_lr_wiggliness" and description["config"]["every"] == 3
    assert {"python", "numpy", "autograd", "hypergrad"} <= set(description["versions"])
    assert description["seconds"] > 0.0 and description["resumed"] is False


def compare_smooth_part(config, values, few):
    """A sweep of seed 0 at a few of the values agrees with the checked-in one where that is smooth."""
    (sweep, *_) = values.sweeps()
    at = np.searchsorted(sweep.values, few.values - 1e-9)
    np.testing.assert_allclose(sweep.values[at], few.values, rtol=1e-12)
    smooth = sweep.smooth[at, : few.loss.shape[1]]
    assert smooth.sum() >= smooth.size // 2 and smooth.any(axis=0).all()
    for name in ("loss", "gradient"):
        ours, theirs = getattr(few, name), getattr(sweep, name)[at]
        for k in range(smooth.shape[1]):
            error = np.linalg.norm((ours[:, k] - theirs[:, k])[smooth[:, k]])
            assert error <= 1e-6 * np.linalg.norm(theirs[smooth[:, k], k]), (name, config.counts[k])


def test_the_smooth_part_of_a_quick_run_agrees_with_the_checked_in_results(quick):
    config, values = checked_in(jan14, 1)
    compare_smooth_part(config, values, results.load(jan14, quick[0], 1)[1].sweeps()[0])


@pytest.mark.parametrize(("module", "part"), SWEEPS)
def test_a_few_smooth_points_of_every_sweep_are_reproduced(module, part):
    config, values = checked_in(module, part)
    first = dataclasses.replace(config, counts=config.counts[: max(1, np.searchsorted(config.counts, 50))])
    points = values.values[: len(values.values) // 3 : len(values.values) // 9]
    few = hg.probe.sweep(partial(sweeps.losses, first, 0), points, n_jobs=2, progress=False)
    compare_smooth_part(config, values, few)


def test_the_log_takes_no_edge_from_a_grid_that_cannot_place_one():
    """What it says of the coarse sweeps, and of the edges of the fine one."""
    places = [{}, {}]  # by the rule of windows, which may not be able to place an edge, and where it can
    for module, part in SWEEPS:
        config, found = checked_in(module, part)
        for sweep in found.sweeps():
            fine = np.diff(sweep.values).max() <= 0.01
            assert fine == bool(np.isfinite(sweep.edge).any()) == (sweep.note == ""), (module, part)
            windows = compare(sweep.values, sweep.loss, sweep.gradient)
            first = np.append(windows.ends, len(sweep.values))[first_failure(windows)]
            ends = np.append(sweep.values, np.nan)[first]
            for kept, value in zip(places, (ends, sweep.edge)):
                kept.setdefault((module, part), []).append(value)
        np.testing.assert_array_equal(found.failures(), places[0][module, part])
        assert config.locate == bool(len(found.edge)), (module, part)
        assert not config.locate or (config.low < found.edge).all()
    fine = np.ravel(places[1][jan14, 2])
    assert np.isfinite(fine).all()
    np.testing.assert_allclose(sweeps.numbers(*checked_in(jan14, 2)[::-1])["windows"], t_interval(fine))
    found = {place: checked_in(*place)[1] for place in SWEEPS}
    assert [place for place in SWEEPS if len(found[place].edges())] == [(jan09, 1), (jan09, 2), (jan14, 1), (jan14, 2)]
    closer, as_close = found[jan14, 2].failures(), found[jan14, 2].failures(every=4)  # as part 1 looks, 0.007 apart
    apart = found[jan14, 1].edge - as_close[:, 0]
    assert len(apart) >= 10 and np.abs(apart).max() < 0.2 and np.median(np.abs(apart)) < 0.05, "the same edges"
    assert (closer[:, 0] > found[jan14, 1].edge).all(), "and later ones on a closer look"


def test_an_edge_of_every_fifth_value_is_that_of_a_sweep_of_those():
    config, found = checked_in(jan14, 2)
    thinned = [
        hg.probe.Sweep(*(array[3::5] for array in (s.values, s.loss, s.gradient, s.diverged_at)))
        for s in found.sweeps()
    ]
    np.testing.assert_array_equal(found.failures(5, 3)[:, 0], [np.ravel(sweep.edge)[0] for sweep in thinned])
    named = sweeps.numbers(found, config)
    assert named["those less windows"].high < 0.0 < named["windows of every fifth value"].low


def test_the_log_gives_the_edges_of_the_scale_with_an_interval_over_seeds():
    """Worked out by hand from the stored locations."""
    edges = checked_in(jan09, 1)[1].edge
    assert len(edges) == 10
    half = 2.2622 * np.sqrt(np.sum((edges - edges.mean()) ** 2) / 9.0 / 10.0)  # Student's t, nine degrees of freedom
    mean, low, high = (f"{edges.mean() + end:.2f}".replace("-", "−") for end in (0.0, -half, half))
    assert f"{mean} [{low}, {high}]<!-- 1: edge -->" in check_log.LOG.read_text(encoding="utf-8")


def test_gradients_of_single_weights_in_the_calm_regime_are_reproduced():
    config, stored = checked_in(jan11, 1)
    again = jan11.gradients(config, 0, config.log_lrs[0])
    for name, array in stored._asdict().items():
        theirs = array[0, 0]
        finite = theirs[np.isfinite(theirs)]
        assert finite.any(), name
        np.testing.assert_allclose(again[name], theirs, rtol=1e-6, atol=1e-6 * np.linalg.norm(finite), err_msg=name)


def test_the_summary_of_an_array_on_numbers_worked_out_by_hand():
    w = np.concatenate([np.full(10, -0.01), np.full(10, 1.0), [5.0]])
    g = np.concatenate([np.full(10, 2.0), np.full(10, -3.0), [0.0]])
    row = jan11.summary(w, g, 1.0)
    assert row.median[np.isfinite(row.median)].tolist() == [2.0, 3.0]
    assert row.zeros == pytest.approx(1 / 21) and row.rms == pytest.approx(np.sqrt(130 / 21))
    assert row.rank_correlation == pytest.approx(1.0) and row.by_log_scale == pytest.approx(-30.2)


def test_the_small_network_in_float64_is_trained_as_by_train_itself():
    config = jan09.PARTS[4]
    model, batch_loss = precision.network(config.images, config.batch_size)
    draws = hg.init.scaled_normal(model.shapes, 1.0, 1, np.float32)
    optimizer = hg.SGD(1.0, float(np.float32(0.9)))

    def loss(log_scale):
        params = [tuple(anp.exp(log_scale) * a.astype(float) for a in pair) for pair in draws]
        return model.loss(hg.train(batch_loss, params, optimizer, steps=config.steps), batch_loss.X, batch_loss.T)

    expected = make_jvp(loss)(-1.0)(1.0)
    np.testing.assert_allclose(precision.trained(config, 1, -1.0, np.float64), expected, rtol=1e-9)
    assert precision.trained(config, 1, -1.0, np.float64, tangent=False) == pytest.approx(expected[0], rel=1e-12)


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="longdouble is not longer than double here")
def test_the_derivative_in_three_precisions_is_reproduced_and_is_that_of_the_loss():
    config, stored = checked_in(jan09, 4)
    at = 4
    again = precision.compare(dataclasses.replace(config, decades=6), 0, stored.log_scale[at])
    np.testing.assert_allclose(again["gradient"][1:], stored.gradient[0, at, 1:], rtol=1e-6)
    assert again["gradient"][0] == pytest.approx(again["gradient"][2], rel=1e-3)
    assert again["gradient"][1] == pytest.approx(again["gradient"][2], rel=1e-9)
    assert again["difference"][5] == pytest.approx(again["gradient"][2], rel=1e-8)


def test_in_the_rough_part_differences_find_the_derivative_at_small_distances_only():
    """What the log says: the checked-in derivative is that of the loss, and float32 gets it wrong."""
    _, stored = checked_in(jan09, 4)
    exact = stored.gradient[..., -1]
    rough = (np.abs(exact) > 1e3) & (np.abs(exact) < 1e9)
    assert rough.sum() >= 10
    deviation = np.abs(stored.difference / exact[..., None] - 1.0)[rough]
    assert (deviation[:, stored.distance > 5e-3].min(axis=1) > 0.5).all()
    assert (deviation.min(axis=1) < 1e-2).all()
    error = np.abs(stored.gradient[..., 1] / exact - 1.0)
    assert np.median(error[rough]) < 1e-2 and (error[rough & (np.abs(exact) < 1e7)] < 1e-2).all()
    assert np.median(np.abs(stored.gradient[..., 0] / exact - 1.0)[rough]) > 0.1
