"""Runs on a Dask cluster: a real scheduler and two workers on this machine, one of which is killed."""

import os
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import small_experiment

import hypergrad as hg
from experiments.shared import runner

pytest.importorskip("distributed", reason="needs the extra cluster")
SMALL = Path(small_experiment.__file__)
ROOT = SMALL.parent.parent


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def dask(*arguments):
    """A command of Dask as in the documentation, started in the folder of the repository."""
    environment = {**os.environ, "SECONDS_A_POINT": "0.02"}
    command = [sys.executable, "-m", "dask", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def worker(address, folder):
    arguments = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(folder))
    return dask("worker", address, *arguments)


def stop(*processes):
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def scheduler():
    """The address of a scheduler without workers."""
    port = free_port()
    process = dask("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    while not answers(port) and process.poll() is None:
        time.sleep(0.05)
    yield f"tcp://127.0.0.1:{port}"
    stop(process)


def answers(port):
    """Whether anything listens there."""
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def stored_arrays(output):
    with np.load(output / "part1.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def start(output, log, *arguments):
    """The small experiment; its module is imported by the workers from the folder it lies in."""
    command = [sys.executable, str(SMALL), "--output", str(output), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with log.open("w") as file:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)


def test_a_killed_worker_loses_nothing(scheduler, tmp_path):
    workers = [worker(scheduler, tmp_path / name) for name in ("one", "two")]
    try:
        output, log = tmp_path / "cluster", tmp_path / "log"
        run = start(output, log, "--backend", "dask", "--scheduler", scheduler)
        while len(list(output.rglob("*.npz"))) < 10 and run.poll() is None:
            time.sleep(0.01)
        assert run.poll() is None, log.read_text()
        stop(workers[0])
        assert run.wait(timeout=120) == 0, log.read_text()
    finally:
        stop(*workers)
    assert start(tmp_path / "here", log, "--jobs", "1").wait(timeout=120) == 0, log.read_text()
    here, there = stored_arrays(tmp_path / "here"), stored_arrays(output)
    assert here.keys() == there.keys()
    for name, array in here.items():
        np.testing.assert_array_equal(array, there[name])


def test_a_lost_scheduler_is_one_sentence_and_the_same_command_goes_on(tmp_path):
    address = f"tcp://127.0.0.1:{free_port()}"
    start_scheduler = partial(dask, "scheduler", "--host", "127.0.0.1", "--port", address[16:], "--no-dashboard")
    output, log = tmp_path / "results", tmp_path / "log"
    arguments = ("--backend", "dask", "--scheduler", address)
    first = start_scheduler()
    workers = [worker(address, tmp_path / name) for name in ("one", "two")]
    try:
        run = start(output, log, *arguments)
        while len(list(output.rglob("*.npz"))) < 10 and run.poll() is None:
            time.sleep(0.01)
        assert run.poll() is None, log.read_text()
        stop(first)
        assert run.wait(timeout=60) == 2, log.read_text()
    finally:
        stop(first, *workers)
    kept = len(list(output.rglob("*.npz")))
    _, says = log.read_text().splitlines()
    assert says.startswith(
        f"small_experiment: the Dask scheduler at {address} is gone; {kept} points are kept, and with"
    )
    assert f"small_experiment --output {output} --backend dask --scheduler {address} goes on" in says
    second = start_scheduler()
    workers = [worker(address, tmp_path / name) for name in ("three", "four")]
    try:
        assert start(output, log, *arguments).wait(timeout=120) == 0, log.read_text()
    finally:
        stop(second, *workers)
    assert f"goes on where an earlier run was ended: {kept} points are kept" in log.read_text()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(runner, "PATIENCE", 1)


@pytest.mark.usefixtures("impatient")
def test_a_scheduler_without_workers_is_reported(scheduler, tmp_path, capsys):
    arguments = ["--output", str(tmp_path), "--backend", "dask", "--scheduler", scheduler]
    assert runner.main(small_experiment, arguments) == 2
    assert f"the Dask scheduler at {scheduler} has no workers; start some" in capsys.readouterr().err


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:PORT", "nonsense://127.0.0.1:1"])
def test_a_scheduler_that_does_not_answer_is_reported(address, tmp_path, capsys):
    address = address.replace("PORT", str(free_port()))
    arguments = ["--output", str(tmp_path), "--backend", "dask", "--scheduler", address]
    assert runner.main(small_experiment, arguments) == 2
    assert f"no Dask scheduler answers at {address}; `python -m dask scheduler` starts one" in capsys.readouterr().err


def drawn(h, seed):
    return ((h - np.random.default_rng(seed).standard_normal(2)) ** 2).sum()


def test_the_seeds_of_a_meta_iteration_are_computed_by_the_workers():
    import joblib
    from distributed import Client

    descend = lambda jobs: hg.meta.minimize(
        drawn, np.zeros(2), steps=2, step_size=0.1, seeds=3, n_jobs=jobs, progress=False
    )
    expected = descend(1)
    client = Client(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None)
    with client, joblib.parallel_config(backend="dask"):
        found = descend(-1)
    assert [(e.value, e.error, *e.gradient) for e in found.history] == [
        (e.value, e.error, *e.gradient) for e in expected.history
    ]
