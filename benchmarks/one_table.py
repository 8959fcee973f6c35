"""Benchmarks that make one table: their command line, and where the table lies."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence

from benchmarks.report import DOCS, machine
from benchmarks.timing import apart


def main(
    name: str,
    description: str | None,
    measure: Callable[[str, bool, int], list[dict]],
    as_markdown: Callable[[list[dict]], str],
    *,
    repeats: int,
    threads: int | None = 1,
    parts: Sequence[str] = ("all",),
    introduction: str = "",
) -> None:
    """The command line of ``benchmarks.<name>``.

    Args:
      measure: ``measure(part, quick, repeats)``, the rows of a part, in a process of its own.
      as_markdown: the table.
      threads: of the processes; None for all that the machine has.
      introduction: what stands above it in the documents; ``{processor}`` and ``{blas}`` are filled in.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--write", action="store_true", help="put results and table into docs/")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    parser.add_argument("--here", choices=parts, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write and args.quick:
        parser.error("--write is for full sizes")
    if args.here:
        print(json.dumps(measure(args.here, args.quick, args.repeats)))
        return
    options = ["--repeats", str(args.repeats), *["--quick"] * args.quick]
    printed = (
        apart(f"benchmarks.{name}", "--here", part, *options, threads=threads or os.cpu_count() or 1) for part in parts
    )
    rows = [row for text in printed for row in json.loads(text)]
    print(as_markdown(rows))
    if args.write:
        write(name, rows, as_markdown(rows), introduction)


def write(name: str, rows: list[dict], table: str, introduction: str = "") -> None:
    """``docs/<name>.json``, and the table between its marks in ``docs/benchmarks.md``."""
    described = machine()
    (DOCS / f"{name}.json").write_text(json.dumps({"machine": described, "rows": rows}, indent=1) + "\n")
    page, begin, end = DOCS / "benchmarks.md", f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, rest = page.read_text().split(begin)
    parts = [introduction.format(**described), table] if introduction else [table]
    page.write_text(f"{before}{begin}\n\n" + "\n\n".join(parts) + f"\n\n{end}{rest.split(end)[1]}")
