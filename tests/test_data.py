"""MNIST: the right files, read in order, only as far as needed, and damage reported."""

import gzip
import hashlib
import tracemalloc

import numpy as np
import pytest

import hypergrad as hg
from hypergrad.data import mnist

MD5 = {
    "train-images-idx3-ubyte.gz": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte.gz": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte.gz": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte.gz": "27ae3e4e09519cfbb04c329615203637",
}


@pytest.mark.parametrize("name", MD5)
def test_files_are_the_official_ones(name):
    with gzip.open(mnist._FOLDER / name) as file:
        assert hashlib.md5(file.read()).hexdigest() == MD5[name]


def test_consecutive_disjoint_pairs():
    (X, T), (X_valid, T_valid) = hg.data.load_mnist(300, 200)
    ((X_all, T_all),) = hg.data.load_mnist(500)
    np.testing.assert_array_equal(np.concatenate([X, X_valid]), X_all)
    np.testing.assert_array_equal(np.concatenate([T, T_valid]), T_all)
    assert X.dtype == T.dtype == np.float64
    assert X.shape == (300, 784) and T.shape == (300, 10)
    assert X.min() == 0.0 and X.max() == 1.0
    assert (T.sum(axis=1) == 1.0).all() and set(np.unique(T)) == {0.0, 1.0}
    assert T_all.argmax(axis=1)[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]


def test_across_the_border_to_the_test_images():
    pieces = hg.data.load_mnist(59_999, 2, 9_999)
    assert pieces[1][0].shape == (2, 784)
    assert pieces[1][1].argmax(axis=1).tolist() == [8, 7]  # the last training and the first test label
    assert [len(X) for X, _ in pieces] == [59_999, 2, 9_999]


def test_centred_on_the_first_piece():
    (X, _), (X_valid, _) = hg.data.load_mnist(100, 50, centred=True)
    (X_raw, _), (X_valid_raw, _) = hg.data.load_mnist(100, 50)
    np.testing.assert_allclose(X, X_raw - X_raw.mean(axis=0), atol=1e-15)
    np.testing.assert_allclose(X_valid, X_valid_raw - X_raw.mean(axis=0), atol=1e-15)


def test_a_thousand_images_do_not_decode_all():
    hg.data.load_mnist(1)  # the checksums are read once
    tracemalloc.start()
    hg.data.load_mnist(1_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 1_000 * 784 * 8 < 70_000 * 784


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ((), "at least one"),
        ((0,), "integers ≥ 1, got 0"),
        ((10, -1), "integers ≥ 1, got -1"),
        ((1.5,), "got 1.5"),
        ((True,), "got True"),
        ((60_000, 10_001), r"MNIST has 70000 images, but 60000 \+ 10001 = 70001 were asked for"),
    ],
)
def test_bad_counts(counts, message):
    with pytest.raises(hg.errors.ArgumentError, match=message):
        hg.data.load_mnist(*counts)


@pytest.fixture
def copied_files(tmp_path, monkeypatch):
    for name in MD5:
        (tmp_path / name).write_bytes((mnist._FOLDER / name).read_bytes())
    monkeypatch.setattr(mnist, "_FOLDER", tmp_path)
    return tmp_path


def test_damaged_file(copied_files):
    path = copied_files / "train-labels-idx1-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[5_000] ^= 1
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    with pytest.raises(hg.errors.DataError, match=f"train-labels.*damaged.*{digest}"):
        hg.data.load_mnist(10)


def test_missing_file(copied_files):
    (copied_files / "t10k-images-idx3-ubyte.gz").unlink()
    hg.data.load_mnist(10)
    with pytest.raises(hg.errors.DataError, match=r"t10k-images.*cannot be read"):
        hg.data.load_mnist(60_001)
