"""Experiments end to end: quick runs, checked-in results and figures, who imports whom."""

import ast
import importlib

import drawn
import matplotlib
import numpy as np
import pytest
import small_experiment

from experiments import figures
from experiments.shared import results, runner

EXPERIMENTS = list(results.questions())
FEWER_SEEDS = {  # and why less than ten are enough
    "trainability_map": "maps of one seed, of which the log says so",
    "advice": "what is drawn are problems",
    "estimators_against_exact 1": "nothing is random",
    "depth_trials 3": "100 draws of points",
    "may24_compute_gate 1": "they choose the rates, ten others judge",
    "jun01_window_attention 1": "they choose the rates, ten others judge",
}


def checked_in(module, part):
    """The config and the results that lie in figures/."""
    return results.load(module, results.FIGURES / module.__name__.split(".")[-1], part)


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


@pytest.mark.parametrize(("name", "part"), figures.every_part())
def test_figures_show_the_checked_in_results(name, part):
    """And not others: the same figure is not that of results that differ by 1 % (of other signs, if integers)."""
    module = importlib.import_module(f"experiments.{name}")
    config, found = checked_in(module, part)
    assert config == module.PARTS[part], "the checked-in results are those of the full run"
    assert config.seeds >= 10 or {name, f"{name} {part}"} & set(FEWER_SEEDS)
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


def imported_by(path):
    """The modules of experiments that a file imports from, or names for an import by name."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    found = {n.module for n in imports} | {f"{n.module}.{alias.name}" for n in imports for alias in n.names}
    found |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {name for name in found if name.startswith("experiments.")}


def test_what_experiments_share_needs_none_of_them():
    for path in (results.EXPERIMENTS / "shared").rglob("*.py"):
        assert not imported_by(path) & {f"experiments.{name}" for name in (*EXPERIMENTS, "parts")}, path


def test_parts_of_an_experiment_need_only_each_other_and_what_is_shared():
    folders = [path for path in (results.EXPERIMENTS / "parts").iterdir() if (path / "__init__.py").exists()]
    assert {folder.name for folder in folders} <= set(EXPERIMENTS)
    for path in (path for folder in folders for path in folder.glob("*.py")):
        roots = ("experiments.shared", f"experiments.parts.{path.parent.name}")
        assert all(name.startswith(roots) for name in imported_by(path)), path
