"""The experiment with many steps: its own pieces against other ways to compute them, and what the log says of it."""

import dataclasses

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad

import hypergrad as hg
from experiments import feb10_many_steps as feb10
from experiments.shared import apart, results, runner

SHORT = dataclasses.replace(feb10.PARTS[1], images=200, held_out=50, steps=100, bins=5, points=3, seeds=1)


def checked_in(part):
    return results.load(feb10, results.FIGURES / "feb10_many_steps", part)


def test_a_measured_run_agrees_with_the_steps_stored():
    found, problem = feb10.measure(SHORT, 1), feb10.of_mlp(SHORT, 1)
    start = feb10.hypers(SHORT, 100)
    stored = grad(feb10.objective(problem, SHORT, hg.Stored()))(start)
    np.testing.assert_allclose(found["gradient"], stored["log_lr"].reshape(4, 5, 20).sum(axis=2), rtol=1e-9)
    np.testing.assert_allclose(found["by_scale"], stored["log_scale"], rtol=1e-9)
    reversing, forward, difference = found["slope"]
    assert forward == pytest.approx(reversing, rel=1e-10) and difference == pytest.approx(reversing, rel=1e-5)
    in_floats = feb10.objective(problem, SHORT, exact=False)(start)
    assert found["curve"][-1] == pytest.approx(in_floats, rel=1e-12) and found["curve"][-1] < found["curve"][0]
    assert found["parameters"] == sum(w.size for pair in problem.init(np.ones(4)) for w in pair) == 44_860
    # After 100 steps the first digits of the buffers still show.
    assert found["bits"][-1] == pytest.approx(100 * 44_860 * np.log2(1 / 0.9), rel=1e-3)


def test_the_beginning_of_the_long_run_is_reproduced():
    """The loss of seed 0 at the first points of the curve."""
    config, stored = checked_in(1)
    problem, counts = feb10.of_mlp(config, 0), stored.curve_steps[:2]
    curve = feb10.trained_at(problem, config, feb10.hypers(config, int(counts[-1])), counts)
    np.testing.assert_allclose([problem.validation_loss(params) for params in curve], stored.curve[0, :2], rtol=1e-6)


@pytest.mark.parametrize("part", feb10.PARTS)
def test_the_checked_in_derivative_is_that_of_forward_mode_and_its_bits_are_those_lost(part):
    config, found = checked_in(part)
    reversing, forward, difference = found.slope.T
    np.testing.assert_allclose(forward, reversing, rtol=1e-6)
    np.testing.assert_allclose(difference, reversing, rtol=1e-2)
    assert found.curve_steps[-1] == config.steps and (found.bytes < 300e6).all()
    np.testing.assert_allclose(found.bits[:, -1], found.bound[-1], rtol=1e-4)
    late = found.gradient.sum(axis=1)[:, 15:]
    assert part == 2 or (late > 0.0).all(), "after step 6,000 lower rates would be better"
    assert found.bound[-1] == pytest.approx(config.steps * found.parameters * np.log2(1 / config.momentum), rel=1e-8)


def test_the_transformer_in_jax_is_that_of_the_package():
    pytest.importorskip("jax", reason="the transformer of part 2 needs the extra jax")
    config = dataclasses.replace(feb10.PARTS[2], images=20, held_out=4)
    X, X_valid = feb10.grey_levels(20, 4)
    assert X.shape == (20, 49) and set(np.unique(X)) <= set(range(8)) and len(np.unique(X)) > 4
    problem = feb10.of_transformer(config, 0)
    model = hg.nn.Transformer(8, width=16, depth=1, heads=2, length=48, position="learned")
    params = problem.init(np.array([1.0, 0.5, 1.5, 2.0]))
    assert problem.validation_loss(params) == pytest.approx(float(model.loss(params, X_valid)), rel=1e-12)
    assert problem.batch_loss(params, None, 7) == pytest.approx(float(model.loss(params, X[8:12])), rel=1e-12)
    by_autograd = grad(lambda scales: model.loss(problem.init(scales), X_valid))(anp.ones(4))
    np.testing.assert_allclose(grad(lambda s: problem.validation_loss(problem.init(s)))(anp.ones(4)), by_autograd, 1e-9)


def test_without_jax_the_second_part_names_the_extra(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert runner.main(feb10, ["--part", "2", "--quick", "--output", str(tmp_path)]) == 2
    assert "python -m pip install -e '.[jax]'" in capsys.readouterr().err


def test_a_function_apart_gives_all_its_bits_and_says_when_it_failed(capfd):
    here = apart.apart(feb10.NAME, "memory", SHORT, "stored", 10)
    assert here["bytes"] > 10 * 44_860 * 8, "the velocities alone"
    with pytest.raises(results.CommandError, match=r"memory of experiments\.feb10_many_steps failed"):
        apart.apart(feb10.NAME, "memory", SHORT, "no such adjoint", 10)
    assert "KeyError" in capfd.readouterr().err


def test_peak_and_time_of_a_function():
    value, peak = apart.peak_of(lambda: np.ones(5_000_000).sum())
    assert value == 5e6 and 38e6 < peak < 60e6
    length, seconds = apart.seconds_of(lambda: len(list(range(3_000_000))))
    assert length == 3_000_000 and 0.01 < seconds < 10.0
