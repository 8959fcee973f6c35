"""Grids of trainings: tables, curves, resume, divergence, bad grids; and a training that is watched."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from matplotlib.text import Text
from problems import classifier
from scipy.stats import t

import hypergrad as hg
from hypergrad.errors import AllDivergedError, ArgumentError, CallbackError, LossError, OtherFunctionError

MODEL, LOSS, PARAMS, X, T = classifier()
GRID = {"lr": [0.1, 0.5], "momentum": [0.0, 0.5, 0.9]}


def run(point, seed):
    params = [tuple((1.0 + 0.1 * seed) * w for w in pair) for pair in PARAMS]
    losses = []
    keep = lambda step, params, state, gradient, value: losses.append(value)
    trained = hg.train(LOSS, params, hg.SGD(point["lr"], point["momentum"]), steps=5, callback=keep)
    return {"final": MODEL.loss(trained, X, T), "loss": np.array(losses)}


def bowl_run(point, seed):
    """Diverges at large learning rates."""
    w = hg.train(lambda w, h, t: anp.sum(w**4), np.ones(2) + seed, hg.SGD(point["lr"], 0.0), steps=30)
    return {"size": np.sum(w**2)}


def trials(grid=GRID, f=run, **options):
    return hg.runs.trials(grid, f, progress=False, **options)


def test_every_point_and_seed_is_in_its_place():
    found = trials(seeds=[3, 1])
    assert found.shape == (2, 3, 2) and found.array("loss").shape == (2, 3, 2, 5)
    assert (found.diverged_at == -1).all() and found.names() == ["final", "loss"]
    for row in found.rows:
        expected = run(row.point, row.seed)
        place = (
            GRID["lr"].index(row.point["lr"]),
            GRID["momentum"].index(row.point["momentum"]),
            [3, 1].index(row.seed),
        )
        assert found.array("final")[place] == expected["final"] == row.metrics["final"]
        np.testing.assert_array_equal(found.array("loss")[place], expected["loss"])
        assert found.values("momentum")[place] == row.point["momentum"] and found.values("seed")[place] == row.seed
    assert [row.number for row in found.rows] == list(range(12))


def test_workers_compute_the_same(tmp_path):
    one, two = trials(seeds=2), trials(seeds=2, n_jobs=2, cache=tmp_path)
    np.testing.assert_allclose(two.array("loss"), one.array("loss"), rtol=1e-12)


def test_a_dask_cluster_computes_the_same():
    distributed = pytest.importorskip("distributed", reason="needs the extra: pip install -e '.[cluster]'")
    import joblib

    options = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    with distributed.Client(**options), joblib.parallel_config(backend="dask"):
        found = trials({"lr": [0.1, 0.5], "momentum": [0.9]}, seeds=2, n_jobs=-1)
    expected = trials({"lr": [0.1, 0.5], "momentum": [0.9]}, seeds=2)
    np.testing.assert_allclose(found.array("loss"), expected.array("loss"), rtol=1e-12)


def test_the_table_has_means_with_their_intervals():
    found = trials(seeds=3)
    lines = found.table("final").splitlines()
    assert (
        lines[0] == "| lr | momentum | trials | diverged | final |" and len(lines) == 8 and repr(found) == found.table()
    )
    values = found.array("final")[1, 2]
    half = t.ppf(0.975, 2) * np.std(values, ddof=1) / np.sqrt(3)
    assert lines[-1] == f"| 0.5 | 0.9 | 3 | 0 | {values.mean():.4g} ± {half:.2g} |"


def test_a_training_that_diverges_is_a_row_that_says_so():
    found = trials({"lr": [0.01, 100.0]}, bowl_run, seeds=2)
    assert (found.diverged_at[0] == -1).all() and (found.diverged_at[1] >= 0).all()
    assert np.isnan(found.array("size")[1]).all() and np.isfinite(found.array("size")[0]).all()
    with pytest.raises(hg.DivergedError) as caught:
        bowl_run({"lr": 100.0}, 1)
    assert found.diverged_at[1, 1] == caught.value.step
    step = found.diverged_at[1]
    assert f"| 100.0 | 2 | 2 (step {step[0]}, {step[1]}) | – |" in found.table()


def test_where_all_diverge_the_error_has_what_came_out(tmp_path):
    with pytest.raises(AllDivergedError, match=r"all 5 trials diverged: lr=100\.0, seed 0 at step \d+; .*…") as caught:
        trials({"lr": [100.0]}, bowl_run, seeds=5, cache=tmp_path)
    assert len(caught.value.trials.rows) == 5 and (caught.value.trials.diverged_at >= 0).all()
    assert len(list(tmp_path.glob("*.npz"))) == 5


def test_it_goes_on_and_a_larger_grid_computes_what_is_new(tmp_path):
    calls = []

    def counted(point, seed):
        calls.append((point["lr"], seed))
        return run({**point, "momentum": 0.5}, seed)

    first = trials({"lr": [0.1, 0.5]}, counted, cache=tmp_path)
    assert calls == [(0.1, 0), (0.5, 0)]
    second = trials({"lr": [0.5, 0.3, 0.1]}, counted, seeds=2, cache=tmp_path)
    assert len(calls) == 2 + 1 + 4, "one is computed again, four are new"
    assert second.array("final")[2, 0] == first.array("final")[0, 0]
    with pytest.raises(OtherFunctionError, match=r'at .*"lr": '):
        trials({"lr": [0.1, 0.5]}, lambda point, seed: {"final": 0.0, "loss": np.zeros(5)}, cache=tmp_path)
    trials({"lr": [0.1, 0.5]}, counted, cache=tmp_path, recheck=False)
    assert len(calls) == 7


SLOW = """
import sys, time
import hypergrad as hg

def run(point, seed):
    time.sleep(0.3)
    return {"loss": [1.0 / point["depth"], float(seed)]}

if __name__ == "__main__":
    found = hg.runs.trials({"depth": list(range(1, 9))}, run, cache=sys.argv[1], progress=False)
    print(found.array("loss").sum())
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_run_that_is_killed_goes_on(tmp_path):
    script, cache = tmp_path / "slow.py", tmp_path / "cache"
    script.write_text(SLOW)
    command = [sys.executable, str(script), str(cache)]
    environment = {**os.environ, "PYTHONPATH": str(Path(hg.__file__).parent.parent)}
    process = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + 60
    while len(list(cache.glob("*.npz"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in cache.glob("*.npz")}
    assert 3 <= len(kept) < 8
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(sum(1.0 / k for k in range(1, 9)))
    assert {name: (cache / name).stat().st_mtime_ns for name in kept} == kept and len(list(cache.glob("*.npz"))) == 8


def test_trackers_see_every_trial_once(tmp_path):
    path, arrived = tmp_path / "trials.jsonl", []
    grid = {"lr": [0.01, 100.0]}
    trials({"lr": [0.01]}, bowl_run, cache=tmp_path / "cache", callback=hg.track.jsonl(path))
    trials(grid, bowl_run, cache=tmp_path / "cache", callback=hg.track.jsonl(path))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["trial"], row["point"], row["diverged_at"] < 0) for row in rows] == [
        (0, {"lr": 0.01}, True),
        (1, {"lr": 100.0}, False),
    ]
    assert rows[0]["size"] > 0.0 and "size" not in rows[1]
    trials(grid, bowl_run, callback=arrived.append)
    assert [row.name() for row in arrived] == ["lr=0.01, seed 0", "lr=100.0, seed 0"]
    assert hg.track.scalars(arrived[0]) == {"size": arrived[0].metrics["size"], "diverged_at": -1.0}
    with pytest.raises(CallbackError, match=r"the callback raised at the trial lr=0.01, seed 0: .*no disk"):
        trials(grid, bowl_run, callback=lambda row: (_ for _ in ()).throw(OSError("no disk")))


def test_tensorboard_reads_metrics_and_curves(tmp_path):
    events = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="needs the extra: pip install -e '.[tensorboard]'",
    )
    trials({"lr": [0.1, 0.5], "momentum": [0.9]}, callback=hg.track.tensorboard(tmp_path))
    read = events.EventAccumulator(str(tmp_path))
    read.Reload()
    tags = {*read.Tags()["scalars"], *read.Tags()["tensors"]}
    assert {"final", "diverged_at", "lr=0.5, momentum=0.9, seed 0/loss"} <= tags


@pytest.mark.parametrize(
    ("grid", "options", "words"),
    [
        ([1, 2], {}, r"the grid must be a mapping of names to values, .*got \[1, 2\]"),
        ({}, {}, "the grid is empty"),
        ({"lr": []}, {}, r"grid\['lr'\] is empty"),
        ({"lr": 0.1}, {}, r"grid\['lr'\] must be a list of values, got 0\.1"),
        ({"lr": "large"}, {}, "must be a list of values, got 'large'"),
        ({"lr": [0.1, 0.1]}, {}, "has a value twice"),
        ({"lr": [np.ones(2)]}, {}, "values are numbers, texts"),
        ({3: [1]}, {}, "names of the grid must be texts"),
        ({"seed": [1]}, {}, "none of them 'seed'"),
        ({"lr": [0.1]}, {"seeds": 0}, "seeds must be an integer ≥ 1, got 0"),
        ({"lr": [0.1]}, {"seeds": [1, 1]}, "different integers"),
        ({"lr": [0.1]}, {"seeds": []}, "different integers"),
    ],
)
def test_bad_grids(grid, options, words):
    with pytest.raises(ArgumentError, match=words):
        trials(grid, bowl_run, **options)


def test_what_run_must_return_and_errors_say_in_which_trial():
    for returned, words in ((1.0, "a mapping of numbers and arrays, got 1.0"), ({"a": "b"}, "'a': 'b', which is no")):
        with pytest.raises(ArgumentError, match=f"in the trial lr=0.1, seed 0, run .*{words}"):
            trials({"lr": [0.1]}, lambda point, seed, returned=returned: returned)
    with pytest.raises(LossError, match=r"^in the trial lr=0.1, seed 0, "):
        trials({"lr": [0.1]}, lambda point, seed: hg.train(lambda w, h, t: w, np.ones(2), hg.SGD(0.1), steps=1))
    found = trials({"lr": [0.1], "momentum": [0.9]})
    for call in (lambda: found.array("error"), lambda: found.values("depth"), lambda: found.plot("final")):
        with pytest.raises(ArgumentError):
            call()


def test_values_of_several_kinds_and_curves_of_several_lengths():
    f = lambda point, seed: {"curve": np.arange(point["steps"]), "wide": point["wide"], "many": np.ones((2, 3))}
    found = trials({"steps": np.array([2, 4]), "wide": [True, False], "sizes": [(3, 4)], "name": ["a", None]}, f)
    assert found.array("curve").shape == (2, 2, 1, 2, 1, 4) and found.array("many").shape == (2, 2, 1, 2, 1, 2, 3)
    assert np.isnan(found.array("curve")[0, ..., 2:]).all() and found.array("wide")[0, :, 0, 0, 0].tolist() == [
        1.0,
        0.0,
    ]


def test_the_running_mean_is_that_of_the_last_values():
    values = np.random.default_rng(0).standard_normal((3, 20))
    values[1, 12:] = np.nan
    found = hg.runs.running_mean(values, 6)
    for row, means in zip(values, found):
        for i, mean in enumerate(means):
            expected = np.mean(row[max(0, i - 5) : i + 1]) if np.isfinite(row[i]) else np.nan
            assert mean == pytest.approx(expected, nan_ok=True)
    np.testing.assert_array_equal(hg.runs.running_mean(values.T, 6, axis=0), found.T)
    np.testing.assert_array_equal(hg.runs.running_mean(values, 1), values)


def test_the_figure_shows_smoothed_curves_raw_ones_behind_and_what_diverged():
    f = lambda point, seed: {
        "loss": np.exp(-np.arange(30.0) / point["lr"]) + 0.1 * seed,
        "diverged_at": 12 if point["lr"] == 3.0 and seed else -1,
    }
    found = trials({"lr": [1.0, 3.0], "depth": [2, 3]}, f, seeds=2)
    figure = found.plot("loss", window=5, ylabel="loss (nats)", title="four points")
    assert len(figure.axes) == 2 and figure.axes[0].get_yscale() == "log"
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) > 1]
    assert len(lines) == 2 * 4
    raw, smooth = lines[0], lines[1]
    np.testing.assert_array_equal(raw.get_ydata(), found.array("loss")[0, 0, 0])
    np.testing.assert_allclose(smooth.get_ydata(), hg.runs.running_mean(found.array("loss")[0, 0, 0], 5))
    assert raw.get_alpha() < 0.5 and smooth.get_alpha() is None
    texts = {text.get_text() for text in figure.findobj(Text)}
    assert {"mean of the last 5 steps", "single steps", "lr 3.0", "diverged", "loss (nats)", "depth 2", "step"} <= texts
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert [line.get_xdata()[0] for line in crosses] == [29]
    assert len(found.plot(by="depth", window=1, log=False).axes) == 2


def test_what_is_watched_is_what_the_training_does():
    optimizer, wrong = hg.SGD(0.5, 0.9), lambda params, step: MODEL.error_rate(params, X, T)
    seen = hg.track.watch(LOSS, PARAMS, optimizer, steps=6, every=3, measures={"error": wrong})
    saved = hg.train(LOSS, PARAMS, optimizer, steps=6, save_at=range(7))
    curves = seen.curves
    assert seen.diverged_at == -1 and set(curves) == {
        "loss",
        "error",
        "gradient",
        "weights",
        "update",
        "sharpness",
        "growth",
    }
    for now, final in zip(seen.params, saved[-1]):
        np.testing.assert_array_equal(now[0], final[0])
    norm = lambda pair: np.sqrt(sum(np.sum(w**2) for w in pair))
    for step in range(6):
        w, after = saved[step], saved[step + 1]
        assert curves["loss"][step] == pytest.approx(LOSS(w, None, step), rel=1e-12)
        assert curves["error"][step] == MODEL.error_rate(w, X, T)
        assert curves["weights"][step] == pytest.approx([norm(pair) for pair in w], rel=1e-12)
        moved = [norm([a - b for a, b in zip(*pairs)]) for pairs in zip(after, w)]
        assert curves["update"][step] == pytest.approx(moved, rel=1e-9)
        assert curves["gradient"][step] == pytest.approx([norm(pair) for pair in grad(LOSS)(w, None, step)], rel=1e-9)
        expected = hg.chaos.sharpness(LOSS, w, step=step) if step % 3 == 0 else np.nan
        assert curves["sharpness"][step] == pytest.approx(expected, rel=1e-6, nan_ok=True)
    found = hg.chaos.lyapunov(LOSS, PARAMS, optimizer, steps=6)
    np.testing.assert_array_equal(curves["growth"], found.growth[:, 0])


def test_a_watched_training_that_diverges_has_what_came_before():
    quartic = lambda w, h, t: anp.sum(w["a"] ** 4)
    seen = hg.track.watch(quartic, {"a": np.ones(2)}, hg.SGD(3.0, 0.0), steps=30, every=None)
    reached = np.isfinite(seen.curves["loss"])
    assert 0 < seen.diverged_at < 29 and reached[: seen.diverged_at].all() and not reached[seen.diverged_at + 1 :].any()
    assert (
        np.isfinite(seen.params["a"]).all() and np.isnan(seen.curves["growth"]).all() and "sharpness" not in seen.curves
    )
    found = trials(
        {"lr": [0.01, 3.0]},
        lambda point, seed: (
            hg.track.watch(quartic, {"a": np.ones(2)}, hg.SGD(point["lr"], 0.0), steps=30, every=None).results
        ),
    )
    assert found.diverged_at[:, 0].tolist() == [-1, seen.diverged_at]
    np.testing.assert_array_equal(found.array("loss")[1, 0], seen.curves["loss"])


def test_bad_arguments_of_watch():
    with pytest.raises(ArgumentError, match="a measure cannot be called 'loss'"):
        hg.track.watch(LOSS, PARAMS, hg.SGD(0.1), steps=2, measures={"loss": lambda params, step: 0.0})
    with pytest.raises(ArgumentError, match="every must be an integer ≥ 1"):
        hg.track.watch(LOSS, PARAMS, hg.SGD(0.1), steps=2, every=0)


def test_the_function_hides_no_module_of_its_name():
    assert hg.runs.trials.__module__ == hg.runs.Trial.__module__ == "hypergrad.runs.grid"
    for path in Path(hg.runs.__file__).parent.glob("*.py"):
        module = importlib.import_module(f"hypergrad.runs.{path.stem}") if path.stem != "__init__" else hg.runs
        assert module is hg.runs or getattr(hg.runs, path.stem) is module
