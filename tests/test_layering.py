"""The modules import each other in one direction, and importing the package stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hypergrad

PACKAGE = Path(hypergrad.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__").replace("__init__", ""): path
    for path in PACKAGE.rglob("*.py")
}
FLOORS = (  # from the ground up; each imports only from those before it, or from its own
    ("errors", "checks", "ranges", "bridge", "nests", "workspace", "compiled", "style", "runs"),
    ("init", "heavy_ball", "exported", "schedules", "data", "fit"),
    ("losses",),
    ("optimizers",),
    ("nn",),
    ("engine",),
    ("fixed",),
    ("adjoints",),
    ("problem", "planner", "train", "forward_mode"),
    ("probe", "chaos", "testing"),
    ("meta",),
    ("",),
    ("__main__",),
)
FLOOR_OF = {name: number for number, names in enumerate(FLOORS) for name in names}


def imports_of(name):
    """Modules of the package that a module imports, at the top or inside functions; None stands for another package."""
    path, found = MODULES[name], set()
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    package = [part for part in package if part]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            for alias in node.names:
                inner = ".".join([*base, alias.name])
                found.add(inner if inner in MODULES else ".".join(base))
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not any(n.split(".")[0] in ("hypergrad", "experiments", "benchmarks") for n in names), path
    return found - {name}


def test_no_import_cycles():
    graph, done = {name: imports_of(name) for name in MODULES}, set()
    assert len(graph) > 50 and all(found <= set(graph) for found in graph.values())
    while len(done) < len(graph):
        ready = {name for name in graph if name not in done and graph[name] <= done}
        assert ready, f"a cycle among {sorted(set(graph) - done)}"
        done |= ready


def test_each_floor_imports_only_from_those_below():
    for name in MODULES:
        floor = FLOOR_OF[name.split(".")[0]]
        for imported in imports_of(name):
            assert FLOOR_OF[imported.split(".")[0]] <= floor, f"{name} imports {imported}"


@pytest.mark.parametrize("name", [name for name in MODULES if name != "bridge"])
def test_only_the_bridge_touches_what_is_inside_autograd(name):
    tree = ast.parse(MODULES[name].read_text())
    modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level]
    modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    touched = {module for module in modules if module and module.split(".")[0] == "autograd"}
    assert touched <= {"autograd", "autograd.numpy"}, touched
    inside = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & {"_node", "_trace", "_value"}
    assert not inside


def test_importing_the_package_leaves_the_large_libraries_out():
    large = ("matplotlib", "scipy", "joblib", "tqdm", "numba", "jax", "torch", "threadpoolctl")
    code = f"import sys, hypergrad; print([m for m in {large} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_only_what_is_promised_shows():
    import hypergrad as hg

    public = hg, hg.init, hg.testing, hg.schedules, hg.losses, hg.optimizers, hg.probe, hg.chaos, hg.nn, hg.meta
    for module in (*public, hg.fit, hg.runs):
        shown = {name for name in dir(module) if not name.startswith("__")}
        assert shown == set(module.__all__), module.__name__
        assert all(hasattr(module, name) for name in shown)
    assert not {"np", "anp", "onp", "annotations"} & set(dir(hg.init))
