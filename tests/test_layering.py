"""The modules import each other in one direction, and importing the package stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import hypergrad

PACKAGE = Path(hypergrad.__file__).parent


def in_full(path, level, name):
    """The module a relative import means, below the package: "nests", or "meta.evaluation" in one of its packages."""
    folder = path.parents[level - 1].relative_to(PACKAGE)
    parts = [*folder.parts, *name.split(".")]
    inside = len(parts) > 1 and (PACKAGE / parts[0] / f"{parts[1]}.py").exists()
    return ".".join(parts[: 1 + inside])


def imports_of(path):
    """Modules of the package that a file imports, at the top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {in_full(path, node.level, name) for name in names}
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not any(name.split(".")[0] in ("hypergrad", "experiments") for name in names), path
    return found


def test_no_import_cycles():
    graph = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): imports_of(path)
        for path in PACKAGE.rglob("*.py")
        if path.stem != "__init__" and path.parent.name != "data"
    }
    graph["data"] = {"errors"}
    plots = graph["probe"] & {"plotting"}  # imported when a figure is drawn, by the object that is drawn
    graph["probe"] -= plots
    done = set()
    while len(done) < len(graph):
        ready = {module for module in graph if module not in done and graph[module] <= done}
        assert ready, f"a cycle among {sorted(set(graph) - done)}"
        done |= ready


def test_importing_the_package_leaves_the_large_libraries_out():
    large = ("matplotlib", "scipy", "joblib", "tqdm", "numba")
    code = f"import sys, hypergrad; print([m for m in {large} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
