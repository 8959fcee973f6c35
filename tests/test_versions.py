"""The table of versions is that of its results, and says that all went well with what setup.cfg allows."""

import json
import re

import versions
from pages import ROOT

ROWS = json.loads((ROOT / "docs" / "versions.json").read_text())["rows"]


def test_the_page_shows_the_results():
    page = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
    assert f"{versions.BEGIN}\n\n{versions.tables(ROWS)}\n\n{versions.END}" in page


def test_every_python_was_run_with_the_lowest_and_the_newest_dependencies():
    found = [(row["minor"], row["dependencies"]) for row in ROWS]
    assert found == [(minor, which) for minor in versions.minors() for which in ("lowest", "newest")]
    for row in ROWS:
        assert row["python"].startswith(row["minor"] + ".")
        assert row["passed"] > 400 and row["failed"] == 0 and row["failures"] == []
        assert len(row["self_test"]) == 3 and not any("FAILED" in line for line in row["self_test"])


def test_the_lowest_versions_are_those_of_setup_cfg():
    """That is, of some Python: others may have wheels of later ones only."""
    as_numbers = lambda text: tuple(map(int, re.findall(r"\d+", text)[:3]))
    for name, bound in versions.bounds().items():
        lowest = [as_numbers(row["versions"][name]) for row in ROWS if row["dependencies"] == "lowest"]
        assert min(lowest)[: len(as_numbers(bound))] == as_numbers(bound), name
        newest = [as_numbers(row["versions"][name]) for row in ROWS if row["dependencies"] == "newest"]
        assert min(newest) >= min(lowest)


def test_an_import_is_light():
    for row in ROWS:
        assert row["import_seconds"] < 0.5
        assert set(row["imported"]) <= {"autograd", "numpy"}, "the others are imported where they are used"


def test_bounds_are_read_and_pythons_found(monkeypatch, tmp_path):
    assert versions.bounds()["numpy"] == "2.0" and len(versions.bounds()) == 7
    assert any(line.startswith("pytest ") for line in versions.requirements("test"))
    for name in ("3.12.1", "3.12.10", "3.12-dev"):
        (tmp_path / "versions" / name / "bin").mkdir(parents=True)
        (tmp_path / "versions" / name / "bin" / "python").touch()
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert versions.interpreter("3.12") == str(tmp_path / "versions" / "3.12.10" / "bin" / "python")
    monkeypatch.setattr(versions.shutil, "which", {"python3.11": "/some/python3.11"}.get)
    assert versions.interpreter("3.11") == "/some/python3.11" and versions.interpreter("3.13") is None


def test_rows_measured_again_replace_only_themselves(monkeypatch, tmp_path):
    monkeypatch.setattr(versions, "DOCS", tmp_path)
    (tmp_path / "versions.md").write_text(f"before\n{versions.BEGIN}\nold\n{versions.END}\nafter", encoding="utf-8")
    row = lambda minor, passed: ROWS[0] | {"minor": minor, "dependencies": "newest", "passed": passed}
    versions.write([row("3.11", 1), row("3.10", 2)])
    versions.write([row("3.11", 3)])
    stored = json.loads((tmp_path / "versions.json").read_text())["rows"]
    assert [(one["minor"], one["passed"]) for one in stored] == [("3.10", 2), ("3.11", 3)]
    page = (tmp_path / "versions.md").read_text(encoding="utf-8")
    assert page.startswith("before") and page.endswith("after") and "old" not in page


def test_a_python_that_is_not_there_is_said(monkeypatch, capsys):
    monkeypatch.setattr(versions, "interpreter", lambda minor: None)
    assert versions.main(["--python", "3.12"]) == 0
    assert "there is no Python 3.12 here: not run" in capsys.readouterr().out
