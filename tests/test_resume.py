"""Runs that are killed: the same command goes on, computes nothing twice and ends with the same results."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import small_experiment

SMALL = Path(small_experiment.__file__)


@contextlib.contextmanager
def heard(number):
    """A context in which new processes do not ignore a signal, though this one may."""
    before = signal.getsignal(number)
    if before == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(number, before)


class Run:
    """The small experiment in a process of its own, as a user would start it."""

    def __init__(self, output, log, jobs=2, seconds_a_point=0.05):
        self.log, command = log, [sys.executable, str(SMALL), "--output", str(output), "--jobs", str(jobs)]
        environment = {**os.environ, "SECONDS_A_POINT": str(seconds_a_point), "PYTHONPATH": str(SMALL.parent.parent)}
        # Not pipes: the workers of a killed run would keep them open. And where tests run in the background of a shell,
        # which ignores Ctrl-C there, the run is not to take that over.
        with log.open("w") as file, heard(signal.SIGINT):
            self.process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )

    def wait_until(self, condition):
        while not condition() and self.process.poll() is None:
            time.sleep(0.01)

    def kill(self):
        """kill -9 of the run; afterwards also of its workers, which would wait some minutes for more to do."""
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def finish(self):
        assert self.process.wait(timeout=120) == 0, self.log.read_text()
        return self.log.read_text()


def points(output):
    """Every finished point that is stored, and when it was."""
    return {path.relative_to(output): path.stat().st_mtime_ns for path in (output / ".cache").rglob("*.npz")}


def stored_arrays(output):
    with np.load(output / "part1.npz", allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The results of a run from beginning to end."""
    output = tmp_path_factory.mktemp("undisturbed")
    Run(output / "results", output / "log", seconds_a_point=0).finish()
    return stored_arrays(output / "results")


def assert_same(arrays, expected):
    assert arrays.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array)


def test_killed_at_ten_random_moments(tmp_path, undisturbed):
    """Half of the kills come anywhere after the start, half once a further point is finished."""
    output, log, before, seen = tmp_path / "results", tmp_path / "log", {}, []
    rng = np.random.default_rng(5)
    for kill in range(10):
        run = Run(output, log, jobs=1 + kill % 3 // 2)
        if kill % 2:
            run.wait_until(lambda: len(points(output)) > len(before))  # noqa: B023
            time.sleep(rng.uniform(0.0, 0.4))
        else:
            time.sleep(rng.uniform(0.0, 1.5))
        run.kill()
        after = points(output)
        assert {path: after.get(path) for path in before} == before, "a finished point was lost or computed again"
        seen.append(len(after))
        before = after
    assert len(set(seen)) >= 5, seen
    run = Run(output, log)
    run.wait_until(lambda: len(points(output)) > len(before))
    assert {path: written for path, written in points(output).items() if path in before} in (before, {})
    assert "goes on where an earlier run was ended" in run.finish()
    assert_same(stored_arrays(output), undisturbed)
    assert {path.name for path in output.iterdir()} == {"part1.npz", "part1.json", "part1.png", "part1.pdf", ".cache"}
    assert not list((output / ".cache").iterdir())


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupt_is_one_sentence_and_the_same_command_goes_on(tmp_path, undisturbed, jobs):
    """By Ctrl-C, which reaches every process of the terminal: as the workers start, and once there are points."""
    output, log = tmp_path / "results", tmp_path / "log"
    for count in (0, 3):
        run = Run(output, log, jobs=jobs)
        run.wait_until(lambda: log.read_text() and len(points(output)) >= count)  # noqa: B023
        os.killpg(run.process.pid, signal.SIGINT)
        assert run.process.wait(timeout=60) == 130
        first, *goes_on, last = log.read_text().splitlines()
        assert first.startswith("small_experiment, part 1") and len(goes_on) <= 1, log.read_text()
        kept = len(points(output))
        words = "1 point is kept" if kept == 1 else f"{kept} points are kept"
        assert last == f"small_experiment: interrupted; {words}, the same command goes on"
        assert kept >= count and not list(output.rglob(".lock"))
    printed = Run(output, log, seconds_a_point=0).finish()
    assert f"goes on where an earlier run was ended: {words}" in printed
    assert_same(stored_arrays(output), undisturbed)


def test_two_at_once_in_one_folder(tmp_path, undisturbed):
    """The one that comes too late ends with a sentence, and the other goes on; also after kill -9 of the first."""
    output = tmp_path / "results"
    first, *late = (Run(output, tmp_path / f"log{i}", jobs=1 + i % 2) for i in range(3))
    runs = [first, *late]
    codes = [run.process.wait(timeout=120) for run in runs]
    assert sorted(codes) == [0, 2, 2], [run.log.read_text() for run in runs]
    winner = runs[codes.index(0)].process.pid
    for run, code in zip(runs, codes):
        if code == 2:
            (says,) = run.log.read_text().splitlines()
            assert f"is in use: an experiment, small_experiment, runs there, process {winner} on" in says
    assert_same(stored_arrays(output), undisturbed)
    assert {path.name for path in output.iterdir()} == {"part1.npz", "part1.json", "part1.png", "part1.pdf", ".cache"}
    assert not list((output / ".cache").iterdir())


def test_damaged_and_foreign_points_are_reported_and_computed_again(tmp_path, undisturbed):
    output, log = tmp_path / "results", tmp_path / "log"
    run = Run(output, log)
    run.wait_until(lambda: any("seed1" in path.parts for path in points(output)))
    run.kill()
    stored = sorted(output / path for path in points(output))
    other_seed = next(path for path in stored if path.parent.name == "seed1")
    mixed_up = other_seed.parent.with_name("seed0") / other_seed.name
    cut, swapped, good, *_ = (path for path in stored if path.parent.name == "seed0" and path != mixed_up)
    cut.write_bytes(cut.read_bytes()[:-50])
    swapped.write_bytes(good.read_bytes())
    mixed_up.write_bytes(other_seed.read_bytes())
    printed = Run(output, log, seconds_a_point=0).finish()
    for path, reason in ((cut, ""), (swapped, "another point"), (mixed_up, "another folder")):
        assert any(f"{path} is not usable" in line and reason in line for line in printed.splitlines()), printed
    assert printed.count("not usable") == 3
    assert_same(stored_arrays(output), undisturbed)


def test_workers_find_functions_that_keep_what_they_computed(tmp_path):
    """Which cannot be sent to them: they have to be found under the experiment's own name, not under __main__."""
    source = SMALL.read_text().replace("import time\n", "import time\nfrom functools import lru_cache\n")
    kept = "@lru_cache\ndef pause():\n    return 0.0\n\n\n"
    source = source.replace("def losses(", f"{kept}def losses(")
    source = source.replace('float(os.environ.get("SECONDS_A_POINT", "0"))', "pause()")
    (tmp_path / "with_cache.py").write_text(source)
    path = os.pathsep.join([str(tmp_path), str(SMALL.parent.parent)])
    options = ["--quick", "--seeds", "1", "--jobs", "2", "--output", str(tmp_path / "results")]
    run = subprocess.run(
        [sys.executable, "-m", "with_cache", *options],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "results" / "part1.npz").exists()
