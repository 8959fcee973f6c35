"""The README's library example runs as printed, and its links lead somewhere."""

import re

import numpy as np
import pytest
from pages import ROOT, namespace_of, python_blocks

NEEDS = {
    "jax.md": ("jax", "equinox"),
    "pytorch.md": ("torch",),
    "cluster.md": ("distributed",),
}  # not in all installations
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


OWN_TESTS = ("tutorial.md", "cookbook.md")
EXAMPLES = [page for page in PAGES if python_blocks(page) and page.name not in OWN_TESTS]


@pytest.mark.parametrize("page", EXAMPLES, ids=lambda page: page.name)
def test_examples_run(page):
    for library in NEEDS.get(page.name, ()):
        pytest.importorskip(library, reason=f"needs {library}: pip install -e '.[jax,torch,models,cluster]'")
    namespace = namespace_of(page)
    if page.name == "README.md":
        assert 0.0 < namespace["value"] < 1.0
        assert namespace["hypergradient"]["log_lr"].shape == (50,)
        assert np.isfinite(namespace["hypergradient"]["log_scale"])


def test_the_tutorial_is_as_short_as_it_says_and_ends_with_the_numbers_that_it_tells(capsys):
    page = ROOT / "docs" / "tutorial.md"
    lines = [line for block in python_blocks(page) for line in block.splitlines() if line]
    assert 30 < len(lines) < 40 and "fewer than 40 lines" in page.read_text()
    namespace = namespace_of(page)
    assert capsys.readouterr().out.startswith("trust\ntrust\n")
    constant, cosine, learned = namespace["errors"]
    told = [
        float(number) for number in re.findall(r"0\.\d{3}\b", page.read_text().partition("The learned schedule has")[2])
    ]
    expected = [learned.mean(), constant.mean()]
    for rival in (constant, cosine):
        difference = learned - rival
        numbers = -difference.mean(), 2.262 * difference.std(ddof=1) / np.sqrt(10)
        expected += [*numbers] if rival is constant else [rival.mean(), *numbers]
    np.testing.assert_allclose(told, expected, atol=0.0011)
    exported, rates = namespace["exported"], np.exp(namespace["learned"])
    assert rates.shape == (60,) and exported.lr(59) == pytest.approx(0.1 * rates[59])


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
