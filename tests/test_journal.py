"""The journal of runs: what each leaves for it, the order, and notes that are added afterwards."""

import json
import subprocess
import sys

import pytest
import small_experiment

from experiments.shared import journal, results, runner


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "small"
    assert runner.main(small_experiment, ["--quick", "--seeds", "1", "--jobs", "1", "--output", str(output)]) == 0
    return output


def test_a_run_leaves_its_command_and_a_digest_of_its_source(folder):
    told = results.describe(folder, 1)
    assert told["command"] == f"python -m experiments.small_experiment --quick --seeds 1 --jobs 1 --output {folder}"
    assert told["source"] == runner._digest_of_code(small_experiment).hexdigest()[:16] and len(told["source"]) == 16
    (entry,) = journal.entries(folder)
    assert entry.command == told["command"] and entry.seeds == "seed 0" and entry.source == told["source"]
    assert f"python {told['versions']['python']}" in entry.versions and entry.figure == str(folder / "part1.png")


def test_notes_are_added_and_shown(folder, capsys):
    assert "(no result noted)" in journal.entries(folder)[0].lines()[-1]
    assert journal.main(["--note", str(folder / "part1.png"), "chaos begins at 1.9"]) == 0
    assert journal.entries(folder)[0].lines()[-1] == "    chaos begins at 1.9"
    config, _ = results.load(small_experiment, folder, 1)
    assert config.seeds == 1
    for figure, text, words in (("part9.png", "a", "there is no"), ("part1.png", " ", "one line of text")):
        assert journal.main(["--note", str(folder / figure), text]) == 2
        assert words in capsys.readouterr().err


def test_the_newest_comes_first_and_what_is_damaged_is_named(folder, tmp_path, capsys):
    told = results.describe(folder, 1)
    for name, date, time in (("a", "2026-01-02", "10:00:00"), ("b", "2026-01-03", ""), ("c", "2026-01-02", "11:00:00")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part1.json").write_text(json.dumps({**told, "date": date, "time": time}))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "part1.json").write_text("{")
    figures = [entry.figure for entry in journal.entries(tmp_path)]
    assert figures == [str(tmp_path / name / "part1.png") for name in "bca"]
    assert "part1.json is damaged" in capsys.readouterr().err


def test_the_command_lists_the_runs_checked_in():
    command = [sys.executable, "-m", "experiments", "journal"]
    printed = subprocess.run(command, cwd=results.ROOT, capture_output=True, text=True, check=True).stdout
    for path in results.FIGURES.glob("*/part*.json"):
        assert f"figure figures/{path.parent.name}/{path.stem}.png" in printed
    dates = [line[:10] for line in printed.splitlines() if not line.startswith(" ")]
    assert len(dates) > 20 and dates == sorted(dates, reverse=True)
