"""The links of the finished site: each that stays within it must lead somewhere, its anchor too."""

from __future__ import annotations

from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

HOME = '<!doctype html><meta http-equiv="refresh" content="0; url=docs/index.html">\n'


class Page(HTMLParser):
    """What a page links to, and the anchors that it has."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name == "id" and value:
                self.anchors.add(value)


def broken(folder: Path) -> list[str]:
    """A sentence for every link from a page in the folder to nothing in it."""

    @cache
    def page(path: Path) -> Page:
        return Page(path.read_text())

    sentences = []
    for path in sorted(folder.rglob("*.html")):
        for link in page(path).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                sentences.append(f"{path.relative_to(folder)}: {link} leads nowhere")
            elif parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in page(target).anchors:
                sentences.append(f"{path.relative_to(folder)}: {link}: the page has no such anchor")
    return sentences


def finish(folder: Path) -> None:
    """Put a page at the top of a built site that leads to its first one, and warn of every broken link."""
    from sphinx.util import logging

    (folder / "index.html").write_text(HOME)
    for sentence in broken(folder):
        logging.getLogger(__name__).warning(sentence)
