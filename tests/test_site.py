"""The site: made pages have all that is promised and drawn, docstrings their parts, and pages the numbers of files.

It is built, with warnings as errors and its links checked, by ``python -m sphinx -W -c docs . docs/_build``.
"""

import ast
import importlib
import inspect
import json
import math
import re
import sys
import textwrap

import numpy as np
import pytest
from pages import ROOT, namespace_of

import hypergrad as hg
from experiments.check_log import numbers_of
from experiments.shared.log_numbers import disagreements, marks
from experiments.shared.results import FIGURES, questions

DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))
site_docstrings, site_links, site_pages = map(importlib.import_module, ("site_docstrings", "site_links", "site_pages"))
sys.path.remove(str(DOCS))

PROMISED = [promise for promises in site_pages.promises().values() for promise in promises]
IDS = [promise.name for promise in PROMISED]
COSTS = """
    train plan forward_tangents Stored Reversible Checkpointed Truncated attribution locate_edge metasmoothness
    sweep trust lyapunov sharpness minimize exact forward greedy implicit mixed persistent smoothed truncated
    check_hypergradient check_loss from_jax jax_function losses.from_torch from_torch_function torch_function
    attention conv2d diagonal_recurrence embedding layer_norm
""".split()  # noqa: SIM905
SOURCES = """
    SGD RMSProp Adam Clipped PerWeight Reversible Checkpointed Truncated lyapunov max_lr metasmoothness forward
    greedy implicit mixed persistent smoothed truncated attention layer_norm rotary dropout quantile cosine
    one_cycle gelu silu
""".split()  # noqa: SIM905
FORMULAS = """
    SGD RMSProp Adam Accumulated Clipped forward_tangents lyapunov max_lr trust metasmoothness quantile implicit
    mixed persistent smoothed truncated DiagonalRecurrence MinibatchLoss Transformer attention conv2d
    diagonal_recurrence layer_norm rotary softmax_cross_entropy bounded cosine export
""".split()  # noqa: SIM905


def test_the_reference_has_exactly_the_promised_names():
    pages = site_pages.reference()
    assert set(pages) == {"reference.rst", *(f"{face}.rst" for face in site_pages.faces())}
    documented = re.findall(
        r"^\.\. auto(?:class|function|data):: ([\w.]+)", "\n".join(pages.values()), flags=re.MULTILINE
    )
    assert sorted(documented) == sorted(IDS) and len(set(documented)) == len(documented) > 100
    for face, module in site_pages.faces().items():
        names = [name for name in module.__all__ if not inspect.ismodule(getattr(module, name))]
        listed = re.findall(r"^   \* - :py:obj:`~([\w.]+)`$", pages[f"{face}.rst"], flags=re.MULTILINE)
        assert sorted(name.rpartition(".")[2] for name in listed) == sorted(names)
        assert all(f"   {other}\n" in pages["reference.rst"] for other in site_pages.faces())


def test_subpackages_promise_what_they_hand_on():
    faces = site_pages.faces()
    assert {"hypergrad", "hypergrad.errors", "hypergrad.meta.estimators", "hypergrad.track"} < set(faces)
    assert [face for face in faces if face.count(".") == 1] == [
        f"hypergrad.{name}" for name in hg.__all__ if inspect.ismodule(getattr(hg, name))
    ]


def parameters(value):
    if not callable(value) or (isinstance(value, type) and issubclass(value, BaseException)):
        return []
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    signature = inspect.signature(getattr(value, "fun", value))
    return [name for name, parameter in signature.parameters.items() if parameter.kind not in kinds]


def raised(value):
    """The errors that the function itself, or the making of an object of the class, raises."""
    if isinstance(value, type) and not issubclass(value, BaseException):
        body = ast.parse(textwrap.dedent(inspect.getsource(value))).body[0].body
        functions = [f for f in body if getattr(f, "name", "") in ("__init__", "__post_init__")]
    else:
        functions = ast.parse(textwrap.dedent(inspect.getsource(value))).body if inspect.isfunction(value) else []
    calls = [node.exc for function in functions for node in ast.walk(function) if isinstance(node, ast.Raise)]
    return {call.func.id for call in calls if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)}


@pytest.mark.parametrize("promise", PROMISED, ids=IDS)
def test_a_docstring_has_the_parts_that_apply(promise):
    text = inspect.getdoc(promise.value)
    is_among = lambda names: any(promise.name.endswith(f".{name}") for name in names)
    assert site_docstrings.summary(promise.value).endswith((".", ":", "``", "``."))
    assert [name for name in parameters(promise.value) if not re.search(rf"\b{name}\b", text)] == []
    assert [error for error in raised(promise.value) if error not in text] == []
    if raised(promise.value):
        assert "Raises:" in text
    if is_among(COSTS):
        assert re.search(r"\bCosts?\b", text), "what it costs"
    if is_among(SOURCES):
        assert re.search(r"\((19|20)\d\d[,)]|\b(19|20)\d\d\)|et al\. \d{4}", text), "a source with its year"
    if is_among(FORMULAS):
        assert re.search(r"^    \S", text.partition("Args:")[0], flags=re.MULTILINE), "a formula, indented"


def test_the_lists_of_parts_name_what_is_promised():
    for name in (*COSTS, *SOURCES, *FORMULAS):
        assert [promised for promised in IDS if promised.endswith(f".{name}")], name


def test_docstrings_are_prepared():
    lines = ["A norm |x|.", "", "    |x|² = Σ x²", "", "Args:", "  x: |x| > 0,", "    and more.", "", "Cost: 2 |x|."]
    in_sphinx = [
        r"A norm \|x\|.",
        "",
        "::",
        "",
        "    |x|² = Σ x²",
        "",
        "Args:",
        r"  x: \|x\| > 0,",
        "    and more.",
        "",
    ]
    assert site_docstrings.prepared(lines) == [*in_sphinx, "", r"**Cost:** 2 \|x\|."]
    assert site_docstrings.escaped("``|x|`` and |y|") == r"``|x|`` and \|y\|"


def test_the_gallery_has_every_figure_with_a_sentence_and_the_command():
    text, experiments = site_pages.gallery(), questions()
    assert text.count(".. figure:: ") == len(list(FIGURES.glob("*/part*.png"))) > 40
    for name, (day, question) in experiments.items():
        module = importlib.import_module(f"experiments.{name}")
        assert f"{day}: {question}" in text
        for part in module.PARTS:
            assert f".. figure:: /figures/{name}/part{part}.png" in text
            command = f"``python -m experiments.{name}" + (f" --part {part}``" if part != 1 else "``")
            sentence = site_pages.sentence(module, part)
            assert f"{site_docstrings.escaped(sentence)} {command}".strip() in text
            assert sentence or len(module.PARTS) == 1
    entry = "14-january-2015-how-wiggly-is-the-loss-after-training-as-a-function-of-the-learning-rate"
    assert f"`What was seen. <../../experiments/LOG.html#{entry}>`__" in text
    assert text.count("What was seen. <") == len(experiments), "every experiment has its entry in the log"
    assert text.index("\n14 January 2015") < text.index("\n9 January 2015")  # the newest first


def test_every_page_is_in_the_table_of_contents():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^([\w./]+)$", site_pages.toctrees(index), flags=re.MULTILINE)
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    assert pages == {name for name in listed if "/" not in name}
    assert {"../experiments/LOG", "../CHANGELOG", "../CONTRIBUTING", "generated/gallery", "generated/reference"} < set(
        listed
    )


def test_broken_links_of_a_site_are_found(tmp_path):
    (tmp_path / "one.html").write_text(
        '<h1 id="top">x</h1><a href="two.html#there"></a><a href="#top"></a><a href="https://x.org/#y"></a>'
        '<a href="two.html#gone"></a><img src="gone.png">'
    )
    (tmp_path / "two.html").write_text('<p id="there"></p>')
    assert site_links.broken(tmp_path) == [
        "one.html: two.html#gone: the page has no such anchor",
        "one.html: gone.png leads nowhere",
    ]


def cells():
    notebook = json.loads((DOCS / "quickstart.ipynb").read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4 and len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    return notebook["cells"]


def test_the_notebook_has_no_outputs():
    code = [cell for cell in cells() if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    words = "".join(cells()[0]["source"])
    assert "Five cells" in words and len(code) == 5


def test_the_notebook_runs_and_ends_with_the_numbers_that_it_tells():
    namespace = {}
    for cell in cells():
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), namespace)
    difference = namespace["difference"]
    end = "".join(cells()[-1]["source"])
    told = [float(number) for number in re.findall(r"0\.\d{3}", end)]
    np.testing.assert_allclose(told, [-difference.mean(), 2.262 * difference.std(ddof=1) / np.sqrt(10)], atol=6e-4)
    sweep, descent = namespace["sweep"], namespace["found"]
    assert f"cost {2 * len(sweep.values)} trainings" in end and f"the descent {3 * 2 * len(descent.history)}" in end
    assert np.isfinite(sweep.loss).all() and sweep.smooth[sweep.values < 1.0].all()


def test_the_cookbook_finds_as_many_wrong_labels_as_it_says(capsys):
    page = namespace_of("docs/cookbook.md")
    found = len(np.intersect1d(page["suspects"], page["wrong"]))
    assert f"# {found}, where chance would find {40 * 40 // 200}" in (DOCS / "cookbook.md").read_text()
    assert page["quasi_newton"].value < page["f"](-1.0) and page["asked"].verdict == "trust"
    assert page["split"].best.validated < page["split"].start.validated
    assert [row[0] for row in page["rows"]] == [0, 10, 20]
    assert "in the loss:" in capsys.readouterr().out


def seconds_and_bytes():
    rows = json.loads((DOCS / "benchmarks.json").read_text())["rows"]
    chosen = {(row["table"], row["threads"], row["entry"]): row for row in rows}
    over = lambda entry, table="a": chosen[table, 1, entry]["seconds"] / chosen[table, 1, "training"]["seconds"]
    megabytes = lambda entry: f"{chosen['a', 1, entry]['bytes'] / 1e6:.0f} MB"
    return over, megabytes, {key: row["seconds"] for key, row in chosen.items()}


def long_runs():
    measured = json.loads((DOCS / "memory.json").read_text())
    return {(row["adjoint"], row["steps"]): f"{row['bytes'] / 1e6:,.0f} MB" for row in measured}


def the_row(page, *words):
    """The only row of a table on the page that has these words in it."""
    rows = [line for line in (DOCS / page).read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    (row,) = [row for row in rows if all(word in row for word in words)]
    return row


def test_the_decision_table_of_adjoints_has_the_measured_costs():
    over, megabytes, _ = seconds_and_bytes()
    long = long_runs()
    row = the_row("adjoints.md", "which `None` is then")
    assert (
        f"| {over('Stored()'):.1f} | {megabytes('Stored()')} for 50 steps, {long['Stored()', 1000]} for 1,000 |" in row
    )
    row = the_row("adjoints.md", "`Reversible()` and `exact=True`")
    exact, compiled = "Reversible(), exact arithmetic", "Reversible(), arithmetic compiled by numba"
    assert f"| {over(exact):.1f}; {over(compiled):.1f} with numba |" in row
    assert f"| {megabytes(exact)} for 50 steps, {long['Reversible()', 10_000]} for 10,000 |" in row
    row = the_row("adjoints.md", "`Checkpointed(20)`", "jacobian")
    assert f"| {over('Checkpointed(20)'):.1f} |" in row
    assert f"| {megabytes('Checkpointed(20)')} for 50 steps, {long['Checkpointed(20)', 3000]} for 3,000 |" in row
    row = the_row("adjoints.md", "a sweep over one")
    forward = "forward mode, one direction"
    assert f"| {over(forward):.1f} | {megabytes(forward)} for 50 steps, {long['forward mode', 1000]} for 1,000 |" in row
    ratios = {row["K"]: row["ratio"] for row in json.loads((DOCS / "tangents.json").read_text())["rows"]}
    row = the_row("adjoints.md", "K numbers, few of them")
    assert f"{ratios[5]:.2f} of the time of 5 runs with one number, {ratios[20]:.2f} of 20" in row


def test_the_memory_of_long_runs_is_the_measured_one():
    long = long_runs()
    for adjoint, more in (("Stored()", None), ("Checkpointed(20)", 3_000), ("Reversible()", 10_000)):
        row = the_row("long_runs.md", f"`{adjoint}`")
        assert f"| {long[adjoint, 100]} | {long[adjoint, 1000]} |" in row
        assert more is None or f"| {more:,} steps: {long[adjoint, more]} |" in row
    assert f"| {long['forward mode', 100]} | {long['forward mode', 1000]} |" in the_row(
        "long_runs.md", "forward mode, one number"
    )
    text = (DOCS / "long_runs.md").read_text(encoding="utf-8")
    assert len(marks(text)) == 3 and disagreements(text, numbers_of) == []
    assert f"30 snapshots reverse {math.comb(33, 30):,} steps" in text and f"and {math.comb(34, 30):,} with 4" in text
    bits = np.log2([1 / 0.99, 1 / 0.9])
    assert "0.99 takes a tenth of the bits of 0.9" in text and bits[0] / bits[1] == pytest.approx(0.1, abs=0.01)


def test_what_is_slow_is_measured():
    over, _, seconds = seconds_and_bytes()
    text = " ".join((DOCS / "limits.md").read_text(encoding="utf-8").split())
    exact, compiled = "Reversible(), exact arithmetic", "Reversible(), arithmetic compiled by numba"
    for words, cost in (
        ("a hypergradient by `Stored()`", f"{over('Stored()'):.1f}"),
        (
            "the same, of a loss without derivatives of its own",
            f"{over('Stored(), loss without derivatives of its own'):.1f}",
        ),
        ("by `Reversible()`", f"{over(exact):.1f}; with numba {over(compiled):.1f}"),
        ("by `Checkpointed(20)`, 50 steps", f"{over('Checkpointed(20)'):.1f}"),
    ):
        assert f"| {words} | {cost} |" in text
    assert f"as much as {50 * over('Stored()'):.0f} to {10 * round(5 * over(exact)):.0f} trainings" in text
    slower = [
        seconds["c", 1, "Stored()"] / seconds["c", 1, f"Stored(), loss from {name}"] for name in ("JAX", "PyTorch")
    ]
    assert f"took {slower[0]:.1f} times as long as the same one from JAX" in text
    assert f"and {slower[1]:.1f} times as long as from PyTorch" in text
    alone, threads, processes = (
        seconds["f", 2, f"{ways}"] for ways in ("1 worker × 1 thread", "1 worker × 2 threads", "2 workers × 1 thread")
    )
    assert f"makes a sweep {alone / threads:.1f} times as fast, a second process {alone / processes:.1f} times" in text
