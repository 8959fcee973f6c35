"""The configs of full size, which nobody runs in passing: each begins with what it says, up to its first training."""

import importlib
import sys

import numpy as np
import pytest

import hypergrad as hg
from experiments.shared import results
from hypergrad.nests import unflatten
from hypergrad.problem import check_problem

FULL = [
    (name, part)
    for name in results.questions()
    for part in getattr(importlib.import_module(f"experiments.{name}"), "FULL", {})
    if (name, part) != ("depth_trials", 3)  # it trains nothing
]


class Began(BaseException):
    """Not an Exception: nothing on the way takes it for a training that diverged."""


def test_something_is_scaled_down():
    assert len(FULL) > 10


@pytest.mark.parametrize(("name", "part"), FULL, ids=[f"{name}-{part}" for name, part in FULL])
def test_a_part_of_full_size_begins(name, part, tmp_path, monkeypatch):
    """Its problem is built and passes the checks of a training, and the loss has a value at the initial parameters."""
    module = importlib.import_module(f"experiments.{name}")
    config = module.FULL[part]
    assert type(config) is type(module.PARTS[part]) and config != module.PARTS[part]
    seen = []

    def train(loss, params, optimizer, hyper=None, *, steps, callback=None, **options):
        problem = check_problem(loss, params, optimizer, hyper, steps, callback)
        given = problem.group(problem.values())
        inside = None if problem.hyper_structure is None else unflatten(problem.hyper_structure, given.hyper)
        seen.append((float(loss(unflatten(problem.structure, given.params), inside, 0)), problem.steps))
        raise Began

    real = hg.train
    for holder in [m for m in list(sys.modules.values()) if m.__name__.partition(".")[0] == "hypergrad"]:
        if vars(holder).get("train") is real:
            monkeypatch.setattr(holder, "train", train)
    try:
        results.kind(config).run(config, jobs=1, cache=tmp_path / "cache")
    except Began:
        ((value, steps),) = seen
        assert np.isfinite(value) and steps >= 1
    except results.CommandError as error:
        assert "not installed" in str(error)
        pytest.skip(str(error))
    else:
        raise AssertionError("it ended without a training")
