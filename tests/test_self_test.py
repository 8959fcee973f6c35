"""``python -m hypergrad``: what is installed, and a self-test that can fail."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest
from pages import ROOT

import hypergrad as hg
from hypergrad import __main__ as self_test
from hypergrad.errors import ReversalError
from hypergrad.fixed import arithmetic


def run(*arguments, **environment):
    command = [sys.executable, "-W", "error", "-m", "hypergrad", *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)


def test_the_command_tells_what_is_installed_and_passes_its_test():
    done = run(OPENBLAS_NUM_THREADS="1", HYPERGRAD_NUMBA="0")
    assert done.returncode == 0 and not done.stderr, done.stderr
    lines = dict(line.split(":", 1) for line in done.stdout.splitlines() if line)
    assert lines["hypergrad"].strip() == hg.__version__ and platform.python_version() in lines["Python"]
    assert f"numpy {np.__version__}" in lines["libraries"] and "missing" not in lines["libraries"]
    assert "1 thread" in lines["BLAS"] and "kernels" in lines["BLAS"]
    assert lines["exact arithmetic"].strip() == "in NumPy"
    assert "HYPERGRAD_NUMBA=0" in lines["environment"] and "OPENBLAS_NUM_THREADS=1" in lines["environment"]
    assert all("FAILED" not in lines[part] for part in self_test.PARTS)


def test_without_the_self_test():
    done = run("--no-test")
    assert done.returncode == 0 and "adjoints" not in done.stdout and "BLAS" in done.stdout
    extras = next(line for line in done.stdout.splitlines() if line.startswith("extras"))
    assert all(name in extras for name in self_test.OPTIONAL)


def test_a_part_that_fails_is_a_sentence_and_a_status(monkeypatch, capsys):
    def wrong():
        raise ValueError("nothing of the kind")

    monkeypatch.setattr(self_test.self_test, "__defaults__", ({"one": lambda: "well", "two": wrong},))
    assert self_test.main([]) == 1
    printed = capsys.readouterr()
    assert printed.err == "The self-test failed: two: ValueError: nothing of the kind\n"
    assert "one: well (" in printed.out and "two: FAILED (" in printed.out


def test_what_is_wrong_is_noticed(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(self_test, "Checkpointed", lambda snapshots: hg.Truncated(20))
        with pytest.raises(AssertionError, match="Checkpointed differs from Stored"):
            self_test.adjoints_agree()
    divide = arithmetic.divide

    def one_bit_off(numbers, n, buffer):
        divide(numbers, n, buffer)
        numbers[7] ^= 1

    with monkeypatch.context() as patch:
        patch.setattr(arithmetic, "divide", one_bit_off)
        with pytest.raises((AssertionError, ReversalError), match=r"did not come back|is not what was done"):
            self_test.exact_reversal_returns()
    with monkeypatch.context() as patch:
        patch.setattr(self_test, "_problem", lambda: lambda x: self_test.np.sin(1e4 * x))
        with pytest.raises(AssertionError, match="does not match the losses"):
            self_test.a_sweep_sees_the_slope()
