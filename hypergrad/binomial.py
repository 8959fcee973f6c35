"""The binomial checkpointing schedule: where to put snapshots so that the fewest steps are recomputed.

With s snapshots and no step computed forwards more than r times, up to C(s + r, s) steps can be
reversed. Source: Griewank & Walther (2000), *Algorithm 799: revolve*, ACM TOMS 26(1), 19–45.
"""

from __future__ import annotations

from math import comb


def repetitions(steps: int, snapshots: int) -> int:
    """The smallest r with C(s + r, s) ≥ steps: how often a step is advanced over, at the most."""
    r = 0
    while comb(snapshots + r, snapshots) < steps:
        r += 1
    return r


def advances(steps: int, snapshots: int) -> int:
    """The fewest steps advanced over to reverse ``steps`` steps, r · T − C(s + r, s + 1).

    ``snapshots`` counts the one at the start. The gradient that each step needs to be reversed is not
    counted, nor is the last step of the run that goes forwards.
    """
    r = repetitions(steps, snapshots)
    return r * steps - comb(snapshots + r, snapshots + 1)


def recomputed(steps: int, snapshots: int) -> int:
    """How many steps are computed again: the advances beyond those of the first run forwards."""
    return advances(steps, snapshots) - (steps - 1) if steps else 0


def first_snapshot(steps: int, free: int) -> int:
    """How far to advance from a snapshot before placing the next one, with ``free`` ≥ 1 more to place.

    The steps up to there are advanced over once more than those behind it, so they may be at most
    C(s + r − 1, s), with s = free + 1, and behind it there must be at least C(s + r − 2, s − 1).
    """
    if steps <= 1:
        return steps
    s = free + 1
    r = repetitions(steps, s)
    return max(1, min(comb(s + r - 1, s), steps - comb(s + r - 2, s - 1)))
