"""How Sphinx builds the site, in the repository's root: ``python -m sphinx -W -c docs . docs/_build``.

The root is the source, so that links to pages, the log, figures and files are those of the Markdown as it lies there.
"""

import sys
from pathlib import Path

from sphinx.ext.napoleon import Config, GoogleDocstring

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

import site_docstrings  # noqa: E402
import site_links  # noqa: E402
import site_pages  # noqa: E402

import hypergrad  # noqa: E402

project = "hypergrad"
copyright = "the authors of hypergrad, MIT licence"
version = release = hypergrad.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "docs/index"
include_patterns = ["docs/**.md", "docs/generated/**.rst", "experiments/LOG.md", "CHANGELOG.md", "CONTRIBUTING.md"]
exclude_patterns = [".*", "docs/_build"]
smartquotes_action = "D"  # dashes; quotes stay, since "raise" is an argument
nitpicky = True  # a name in a docstring that leads nowhere is an error
myst_heading_anchors = 4
autodoc_typehints = "none"  # what arguments are say the docstrings
autodoc_member_order = "bysource"

html_theme = "furo"
html_title = f"hypergrad {release}"
html_static_path, html_css_files = ["site.css"], ["site.css"]
html_show_sphinx = html_copy_source = False
pygments_style, pygments_dark_style = "friendly", "monokai"


class Docstring(GoogleDocstring):
    """What is returned has no type here, and attributes may share a line."""

    def _consume_returns_section(self, preprocess_types=False):
        return [("", "", self._dedent(self._consume_to_next_section()))]

    def _parse_attributes_section(self, section):
        return self._format_fields("Attributes", self._consume_fields(multiple=True))


def as_restructured(app, what, name, value, options, lines):
    settings = Config(napoleon_attr_annotations=False)
    lines[:] = Docstring(site_docstrings.prepared(lines), settings, what="function").lines()


def skipped(app, what, name, value, skipping, options):
    """Fields of named tuples are in the docstring of their class, and a class in a class is nobody's promise."""
    return True if type(value).__name__ == "_tuplegetter" or isinstance(value, type) else None


def resolved(app, env, node, content):
    """A promised name that a docstring gives without its module, or by the module that it lies in."""
    last = node["reftarget"].rpartition(".")[2]
    names = [*site_pages.faces(), *(promise.name for found in site_pages.promises().values() for promise in found)]
    for name in names:
        if node["refdomain"] == "py" and name.rpartition(".")[2] == last:
            return env.get_domain("py").resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, content)
    return None


def with_contents(app, name, source):
    if name == root_doc:
        source[0] += site_pages.toctrees(source[0])


def finished(app, error):
    if error is None and app.builder.format == "html":
        site_links.finish(Path(app.outdir))


def setup(app):
    app.connect("config-inited", lambda app, config: site_pages.write(DOCS / "generated"))
    app.connect("source-read", with_contents)
    app.connect("autodoc-process-docstring", as_restructured)
    app.connect("autodoc-skip-member", skipped)
    app.connect("missing-reference", resolved)
    app.connect("build-finished", finished)
