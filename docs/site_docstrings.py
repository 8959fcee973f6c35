"""Docstrings as they are written here, in the form that Sphinx reads."""

from __future__ import annotations

import inspect
import re

SECTIONS = ("Args:", "Attributes:", "Raises:", "Returns:", "Warns:", "Yields:")
HEAD = re.compile(r"(Costs?|Memory|Source)\b[^:.]*: ")  # a line with its own heading, such as "Cost, in products: 4"


def prepared(lines: list[str]) -> list[str]:
    """Indented formulas become literal blocks, and lines that begin with a heading, such as Cost, paragraphs."""
    found: list[str] = []
    in_section = in_literal = False
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if line and indent == 0:
            in_section, in_literal = line in SECTIONS, False
            head = HEAD.match(line)
            if head:
                found += ["", f"**{head.group().strip()}** {escaped(line[head.end() :])}"]
                continue
        elif indent >= 4 and not (in_section or in_literal or (found and found[-1])):
            found += ["::", ""]
            in_literal = True
        found.append(line if in_literal else escaped(line))
    return found


def escaped(line: str) -> str:
    """Bars, those of a norm say, are no markup; except in a literal or a doctest."""
    if line.lstrip().startswith((">>>", "...")):
        return line
    pieces = re.split(r"(``.*?``|`[^`]*`)", line)
    return "".join(piece if piece.startswith("`") else piece.replace("|", r"\|") for piece in pieces)


def summary(value) -> str:
    """The first sentence of a docstring."""
    paragraph = " ".join(inspect.getdoc(value).partition("\n\n")[0].split())
    return re.match(r".*?[^.A-Z]\.(?= [A-Z]|$)|.*", paragraph).group()
