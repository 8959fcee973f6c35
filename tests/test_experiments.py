"""Experiments end to end: quick runs, checked-in results, redrawing, bad command lines."""

import ast
import dataclasses
import importlib
import json
import subprocess
import sys
import zipfile
from functools import partial

import autograd.numpy as anp
import drawn
import matplotlib
import numpy as np
import pytest
import small_experiment
from autograd import make_jvp

import hypergrad as hg
from experiments import __main__ as listing
from experiments import check_log, figures
from experiments import jan09_param_scale_wiggliness as jan09
from experiments import jan11_gradient_by_magnitude as jan11
from experiments import jan14_lr_wiggliness as jan14
from experiments.shared import precision, results, runner, sweeps
from experiments.shared.intervals import t_interval
from hypergrad.probe.edge import compare, first_failure

EXPERIMENTS = list(results.questions())
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


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name != "jan14_lr_wiggliness"])
def test_a_quick_run_of_every_experiment(name, tmp_path, capfd):
    module = importlib.import_module(f"experiments.{name}")
    if absent := getattr(module, "missing", str)():
        pytest.skip(absent)
    assert runner.main(module, ["--quick", "--seeds", "1", "--output", str(tmp_path)]) == 0
    assert (tmp_path / "part1.png").stat().st_size > 10_000
    config, stored = results.load(module, tmp_path, 1)
    assert config.seeds == 1 and config.every == config.quick_every
    assert all(np.isfinite(array).any() for array in stored if array.size)


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
    apart = [first - second for first, second in zip(found[jan14, 1].edges(), found[jan14, 2].edges())]
    assert len(apart) >= 3 and np.abs(apart).max() < 0.2, "the same edges, on two grids"


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


@pytest.mark.parametrize(("name", "part"), figures.every_part())
def test_figures_show_the_checked_in_results(name, part):
    """And not others: the same figure is not that of results that differ by 1 % (of other signs, if integers)."""
    module = importlib.import_module(f"experiments.{name}")
    config, found = checked_in(module, part)
    assert config == module.PARTS[part], "the checked-in results are those of the full run"
    unseeded = name == "trainability_map", (name, part) in (("estimators_against_exact", 1), ("advice", 1))
    assert config.seeds >= 3 or any(unseeded), "other windows instead, or nothing random"
    figure = results.kind(config).plot(found, config)
    drawn.check(figure, found, config)
    field = next(
        field
        for field in ("value", "measure", "sharpness", "gradient", "cosine", "error", "third", "own", "seconds", "pair")
        if field in found._fields
    )
    array = getattr(found, field)
    other = found._replace(**{field: -array if array.dtype.kind == "i" else 1.01 * array})
    with pytest.raises(AssertionError):
        drawn.check(figure, other, config)


def test_seeds_lie_in_the_results_where_a_module_says():
    checked = set()
    for name, part in figures.every_part():
        config, found = checked_in(importlib.import_module(f"experiments.{name}"), part)
        for field, axis in getattr(results.kind(config), "SEED_AXIS", {}).items():
            array = getattr(found, field)
            assert axis is None or not array.size or array.shape[axis] == config.seeds, (name, part, field)
            checked.add(name)
    assert len(checked) > 10


@pytest.mark.parametrize(("name", "part"), figures.every_part())
def test_figures_are_drawn_as_they_were(name, part, tmp_path):
    path, folder = figures.redraw(name, part, tmp_path), results.FIGURES / name
    assert path.stat().st_size > 10_000
    drawn_with = results.describe(folder, part)["versions"]["matplotlib"]
    drawn.same_pixels(folder / path.name, path, drawn_with)


def test_figures_says_which_would_differ(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "jan14_lr_wiggliness"
    folder.mkdir()
    for suffix in ("json", "npz"):
        (folder / f"part1.{suffix}").write_bytes((results.FIGURES / folder.name / f"part1.{suffix}").read_bytes())
    monkeypatch.setattr(figures, "FIGURES", tmp_path)
    monkeypatch.setattr(figures, "every_part", lambda: [(folder.name, 1), (folder.name, 2)])
    place = f"{tmp_path.name}/{folder.name}/part"

    def printed(*arguments):
        assert figures.main(list(arguments)) == 1, "part 2 cannot be drawn"
        first, second = capsys.readouterr().out.splitlines()
        assert second.startswith(f"{place}2.png: cannot be drawn: there is no") and first.startswith(f"{place}1.png: ")
        return first.removeprefix(f"{place}1.png: ")

    assert printed().startswith("there is no figure yet")
    assert printed("--write").startswith("replaced, there is no figure yet")
    assert printed() == "the same"
    image = matplotlib.image.imread(folder / "part1.png").copy()
    image[10, 10] = 0.0
    matplotlib.image.imsave(folder / "part1.png", image)
    assert "% of the pixels differ" in printed()
    (folder / "part1.png").write_bytes(b"no image")
    assert "cannot be read" in printed()


def test_no_pickle_is_read_from_results(tmp_path):
    output = tmp_path / "results"
    assert runner.main(small_experiment, ["--quick", "--seeds", "1", "--jobs", "1", "--output", str(output)]) == 0
    _, stored = results.load(small_experiment, output, 1)
    pickled = {**stored._asdict(), "values": np.array([{"an": "object"}], dtype=object)}
    np.savez(output / "part1.npz", **pickled)
    with pytest.raises(results.CommandError, match="damaged or of another version"):
        results.load(small_experiment, output, 1)


def damaged_results(output):
    (output / "part1.json").write_text('{"experiment": "jan14_lr_wiggliness"')


def damaged_arrays(output):
    config = dataclasses.asdict(jan14.PARTS[1])
    (output / "part1.json").write_text(json.dumps({"experiment": "jan14_lr_wiggliness", "config": config}))
    with zipfile.ZipFile(output / "part1.npz", "w") as archive:
        archive.writestr("loss.npy", b"nothing")


def foreign_results(output):
    (output / "part1.json").write_text(json.dumps({"experiment": "another"}))


@pytest.mark.parametrize(
    ("arguments", "prepare", "message"),
    [
        (["--part", "7"], None, "no part 7 of jan14_lr_wiggliness: the parts are 1, 2"),
        (["--replot"], None, "part1.json; run the part first"),
        (["--replot", "--output", "OUTPUT/none"], None, "there is no folder"),
        (["--replot"], damaged_results, "part1.json is damaged"),
        (["--replot"], damaged_arrays, "are damaged or of another version"),
        ([], damaged_results, "part1.json is damaged"),
        ([], foreign_results, "holds results of another; choose another folder with --output DIR"),
        (["--output", "OUTPUT/file"], None, "is a file; choose another folder with --output DIR"),
        (["--output", "OUTPUT/file/below"], None, "cannot write to"),
        (["--output", "/proc/no/such/place"], None, "cannot write to /proc/no/such/place"),
        (["--backend", "dask"], None, "needs --scheduler tcp://host:port"),
        (["--scheduler", "tcp://127.0.0.1:1"], None, "--scheduler is for --backend dask"),
    ],
)
def test_bad_command_lines(arguments, prepare, message, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    if prepare is not None:
        prepare(tmp_path)
    arguments = [argument.replace("OUTPUT", str(tmp_path)) for argument in arguments]
    if "--output" not in arguments:
        arguments += ["--output", str(tmp_path)]
    before = sorted(tmp_path.iterdir())
    assert runner.main(jan14, arguments) == 2
    assert message in capsys.readouterr().err
    assert [path for path in sorted(tmp_path.iterdir()) if path.suffix] == [path for path in before if path.suffix]


def test_the_full_size_of_a_part_that_was_scaled_down(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        runner.main(small_experiment, ["--full"])
    assert "unrecognized arguments: --full" in capsys.readouterr().err
    full = dataclasses.replace(small_experiment.PARTS[1], values=6)
    monkeypatch.setattr(small_experiment, "FULL", {1: full}, raising=False)
    monkeypatch.setattr(runner, "FIGURES", tmp_path)
    assert runner.main(small_experiment, ["--full", "--seeds", "1", "--jobs", "1"]) == 0
    config, stored = results.load(small_experiment, tmp_path / "small_experiment" / "own" / "full-seeds1", 1)
    assert config == dataclasses.replace(full, seeds=1) and len(stored.values) == 6
    assert runner.main(small_experiment, ["--full", "--part", "2"]) == 2
    monkeypatch.setattr(small_experiment, "PARTS", {1: full, 2: full})
    assert runner.main(small_experiment, ["--full", "--part", "2"]) == 2
    assert "part 2 of small_experiment is not scaled down" in capsys.readouterr().err


def small(*arguments):
    return runner.main(small_experiment, ["--quick", "--jobs", "1", *arguments])


def test_seeds_added_to_results_are_those_of_a_run_with_all(tmp_path, capsys):
    added, whole = tmp_path / "added", tmp_path / "whole"
    assert small("--seeds", "1", "--output", str(added)) == 0
    first = results.load(small_experiment, added, 1)[1]
    assert small("--seeds", "3", "--output", str(whole)) == 0
    capsys.readouterr()
    assert small("--seeds", "3", "--extend", "--output", str(added)) == 0
    assert "small_experiment, part 1 (quick), seeds 1 to 2" in capsys.readouterr().out
    (config, ours), (expected_config, expected) = (results.load(small_experiment, path, 1) for path in (added, whole))
    assert config == expected_config and config.seeds == 3 and config.first_seed == 0
    np.testing.assert_array_equal(ours.loss[:1], first.loss)
    for array, theirs in zip(ours, expected, strict=True):
        np.testing.assert_allclose(array, theirs, rtol=1e-9)
    told = results.describe(added, 1)
    assert told["earlier"]["seeds"] == 1 and {"date", "commit", "seconds"} <= set(told["earlier"])
    assert "earlier" not in results.describe(whole, 1)
    assert small("--seeds", "4", "--extend", "--output", str(added)) == 0
    again = results.describe(added, 1)["earlier"]
    assert again["seeds"] == 3 and again["earlier"] == told["earlier"]


def test_arrays_of_all_seeds_at_once_are_computed_again_when_seeds_are_added(tmp_path, monkeypatch):
    axes = {name: axis for name, axis in small_experiment.SEED_AXIS.items() if name != "diverged_at"}

    def anew(found, config):
        return found._replace(diverged_at=np.full(found.loss.shape, -config.seeds))

    monkeypatch.setattr(small_experiment, "SEED_AXIS", axes)
    monkeypatch.setattr(small_experiment, "completed", anew, raising=False)
    for arguments in (["--seeds", "1"], ["--seeds", "3", "--extend"]):
        assert small(*arguments, "--output", str(tmp_path)) == 0
    _, found = results.load(small_experiment, tmp_path, 1)
    assert found.diverged_at.shape == found.loss.shape and len(found.loss) == 3 and (found.diverged_at == -3).all()


def test_seeds_are_not_added_to_other_results(tmp_path, monkeypatch, capsys):
    output = ["--output", str(tmp_path)]
    assert small("--extend", *output) == 2 and "run the part first" in capsys.readouterr().err
    assert small("--seeds", "1", *output) == 0
    stored = (tmp_path / "part1.npz").read_bytes()
    assert small("--seeds", "1", "--extend", *output) == 2
    assert "have 1 seeds already; say how many with --seeds" in capsys.readouterr().err
    others = dataclasses.replace(small_experiment.PARTS[1], values=6)
    with monkeypatch.context() as patch:
        patch.setattr(small_experiment, "PARTS", {1: others})
        assert small("--seeds", "3", "--extend", *output) == 2
        assert "are of other settings" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.delattr(small_experiment, "SEED_AXIS")
        assert small("--seeds", "3", "--extend", *output) == 2
        assert "has no SEED_AXIS, so seeds cannot be added" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.delitem(small_experiment.SEED_AXIS, "loss")
        assert small("--seeds", "3", "--extend", *output) == 2
        assert "says nothing of loss, and no `completed`" in capsys.readouterr().err
    _, found = results.load(small_experiment, tmp_path, 1)
    left_out = results.joined(found, found._replace(values=found.values[:0]), small_experiment.SEED_AXIS)
    np.testing.assert_array_equal(left_out.values, found.values)
    moved = found._replace(values=found.values + 0.1)
    with pytest.raises(results.CommandError, match="values, which does not depend on seeds, is not what it was"):
        results.joined(found, moved, small_experiment.SEED_AXIS)
    with pytest.raises(results.CommandError, match="loss has another shape than before"):
        results.joined(found, found._replace(loss=found.loss[:, :2]), small_experiment.SEED_AXIS)
    assert (tmp_path / "part1.npz").read_bytes() == stored


def test_seeds_must_be_positive(capsys):
    with pytest.raises(SystemExit):
        runner.main(jan14, ["--seeds", "0"])
    assert "must be at least 1" in capsys.readouterr().err


def test_the_list_of_experiments():
    run = subprocess.run([sys.executable, "-m", "experiments"], cwd=results.ROOT, capture_output=True, text=True)
    lines = run.stdout.splitlines()
    assert len(lines) == 3 * len(EXPERIMENTS)
    at = lines.index("    python -m experiments.jan14_lr_wiggliness")
    assert lines[at - 1].startswith("14 January 2015: how wiggly") and lines[at + 1].startswith("    part 1: ")
    assert [line for line in lines if " January 2015: " in line] == sorted(
        (line for line in lines if " January 2015: " in line), key=lambda line: int(line.split()[0])
    )


@pytest.mark.parametrize("command", [listing.main, figures.main, check_log.main], ids=lambda main: main.__module__)
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("jan14_lr_wigliness", "did you mean jan14_lr_wiggliness?"),
        ("jan14", "did you mean jan14_lr_wiggliness?"),
        ("edge", "did you mean edge_of_chaos?"),
        ("figures", "`python -m experiments` lists them"),
        ("xyz", "`python -m experiments` lists them"),
    ],
)
def test_a_name_of_no_experiment_is_an_error_that_tells_the_nearest(command, name, hint, capsys):
    try:
        status = command([name])
    except SystemExit as error:
        status = error.code
    printed = capsys.readouterr()
    assert status == 2 and f"there is no experiment {name}; {hint}" in printed.err and not printed.out


def test_the_list_has_help_and_takes_names(capsys):
    for command in (listing.main, figures.main, check_log.main):
        with pytest.raises(SystemExit) as caught:
            command(["--help"])
        assert caught.value.code == 0 and "usage: python -m experiments" in capsys.readouterr().out
    assert listing.main([]) == 0
    everything = capsys.readouterr().out
    assert listing.main(["--list"]) == 0 and capsys.readouterr().out == everything
    assert listing.main(["jan11_gradient_by_magnitude", "edge_of_chaos"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[1::3] == [
        f"    python -m experiments.{name}" for name in ("jan11_gradient_by_magnitude", "edge_of_chaos")
    ]
    assert set(printed) < set(everything.splitlines())
    with pytest.raises(SystemExit) as caught:
        listing.main(["--lsit"])
    assert caught.value.code == 2


def test_figures_of_the_experiments_that_are_named(capsys, monkeypatch):
    parts = [("jan11_gradient_by_magnitude", 1), ("edge_of_chaos", 1), ("edge_of_chaos", 2)]
    monkeypatch.setattr(figures, "every_part", lambda: parts)
    monkeypatch.setattr(figures, "compare", lambda name, part, folder: (folder, ""))
    assert figures.main(["edge_of_chaos"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"figures/edge_of_chaos/part{part}.png: the same" for part in (1, 2)
    ]


def test_what_experiments_share_needs_none_of_them():
    names = {f"experiments.{name}" for name in EXPERIMENTS}
    for path in (results.EXPERIMENTS / "shared").rglob("*.py"):
        tree = ast.walk(ast.parse(path.read_text()))
        imports = [node for node in tree if isinstance(node, ast.ImportFrom) and not node.level]
        found = {f"{node.module}.{alias.name}" for node in imports for alias in node.names}
        assert not names & (found | {node.module for node in imports}), path
