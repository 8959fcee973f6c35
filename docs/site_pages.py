"""Pages of the site that are made: the reference from the docstrings, and the gallery from the experiments."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import types
from pathlib import Path
from typing import Any, NamedTuple

from site_docstrings import escaped, prepared, summary

import hypergrad
from experiments.check_log import LOG
from experiments.shared.results import FIGURES, questions


class Promise(NamedTuple):
    """A promised name: where it is documented, what it is, and under which other names it can be had."""

    name: str
    value: Any
    others: list[str]


def faces(module=hypergrad, name: str = "hypergrad") -> dict[str, types.ModuleType]:
    """The public modules by their names, that of the package first: each has ``__all__``."""
    found = {name: module}
    for attribute in module.__all__:
        value = getattr(module, attribute)
        if isinstance(value, types.ModuleType):
            found |= faces(value, f"{name}.{attribute}")
    return found


def promises() -> dict[str, list[Promise]]:
    """For each face the names that it promises and that no face before it has."""
    found: dict[str, list[Promise]] = {}
    known: dict[int, Promise] = {}
    for face, module in faces().items():
        found[face] = []
        for attribute in module.__all__:
            value, name = getattr(module, attribute), f"{face}.{attribute}"
            if isinstance(value, types.ModuleType):
                continue
            if id(value) in known:
                known[id(value)].others.append(name)
            else:
                known[id(value)] = Promise(name, value, [])
                found[face].append(known[id(value)])
    return found


def reference() -> dict[str, str]:
    """By file name: a page for each face, and one that lists them."""
    found = promises()
    everything = [promise for promised in found.values() for promise in promised]
    pages = {
        "reference.rst": _joined(
            _title("Reference", "="),
            "Exactly the names that are promised, from their docstrings, by the module that one has them from. Costs "
            "are in matrix products a step and layer, of which training alone takes 2. T is the number of steps, P "
            "that of the parameters, K that of directions.",
            ".. toctree::\n   :maxdepth: 1\n\n" + "\n".join(f"   {face}" for face in found),
        )
    }
    for face, module in faces().items():
        rows = []
        for promise in sorted(everything, key=lambda promise: promise.name.rpartition(".")[2].lower()):
            if any(name.rpartition(".")[0] == face for name in (promise.name, *promise.others)):
                rows += [f"   * - :py:obj:`~{promise.name}`", f"     - {escaped(summary(promise.value))}"]
        pages[f"{face}.rst"] = _joined(
            _title(face, "="),
            f".. py:module:: {face}",
            "\n".join(prepared(inspect.getdoc(module).splitlines())),
            "\n".join([".. list-table::", "   :widths: 30 70", "", *rows]),
            *map(_directive, found[face]),
        )
    return pages


def gallery() -> str:
    """Every figure, small, with a sentence and its command; the newest experiment first."""
    blocks = [
        _title("Gallery", "="),
        "Every figure of the :doc:`log </experiments/LOG>`, with what it shows and the command that makes it. How long "
        "each takes says ``python -m experiments``.",
    ]
    log = LOG.read_text(encoding="utf-8")
    for name, (day, question) in reversed(questions().items()):
        module = importlib.import_module(f"experiments.{name}")
        title, words = f"{day}: {question}", escaped(" ".join(module.LOOK_AT.split()))
        entry = f"`What was seen. <../../experiments/LOG.html#{slug(title)}>`__" if f"## {title}\n" in log else ""
        blocks += [_title(title, "-"), f"{words} {entry}".strip(), ".. container:: gallery"]
        for part in module.PARTS:
            command = f"python -m experiments.{name}" + (f" --part {part}" if part != 1 else "")
            lines = [f".. figure:: /{FIGURES.name}/{name}/part{part}.png", "   :width: 480", "   :loading: lazy"]
            caption = f"{escaped(sentence(module, part))} ``{command}``".strip()
            lines += [f"   :alt: Figure of {name}, part {part}", "", f"   {caption}"]
            blocks.append("\n".join(f"   {line}" for line in lines))
    return _joined(*blocks)


def sentence(module, part: int) -> str:
    """What a part shows: the first sentence of what the experiment's docstring says of it; empty if it is the only one.

    Raises:
      ValueError: it says nothing of a part, although there are several.
    """
    text = " ".join(inspect.getdoc(module).split())
    pieces = re.split(r"(?:^|(?<=[.?)] ))Parts? (\d+)(?: to (\d+))?[:,] ", text)[1:]
    for first, last, words in zip(pieces[::3], pieces[1::3], pieces[2::3]):
        if int(first) <= part <= int(last or first):
            words = re.match(r".{14,}?[.?](?= [A-Z(]|$)|.*", words.strip()).group()
            return words[0].upper() + words[1:]
    if len(module.PARTS) > 1:
        raise ValueError(f"the docstring of {module.__name__} has no sentence for part {part}")
    return ""


def slug(heading: str) -> str:
    """The anchor of a heading in Markdown, as code hosts and MyST make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def write(folder: Path) -> None:
    """Write the made pages into a folder; those that are the same are left, so that they are not built again."""
    folder.mkdir(exist_ok=True)
    for name, text in {**reference(), "gallery.rst": gallery()}.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def toctrees(index: str) -> str:
    """The site's table of contents, from the lists of links under the headings of index.md, as a reader sees them."""
    found = []
    for heading, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", index, flags=re.DOTALL | re.MULTILINE):
        pages = re.findall(r"^- \[.*?\]\(([^)#]*)\.md(?:#.*?)?\)", text, flags=re.MULTILINE)
        if heading == "See":
            pages += ["generated/gallery", "generated/reference"]
        found += ["", "```{toctree}", ":hidden:", f":caption: {heading}", "", *pages, "```"]
    return "\n".join([*found, ""])


def _title(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}"


def _joined(*blocks: str) -> str:
    return "\n\n".join([*blocks, ""])


def _directive(promise: Promise) -> str:
    value = promise.value
    if isinstance(value, type):
        signature = _signature(value) if dataclasses.is_dataclass(value) else ""  # Sphinx would show that of __new__
        return f".. autoclass:: {promise.name}{signature}" + (
            "\n   :members:" if _has_members_of_its_own(promise) else ""
        )
    if inspect.isfunction(value):
        signature = _signature(value.fun) if hasattr(value, "fun") else ""  # autograd's wrapper has none
        return f".. autofunction:: {promise.name}{signature}"
    return f".. autodata:: {promise.name}\n   :no-value:"


def _signature(value) -> str:
    """The names of the arguments and their defaults."""
    bare = inspect.Parameter.empty
    signature = inspect.signature(value)
    parameters = [parameter.replace(annotation=bare) for parameter in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=bare))


def _has_members_of_its_own(promise: Promise) -> bool:
    """Optimizers and adjoints to be used are described without what their base asks of who writes one."""
    bases = (hypergrad.Optimizer, hypergrad.Adjoint)
    return promise.name.count(".") > 1 or promise.value in bases or not issubclass(promise.value, bases)
