"""Meta-descent: its rule, what it records, taking steps back, going on after a kill, bad input."""

import os
import pickle
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from problems import classifier

import hypergrad as hg
from hypergrad import errors
from hypergrad.meta import TakeBack, minimize
from hypergrad.nests import flatten
from hypergrad.probe import CacheWarning

MODEL, LOSS, PARAMS, X, T = classifier()
HYPERS = {"log_lr": np.full(5, -1.0), "momentum": [0.5, 0.5, 0.5]}
RATES = {"log_lr": np.linspace(1.0, 3.0, 5), "momentum": 0.1}


NUMBERS = ("step_scale", "taken_back", "diverged_at", "iteration", "error", "gradient_error", "validation", "mismatch")


def objective(hypers, iteration=0):
    trained = hg.train(LOSS, PARAMS, hg.SGD(anp.exp(hypers["log_lr"]), hypers["momentum"]), steps=5)
    return MODEL.loss(trained, X, T) + 0.01 * iteration * hypers["momentum"][0]


def descend(f=objective, hypers=HYPERS, *, steps=4, step_size=RATES, **options):
    return minimize(f, hypers, steps=steps, step_size=step_size, progress=False, **options)


def assert_same_bits(one, two):
    assert one.value == two.value and len(one.history) == len(two.history)
    for a, b in zip(one.history, two.history):
        leaves, others = flatten([a.hypers, a.gradient])[0], flatten([b.hypers, b.gradient])[0]
        assert all(np.array_equal(x, y, equal_nan=True) for x, y in zip(leaves, others))
        rest = [[getattr(e, name) for name in NUMBERS] for e in (a, b)]
        assert np.array_equal(*rest, equal_nan=True) and a.doubt == b.doubt


def test_plain_descent_on_a_quadratic_follows_its_closed_form():
    curvature = np.array([1.0, 3.0])
    result = descend(lambda w: 0.5 * anp.sum(curvature * w**2), np.ones(2), steps=6, step_size=0.2)
    for i, found in enumerate(result.history):
        np.testing.assert_allclose(found.hypers, (1 - 0.2 * curvature) ** i, rtol=1e-12)
        assert found.gradient_norm == pytest.approx(np.linalg.norm(curvature * found.hypers), rel=1e-12)
    assert result.value == result.history[-1].value


def test_each_leaf_has_its_step_size_and_the_loss_falls():
    result = descend()
    first, second = result.history[:2]
    expected = grad(objective)(HYPERS)
    np.testing.assert_allclose(first.gradient["log_lr"], expected["log_lr"], rtol=1e-12)
    np.testing.assert_allclose(second.hypers["log_lr"], -1.0 - RATES["log_lr"] * expected["log_lr"], rtol=1e-12)
    assert second.hypers["momentum"][1] == pytest.approx(0.5 - 0.1 * expected["momentum"][1], rel=1e-12)
    assert result.history[-1].value < first.value and result.value == min(e.value for e in result.history)


def test_best_so_far_is_kept_where_the_last_is_worse():
    result = descend(lambda w: w**2, 1.0, steps=3, step_size=1.5)  # w ← −2 w
    assert [e.hypers for e in result.history] == [1.0, -2.0, 4.0, -8.0]
    assert (result.hypers, result.value) == (1.0, 1.0)


def test_adam_is_the_one_that_trains():
    start = np.array([1.0, -2.0])
    f = lambda w: anp.sum(w**4)
    result = descend(f, start, steps=7, step_size=0.1, optimizer=hg.Adam(1.0))
    trained = hg.train(lambda w, hyper, step: f(w), start, hg.Adam(0.1), steps=7, save_at=list(range(8)))
    np.testing.assert_allclose([e.hypers for e in result.history], trained, rtol=1e-12)


def test_the_optimizer_of_ones_own_takes_the_steps_with_a_state_for_each_leaf():
    @dataclass(frozen=True)
    class Heavy(hg.Optimizer):
        lr: Any
        drag: Any

        def init(self, w):
            return (anp.zeros(anp.shape(w)),)

        def step(self, w, s, g, h, step):
            v = (1.0 - h.drag) * s[0] - g / (1.0 + step)
            return w + h.lr * v, (v,)

    f = lambda h: anp.sum(h["a"] ** 2) + 3.0 * h["b"] ** 2
    optimizer = Heavy(lr={"a": np.array([0.1, 0.2]), "b": 0.3}, drag={"a": 0.5, "b": 0.25})
    result = descend(f, {"a": np.ones(2), "b": 1.0}, steps=3, step_size=0.5, optimizer=optimizer)
    a, b, va, vb = np.ones(2), 1.0, 0.0, 0.0
    for step in range(3):
        va, vb = 0.5 * va - 2.0 * a / (1.0 + step), 0.75 * vb - 6.0 * b / (1.0 + step)
        a, b = a + 0.5 * np.array([0.1, 0.2]) * va, b + 0.5 * 0.3 * vb
    np.testing.assert_allclose(result.history[-1].hypers["a"], a, rtol=1e-12)
    assert result.history[-1].hypers["b"] == pytest.approx(b, rel=1e-12)


def test_step_size_and_learning_rate_are_one_number():
    f = lambda w: anp.sum(w**4)
    start = np.array([1.0, -2.0])
    for optimizer in (hg.SGD, hg.Adam, hg.RMSProp):
        one, two = (descend(f, start, step_size=x, optimizer=optimizer(0.125 / x)) for x in (0.125, 1.0))
        assert_same_bits(one, two)
    plain = descend(f, start, step_size=0.01)
    assert_same_bits(plain, descend(f, start, step_size=0.01, optimizer=hg.SGD(1.0, momentum=0.0)))


def test_an_endless_descent_is_the_same_as_one_of_some_steps():
    expected = descend(steps=5).history
    endless = hg.meta.descend(objective, HYPERS, step_size=RATES)
    for one, two in zip(expected, endless):
        assert one.value == two.value and np.array_equal(one.gradient["log_lr"], two.gradient["log_lr"])
    assert next(endless).value < expected[0].value


def test_the_history_is_there_however_the_descent_ends():
    def interrupted(h, i):
        if i == 3:
            raise error
        return h**2

    for error in (SystemExit(), ZeroDivisionError(), hg.DivergedError(3, 1.0, "params")):
        history = []
        with pytest.raises(type(error)) as caught:
            descend(interrupted, 1.0, step_size=0.25, seeds=1, history=history)
        assert [e.value for e in history] == [1.0, 0.25, 0.0625]
    assert caught.value.history is history and caught.value.iteration == 3
    assert str(caught.value).startswith("in meta-iteration 3, training diverged") and caught.value.step == 3
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    result = descend(lambda h: h**2, 1.0, steps=1, step_size=0.25, history=(history := []))
    assert result.history is history


def test_transform_changes_the_step_and_not_the_record():
    sign = lambda gradient: {"a": anp.sign(gradient["a"])}
    result = descend(
        lambda h: anp.sum(h["a"] ** 2), {"a": np.array([3.0, -5.0])}, steps=1, step_size=0.5, transform=sign
    )
    assert result.history[1].hypers["a"].tolist() == [2.5, -4.5]
    assert result.history[0].gradient["a"].tolist() == [6.0, -10.0]


def test_one_fresh_seed_is_the_number_of_the_iteration():
    seen = []
    descend(lambda h, i: seen.append(i) or h**2, 1.0, steps=3, step_size=0.1, seeds=1)
    assert seen == [0, 0, 1, 2, 3], "the first one twice, to compare"


def test_a_jump_is_taken_back_and_the_step_size_halved():
    """w² with step size 1.6 overshoots, w ← −2.2 w; half of that converges, w ← −0.6 w."""
    result = descend(lambda w: w**2, 1.0, steps=3, step_size=1.6, take_back=TakeBack())
    np.testing.assert_allclose([e.hypers for e in result.history], [1.0, -2.2, -0.6, 0.36], rtol=1e-12)
    assert [e.taken_back for e in result.history] == [False, True, False, False]
    assert [e.step_scale for e in result.history] == [1.0, 1.0, 0.5, 0.5]


def test_a_jump_of_the_hypergradient_alone():
    f = lambda w: anp.where(w < 0.5, 100.0 * (w - 0.5), 0.0) + w  # falls everywhere, 101 times faster below 0.5
    jumps = descend(f, 1.0, steps=1, step_size=0.6, take_back=TakeBack(gradient=50.0)).history
    assert [e.taken_back for e in jumps] == [False, True] and jumps[1].value < jumps[0].value
    assert not descend(f, 1.0, steps=1, step_size=0.6, take_back=TakeBack(gradient=200.0)).history[1].taken_back


def test_adam_forgets_a_step_taken_back():
    f = lambda w: w**2
    result = descend(f, 1.0, steps=2, step_size=8.0, optimizer=hg.Adam(1.0), take_back=TakeBack())
    other = descend(f, 1.0, steps=1, step_size=4.0, optimizer=hg.Adam(1.0))
    assert result.history[1].taken_back and result.history[2].hypers == other.history[1].hypers


def diverging(log_lr):
    """Diverges for large learning rates."""
    loss = lambda w, hyper, step: anp.sum(w**4)
    return anp.sum(hg.train(loss, np.ones(2), hg.SGD(anp.exp(log_lr), 0.0), steps=40))


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_divergence_is_raised_with_its_meta_iteration_or_taken_back(tmp_path):
    with pytest.raises(hg.DivergedError, match=r"in meta-iteration 2, training diverged") as caught:
        descend(diverging, -4.0, step_size=10.0)
    assert caught.value.iteration == 2 and len(caught.value.history) == 2
    options = {"step_size": 10.0, "take_back": TakeBack(np.inf, np.inf), "store": tmp_path}
    result, again = (descend(diverging, -4.0, **options) for _ in range(2))
    found = result.history[2]
    assert found.taken_back and found.diverged_at == caught.value.step and np.isnan(found.value)
    assert result.value < result.history[0].value
    assert_same_bits(result, again)
    with pytest.raises(hg.DivergedError, match="in meta-iteration 0"):
        descend(diverging, 3.0, step_size=10.0, take_back=TakeBack())
    with pytest.raises(errors.OtherFunctionError, match=r"take_back was TakeBack\(loss=inf, .* and is none now"):
        descend(diverging, -4.0, step_size=10.0, store=tmp_path)
    (tmp_path / "descent.npz").unlink()
    with pytest.warns(CacheWarning, match="without take_back that is an error"), pytest.raises(hg.DivergedError):
        descend(diverging, -4.0, step_size=10.0, store=tmp_path)


def test_a_step_to_a_schedule_that_cannot_be_trained_counts_as_divergence():
    far = lambda log_lr: objective({"log_lr": 1e4 * log_lr, "momentum": [0.5] * 3})
    with pytest.raises(errors.ScheduleError, match=r"in meta-iteration 1, SGD\.lr must lie in \[0, inf\), got inf"):
        descend(far, np.zeros(5), step_size=1.0)
    result = descend(far, np.zeros(5), step_size=1.0, take_back=TakeBack())
    assert result.history[1].taken_back and result.history[1].diverged_at == 0


def test_a_hypergradient_that_is_not_finite_is_reported_or_taken_back():
    f = lambda h: anp.sum(h["a"][0] ** 1.5) + h["b"]  # not a number below 0
    start = {"a": [1.0], "b": 0.0}
    with pytest.raises(errors.NonFiniteHypergradientError, match="in meta-iteration 1, the value of f is not finite"):
        descend(f, start, step_size=1.0)
    result = descend(f, start, step_size=1.0, take_back=TakeBack())
    assert result.history[1].taken_back and np.isfinite(result.value)
    root = lambda h: anp.sum(anp.sqrt(h["a"][0]))
    with pytest.raises(
        errors.NonFiniteHypergradientError, match=r"in meta-iteration 0, the hypergradient\['a'\]\[0\] is"
    ):
        descend(root, {"a": [0.0]}, step_size=1.0)


@pytest.mark.parametrize(
    "options", [{}, {"optimizer": hg.Adam(1.0)}, {"take_back": TakeBack(gradient=1.0)}, {"seeds": 1}]
)
def test_the_cache_goes_on_where_it_was_with_the_same_bits(tmp_path, options):
    plain, calls = descend(**options), []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise ZeroDivisionError
        return objective(*arguments)

    with pytest.raises(ZeroDivisionError):
        descend(interrupted, store=tmp_path, **options)
    assert_same_bits(descend(interrupted, store=tmp_path, **options), plain)
    assert len(calls) == 8, "the first twice, the one that was interrupted, and one that is computed again to compare"
    descend(interrupted, store=tmp_path, **options)
    assert len(calls) == 9, "nothing else is computed twice"
    longer = descend(interrupted, steps=5, store=tmp_path, recheck=False, **options)
    assert len(calls) == 10 and longer.history[4].value == plain.history[4].value


@pytest.mark.parametrize("stored", [2, 4])
def test_a_cache_of_another_function_is_noticed(tmp_path, stored):
    old, new = (lambda h, c=c: c * (h - 1.0) ** 2 for c in (1.0, 1.25))
    descend(old, 0.0, steps=stored, step_size=0.25, store=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(errors.OtherFunctionError) as caught:
        descend(new, 0.0, step_size=0.25, store=tmp_path)
    found = re.search(r"in meta-iteration (\d), 'f' is (\S+) as stored, and (\S+) now", str(caught.value))
    assert float(found[2]) == 0.25 ** int(found[1]) and float(found[3]) == 1.25 * float(found[2])
    assert f"{tmp_path} are of another function" in str(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert descend(new, 0.0, steps=stored, step_size=0.25, store=tmp_path, recheck=False).value == 0.25**stored


def test_a_descent_says_from_where_it_goes_on(tmp_path, capsys):
    f = lambda h: h**2
    for steps, says in (
        (2, ""),
        (4, "going on from iteration 3 of 4, with"),
        (3, "iteration 3 of 3, which is stored too"),
    ):
        minimize(f, 1.0, steps=steps, step_size=0.25, store=tmp_path)
        printed = capsys.readouterr().err
        assert says in printed and ("going on" in printed) == bool(says)
    descend(f, 1.0, step_size=0.25, store=tmp_path)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("damage", ["truncated", "flipped", "other iteration", "other hypers", "empty", "foreign"])
def test_a_damaged_or_foreign_cache_file_is_reported_and_computed_again(tmp_path, damage):
    expected = descend(store=tmp_path)
    path, other = tmp_path / "iteration2.npz", tmp_path / "iteration3.npz"
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[:-40])
    elif damage == "flipped":
        place = content.index(np.float64(expected.history[2].value).tobytes())
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    elif damage == "other iteration":
        path.write_bytes(other.read_bytes())
    elif damage == "other hypers":
        with np.load(path) as stored:
            arrays = dict(stored)
        np.savez(path, **arrays | {"free0": arrays["free0"] + 1e-15})
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        np.savez(path, something=np.ones(3))
    with pytest.warns(CacheWarning, match=r"iteration2\.npz is not usable"):
        assert_same_bits(descend(store=tmp_path), expected)


SCRIPT = """
import sys, time
sys.path.insert(0, sys.argv[1])
import test_meta
def slow(hypers, seed):
    time.sleep(0.01)
    with open(sys.argv[2] + "/calls", "a") as file:
        file.write("x")
    return test_meta.objective(hypers, seed % 3)
test_meta.descend(slow, store=sys.argv[2], **test_meta.KILLED)
print("done")
"""
KILLS = 20
KILLED = {"steps": 45, "step_size": None, "seeds": 2, "validate": lambda hypers: float(np.sum(hypers["momentum"]))}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_descent_killed_at_random_moments_goes_on(tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(Path(hg.__file__).parent.parent)}
    random.seed(0)
    kills = 0
    for _ in range(KILLS):
        stored = len(list(tmp_path.glob("*.npz")))
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        with process:
            while len(list(tmp_path.glob("*.npz"))) < stored + 1 and process.poll() is None:
                time.sleep(0.002)
            time.sleep(random.uniform(0.0, 0.05))
            kills += process.poll() is None
            process.kill()
    assert kills == KILLS
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "done\n" and not done.stderr.count("CacheWarning")
    calls = []
    again = lambda h, seed: calls.append(1) or objective(h, seed % 3)
    result = descend(again, store=tmp_path, recheck=False, **KILLED)
    assert not calls and len(result.history) == 46
    assert_same_bits(result, descend(again, **KILLED))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": -1}, errors.ArgumentError, "steps must be an integer ≥ 0, got -1"),
        ({"hypers": {}}, errors.NestError, "hypers has no leaves"),
        ({"hypers": {"a": "x"}}, errors.NestError, r"hypers\['a'\] is a builtins\.str"),
        ({"hypers": np.array([1.0, np.nan])}, errors.NestError, "hypers must be finite"),
        ({"step_size": -0.1}, errors.ArgumentError, r"step_size must lie in \[0, inf\), got -0\.1"),
        ({"step_size": {"log_lr": 1.0}}, errors.NestError, r"step_size is a dict with keys \['log_lr'\]"),
        (
            {"step_size": {"log_lr": np.ones(4), "momentum": 1.0}},
            errors.ArgumentError,
            r"step_size\['log_lr'\] has shape \(4,\), but hypers\['log_lr'\] has \(5,\)",
        ),
        (
            {"take_back": True},
            errors.ArgumentError,
            r"take_back must be a hypergrad\.meta\.TakeBack\(\.\.\.\) or None",
        ),
        (
            {"optimizer": "adam"},
            errors.ArgumentError,
            r"optimizer must be one such as .*, got 'adam'",
        ),
        ({"optimizer": hg.SGD(-1.0)}, errors.ArgumentError, r"SGD\.lr must lie in \[0, inf\), got -1\.0"),
        ({"optimizer": hg.Adam(1.0, b1={"a": 0.5})}, errors.NestError, r"Adam\.b1 is a dict with keys \['a'\]"),
        ({"optimizer": hg.SGD(np.ones(4))}, errors.ArgumentError, r"SGD\.lr has shape \(4,\), but hypers\['log_lr'\]"),
        ({"optimizer": hg.SGD(1.0, exact=True)}, errors.ArgumentError, r"leave out SGD\(exact=True\)"),
        ({"history": [1]}, errors.ArgumentError, r"history must be an empty list, to be filled, got \[1\]"),
    ],
)
def test_bad_arguments_are_reported_before_f_is_called(options, error, message):
    def forbidden(hypers):
        raise AssertionError("f was called")

    with pytest.raises(error, match=message):
        descend(forbidden, **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TakeBack(loss=0.5), r"TakeBack\.loss must be ≥ 1, got 0\.5"),
        (lambda: TakeBack(gradient=np.nan), r"TakeBack\.gradient must be ≥ 1, got nan"),
        (lambda: TakeBack(shrink=1.0), r"TakeBack\.shrink must lie in \(0, 1\), got 1\.0"),
        (lambda: descend(lambda h: 3.0), "f must return a scalar that depends on hypers.* got float of shape"),
        (lambda: descend(lambda h: h["log_lr"]), r"f must return a scalar.* of shape \(5,\)"),
        (lambda: descend(transform=lambda g: g["log_lr"]), "transform must return a finite nest of the structure"),
    ],
)
def test_other_bad_input(make, message):
    with pytest.raises(errors.ArgumentError, match=message):
        make()
