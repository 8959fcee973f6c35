"""The benchmarks run, at tiny sizes and without the peers that are not installed; all entries agree."""

import json
import re
import subprocess
import sys

import pytest

from benchmarks import blocks, report, safety, tangents
from benchmarks import edge as edge_benchmark
from benchmarks.entries import Entry, check_agreement
from experiments.shared.results import ROOT


def run(*arguments):
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("table", ["a", "b", "c", "e", "f", "g-steps", "g-width"])
def test_every_table_is_measured(table):
    rows = json.loads(run("benchmarks", "--quick", "--peers", "--repeats", "1", "--threads", "1", "--tables", table))
    assert {row["table"] for row in rows} == {table}
    assert all((row["seconds"] or 0) > 0 or row["missing"] for row in rows)
    assert any("training" in row["entry"] for row in rows)
    if table in ("a", "b"):
        compared = {row["entry"] for row in rows if row["difference"] is not None}
        assert {"Reversible(), exact arithmetic", "2015 algorithm on today's autograd"} < compared


def test_one_command_prints_the_tables_with_times_and_memory():
    printed = run("benchmarks", "--quick", "--repeats", "1", "--tables", "c", "d", "g-steps")
    assert all(f"{adjoint} " in printed for adjoint in ("Stored()", "Reversible()", "Checkpointed(20)", "forward mode"))
    assert "(c)" in printed and "(g-steps)" in printed and printed.count("× training") >= 10 and " MB" in printed


def test_an_entry_that_disagrees_is_not_timed():
    import numpy as np

    right, wrong = Entry(lambda: np.ones(3), True), Entry(lambda: np.array([1.0, 1.0, 1.0001]), True)
    with pytest.raises(SystemExit, match="wrong one differs"):
        check_agreement({"Stored()": right, "wrong one": wrong})
    summed = Entry(lambda: np.array([3.0]), True, along_ones=True)
    assert check_agreement({"Stored()": right, "forward": summed}) == {"forward": 0.0}


def test_only_full_results_are_written():
    command = [sys.executable, "-m", "benchmarks", "--write", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "--write is for tables at their full size" in done.stderr


def test_tables_measured_again_replace_only_themselves(monkeypatch, tmp_path):
    monkeypatch.setattr(report, "DOCS", tmp_path)
    old = [{"table": name, "seconds": 1.0} for name in "abc"]
    (tmp_path / "benchmarks.json").write_text(json.dumps({"machine": {"cores": 2}, "rows": old}))
    rows = report.merged([{"table": "b", "seconds": 2.0}], {"cores": 2}, list("abc"))
    assert [(row["table"], row["seconds"]) for row in rows] == [("a", 1.0), ("b", 2.0), ("c", 1.0)]
    with pytest.raises(SystemExit, match="measured elsewhere"):
        report.merged([{"table": "b", "seconds": 2.0}], {"cores": 4}, list("abc"))


def test_every_block_is_measured():
    printed = run("benchmarks.blocks", "--quick", "--repeats", "1")
    assert all(f"| {name} |" in printed for name in ("conv2d", "max_pool", "softmax_cross_entropy", "gelu"))


def test_the_times_of_blocks_in_the_documents_are_the_measured_ones():
    rows = json.loads((ROOT / "docs" / "blocks.json").read_text())["rows"]
    assert blocks.as_markdown(rows) in (ROOT / "docs" / "benchmarks.md").read_text()
    assert all(row["hypergrad"] < 2.0 * row["PyTorch"] for row in rows), "as the page says"


def test_every_part_of_the_safety_is_measured():
    pytest.importorskip("torch", reason="needs the extra: pip install -e '.[torch]'")
    printed = run("benchmarks.safety", "--quick", "--repeats", "1")
    assert all(f"| {name} |" in printed for name in (safety.WHOLE, *safety.PARTS, safety.NOTHING, safety.PLAIN))


def test_what_the_documents_say_of_losses_from_pytorch_and_jax_is_measured():
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    rows = json.loads((ROOT / "docs" / "safety.json").read_text())["rows"]
    assert safety.as_markdown(rows) in text
    whole, plain = (next(row for row in rows if row["way"] == way) for way in (safety.WHOLE, safety.PLAIN))
    assert (
        f"takes {whole['a'] / plain['a']:.2f} times as long" in text
        and f"and {whole['c'] / plain['c']:.2f} on (c)" in text
    )
    tables = json.loads((ROOT / "docs" / "benchmarks.json").read_text())["rows"]
    seconds = {(row["table"], row["threads"], row["entry"]): row["seconds"] for row in tables}
    over = lambda table, threads, one, other: seconds[table, threads, one] / seconds[table, threads, other]
    jax = "Stored(), loss from JAX", "JAX, scan under jit"
    assert f"{over('a', 1, *jax):.2f} on (a) and {over('c', 1, *jax):.2f} on (c)" in text
    assert f"takes {over('a', 2, *jax):.2f} and {over('c', 2, *jax):.2f} times as long" in text
    floor, passes = "floor of Stored()", "floor of Stored(), and its passes over arrays"
    assert f"that is {over('a', 1, passes, floor):.2f} times the floor" in text
    assert f"Stored() takes {over('a', 1, 'Stored()', floor):.2f} times the floor" in text
    assert f"{over('a', 1, 'Stored()', safety.PLAIN):.2f} times as fast as Stored() there" in text
    assert f"Stored() is the faster one by {over('b', 1, safety.PLAIN, 'Stored()'):.2f}" in text
    floors = [seconds["a", 1, name] for name in ("floor of Stored(), by PyTorch", floor)]
    assert f"({1e3 * floors[0]:.0f} and {1e3 * floors[1]:.0f} ms on (a), one thread)" in " ".join(text.split()).replace(
        "the two floors: ", ""
    )


def test_the_costs_in_the_readme_are_the_measured_ones(tmp_path):
    rows = json.loads((ROOT / "docs" / "benchmarks.json").read_text())["rows"]
    readme, table = (ROOT / "README.md").read_text(encoding="utf-8"), report.for_readme(rows)
    assert f"<!-- costs -->\n\n{table}\n\n<!-- end of costs -->" in readme
    seconds = {(row["table"], row["threads"], row["entry"]): row["seconds"] for row in rows}
    for name, entry in (("`Stored()`", "Stored()"), ("PyTorch, unrolled", "PyTorch, unrolled with create_graph")):
        cells = next(line for line in table.splitlines() if line.startswith(f"| {name} |")).split(" | ")
        for cell, part in ((cells[1], "a"), (cells[3], "b")):
            assert float(cell) == pytest.approx(seconds[part, 1, entry] / seconds[part, 1, "training"], abs=0.051)
    page = tmp_path / "README.md"
    page.write_text("before <!-- costs -->\n\nold\n\n<!-- end of costs --> after", encoding="utf-8")
    report.between(page, "<!-- costs -->", "<!-- end of costs -->", "new")
    assert page.read_text(encoding="utf-8") == "before <!-- costs -->\n\nnew\n\n<!-- end of costs --> after"


def test_several_directions_are_measured():
    printed = run("benchmarks.tangents", "--quick", "--repeats", "1")
    assert all(f"\n| {count} | " in printed for count in tangents.COUNTS)


def test_the_times_of_several_directions_in_the_documents_are_the_measured_ones():
    rows = json.loads((ROOT / "docs" / "tangents.json").read_text())["rows"]
    assert tangents.as_markdown(rows) in (ROOT / "docs" / "benchmarks.md").read_text()
    assert [row["K"] for row in rows] == list(tangents.COUNTS)
    assert all(row["products"] == (2 + 2 * row["K"]) / (4 * row["K"]) for row in rows)
    assert rows[-1]["K"] == 20 and rows[-1]["ratio"] <= 0.65


def test_growth_is_fitted():
    rows = [{"entry": f"cube at {n}", "seconds": 0.5 * n**3} for n in (2, 4, 8)]
    assert report.exponents(rows)["cube"] == pytest.approx(3.0)
    assert "| 3.00 |" in report.growth_as_markdown(rows, "size")


def test_the_memory_benchmark_measures_a_point():
    printed = run("benchmarks.memory", "--one", "Reversible()", "5")
    assert json.loads(printed)["steps"] == 5


def test_the_edge_benchmark_plays_a_sweep_back():
    """And finds what the documentation says of the sweep that is checked in."""
    sweep = edge_benchmark.dense("jan14 part 2")
    rows = re.findall(r"^\| jan14 part 2 \| (.*) \|$", (ROOT / "docs" / "chaos.md").read_text(), flags=re.MULTILINE)
    located, flags = (row.split(" | ") for row in rows)
    near, held = edge_benchmark.shifted(sweep)
    assert f"{sweep.edge:.3f}" == located[1]
    assert [f"{100 * share:.0f} %" for share in (near, held)] == located[-2:] == ["90 %", "100 %"]
    assert list(map(edge_benchmark.share, edge_benchmark.flagged(sweep))) == flags[:3]


def test_the_ratios_of_the_workspace_in_the_documents_are_the_measured_ones():
    measured = json.loads((ROOT / "docs" / "workspace.json").read_text())
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    ratios = [row for row in measured["ratios"] if row["check_purity"]]
    cells = sorted(f"{row['median']:.2f} ({row['low']:.2f}–{row['high']:.2f})" for row in ratios)
    table = text[text.index("| after / before |") : text.index("Since the change a reverse run")]
    assert cells == sorted(cell.strip() for cell in table.split("|") if "–" in cell and "---" not in cell)
    for row in measured["ablation"]:
        if row["table"] != "deep":
            quartiles = f"{row['median']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
            assert f"| ({row['table']}), 1 | {row['entry']} | {row['without']} | {quartiles} |" in text
        else:
            assert f"{row['median']:.2f} ({row['low']:.2f} to {row['high']:.2f})" in text
    one_thread = [row for row in ratios if row["threads"] == 1]
    assert len(one_thread) == 24 and all(row["low"] <= 1.03 for row in one_thread)
