"""The benchmarks run, at tiny sizes and without the peers that are not installed."""

import subprocess
import sys

import pytest

from benchmarks import edge as edge_benchmark
from experiments.runner import ROOT


@pytest.mark.parametrize("option", [[], ["--peers"]])
def test_benchmarks_run(option):
    command = [sys.executable, "-m", "benchmarks", "--steps", "2", "--repeats", "1", "--threads", "1", *option]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("× training") >= (3 if option else 16)
    assert "Stored()" in run.stdout


def test_the_memory_benchmark_measures_a_point():
    command = [sys.executable, "-m", "benchmarks.memory", "--one", "Reversible()", "5"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert '"steps": 5' in run.stdout


def test_the_edge_benchmark_plays_a_sweep_back():
    sweep = edge_benchmark.dense("jan14 part 2")
    near, held = edge_benchmark.shifted(sweep, searches=3)
    assert 0.0 <= near <= 1.0 and held == 1.0
    before, past = edge_benchmark.flagged(sweep, every=100)
    assert len(before) + len(past) == 9 and sum(past) > sum(before)
