"""Tables and figure of measured rows, in text and for ``docs/``."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

from benchmarks.peers import PEERS

DOCS = Path(__file__).parent.parent / "docs"
LIBRARIES = ("numpy", "scipy", "autograd", "numba", "torch", "higher", "torchopt", "jax")
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
README = Path(__file__).parent.parent / "README.md"
IN_README = {  # entries of the small table there, and what they are called
    "Stored()": "`Stored()`",
    "Reversible(), exact arithmetic": "`Reversible()`, backwards bit for bit",
    "forward mode, one direction": "forward mode, one direction",
    "autograd through the unrolled loop": "autograd through the unrolled loop",
    "PyTorch, unrolled with create_graph": "PyTorch, unrolled",
    "higher": "higher",
    "TorchOpt": "TorchOpt",
    "JAX, scan under jit": "JAX, scan under jit",
}
COSTS = {"a": "50 steps, one rate", "b": "100 steps, 800 rates and momenta"}


def machine() -> dict:
    """What the measurements were made on."""
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            versions[library] = "not installed"
    model = next((line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), "")
    blas = {
        f"{pool['internal_api']} {pool['version']} ({pool.get('architecture', 'unknown')} kernels)"
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    }
    return {
        "processor": model or platform.processor(),
        "cores": os.cpu_count(),
        "blas": ", ".join(sorted(blas)),
        "versions": versions,
    }


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def as_text(rows: list[dict], base: str) -> str:
    """One table for a terminal; times also relative to the entry ``base`` where there is one."""
    seconds = {row["entry"]: row["seconds"] for row in rows}
    lines = [f"\n({rows[0]['table']}) {rows[0]['title']}, {rows[0]['threads']} thread(s)"]
    for row in rows:
        if row["missing"]:
            lines.append(f"  {row['entry']:<48} {row['missing']}")
            continue
        relative = f"{row['seconds'] / seconds[base]:6.2f} × training" if base in seconds else ""
        memory = f"{row['bytes'] / 1e6:8.0f} MB" if row.get("bytes") is not None else ""
        lines.append(f"  {row['entry']:<48} {row['seconds'] * 1e3:9.1f} ms  {relative} {memory}")
    return "\n".join(lines)


def as_markdown(rows: list[dict], base: str) -> str:
    """The rows of one table at all thread counts, side by side."""
    threads = sorted({row["threads"] for row in rows})
    cells: dict[str, dict] = {}
    for row in rows:
        cells.setdefault(row["entry"], {})[row["threads"]] = row
    header = ["entry"]
    for count in threads:
        header += [f"{count} thread{'s' * (count > 1)}", "× training"]
    with_memory = any(row.get("bytes") is not None for row in rows)
    header += ["peak memory"] * with_memory
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for entry, by_threads in cells.items():
        line, memory = [entry], ""
        for count in threads:
            row = by_threads[count]
            if row["missing"]:
                line += [row["missing"], ""]
                continue
            line += [f"{row['seconds'] * 1e3:,.0f} ms", f"{row['seconds'] / cells[base][count]['seconds']:.2f}"]
            memory = f"{row['bytes'] / 1e6:,.0f} MB" if row.get("bytes") is not None else memory
        lines.append("| " + " | ".join(line + [memory] * with_memory) + " |")
    return "\n".join(lines)


def for_readme(rows: list[dict], base: str = "training") -> str:
    """The small table: times on one thread relative to training, and memory."""
    at_one = {(row["table"], row["entry"]): row for row in rows if row["threads"] == 1}
    header = ["", *(cell for words in COSTS.values() for cell in (words, "memory"))]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for entry, name in IN_README.items():
        cells = []
        for table in COSTS:
            row = at_one[table, entry]
            if not row["seconds"]:
                cells += ["", ""]
                continue
            cells += [f"{row['seconds'] / at_one[table, base]['seconds']:.1f}", f"{row['bytes'] / 1e6:,.0f} MB"]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join(lines)


def between(page: Path, begin: str, end: str, text: str) -> None:
    """Replace what stands between two marks on a page."""
    before, rest = page.read_text(encoding="utf-8").split(begin)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}", encoding="utf-8")


def exponents(rows: list[dict]) -> dict[str, float]:
    """For entries named "… at size": the exponent of their time in the size, by least squares of the logarithms."""
    points: dict[str, list] = {}
    for row in rows:
        name, size = row["entry"].rsplit(" at ", 1)
        points.setdefault(name, []).append((np.log(float(size)), np.log(row["seconds"])))
    return {name: float(np.polyfit(*zip(*pairs), 1)[0]) for name, pairs in points.items()}


def growth_as_markdown(rows: list[dict], what: str) -> str:
    """Times by size, and their exponents."""
    names, sizes = list(exponents(rows)), sorted({int(row["entry"].rsplit(" at ", 1)[1]) for row in rows})
    seconds = {row["entry"]: row["seconds"] for row in rows}
    lines = [f"| {what} | " + " | ".join(f"{size}" for size in sizes) + " | exponent |"]
    lines.append("|" + "---|" * (len(sizes) + 2))
    for name in names:
        times = [f"{seconds[f'{name} at {size}'] * 1e3:,.0f} ms" for size in sizes]
        lines.append(f"| {name} | " + " | ".join(times) + f" | {exponents(rows)[name]:.2f} |")
    return "\n".join(lines)


def figure(rows: list[dict], base: str):
    """Time relative to training of everything in the first two tables, at 1 and 2 threads, the fastest first.

    What is not ours is written in another colour.
    """
    import matplotlib.pyplot as plt

    from hypergrad.style import STYLE

    panels = [name for name in ("a", "b") if any(row["table"] == name for row in rows)]
    with plt.rc_context(STYLE):
        fig, axes = plt.subplots(1, len(panels), figsize=(6.2 * len(panels), 7.5), layout="constrained", squeeze=False)
        for axis, name in zip(axes[0], panels):
            table = [row for row in rows if row["table"] == name and row["seconds"]]
            at_one = {row["entry"]: row["seconds"] for row in table if row["threads"] == 1}
            entries = sorted(at_one, key=at_one.__getitem__)
            for threads, colour, shift in ((1, "#1b7837", -0.2), (2, "#a6dba0", 0.2)):
                seconds = {row["entry"]: row["seconds"] for row in table if row["threads"] == threads}
                ratios = [seconds[entry] / seconds[base] for entry in entries]
                places = np.arange(len(entries)) + shift
                axis.barh(places, ratios, 0.38, color=colour, label=f"{threads} thread{'s' * (threads > 1)}")
                for place, ratio in zip(places, ratios):
                    axis.text(ratio, place, f" {ratio:.2f}", va="center", fontsize="x-small")
            axis.set_yticks(range(len(entries)), entries, fontsize="small")
            for label, entry in zip(axis.get_yticklabels(), entries):
                label.set_color("#b35806" if entry in PEERS else "#666666" if "floor" in entry else "black")
            axis.invert_yaxis()
            axis.set_xlabel("time, relative to our own plain training")
            net, steps, *rest = table[0]["title"].split(", ")
            axis.set_title("\n".join([f"({name}) {net}, {steps}", *rest]), fontsize="medium")
            axis.margins(x=0.12)
        bars, names = axes[0, 0].get_legend_handles_labels()
        kinds = {"hypergrad": "black", "other ways to the same": "#b35806", "its matrix products alone": "#666666"}
        bars += [plt.Line2D([], [], marker="s", linestyle="", color=colour) for colour in kinds.values()]
        fig.legend(bars, [*names, *kinds], frameon=False, loc="outside lower center", ncols=5)
    plt.close(fig)
    return fig


def merged(rows: list[dict], described: dict, names: list[str]) -> list[dict]:
    """The rows, and those of the tables that were not measured now, if they come from the same machine and versions.

    Raises:
      SystemExit: they come from others.
    """
    measured = {row["table"] for row in rows}
    if measured == set(names):
        return rows
    stored = json.loads((DOCS / "benchmarks.json").read_text())
    if stored["machine"] != described:
        raise SystemExit("docs/benchmarks.json was measured elsewhere, or with other versions: measure all tables")
    rows = rows + [row for row in stored["rows"] if row["table"] not in measured]
    return sorted(rows, key=lambda row: names.index(row["table"]))


def write(rows: list[dict], names: list[str], base: str = "training") -> None:
    """``docs/benchmarks.json``, the figure, and the tables between the marks in ``docs/benchmarks.md`` and the README.

    ``names``: all tables, in order. Those without rows stay as they are.
    """
    described = machine()
    rows = merged(rows, described, names)
    (DOCS / "benchmarks.json").write_text(json.dumps({"machine": described, "rows": rows}, indent=1) + "\n")
    figure(rows, base).savefig(DOCS / "benchmarks.png", metadata={"Software": None})
    versions = ", ".join(f"{name} {number}" for name, number in described["versions"].items())
    parts = [
        f"Measured on {described['cores']} cores of an {described['processor']}; {described['blas']}, {versions}.",
        "![Times](benchmarks.png)",
    ]
    for name in dict.fromkeys(row["table"] for row in rows):
        table = [row for row in rows if row["table"] == name]
        if name.startswith("g-"):
            parts += [f"**({name})**", growth_as_markdown(table, name[2:])]
        else:
            parts += [f"**({name})** {table[0]['title']}", as_markdown(table, base)]
    between(DOCS / "benchmarks.md", BEGIN, END, "\n\n".join(parts))
    between(README, "<!-- costs -->", "<!-- end of costs -->", for_readme(rows, base))
