"""The README's library example runs as printed, and its links lead somewhere."""

import re

import numpy as np
import pytest
from pages import ROOT, namespace_of, python_blocks

NEEDS = {"jax.md": ("jax", "equinox"), "pytorch.md": ("torch",)}  # what is not installed with the tests
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)], ids=lambda page: page.name)
def test_examples_run(page):
    for library in NEEDS.get(page.name, ()):
        pytest.importorskip(library, reason=f"needs {library}: pip install -e '.[jax,torch,models]'")
    namespace = namespace_of(page)
    if page.name == "README.md":
        assert 0.0 < namespace["value"] < 1.0
        assert namespace["hypergradient"]["log_lr"].shape == (50,)
        assert np.isfinite(namespace["hypergradient"]["log_scale"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_figures_exist(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_two_commands_are_one_line_each():
    lines = (ROOT / "README.md").read_text().splitlines()
    commands = [line for line in lines if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert commands[0].endswith("-m experiments.jan14_lr_wiggliness") and commands[1].endswith("-m pytest")
