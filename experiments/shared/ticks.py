"""Labels of axes."""

from __future__ import annotations


def label_some(line, first_digits: str) -> None:
    """On a logarithmic axis, labels of numbers that begin with 1 or one of these digits, lest they overlap."""
    line.set_major_formatter("{x:g}")
    line.set_minor_formatter(lambda x, _: f"{x:g}" if f"{x:e}"[0] in first_digits else "")
