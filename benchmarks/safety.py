"""``python -m benchmarks.safety``: what the safety of a loss from PyTorch costs beside a plain unrolled loop.

On (a) and (c), in turns on one thread: ours with everything on, without each part, without both, and PyTorch's own
loop. What only the first run of a loss does is not in these times. ``--write`` puts results and table into ``docs/``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from unittest import mock

import hypergrad as hg
from benchmarks import one_table
from benchmarks.entries import of_foreign
from benchmarks.peers import pytorch
from benchmarks.problems import Attention, Network
from benchmarks.timing import interleaved, medians
from hypergrad.losses import _torch_run

PLAIN, WHOLE, NOTHING = "PyTorch, unrolled with create_graph", "everything on", "without both"


class _NoModes(contextlib.nullcontext):
    has_drawn = False

    def __init__(self, *_, **__):
        super().__init__(self)


@contextlib.contextmanager
def _bare():
    with mock.patch.multiple(_torch_run, forwards=_NoModes, forwards_without_draws=_NoModes):
        yield


PARTS: dict[str, Callable] = {
    "without modes for random numbers and fused kernels": _bare,
    "without the trial product and the look at each graph": lambda: mock.patch.object(
        _torch_run.LossOfTorch, "_check", lambda *_: None
    ),
}


@contextlib.contextmanager
def _without_all():
    with contextlib.ExitStack() as stack:
        for part in PARTS.values():
            stack.enter_context(part())
        yield


def measure(part: str, quick: bool, repeats: int) -> list[dict]:
    """A row for each way: seconds on (a) and (c)."""
    problems = {
        "a": Network((784, 20, 10), 3, 250) if quick else Network((784, 200, 50, 10), 50, 250),
        "c": Attention(3 if quick else 20),
    }
    found: dict[str, dict] = {}
    for table, problem in problems.items():
        ours = of_foreign(problem)[f"{hg.Stored()}, loss from PyTorch"].run

        def within(context: Callable, ours=ours):
            def run():
                with context():
                    return ours()

            return run

        ways = {WHOLE: contextlib.nullcontext, **PARTS, NOTHING: _without_all}
        runs = {name: within(context) for name, context in ways.items()} | {PLAIN: pytorch(problem)}
        for name, seconds in medians(interleaved(runs, threads=1, repeats=repeats)).items():
            found.setdefault(name, {})[table] = seconds
    return [{"way": name, **seconds} for name, seconds in found.items()]


def as_markdown(rows: list[dict]) -> str:
    """The table; ratios are to PyTorch's own loop."""
    plain = next(row for row in rows if row["way"] == PLAIN)
    lines = ["| Stored(), loss from PyTorch | (a) | × PyTorch | (c) | × PyTorch |", "|---|---|---|---|---|"]
    for row in rows:
        cells = [f"{row[t] * 1e3:,.0f} ms | {row[t] / plain[t]:.2f}" for t in "ac"]
        lines.append(f"| {row['way']} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    one_table.main("safety", __doc__, measure, as_markdown, repeats=15)
