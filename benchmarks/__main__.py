"""``python -m benchmarks``: what a hypergradient costs, relative to the training it differentiates.

One table for each problem; in each every hypergradient is first checked to agree with the others, then
all are timed in turns, in a process with the threads asked for (1, then 2). With ``--peers`` the
libraries that a user might take instead are beside ours, those that are installed. ``--write`` puts
results, tables and figures into ``docs/``. All tables take about half an hour.
"""

from __future__ import annotations

import argparse
import json

from benchmarks import memory, report
from benchmarks.entries import TRAINING, check_agreement, tables
from benchmarks.timing import apart, interleaved, medians, peak_memory


def measure(name: str, args) -> list[dict]:
    """The rows of one table, in this process with ``args.threads``."""
    make_problem, make_entries = tables(args.quick)[name]
    problem = make_problem()
    entries = make_entries(problem, args.peers)
    measured = {entry: value for entry, value in entries.items() if not isinstance(value, str)}
    errors = check_agreement(measured) if any(entry.gradient for entry in measured.values()) else {}
    seconds = medians(
        interleaved({entry: value.run for entry, value in measured.items()}, threads=args.threads, repeats=args.repeats)
    )
    return [
        {
            "table": name,
            "title": getattr(problem, "title", ""),
            "threads": args.threads,
            "entry": entry,
            "seconds": seconds.get(entry),
            "difference": errors.get(entry),
            "missing": value if isinstance(value, str) else None,
        }
        for entry, value in entries.items()
    ]


def measure_memory(name: str, entry: str, args) -> int:
    """Bytes that an entry needs at its peak beyond data, parameters and libraries, in this process."""
    make_problem, make_entries = tables(args.quick)[name]
    problem = make_problem()
    run = make_entries(problem, args.peers)[entry].run
    problem.value(problem.params)
    before = peak_memory()
    run()
    return peak_memory() - before


def in_process(args, *more: str, threads: int = 1) -> str:
    """What this program prints with further options, in a process of its own."""
    given = ["--repeats", str(args.repeats), "--threads", str(threads), *more]
    return apart("benchmarks", *given, *["--peers"] * args.peers, *["--quick"] * args.quick, threads=threads)


def main() -> None:
    names = sorted([*tables(quick=True), "d"])
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--tables", nargs="+", choices=names, default=names, help="which problems (default: all)")
    parser.add_argument("--peers", action="store_true", help="against other libraries, those that are installed")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="put results, tables and figure into docs/")
    parser.add_argument("--quick", action="store_true", help="tiny problems, to see that everything runs")
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write and (args.quick or not args.peers):
        parser.error("--write is for tables at their full size, with --peers")
    if args.memory:
        print(measure_memory(*args.memory, args))
        return
    if args.threads:
        print(json.dumps(measure(args.tables[0], args)))
        return
    if "d" in args.tables:
        print("\n(d) peak memory against the number of steps")
        points = memory.measure_all(args.quick)
        if args.write:
            memory.write(points)
    rows = []
    for name in (name for name in args.tables if name != "d"):
        threads = (2,) if name == "f" else (1,) if name.startswith("g") else (1, 2)
        for count in threads:
            measured = json.loads(in_process(args, "--tables", name, threads=count))
            for row in measured:
                if name in "abc" and count == threads[0] and row["seconds"] and "floor" not in row["entry"]:
                    row["bytes"] = int(in_process(args, "--memory", name, row["entry"]))
            print(report.as_text(measured, TRAINING), flush=True)
            rows += measured
    if args.write and rows:
        report.write(rows, [name for name in names if name != "d"])


if __name__ == "__main__":
    main()
