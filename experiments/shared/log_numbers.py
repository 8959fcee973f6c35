"""Numbers in the log that can be computed again from the checked-in results.

A comment behind a number, which no reader of the rendered log sees, names it:

    with all three it is 0.107<!-- 4: fresh -->, and seeds differ: 0.114, 0.111, 0.095<!-- 4: fresh by seed -->

The first is what ``numbers(results, config)`` of part 4 calls ``fresh``; a name that stands for several
values belongs to the last so many numbers before the comment. The part is one of the experiment whose command the
entry gives; another one is named before it: ``<!-- jan14_lr_wiggliness 2: … -->``. A number agrees if it is the value
rounded to the digits written.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

MARK = re.compile(r"(?:(\w+) )?(\d+): (.+)")  # what a comment says: part and name, or experiment, part and name
COMMAND = re.compile(r"python -m experiments\.(\w+)")
SUPERSCRIPTS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
NUMBER = re.compile(  # 0.107, −4, 1,200, 2.4·10⁻⁴, and 10¹⁶⁹ alone
    r"(?<![\w.])(?P<sign>−?)(?:10(?P<alone>⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)"
    r"|(?P<whole>\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.(?P<fraction>\d+))?(?:·10(?P<power>⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]+))?)"
)


class Mark(NamedTuple):
    """A named number of the log.

    Attributes:
      line: of the log, from 1.
      experiment, part, name: what it is.
      before: the text from the mark before it, or the beginning of the paragraph, to its own.
    """

    line: int
    experiment: str
    part: int
    name: str
    before: str


class Written(NamedTuple):
    """A number as it is written, and the range of values that are rounded to it."""

    text: str
    low: float
    high: float


def marks(log: str) -> list[Mark]:
    """All marks of a log, in order.

    Raises:
      ValueError: a comment that is no mark, or a part without an experiment.
    """
    found, place, experiment = [], 0, None
    for comment in re.finditer(r"<!--(.*?)-->", log, flags=re.DOTALL):
        before = log[place : comment.start()]
        for heading in re.split(r"^## ", before, flags=re.MULTILINE)[1:]:
            experiment = None
            before = heading
        command = COMMAND.search(before)
        experiment = command.group(1) if command and experiment is None else experiment
        place, line = comment.end(), log.count("\n", 0, comment.start()) + 1
        words = MARK.fullmatch(" ".join(comment.group(1).split()))
        if words is None or (words.group(1) or experiment) is None:
            raise ValueError(f"line {line}: a comment in the log must be <!-- PART: NAME -->, got {comment.group(0)}")
        before = before.rpartition("\n\n")[2]
        found.append(Mark(line, words.group(1) or experiment, int(words.group(2)), words.group(3), before))
    return found


def written(text: str) -> list[Written]:
    """The numbers of a text, in order.

    >>> written("0.107, about 2.4·10⁻⁴ and 1,200")[1].text
    '2.4·10⁻⁴'
    """
    found = []
    for match in NUMBER.finditer(text):
        parts = match.groupdict()
        if parts["alone"]:  # an order of magnitude
            power = float(parts["alone"].translate(SUPERSCRIPTS))
            low, high = 10.0 ** (power - 0.5), 10.0 ** (power + 0.5)
        else:
            fraction, scale = parts["fraction"] or "", 10.0 ** float((parts["power"] or "0").translate(SUPERSCRIPTS))
            value = float(parts["whole"].replace(",", "") + "." + fraction) * scale
            half = 0.5 * 10.0 ** -len(fraction) * scale * (1.0 + 1e-9)  # a tie may be rounded either way
            low, high = value - half, value + half
        low, high = (-high, -low) if parts["sign"] else (low, high)
        found.append(Written(match.group(0), low, high))
    return found


def disagreement(mark: Mark, values) -> str:
    """In words how the numbers before a mark differ from the values it names; empty if they agree."""
    values = np.atleast_1d(np.asarray(values, dtype=float))
    numbers = written(mark.before)[-len(values) :]
    if len(numbers) < len(values):
        return f"{len(values)} numbers are named, and {len(numbers)} stand before the mark"
    wrong = [(n.text, value) for n, value in zip(numbers, values) if not n.low <= value <= n.high]
    return ", ".join(f"{text} is written, and it is {value:.6g}" for text, value in wrong)


def disagreements(log: str, numbers_of: Callable[[str, int], dict]) -> list[str]:
    """A sentence for every marked number that is not the one that ``numbers_of(experiment, part)`` has for it."""
    sentences, known = [], {}
    for mark in marks(log):
        key = mark.experiment, mark.part
        if key not in known:
            known[key] = numbers_of(*key)
        if mark.name not in known[key]:
            words = f"has no number of that name; it has {', '.join(known[key])}"
        else:
            words = disagreement(mark, known[key][mark.name])
        if words:
            sentences.append(f"line {mark.line}: {mark.experiment}, part {mark.part}, {mark.name}: {words}")
    return sentences
