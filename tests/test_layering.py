"""The modules import each other in one direction, and importing the package stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import hypergrad

PACKAGE = Path(hypergrad.__file__).parent


def imports_of(path):
    """Modules of the package that a file imports, at the top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            found |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not any(name.split(".")[0] in ("hypergrad", "experiments") for name in names), path
    return found


def test_no_import_cycles():
    graph = {path.stem: imports_of(path) for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
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
