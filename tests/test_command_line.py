"""The command line of the experiments: bad input, larger sizes, seeds added, the list."""

import dataclasses
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import small_experiment

from experiments import __main__ as listing
from experiments import check_log, figures
from experiments import jan14_lr_wiggliness as jan14
from experiments.shared import results, runner

EXPERIMENTS = list(results.questions())


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
