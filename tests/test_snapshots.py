"""Snapshots of a training: it goes on bit for bit under every optimizer, and what is not its own is told of."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from optimizer_table import OPTIMIZERS, draw

import hypergrad as hg
from experiments.shared import pieces
from hypergrad.errors import ArgumentError, OtherFunctionError, StoreError
from hypergrad.runs import snapshots

X = np.random.default_rng(0).standard_normal((20, 3))
START = {"a": np.random.default_rng(1).standard_normal((3, 2)), "b": np.zeros(2)}
COUNTS = [0, 3, 7, 12]
WAYS = [(name, exact) for name, entry in OPTIMIZERS.items() for exact in (False, True) if entry.exact or not exact]


@pytest.fixture(autouse=True)
def at_every_step(monkeypatch):
    monkeypatch.setattr(snapshots, "EVERY", 0.0)


class Killed(Exception):
    pass


def loss(w, hyper, step):
    return anp.mean((anp.tanh(anp.dot(X[step % 4 :: 4], w["a"])) + w["b"] - 1.0) ** 2)


def killed(file, *arguments, at=9, **options):
    """Ends in a step, like a process that is killed there."""

    def callback(step, *_):
        if step == at:
            raise Killed

    with pytest.raises(Killed):
        hg.train(*arguments, snapshot=file, callback=callback, **options)


@pytest.mark.parametrize(("name", "exact"), WAYS)
@pytest.mark.parametrize("at", [5, 9])
def test_it_goes_on_bit_for_bit(name, exact, at, tmp_path):
    entry = OPTIMIZERS[name]
    optimizer = (entry.exact if exact else entry.make)(
        *draw(entry, "per array" if name == "SGD" else "scalar", 12, 1, 0)
    )
    if name == "SGD":
        start = [(START["a"], START["b"])]
        of_nest = lambda w, hyper, step: loss({"a": w[0][0], "b": w[0][1]}, hyper, step)
    else:
        start, of_nest = START, loss
    arguments, file = (of_nest, start, optimizer), tmp_path / "one" / "training.npz"
    expected = hg.train(*arguments, steps=12, save_at=COUNTS)
    killed(file, *arguments, at=at, steps=12, save_at=COUNTS)
    with np.load(file) as kept:
        assert kept["step"] == at and kept["steps"] == 12
    seen = []
    found = hg.train(*arguments, steps=12, save_at=COUNTS, snapshot=file, callback=lambda step, *_: seen.append(step))
    assert seen == list(range(at, 12))
    again = hg.train(*arguments, steps=12, save_at=COUNTS, snapshot=str(file))
    leaves = lambda saved: [a for nest in saved for a in hg.nests.flatten(nest)[0]]
    assert len(leaves(expected)) == 8
    for one in (found, again):
        assert all(a.tobytes() == b.tobytes() for a, b in zip(leaves(one), leaves(expected)))
    assert {path.name for path in file.parent.iterdir()} == {"training.npz"}


def test_what_is_in_it(tmp_path):
    file = tmp_path / "training.npz"
    killed(file, loss, START, hg.SGD(0.1, 0.5), steps=12)
    expected = hg.train(loss, START, hg.SGD(0.1, 0.5), steps=12, save_at=[9])[0]
    with np.load(file) as kept:
        assert {"step", "steps", "norm", "params['a']", "params['b']", "state0"} < set(kept.files)
        np.testing.assert_array_equal(kept["params['a']"], expected["a"])


def test_a_training_of_its_own_is_kept_at_its_end_alone_where_it_is_short(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshots, "EVERY", 30.0)
    file = tmp_path / "training.npz"
    hg.train(loss, START, hg.SGD(0.1), steps=3, snapshot=file)
    with np.load(file) as kept:
        assert kept["step"] == 3
    with snapshots.kept_in(tmp_path / "piece"):
        hg.train(loss, START, hg.SGD(0.1), steps=3)
        assert not (tmp_path / "piece").exists(), "of less than a second"
        monkeypatch.setattr(snapshots, "LEAST", 0.0)
        hg.train(loss, START, hg.SGD(0.1), steps=3)
        hg.train(loss, START, hg.SGD(0.2), steps=3)
        hg.train(loss, START, hg.SGD(0.2), steps=3, callback=lambda *_: None)  # it would miss steps
        grad(lambda lr: anp.sum(hg.train(loss, START, hg.SGD(lr), steps=3)["b"]))(0.3)
        assert len(list((tmp_path / "piece").iterdir())) == 2
    assert not (tmp_path / "piece").exists() and snapshots.folder_of_this_piece() is None


def test_a_watched_training_goes_on_with_what_was_seen(tmp_path):
    calls = []

    def watched(raise_at=None):
        calls.clear()

        def measure(params, step):
            calls.append(step)
            if step == raise_at:
                raise Killed
            return float(np.sum(params["b"]))

        return hg.track.watch(loss, START, hg.Adam(0.1), steps=12, every=4, measures={"sum": measure}, growth=False)

    expected = watched()
    with pytest.raises(Killed), snapshots.kept_in(tmp_path / "piece"):
        watched(raise_at=6)
    with snapshots.kept_in(tmp_path / "piece"):
        found = watched()
    assert calls == list(range(6, 12)) and not (tmp_path / "piece").exists()
    assert found.curves.keys() == expected.curves.keys() >= {"loss", "update", "sharpness", "sum"}
    for name, curve in expected.curves.items():
        np.testing.assert_array_equal(found.curves[name], curve)
    assert found.params["a"].tobytes() == expected.params["a"].tobytes()


def test_losses_that_were_noted_are_kept(tmp_path):
    arguments, file = (loss, START, hg.SGD(0.1)), tmp_path / "training.npz"
    seen, expected, again = pieces.Losses(), pieces.Losses(), pieces.Losses()
    hg.train(*arguments, steps=8, callback=expected)

    def killing(w, hyper, step):
        if step == 5:
            raise Killed
        return loss(w, hyper, step)

    with pytest.raises(Killed):
        hg.train(killing, *arguments[1:], steps=8, callback=seen, snapshot=file)
    hg.train(*arguments, steps=8, callback=again, snapshot=file)
    assert len(seen.losses) == 5 and again.losses == expected.losses and len(again.losses) == 8


def test_two_trainings_of_a_piece_that_differ_in_their_losses_alone(tmp_path):
    other = lambda w, hyper, step: loss(w, hyper, step) + anp.sum(w["b"] ** 2 + w["b"])
    expected = hg.train(other, START, hg.SGD(0.1), steps=4)
    with snapshots.kept_in(tmp_path / "piece"):
        killed_by = [hg.train(loss, START, hg.SGD(0.1), steps=4)]
        found = hg.train(other, START, hg.SGD(0.1), steps=4)
    assert killed_by and found["b"].tobytes() == expected["b"].tobytes()


def test_another_training_is_refused(tmp_path):
    file = tmp_path / "training.npz"
    killed(file, loss, START, hg.SGD(0.1, 0.5), steps=12)
    moved = {**START, "b": START["b"] + 1e-9}
    for arguments, steps in (
        ((loss, moved, hg.SGD(0.1, 0.5)), 12),
        ((loss, START, hg.SGD(0.2, 0.5)), 12),
        ((loss, START, hg.SGD(0.1, 0.5, nesterov=True)), 12),
        ((loss, START, hg.Adam(0.1, 0.5)), 12),
        ((loss, START, hg.SGD(0.1, 0.5)), 13),
        ((loss, list(START.values()), hg.SGD(0.1, 0.5)), 12),
    ):
        with pytest.raises(OtherFunctionError, match=r"training\.npz is of another training: it starts from other"):
            hg.train(*arguments, steps=steps, snapshot=file)
    other = lambda w, hyper, step: 2.0 * loss(w, hyper, step)
    with pytest.raises(OtherFunctionError, match="the first gradient is another one"):
        hg.train(other, START, hg.SGD(0.1, 0.5), steps=12, snapshot=file)


def test_what_is_damaged_is_named_and_left_as_it_is(tmp_path):
    file = tmp_path / "training.npz"
    for damage in (b"", b"nothing", None):
        if damage is None:
            np.savez(file, step=3)
        else:
            file.write_bytes(damage)
        before = file.read_bytes()
        with pytest.raises(StoreError, match=r"training\.npz cannot be used \(.*delete it to train from the beginning"):
            hg.train(loss, START, hg.SGD(0.1), steps=3, snapshot=file)
        assert file.read_bytes() == before
    with pytest.raises(StoreError, match="cannot write /proc/no"):
        hg.train(loss, START, hg.SGD(0.1), steps=3, snapshot="/proc/no/training.npz")


def test_a_derivative_has_none(tmp_path):
    final = lambda lr: anp.sum(hg.train(loss, START, hg.SGD(lr), steps=3, snapshot=tmp_path / "training.npz")["b"])
    with pytest.raises(ArgumentError, match="snapshot is for a training that is not differentiated"):
        grad(final)(0.1)
