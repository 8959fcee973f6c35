"""Files of finished pieces: damaged ones, folders in their place, full disks, what killed processes leave behind."""

import os
import resource
import stat
import subprocess
import sys
import warnings
from pathlib import Path

import autograd.numpy as anp
import numpy as np
import pytest

import hypergrad as hg
from hypergrad.errors import ArgumentError, StoreError
from hypergrad.meta import minimize
from hypergrad.probe import CacheWarning, sweep
from hypergrad.runs import store
from hypergrad.runs.owner import this_process

ARRAYS = {
    "loss": np.array([0.5, np.nan, -np.inf]),
    "gradient": np.arange(6.0).reshape(2, 3).T,
    "name": np.array("a name"),
    "file": np.array(3, dtype=np.int8),
}
VALUES = [0.25, 0.5, 1.0]


def f(x):
    return anp.sin(x)


def swept(folder, f=f, **options):
    return sweep(f, VALUES, cache=folder, progress=False, **options)


def same(one, two):
    return one.keys() == two.keys() and all(
        one[name].dtype == two[name].dtype
        and np.array_equal(one[name], two[name], equal_nan=one[name].dtype.kind == "f")
        for name in one
    )


def loaded(path):
    """What is loaded, or None after a warning that it cannot be used."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = store.load(path, dict, "piece")
    if found is None:
        assert [w.category for w in caught] == [CacheWarning] and "is not usable" in str(caught[0].message)
        assert "pickle" not in str(caught[0].message)
    return found


def test_arrays_come_back_as_they_were(tmp_path):
    store.store(tmp_path / "a.npz", ARRAYS)
    assert same(loaded(tmp_path / "a.npz"), ARRAYS)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("bit", range(8))
def test_any_flipped_bit_is_noticed_or_changes_nothing(tmp_path, bit):
    path = tmp_path / "a.npz"
    store.store(path, {"loss": np.array([0.1, 0.2]), "gradient": np.array(3.0), "diverged_at": -1})
    content, noticed = path.read_bytes(), 0
    expected = loaded(path)
    for place in range(bit % 3, len(content), 3):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
        found = loaded(path)
        noticed += found is None
        assert found is None or same(found, expected), f"byte {place}"
    assert noticed > len(content) // 12


def test_a_sweep_over_flipped_bits_gives_the_same_result_or_computes_again(tmp_path):
    expected = swept(tmp_path)
    path = min(tmp_path.glob("*.npz"))
    content = path.read_bytes()
    for place in range(0, 8 * len(content), 59):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = swept(tmp_path, recheck=False)
        assert np.array_equal(found.loss, expected.loss) and np.array_equal(found.gradient, expected.gradient)
        assert caught == [] or [w.category for w in caught] == [CacheWarning]
        assert (path.read_bytes() == damaged) == (caught == []), "what is not usable is computed and stored again"


def test_the_warning_does_not_advise_to_load_pickles(tmp_path):
    path = tmp_path / "a.npz"
    for content in (b"no archive", b""):
        path.write_bytes(content)
        assert loaded(path) is None
    np.savez(path, loss=np.array([{}], dtype=object))
    assert loaded(path) is None
    np.savez(path, loss=np.ones(2))
    with pytest.warns(CacheWarning, match="it has no checksum: it is of another version, or nothing that was stored"):
        store.load(path, dict, "piece")


def test_objects_are_refused_and_not_pickled(tmp_path):
    with pytest.raises(ArgumentError, match="'loss' has dtype object"):
        store.store(tmp_path / "a.npz", {"loss": np.array([{}], dtype=object)})
    assert not list(tmp_path.iterdir())


def test_a_folder_in_place_of_a_file_is_named_before_anything_is_computed(tmp_path):
    (tmp_path / f"{(0.5).hex()}.npz").mkdir()
    (tmp_path / "iteration1.npz").mkdir()

    def forbidden(x):
        raise AssertionError("f was called")

    with pytest.raises(StoreError, match=rf"a point in .*{(0.5).hex()}\.npz: a folder lies there; remove it"):
        swept(tmp_path, forbidden)
    with pytest.raises(StoreError, match=r"in meta-iteration 1, .*iteration1\.npz: a folder lies there; remove it"):
        minimize(lambda x: x**2, 1.0, steps=2, step_size=0.1, store=tmp_path, progress=False)
    with pytest.raises(StoreError, match=r"cannot write .*a folder lies in its place"):
        store.store(tmp_path / "iteration1.npz", ARRAYS)
    assert not list(tmp_path.glob("*.part"))


def test_a_cache_folder_deleted_meanwhile_is_made_anew(tmp_path):
    folder, calls = tmp_path / "below" / "cache", []

    def deletes(x):
        calls.append(1)
        if len(calls) % 2 == 0:
            subprocess.run(["rm", "-r", str(folder)], check=True)
        return x**2

    found = sweep(deletes, VALUES, cache=folder, progress=False)
    np.testing.assert_array_equal(found.gradient, 2.0 * np.array(VALUES))
    assert {path.name for path in folder.iterdir()} == {f"{v.hex()}.npz" for v in VALUES[1:]}
    calls.clear()
    minimize(deletes, 1.0, steps=2, step_size=0.1, store=folder, progress=False, recheck=False)
    assert {path.name for path in folder.iterdir()} == {"iteration1.npz", "iteration2.npz"}


def left_over(folder, pid, host, born="1", token="0" * 8):
    path = folder / f"iteration1.npz.{pid}-{born}-{token}-0@{host}.part"
    path.write_bytes(b"half")
    return path


def test_what_dead_processes_left_half_written_is_removed_and_nothing_else(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    me = this_process()
    gone = [
        left_over(tmp_path, dead.pid, me.host),
        left_over(tmp_path, me.pid, me.host, me.born),  # by one that had our number
        left_over(tmp_path, os.getppid(), me.host, "1"),  # by one that had the number of a process that lives
    ]
    kept = [
        left_over(tmp_path, 1, me.host, ""),  # lives
        left_over(tmp_path, dead.pid, "another-host"),
        left_over(tmp_path, me.pid, me.host, me.born, store._TOKEN),  # ours, of another thread
        tmp_path / "something else.part",
    ]
    kept[-1].write_bytes(b"")
    swept(tmp_path)
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in gone[: 3 if me.born else 2])


FULL = """
import resource, sys
import autograd.numpy as np, hypergrad as hg
from hypergrad.runs import store
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    hg.probe.sweep(lambda x: np.sin(x), [0.5, 1.0], cache=sys.argv[1], progress=False)
except hg.errors.StoreError as error:
    print(error, isinstance(error, OSError))
"""


@pytest.mark.parametrize("size", [0, 100, 300])
def test_a_file_that_cannot_grow_is_reported_and_nothing_is_left_of_it(tmp_path, size):
    command = [sys.executable, "-c", FULL, str(tmp_path), str(size)]
    environment = os.environ | {"PYTHONPATH": str(Path(hg.__file__).parent.parent)}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert run.stdout.startswith(f"cannot write {tmp_path}/") and run.stdout.endswith(" True\n"), (
        run.stdout + run.stderr
    )
    assert "File too large; make room or make the folder writable" in run.stdout
    assert not list(tmp_path.iterdir())
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match=rf"cannot write {folder}: .* or give another folder"):
            swept(folder)

    def read_only(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", read_only)
    with pytest.raises(StoreError, match=r"cannot write .*descent\.npz: Permission denied; .* is kept") as caught:
        minimize(lambda x: x**2, 1.0, steps=2, store=tmp_path / "cache", progress=False)
    assert isinstance(caught.value, OSError) and isinstance(caught.value.__cause__, PermissionError)
    assert not list((tmp_path / "cache").iterdir())


def test_files_follow_the_umask(tmp_path):
    (tmp_path / "like any other").write_text("")
    swept(tmp_path)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1
