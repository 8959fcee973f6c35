"""Where evaluations and the steps of their trainings are written down."""

import json
import subprocess
import sys
from pathlib import Path

import autograd.numpy as anp
import numpy as np
import pytest
from problems import classifier

import hypergrad as hg
from hypergrad.nests import flatten, leaf_places

MODEL, LOSS, PARAMS, X, T = classifier()


def minimize(f, hypers, *, steps=4, **options):
    return hg.meta.minimize(f, hypers, steps=steps, progress=False, **options)


def trained_loss(h, callback=None):
    trained = hg.train(LOSS, PARAMS, hg.SGD(h["lr"], h["momentum"]), steps=4, callback=callback)
    return MODEL.loss(trained, X, T)


def test_a_file_of_json_lines_holds_every_evaluation_once(tmp_path):
    path, folder = tmp_path / "log" / "run.jsonl", tmp_path / "store"
    f = lambda h: h["a"] ** 2 + anp.sum(h["b"] ** 2)
    start = {"a": 1.0, "b": np.ones(2)}
    for steps in (2, 4):
        result = minimize(f, start, steps=steps, step_size=0.25, store=folder, callback=hg.track.jsonl(path))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [0, 1, 2, 3, 4]
    assert [row["value"] for row in rows] == [e.value for e in result.history]
    assert rows[1]["hypers"] == {"hypers['a']": 0.5, "hypers['b']": [0.5, 0.5]} and rows[1]["mismatch"] < 1e-9
    assert "error" not in rows[0] and rows[0]["doubt"] == ""


def test_tensorboard_reads_what_was_written(tmp_path):
    events = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="needs the extra: pip install -e '.[tensorboard]'",
    )
    result = minimize(lambda h: h**2, 1.0, step_size=0.25, callback=hg.track.tensorboard(tmp_path))
    read = events.EventAccumulator(str(tmp_path))
    read.Reload()
    assert {"value", "gradient_norm", "mismatch"} <= set(read.Tags()["scalars"] or read.Tags()["tensors"])
    values = read.Scalars("value") if "value" in read.Tags()["scalars"] else read.Tensors("value")
    assert [event.step for event in values] == [0, 1, 2, 3, 4]
    number = lambda event: getattr(event, "value", None) or event.tensor_proto.float_val[0]
    assert [number(event) for event in values] == pytest.approx([e.value for e in result.history], rel=1e-6)


def test_without_tensorboard_the_extra_is_named(tmp_path):
    code = "import sys; sys.modules['tensorboard'] = None; import hypergrad as hg; hg.track.tensorboard('x')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(hg.__file__).parent.parent
    )
    assert (
        "MissingExtraError: hg.track.tensorboard needs tensorboard" in done.stderr and ".[tensorboard]" in done.stderr
    )


def test_telemetry_has_loss_and_norms_of_each_array():
    watch, seen = hg.track.Telemetry(every=2), []
    keep = lambda step, params, state, gradient, value: seen.append((step, params, state, gradient, value))
    for callback in (watch, keep):
        trained_loss({"lr": 0.5, "momentum": 0.9}, callback)
    assert [row["step"] for row in watch.rows] == [0, 2]
    _, params, state, gradient, value = seen[2]
    row = watch.rows[1]
    structure = flatten(params)[1]
    assert list(row["params"]) == leaf_places(structure, "") and row["loss"] == value
    for name, nest in (("params", params), ("gradient", gradient), ("velocity", state.velocity)):
        assert list(row[name].values()) == pytest.approx([np.linalg.norm(w) for w in flatten(nest)[0]], rel=1e-12)


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_telemetry_of_an_evaluation_lies_beside_it(tmp_path, jobs):
    def f(h, seed):
        return trained_loss({"lr": h * (1.0 + 0.1 * seed), "momentum": 0.9}, hg.track.Telemetry())

    minimize(f, 0.5, steps=1, step_size=0.1, seeds=[0, 1], store=tmp_path, n_jobs=jobs)
    files = sorted(path.name for path in tmp_path.glob("telemetry*.json"))
    assert files == [f"telemetry{i}-seed{s}.json" for i in (0, 1) for s in (0, 1)]
    rows = json.loads((tmp_path / files[1]).read_text())
    assert [row["step"] for row in rows] == [0, 1, 2, 3] and rows[0]["loss"] > rows[-1]["loss"] > 0.0
