"""Experiments end to end: quick runs, checked-in results, redrawing, resuming, bad command lines."""

import json
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.testing.compare import compare_images

from experiments import jan14_lr_wiggliness as jan14
from experiments import runner
from hypergrad.probe import Sweep

CHECKED_IN = runner.FIGURES / "jan14_lr_wiggliness"


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Output of a quick run of part 1, started as a user would."""
    output = tmp_path_factory.mktemp("quick")
    command = [sys.executable, "-m", "experiments.jan14_lr_wiggliness", "--quick", "--output", str(output)]
    run = subprocess.run(command, cwd=runner.ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return output, run.stdout


def test_quick_run_says_where_the_figure_is_and_leaves_no_cache(quick):
    output, printed = quick
    assert str(output / "part1.png") in printed and "Look at" in printed
    assert {path.name for path in output.iterdir()} == {"part1.png", "part1.npz", "part1.json", ".cache"}
    assert not any((output / ".cache").iterdir())
    description = json.loads((output / "part1.json").read_text())
    assert description["experiment"] == "jan14_lr_wiggliness" and description["config"]["every"] == 3
    assert {"python", "numpy", "autograd", "hypergrad"} <= set(description["versions"])


def compare_smooth_part(quick_results, part):
    _, stored = runner.load(jan14, CHECKED_IN, part)
    at = np.searchsorted(stored.log_lr, quick_results.log_lr - 1e-9)
    np.testing.assert_allclose(stored.log_lr[at], quick_results.log_lr, rtol=1e-12)
    sweep = Sweep(stored.log_lr, stored.loss[0], stored.gradient[0], stored.diverged_at[0])
    smooth = sweep.smooth[at]
    assert smooth.sum() >= smooth.size // 2
    for name in ("loss", "gradient"):
        ours, theirs = getattr(quick_results, name)[0], getattr(stored, name)[0][at]
        for k in range(smooth.shape[1]):
            error = np.linalg.norm((ours - theirs)[smooth[:, k], k])
            assert error <= 1e-6 * np.linalg.norm(theirs[smooth[:, k], k]), (name, k)


def test_the_smooth_part_of_the_checked_in_results_is_reproduced(quick):
    compare_smooth_part(runner.load(jan14, quick[0], 1)[1], 1)


def test_a_few_points_of_the_closer_look_are_reproduced():
    config = jan14.Config(0.5, 2.5, values=1_000, quick_every=0, counts=(50,), every=200)
    f = jan14.losses(config, seed=0)
    from hypergrad.probe import sweep

    result = sweep(f, np.linspace(0.5, 2.5, 1_000)[:600:200], progress=False)
    arrays = (a[None] for a in (result.loss, result.gradient, result.diverged_at))
    compare_smooth_part(jan14.Results(result.values, *arrays), 2)


@pytest.mark.parametrize("part", jan14.PARTS)
def test_checked_in_figures_redraw(part, tmp_path):
    config, results = runner.load(jan14, CHECKED_IN, part)
    assert config == jan14.PARTS[part], "the checked-in results are those of the full run"
    path = runner.draw(jan14, tmp_path, part, config, results)
    assert path.stat().st_size > 10_000
    drawn_with = json.loads((CHECKED_IN / f"part{part}.json").read_text())["versions"]["matplotlib"]
    if drawn_with == matplotlib.__version__:  # another version sets text and lines a little differently
        assert compare_images(str(CHECKED_IN / f"part{part}.png"), str(path), tol=5.0) is None


def test_a_killed_run_goes_on(tmp_path, monkeypatch, capfd):
    """The second run computes only what the first one did not finish."""
    monkeypatch.setitem(jan14.PARTS, 1, jan14.Config(-4.0, 0.0, 4, 1, counts=(0, 2), seeds=2))
    losses, computed = jan14.losses, []

    def interrupted(config, seed):
        f = losses(config, seed)

        def g(log_lr):
            computed.append((seed, float(getattr(log_lr, "_value", log_lr))))
            if len(computed) == 6:
                raise KeyboardInterrupt
            return f(log_lr)

        return g

    monkeypatch.setattr(jan14, "losses", interrupted)
    arguments = ["--output", str(tmp_path), "--jobs", "1"]
    with pytest.raises(KeyboardInterrupt):
        runner.main(jan14, arguments)
    assert runner.main(jan14, arguments) == 0
    assert len(computed) == 9 and computed[5] == computed[6]
    _, results = runner.load(jan14, tmp_path, 1)
    assert results.loss.shape == (2, 4, 2)
    assert not np.array_equal(results.loss[0], results.loss[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--part", "7"], "no part 7 of jan14_lr_wiggliness: the parts are 1, 2"),
        (["--replot", "--output", "OUTPUT"], "part1.json to draw from; run the part first"),
        (["--output", "FILE/below"], "cannot make the output folder"),
        (["--output", "FOREIGN"], "holds results of another"),
        (["--output", "OUTPUT", "--backend", "dask"], "needs --scheduler tcp://host:port"),
    ],
)
def test_bad_command_lines(arguments, message, tmp_path, capsys):
    (tmp_path / "FILE").write_text("")
    (tmp_path / "FOREIGN").mkdir()
    (tmp_path / "FOREIGN" / "part1.json").write_text(json.dumps({"experiment": "another"}))
    places = {"OUTPUT": "OUTPUT", "FILE/below": "FILE/below", "FOREIGN": "FOREIGN"}
    arguments = [str(tmp_path / argument) if argument in places else argument for argument in arguments]
    assert runner.main(jan14, arguments) == 2
    assert message in capsys.readouterr().err


def test_seeds_must_be_positive(capsys):
    with pytest.raises(SystemExit):
        runner.main(jan14, ["--seeds", "0"])
    assert "must be at least 1" in capsys.readouterr().err


def test_the_list_of_experiments():
    run = subprocess.run([sys.executable, "-m", "experiments"], cwd=runner.ROOT, capture_output=True, text=True)
    assert "experiments.jan14_lr_wiggliness" in run.stdout and "14 January 2015" in run.stdout


def test_experiment_files_stay_short():
    for path in Path(jan14.__file__).parent.glob("[a-z][a-z][a-z][0-9][0-9]_*.py"):
        assert len(path.read_text().splitlines()) < 120, path
