"""``python tests/versions.py``: a core of the tests under each Python, with the lowest and the newest dependencies.

And the self-test, ``python -m hypergrad``, by which all adjoints are compared. The Pythons are those that setup.cfg
names, as far as they are found here, on PATH or among pyenv's. The lowest version of a dependency is the lowest that
setup.cfg allows and that has a wheel for that Python. Each combination gets an environment of its own, made by uv (the
extra ``dev``). ``--write`` puts the results into ``docs/versions.json`` and the table into ``docs/versions.md``;
combinations that were not run keep theirs.
"""

from __future__ import annotations

import argparse
import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
BEGIN, END = "<!-- versions -->", "<!-- end of versions -->"
RESOLUTIONS = {"lowest": "lowest-direct", "newest": "highest"}
EXTRA = "test"  # what is installed for the tests, beside what every user gets
CORE = (
    "train",
    "nests",
    "optimizers",
    "schedules",
    "nn",
    "losses",
    "testing",
    "minimize",
    "probe",
    "properties",
    "data",
    "store",
)
MEASURED = """
import json, sys, time
start = time.process_time()
import hypergrad
seconds = time.process_time() - start
print(json.dumps([seconds, sorted({name.partition(".")[0] for name in sys.modules})]))
"""
SIZES = """
import importlib.metadata, json
size = lambda file: file.locate().stat().st_size if file.suffix != ".pyc" and file.locate().exists() else 0
found = importlib.metadata.distributions()
print(json.dumps({d.metadata["Name"].lower(): [d.version, sum(map(size, d.files or []))] for d in found}))
"""


def setup() -> configparser.ConfigParser:
    """setup.cfg, read."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def minors() -> list[str]:
    """The Pythons that the package says it is for, such as 3.10."""
    return re.findall(r":: (3\.\d+)$", setup()["metadata"]["classifiers"], flags=re.MULTILINE)


def requirements(extra: str = "") -> list[str]:
    """What setup.cfg asks for, with its bounds."""
    parser = setup()
    text = parser["options.extras_require"][extra] if extra else parser["options"]["install_requires"]
    return [line for line in text.splitlines() if line]


def bounds() -> dict[str, str]:
    """The lowest version of each dependency that every user gets."""
    pairs = (line.split(">=") for line in requirements())
    return {name.strip(): lowest.strip() for name, lowest in pairs}


def interpreter(minor: str) -> str | None:
    """A Python of that minor version on this machine, the newest of pyenv's if there are any."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [path for path in pyenv.glob(f"{minor}.*/bin/python") if path.parents[1].name.replace(".", "").isdigit()]
    if found:
        return str(max(found, key=lambda path: int(path.parents[1].name.rpartition(".")[2])))
    return shutil.which(f"python{minor}")


def combination(minor: str, which: str, python: str, folder: Path) -> dict:
    """A row of the table: what was installed, how much it is, how long an import takes, and how the tests went."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    here = folder / ("Scripts" if os.name == "nt" else "bin") / "python"

    def called(*command, check=True):
        return subprocess.run(
            [*map(str, command)], cwd=ROOT, env=environment, check=check, stdout=subprocess.PIPE, text=True
        ).stdout

    def install(*wanted):
        options = ["--only-binary", ":all:", "--resolution", RESOLUTIONS[which], "--python", here]
        called(sys.executable, "-m", "uv", "pip", "install", "--quiet", *options, *wanted)

    called(sys.executable, "-m", "uv", "venv", "--quiet", "--python", python, folder)
    install(*requirements())
    sizes = json.loads(called(here, "-c", SIZES))
    called(here, "-c", MEASURED)  # the first import compiles
    imports = [json.loads(called(here, "-c", MEASURED)) for _ in range(7)]
    install(*requirements(), *requirements(EXTRA))
    versions = {name: version for name, (version, _) in json.loads(called(here, "-c", SIZES)).items()}
    report, start = folder / "report.xml", time.perf_counter()
    files = [f"tests/test_{name}.py" for name in CORE]
    called(here, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *files, check=False)
    self_test = called(here, "-m", "hypergrad", check=False)
    suite = next(ElementTree.parse(report).iter("testsuite"))
    counts = suite.attrib
    broken = [
        case for case in suite.iter("testcase") if case.find("failure") is not None or case.find("error") is not None
    ]
    failed = int(counts["failures"]) + int(counts["errors"])
    return {
        "python": called(here, "-c", "import platform; print(platform.python_version())").strip(),
        "minor": minor,
        "dependencies": which,
        "versions": versions,
        "bytes": {name: size for name, (_, size) in sizes.items()},
        "imported": sorted(set(imports[0][1]) & {name.replace("-", "_") for name in sizes}),
        "import_seconds": sorted(seconds for seconds, _ in imports)[len(imports) // 2],
        "passed": int(counts["tests"]) - failed - int(counts["skipped"]),
        "skipped": int(counts["skipped"]),
        "failed": failed,
        "failures": [f"{case.get('classname')}.{case.get('name')}" for case in broken],
        "self_test": [line for line in self_test.partition("\n\n")[2].splitlines() if line],
        "seconds": round(time.perf_counter() - start, 1),
    }


def as_markdown(rows: list[dict]) -> str:
    """The table."""
    names = [*bounds(), "numba", "pytest"]
    header = ["Python", "dependencies", *names, "tests passed", "failed", "skipped", "import", "size"]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in rows:
        counts = [str(row[name]) for name in ("passed", "failed", "skipped")]
        size = f"{sum(row['bytes'].values()) / 1e6:.0f} MB"
        cells = [row["python"], row["dependencies"], *(row["versions"].get(name, "") for name in names), *counts]
        lines.append("| " + " | ".join([*cells, f"{row['import_seconds']:.2f} s", size]) + " |")
    return "\n".join(lines)


def tables(rows: list[dict]) -> str:
    """What stands between the marks on the page."""
    newest = [row for row in rows if row["dependencies"] == "newest"]
    parts = [as_markdown(rows)]
    if newest:
        row = newest[-1]
        words = f"An install with the newest versions, Python {row['python']}; an import of hypergrad takes "
        words += f"{row['import_seconds']:.2f} s and imports of them only {', '.join(row['imported'])}:"
        parts += [words, sizes_as_markdown(row)]
    return "\n\n".join(parts)


def sizes_as_markdown(row: dict) -> str:
    """What an install consists of: the largest first, the small ones together."""
    sizes = sorted(((size / 1e6, name) for name, size in row["bytes"].items()), reverse=True)
    large = [(size, name) for size, name in sizes if size >= 1.0]
    lines = ["| installed | version | MB |", "|---|---|---|"]
    lines += [f"| {name} | {row['versions'].get(name, '')} | {size:.1f} |" for size, name in large]
    rest = sum(size for size, _ in sizes) - sum(size for size, _ in large)
    return "\n".join([*lines, f"| {len(sizes) - len(large)} smaller ones | | {rest:.1f} |"])


def write(rows: list[dict]) -> None:
    """Put rows into ``docs/versions.json`` in place of those of the same combinations, and the table into the page."""
    path, page = DOCS / "versions.json", DOCS / "versions.md"
    key = lambda row: (row["minor"], row["dependencies"])
    kept = {key(row): row for row in json.loads(path.read_text())["rows"]} if path.exists() else {}
    kept |= {key(row): row for row in rows}
    order = [(minor, which) for minor in minors() for which in RESOLUTIONS]
    rows = [kept[place] for place in order if place in kept]
    path.write_text(json.dumps({"core": CORE, "rows": rows}, indent=1) + "\n")
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{tables(rows)}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Returns 1 if a test failed, else 0."""
    parser = argparse.ArgumentParser(prog="python tests/versions.py", description=__doc__)
    parser.add_argument("--python", nargs="*", choices=minors(), default=minors(), help="default: all of them")
    parser.add_argument("--dependencies", nargs="*", choices=RESOLUTIONS, default=[*RESOLUTIONS], help="default: both")
    parser.add_argument("--write", action="store_true", help="put the results into docs/")
    args = parser.parse_args(argv)
    rows = []
    for minor in args.python:
        python = interpreter(minor)
        if python is None:
            print(f"there is no Python {minor} here: not run")
            continue
        for which in args.dependencies:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(combination(minor, which, python, Path(folder) / "environment"))
            print(as_markdown(rows[-1:]).splitlines()[-1], *rows[-1]["failures"], sep="\n", flush=True)
            if args.write:
                write(rows)
    return int(any(row["failed"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
