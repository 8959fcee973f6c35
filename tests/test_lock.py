"""One run at a time in a folder: who comes too late, who died, and who may come again."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import joblib
import numpy as np
import pytest

import hypergrad as hg
from hypergrad.errors import InUseError, StoreError
from hypergrad.meta import descend, minimize
from hypergrad.probe import sweep
from hypergrad.runs.lock import LOCK, claimed
from hypergrad.runs.owner import this_process

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(hg.__file__).parent.parent)}
HOLDS = """
import sys, time
from hypergrad.runs.lock import claimed
with claimed(sys.argv[1], "a test"):
    print("claimed", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that works in the folder."""
    command = [sys.executable, "-c", HOLDS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT, text=True) as process:
        assert process.stdout.readline() == "claimed\n"
        yield process
        process.kill()


def square(x):
    return x**2


def test_another_process_is_named_and_way_out_given(tmp_path, holder):
    found = json.loads((tmp_path / LOCK).read_text())
    assert found["pid"] == holder.pid and found["host"] == this_process().host
    says = (
        rf"{tmp_path} is in use: a test runs there, process {holder.pid} on {found['host']}, since {found['since']}; "
        rf"wait for it or stop it, or give another folder \(if it is no more, delete {tmp_path}/\.lock\)"
    )
    with pytest.raises(InUseError, match=says):
        sweep(square, [1.0], cache=tmp_path, progress=False)
    with pytest.raises(InUseError, match=says):
        minimize(square, 1.0, steps=1, store=tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    sweep(square, [1.0], cache=tmp_path / "below", progress=False)
    holder.kill()
    holder.wait()
    sweep(square, [1.0], cache=tmp_path, progress=False)
    assert not (tmp_path / LOCK).exists()


def test_a_process_that_was_killed_but_not_waited_for_is_dead(tmp_path, holder):
    if not this_process().born:
        pytest.skip("needs /proc")
    holder.kill()
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    with claimed(tmp_path, "a test"):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()


def test_locks_of_the_dead_are_taken_over_and_those_of_other_hosts_are_not(tmp_path):
    me = this_process()._asdict()
    live = {**me, "pid": os.getppid(), "born": "", "what": "a test", "since": "today", "run": None}
    dead = [
        "",
        "{",
        "[]",
        json.dumps({"pid": "x"}),
        json.dumps({**live, **me}),  # left by another one that had our number
        json.dumps({**live, "run": {**me, "pid": 2**22 + 1}}),  # a worker of a run that is dead
    ]
    for content in dead:
        (tmp_path / LOCK).write_text(content)
        with claimed(tmp_path, "a test"):
            assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
        assert not (tmp_path / LOCK).exists()
    for description in (live, {**live, "host": "elsewhere"}, {**live, "pid": 2**22 + 1, "host": "elsewhere"}):
        (tmp_path / LOCK).write_text(json.dumps(description))
        with pytest.raises(InUseError, match=f"process {description['pid']} on {description['host']}, since today"):
            sweep(square, [1.0], cache=tmp_path, progress=False)
        assert json.loads((tmp_path / LOCK).read_text()) == description


def test_a_thread_may_claim_its_folder_again_and_another_may_not(tmp_path):
    with claimed(tmp_path, "one"):
        with claimed(tmp_path / "x" / "..", "two"):
            sweep(square, [1.0], cache=tmp_path, progress=False)
        errors = []

        def other():
            with (
                pytest.raises(InUseError, match="another thread of this process") as caught,
                claimed(tmp_path, "three"),
            ):
                pass
            errors.append(caught.value)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert len(errors) == 1 and (tmp_path / LOCK).exists()
    assert not (tmp_path / LOCK).exists()


def test_a_lock_is_given_back_after_an_error_and_only_if_it_is_ones_own(tmp_path):
    with pytest.raises(ZeroDivisionError), claimed(tmp_path, "one"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    with claimed(tmp_path, "one"):
        (tmp_path / LOCK).write_text("somebody else's")
    assert (tmp_path / LOCK).exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"), claimed(tmp_path / "file", "one"):
        pass


def test_a_descent_holds_its_folder_until_it_is_closed(tmp_path):
    descent = descend(square, 1.0, step_size=0.1, store=tmp_path)
    assert not (tmp_path / LOCK).exists()
    next(descent)
    assert (tmp_path / LOCK).exists()
    descent.close()
    assert not (tmp_path / LOCK).exists()


def inner(folder, number):
    return {"value": minimize(square, number, steps=2, step_size=0.1, store=folder / f"{number}", progress=False).value}


def test_workers_of_a_run_work_in_folders_within(tmp_path):
    with claimed(tmp_path, "a run"):
        found = joblib.Parallel(n_jobs=2)(joblib.delayed(inner)(tmp_path, number) for number in (1.0, 2.0, 3.0))
    np.testing.assert_allclose([each["value"] for each in found], 0.8**4 * np.array([1.0, 4.0, 9.0]))
    assert not list(tmp_path.rglob(LOCK))


ORPHAN = """
import os, sys, time
import joblib
from hypergrad.runs.lock import claimed
def work(folder):
    with claimed(folder, "a worker"):
        open(folder + "/works", "w").close()
        time.sleep(30)
joblib.Parallel(n_jobs=2)(joblib.delayed(work)(f"{sys.argv[1]}/{i}") for i in range(2))
"""


def test_a_worker_that_outlives_its_killed_run_is_in_nobodys_way(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ORPHAN, str(tmp_path)], env=ENVIRONMENT, start_new_session=True)
    with process:
        while len(list(tmp_path.glob("*/works"))) < 2:
            assert process.poll() is None
            time.sleep(0.01)
        with pytest.raises(InUseError), claimed(tmp_path / "0", "a run"):
            pass
        process.kill()
        process.wait()
        worker = json.loads((tmp_path / "0" / LOCK).read_text())["pid"]
        os.kill(worker, 0)
        with claimed(tmp_path / "0", "a run"):
            pass
        os.killpg(process.pid, signal.SIGKILL)


CONTENDS = """
import os, sys, time
from hypergrad.errors import InUseError
from hypergrad.runs.lock import claimed
while True:
    try:
        with claimed(sys.argv[1], "a test"):
            with open(sys.argv[1] + "/inside", "x"):
                pass
            time.sleep(0.001)
            os.unlink(sys.argv[1] + "/inside")
            with open(sys.argv[1] + "/rounds", "a") as file:
                file.write("x")
    except InUseError:
        pass
"""


def test_processes_killed_at_random_never_work_at_the_same_time(tmp_path):
    """Some hold the folder in turns, and are killed at random moments; a survivor of two inside would say so."""
    if not this_process().born:
        pytest.skip("needs /proc")
    random.seed(1)
    command = [sys.executable, "-c", CONTENDS, str(tmp_path)]
    rounds = tmp_path / "rounds"

    def start():
        return subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)

    processes = [start() for _ in range(3)]
    for _ in range(6):
        time.sleep(random.uniform(0.2, 0.5))
        victim = processes.pop(random.randrange(3))
        assert victim.poll() is None, victim.stderr.read()
        for each in processes:  # so that only the victim can be inside
            each.send_signal(signal.SIGSTOP)
        victim.kill()
        victim.communicate()
        if victim_held(tmp_path, victim):
            (tmp_path / "inside").unlink(missing_ok=True)
        for each in processes:
            each.send_signal(signal.SIGCONT)
        processes.append(start())
    before = rounds.stat().st_size
    while rounds.stat().st_size < before + 20:
        assert all(process.poll() is None for process in processes), [p.stderr.read() for p in processes]
        time.sleep(0.01)
    for process in processes:
        process.kill()
        process.communicate()


def victim_held(folder, victim):
    try:
        return json.loads((folder / LOCK).read_text())["pid"] == victim.pid
    except (OSError, ValueError):
        return False
