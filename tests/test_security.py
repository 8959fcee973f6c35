"""What SECURITY.md says of files: none is read with pickle. And the templates for issues can be read."""

import ast
import re

import numpy as np
import pytest
from pages import ROOT

from hypergrad.runs import store

SOURCES = [path for folder in ("hypergrad", "experiments", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
UNSAFE = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal"}  # modules whose load runs code
LOADS = {("torch", "load"), ("joblib", "load"), ("yaml", "load"), ("pandas", "read_pickle")}


def unsafe(tree) -> list[int]:
    """The lines of a module that read what might be a pickle, or run text."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            lines += [node.lineno for name in names if name.partition(".")[0] in UNSAFE]
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        owner, _, name = called.rpartition(".")
        allowed = {k.arg: ast.unparse(k.value) for k in node.keywords}.get("allow_pickle")
        numpys = (owner in ("np", "numpy", "onp") and name == "load") or name in ("read_array", "NpzFile")
        if (numpys and allowed != "False") or allowed == "True" or (owner, name) in LOADS or called in ("eval", "exec"):
            lines.append(node.lineno)
    return lines


def test_nothing_is_read_with_pickle():
    assert len(SOURCES) > 100
    assert {str(path.relative_to(ROOT)): unsafe(ast.parse(path.read_text(encoding="utf-8"))) for path in SOURCES} == {
        str(path.relative_to(ROOT)): [] for path in SOURCES
    }


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib.externals import x; import cloudpickle.y",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "numpy.lib.format.read_array(file)",
        "torch.load(path)",
        "eval(text)",
    ],
)
def test_the_search_finds_what_it_looks_for(line):
    assert unsafe(ast.parse(line)) == [1]


def test_a_pickle_in_a_cache_is_not_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("went off").touch, ())

    np.savez(tmp_path / "point.npz", loss=np.array([Bomb()], dtype=object))
    with pytest.raises(store.Unusable, match="damaged"):
        store.arrays_in(tmp_path / "point.npz")
    assert not (tmp_path / "went off").exists()
    np.load(tmp_path / "point.npz", allow_pickle=True)["loss"]
    assert (tmp_path / "went off").exists(), "it would have"


def test_templates_of_issues_ask_for_what_is_needed():
    templates = {
        path.stem: path.read_text(encoding="utf-8") for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")
    }
    assert set(templates) == {"bug", "wrong_number", "idea", "config"}
    for name in ("bug", "wrong_number"):
        assert "`python -m hypergrad`" in templates[name]
    for name, text in templates.items():
        if name != "config":
            assert re.match(r"name: .+\ndescription: .+\nlabels: \[.+\]\nbody:\n", text), name
            ids = re.findall(r"^    id: (\w+)$", text, flags=re.MULTILINE)
            assert len(ids) == len(set(ids)) == text.count("- type: textarea")
