"""Runs that are killed within a training, and continued: the same bits; pieces, searches and points that are kept."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import autograd.numpy as anp
import long_experiment
import numpy as np
import pytest

import hypergrad as hg
from experiments import __main__ as listing
from experiments.shared import journal, pieces, proposals, results, runner, search, unfinished
from hypergrad.runs import snapshots
from hypergrad.runs.parallel import compute

LONG = Path(long_experiment.__file__)


def start(log, *arguments, seconds=0.0):
    environment = {**os.environ, "SECONDS_A_STEP": str(seconds), "PYTHONPATH": str(LONG.parent.parent)}
    with log.open("w") as file:
        command = [sys.executable, str(LONG), *map(str, arguments)]
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment, start_new_session=True)


def finished(process, log, status=0):
    assert process.wait(timeout=300) == status, log.read_text()
    return log.read_text()


def steps_in(printed):
    return [int(line) for line in printed.splitlines() if line.isdigit()]


def test_a_run_killed_within_its_training_is_continued_to_the_same_bits(tmp_path):
    output, log = tmp_path / "killed", tmp_path / "log"
    process = start(log, "--output", output, seconds=0.02)
    found = lambda: list(output.rglob("training-*.npz"))
    while not found() and process.poll() is None:
        time.sleep(0.01)
    with np.load(found()[0]) as under_way:  # while the run goes on
        assert 0 < under_way["step"] < under_way["steps"] == 300 and under_way["params"].shape == (3,)
    time.sleep(0.3)
    (run,) = unfinished.unfinished(output)
    assert "is in use: an experiment, long_experiment, runs there" in "\n".join(journal.listed(output))
    with pytest.raises(results.CommandError, match=f"nothing is to be continued: run {run.name} is in use"):
        unfinished.chosen(None, str(output))
    process.send_signal(signal.SIGKILL)
    process.wait()
    (file,) = found()
    with np.load(file) as kept:
        reached = int(kept["step"])
    assert 0 < reached < 300
    lines = journal.listed(output)
    assert lines[1] == f"    {run.told['command']}" and f"--output {output}" in lines[1]
    assert f"0 points are kept, a training at step {reached} of 300, last written 20" in lines[3]
    assert lines[4] == f"    goes on with `python -m experiments long_experiment --continue {run.name}`"
    whole = file.read_bytes()
    for damaged, words in ((whole[:-40], "cannot be used"), (b"", "cannot be used")):
        file.write_bytes(damaged)
        says = finished(start(log, "--continue", output), log, status=2).splitlines()
        assert says[-1].startswith(f"long_experiment: the snapshot {file} {words}")
    file.write_bytes(whole)
    printed = finished(start(log, "--continue", output), log)
    assert printed.startswith(f"continues run {run.name}: {run.told['command']}\n")
    assert "goes on where an earlier run was ended: 0 points are kept, and 1 training in part" in printed
    assert steps_in(printed) == [0, *range(reached, 300)], "the first gradient, by which the loss is known again"
    undisturbed = tmp_path / "undisturbed"
    steps = steps_in(finished(start(log, "--output", undisturbed), log))
    assert [step for step in steps if step] == list(range(1, 300))
    arrays = [results.load(long_experiment, folder, 1)[1].value for folder in (output, undisturbed)]
    assert arrays[0].shape == (1, 1, 3, 3) and arrays[0].tobytes() == arrays[1].tobytes()
    told = results.describe(output, 1)
    assert told["resumed"] and told["command"] == run.told["command"]
    assert unfinished.unfinished(output) == [] and not any((output / ".cache").iterdir())


def interrupted(output, monkeypatch):
    """A run that Ctrl-C ended as its first piece began."""
    with monkeypatch.context() as patch:
        patch.setattr(long_experiment.hg, "train", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        assert runner.main(long_experiment, ["--output", str(output)]) == 130
    (run,) = unfinished.unfinished(output)
    return run


def test_nothing_to_continue_is_one_sentence(tmp_path, capsys):
    for arguments in (["--continue", str(tmp_path)], ["jan14_lr_wiggliness", "--continue", str(tmp_path)]):
        assert listing.main(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        of = " of jan14_lr_wiggliness" if len(arguments) > 2 else ""
        assert line.endswith(f"there is no unfinished run{of} below {tmp_path} to continue")
    assert listing.main(["jan14_lr_wiggliness", "jan11_gradient_by_magnitude", "--continue"]) == 2
    assert "one experiment at most" in capsys.readouterr().err


def test_the_run_named_is_continued_unless_its_code_has_changed(tmp_path, monkeypatch, capsys):
    run = interrupted(tmp_path / "out", monkeypatch)
    monkeypatch.setattr(unfinished, "FIGURES", tmp_path)
    assert unfinished.chosen("long_experiment", run.name[:4]) == unfinished.chosen(None, "") == run
    with pytest.raises(results.CommandError, match="there is no unfinished run zzz of long_experiment; `python -m"):
        unfinished.chosen("long_experiment", "zzz")
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        with pytest.raises(results.CommandError, match=r"was begun in .*: continue it there"):
            unfinished.chosen(None, "")
    run.folder.rename(run.folder.with_name("0123456789abcdef"))
    capsys.readouterr()
    assert runner.main(long_experiment, ["--continue", str(tmp_path)]) == 2
    says = capsys.readouterr().err
    assert "run 01234567 cannot go on: its settings, the code or a library has changed since" in says
    assert f"long_experiment --output {tmp_path / 'out'} begins anew" in says


def test_the_newest_comes_first_and_a_damaged_record_is_told_of(tmp_path, monkeypatch, capsys):
    runs = [interrupted(tmp_path / name, monkeypatch) for name in "ab"]
    for run, started in zip(runs, ("2026-01-02 10:00:00", "2026-01-02 09:00:00")):
        (run.folder / unfinished.RECORD).write_text(json.dumps({**run.told, "started": started}))
    assert [run.output.name for run in unfinished.unfinished(tmp_path)] == ["a", "b"]
    (runs[0].folder / unfinished.RECORD).write_text("{")
    assert unfinished.chosen(None, str(tmp_path)).output.name == "b"
    assert "run.json is damaged; the command that began this run goes on with it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("loss", "text"),
    [(0.107, "0.1070"), (2.302585, "2.303"), (1234.4, "1234"), (1e-5, "1.000e-05"), (np.nan, "nan"), (0.0, "0.000")],
)
def test_losses_have_four_significant_digits(loss, text):
    assert unfinished.four_digits(loss) == text


def doubled(x, by=2.0, cache=None):
    CALLS.append(x)
    return np.array(x) * by, len(np.atleast_1d(x))


def halved(x):
    CALLS.append(x)
    return float(x) / 2.0


CALLS: list = []


def test_pieces_are_kept_by_what_they_are_told(tmp_path):
    CALLS.clear()
    one, two = np.arange(2_000.0), np.arange(2_000.0)
    two[1_000] = 0.5  # which no description of an array shows
    items = [(3.0,), (4.0,), (one,), (two,), (3.0, 5.0), (3.0, 5.0, tmp_path / "elsewhere")]
    expected = [(6.0, 1), (8.0, 1), (2 * one, 2_000), (2 * two, 2_000), (15.0, 1), (15.0, 1)]
    for _ in range(2):
        found = pieces.each(doubled, items, 1, tmp_path)
        for (array, count), (wanted, number) in zip(found, expected):
            np.testing.assert_array_equal(array, wanted)
            assert count == number
    assert len(CALLS) == 5, "folders do not count, and what is kept is not computed again"
    assert [float(a) for a in pieces.each(halved, [(3.0,), (4.0,)], 1, tmp_path)] == [1.5, 2.0]
    assert float(pieces.kept(partial(doubled, by=4.0), (3.0,), tmp_path)[0]) == 12.0
    kept = len(list(tmp_path.rglob("*.npz")))
    assert kept == 8 and not [path for path in (tmp_path / "pieces").iterdir() if path.is_dir()]
    for factor in (2.0, 3.0):  # functions that others made have no names of their own
        assert float(pieces.kept(lambda x, factor=factor: factor * x, (1.0,), tmp_path)) == factor
        assert float(pieces.kept(lambda x: x[0](1.0), ((lambda y, f=factor: f * y,),), tmp_path)) == factor
    assert pieces.kept(doubled, (3.0,), None)[0] == 6.0 and len(list(tmp_path.rglob("*.npz"))) == kept


def test_a_search_goes_on_with_the_next_trial(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshots, "EVERY", 0.0)
    asked = []

    def f(z, number):
        asked.append(number)
        if len(asked) == 7:
            raise KeyboardInterrupt
        return float(np.sum((z - 0.3) ** 2))

    def searched():
        where = proposals.evolution(np.random.default_rng(0), -3.0, 3.0, (4,), 12)
        return search.tried(f, where).path()

    with pytest.raises(KeyboardInterrupt):
        search.kept(tmp_path / "search.npz", searched)
    found = search.kept(tmp_path / "search.npz", searched)
    assert asked == [*range(7), *range(6, 12)]
    assert [path.name for path in tmp_path.iterdir()] == ["search.npz"]
    for a, b in zip(found, searched()):
        np.testing.assert_array_equal(a, b)


def test_of_two_searches_the_first_has_the_place(tmp_path, monkeypatch):
    """Both begin at the same points, so that one would be taken for the other."""
    monkeypatch.setattr(snapshots, "EVERY", 0.0)
    asked = []

    def searched(stop=None):
        def f(centre, z, number):
            asked.append((centre, number))
            if len(asked) == stop:
                raise KeyboardInterrupt
            return float(np.sum((z - centre) ** 2))

        drawn = lambda: proposals.evolution(np.random.default_rng(0), -3.0, 3.0, (4,), 6)
        return [search.tried(partial(f, centre), drawn()) for centre in (0.3, 0.6)][1].path()

    expected = searched()
    asked.clear()
    with pytest.raises(KeyboardInterrupt):
        search.kept(tmp_path / "search.npz", partial(searched, stop=9))
    asked.clear()
    found = search.kept(tmp_path / "search.npz", searched)
    assert asked == [(0.6, number) for number in range(6)]
    for a, b in zip(found, expected):
        np.testing.assert_array_equal(a, b)


def test_a_point_goes_on_within_its_training(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshots, "EVERY", 0.0)
    seen = []

    def loss(w, hyper, step):
        seen.append(step)
        if len(seen) == 9:
            raise KeyboardInterrupt
        return 0.5 * anp.sum(w**2)

    f = lambda lr: {"w": hg.train(loss, np.ones(2), hg.SGD(lr), steps=10)}
    expected = hg.train(lambda w, hyper, step: 0.5 * anp.sum(w**2), np.ones(2), hg.SGD(0.1), steps=10)
    with pytest.raises(KeyboardInterrupt):
        compute(f, [0.1], cache=tmp_path, progress=False)
    before, seen[:] = len(list(tmp_path.rglob("training-*.npz"))), ["again"]
    (point,) = compute(f, [0.1], cache=tmp_path, progress=False)
    assert before == 1 and 0 < len([step for step in seen if step != "again"]) < 8
    np.testing.assert_array_equal(point["w"], expected)
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]
