"""The benchmarks run, at tiny sizes and without the peers that are not installed; all entries agree."""

import json
import subprocess
import sys

import pytest

import hypergrad as hg
from benchmarks import blocks, gpu, report, safety, tangents
from benchmarks import edge as edge_benchmark
from benchmarks.entries import COMPILED, Entry, check_agreement
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


def test_the_tables_on_the_edge_in_the_documents_are_the_measured_ones(tmp_path, monkeypatch):
    measured = json.loads((ROOT / "docs" / "edge.json").read_text())
    page = (ROOT / "docs" / "chaos.md").read_text()
    tables = [edge_benchmark.located_as_markdown(measured["located"])]
    tables.append(edge_benchmark.judged_as_markdown(measured["judged"]))
    assert all(table in page for table in tables)
    monkeypatch.setattr(edge_benchmark, "DOCS", tmp_path)
    marks = [f"<!-- {end}{name} -->" for name in ("located", "judged") for end in ("", "end of ")]
    (tmp_path / "chaos.md").write_text("\n".join(marks))
    edge_benchmark.write(measured)
    assert json.loads((tmp_path / "edge.json").read_text()) == measured
    assert all(table in (tmp_path / "chaos.md").read_text() for table in tables)
    relu, text = measured["relu"], " ".join(page.split())
    off = {row["seed"]: abs(row["found"] - row["dense"]) for row in measured["located"]}
    held = all(row["bracket"][0] <= row["dense"] <= row["bracket"][1] for row in measured["located"])
    shifted, worst = min(row["held"] for row in measured["located"]), max(off, key=off.get)
    assert held and f"All ten brackets hold the dense edge, those of other starts do in {100 * shifted:.0f} %" in text
    others = max(distance for seed, distance in off.items() if seed != worst)
    assert f"The location itself is within {others:.2f} for nine of the ten" in text
    assert f"off by {off[worst]:.2f} for seed {worst}, whose bracket is wide" in text
    *rest, last = sorted(distance for row in measured["judged"] for distance in row["missed past"])
    assert f"up to {rest[-1]:.2f} past it but for one value" in text and last > 2.0 * rest[-1]
    early = [max(row["flagged before"]) for row in measured["judged"] if row["flagged before"]]
    assert f"in three of the ten initialisations, ripples up to {max(early):.2f} before it" in text and len(early) == 3
    places = [f"{place:.2f}".replace("-", "−") for place in relu["rule"].values()]
    assert f"the rule gives {places[0]}, {places[1]} and {places[2]}; with 10 % instead of 5, {places[3]}" in text
    assert f"The search ends at {relu['found']:.2f}" in text
    share = f"{100 * abs(relu['missed below 0']):.0f} %"
    limits = " ".join((ROOT / "docs" / "limits.md").read_text().split())
    assert f"{share} of the integral" in text and f"is [{share} off](chaos.md#how-accurate-that-is)" in limits


def test_the_edge_benchmark_plays_a_sweep_back():
    """And finds what its file says of the sweeps that are checked in."""
    measured = json.loads((ROOT / "docs" / "edge.json").read_text())
    assert (
        [row["seed"] for row in measured["located"]] == [row["seed"] for row in measured["judged"]] == list(range(10))
    )
    for found, judged in zip(measured["located"], measured["judged"]):
        sweep = edge_benchmark.dense(found["seed"])
        edge = hg.probe.locate_edge(edge_benchmark.played_back(sweep), sweep.values[0], sweep.values[-1])
        assert (found["dense"], found["found"]) == (sweep.edge, pytest.approx(edge.location, abs=1e-9))
        flags = edge_benchmark.flagged(sweep)
        assert [list(map(len, flags)), list(map(sum, flags))] == [judged["of"], judged["flagged"]]
        apart = [len(judged["flagged before"]), judged["of"][2] - len(judged["missed past"])]
        assert apart == [judged["flagged"][0], judged["flagged"][2]]
        assert all(distance >= 0.0 for distance in judged["missed past"])
        assert all(distance > edge_benchmark.WIDTH for distance in judged["flagged before"])
    first = measured["located"][0]
    assert list(edge_benchmark.shifted(edge_benchmark.dense())) == [first["near"], first["held"]]


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


def test_the_ratios_in_the_text_are_those_of_the_tables():
    rows = json.loads((ROOT / "docs" / "benchmarks.json").read_text())["rows"]
    found = {(row["table"], row["threads"], row["entry"]): row for row in rows}
    ratio = lambda table, above, below, threads=1, of="seconds": (
        found[table, threads, above][of] / found[table, threads, below][of]
    )
    ours, floor, theirs = "Stored()", "floor of Stored()", "PyTorch, unrolled with create_graph"
    of_jax, scan, of_torch = "Stored(), loss from JAX", "JAX, scan under jit", "Stored(), loss from PyTorch"
    own_floors = lambda table: (ratio(table, ours, floor), ratio(table, theirs, "floor of Stored(), by PyTorch"))
    (ours_a, theirs_a), (ours_b, theirs_b) = own_floors("a"), own_floors("b")
    compiled_a = ratio("a", f"{ours}, {COMPILED}", floor)
    rebuilt = ratio("a", "Reversible(), loss from PyTorch", theirs, of="bytes")
    floors = [1e3 * found["a", 1, name]["seconds"] for name in ("floor of Stored(), by PyTorch", floor)]
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    safe = json.loads((ROOT / "docs" / "safety.json").read_text())["rows"]
    assert safety.as_markdown(safe) in page
    whole, plain = (next(row for row in safe if row["way"] == way) for way in (safety.WHOLE, safety.PLAIN))
    text = " ".join(page.split())

    def pair(entry, other, threads, compiled):
        name = f"{entry}, {COMPILED}" if compiled else entry
        return tuple(f"{ratio(table, name, other, threads):.2f}" for table in "ac")

    in_jax, in_torch = (
        {(threads, compiled): pair(*of, threads, compiled) for threads in (1, 2) for compiled in (True, False)}
        for of in ((of_jax, scan), (of_torch, theirs))
    )
    for sentence in (
        f"that is {ratio('a', 'floor of Stored(), and its passes over arrays', floor):.2f} times the floor",
        f"Stored() takes {ours_a:.2f} times the floor, and {compiled_a:.2f} with its updates compiled by numba",
        f"takes {ratio('a', theirs, ours):.2f} of the time of Stored() there, at {theirs_a:.2f} times its own floor "
        f"where ours takes {ours_a:.2f}: per equal speed of the products Stored() is {theirs_a / ours_a:.2f} times as "
        f"fast, and {theirs_a / compiled_a:.2f} times with compiled updates",
        f"the faster one by {ratio('b', theirs, ours):.2f}, and by {theirs_b / ours_b:.2f} per equal speed",
        "takes {} of the time of JAX's own scan with one thread on (a) and {} on (c)".format(*in_jax[1, True]),
        "with two threads {} and {}; without numba ".format(*in_jax[2, True])
        + "{} and {}, with two threads {} and {}.".format(*in_jax[1, False], *in_jax[2, False]),
        "takes {} times as long as PyTorch's unrolled loop on (a), and {} on (c); ".format(*in_torch[1, True])
        + "with two threads {} and {}; without numba ".format(*in_torch[2, True])
        + "{} and {}, with two threads {} and {}.".format(*in_torch[1, False], *in_torch[2, False]),
        f"Rebuilt by Reversible() it needs {rebuilt:.2f} of its memory",
        f"({whole['a'] / plain['a']:.2f} and {whole['c'] / plain['c']:.2f} in the run below",
        f"(the two floors: {floors[0]:.0f} and {floors[1]:.0f} ms on (a), one thread)",
    ):
        assert sentence in text
    assert ratio("a", of_jax, scan, of="bytes") < 0.5


def test_the_sentences_on_gpus_are_those_of_the_table():
    rows = json.loads((ROOT / "docs" / "gpu.json").read_text())["rows"]
    page, limits = (" ".join((ROOT / "docs" / name).read_text().split()) for name in ("benchmarks.md", "limits.md"))
    assert gpu.as_markdown(rows) in (ROOT / "docs" / "benchmarks.md").read_text()
    found = {row["entry"]: row for row in rows if row["precision"] == "float64"}
    ours, theirs = found["Stored(), loss from PyTorch"], found["PyTorch, unrolled with create_graph"]
    in_jax = found["Stored(), loss from JAX"]["seconds"] / found["JAX, scan under jit"]["seconds"]
    memory = found["Reversible(), loss from PyTorch"]["bytes"] / theirs["bytes"]
    ratio = f"{ours['seconds'] / theirs['seconds']:.1f} times as long as PyTorch's"
    assert ratio in limits and ratio in page
    assert f"{in_jax:.0f} times as long as JAX's scan; Reversible() needs {memory:.2f} of the GPU memory" in page
    assert all(row["difference"] < 1e-6 for row in found.values() if row["difference"] is not None)


def test_the_benchmark_on_gpus_runs_on_the_cpu_too():
    pytest.importorskip("torch", reason="needs the extra torch: pip install -e '.[torch]'")
    pytest.importorskip("jax", reason="needs the extra jax: pip install -e '.[jax]'")
    printed = run("benchmarks.gpu", "--quick", "--repeats", "1")
    assert "Reversible(), loss from JAX" in printed and "on one no GPU" in printed
