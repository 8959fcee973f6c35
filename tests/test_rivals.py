"""What hypergradients are compared with: rules without a schedule, tables of rivals, their checked-in results."""

import dataclasses
import importlib

import numpy as np
import pytest
from scipy import stats

import hypergrad as hg
from experiments import feb03_training_schedules, jan15_lr_schedule, jan21_relevance
from experiments.shared import online_rules, results, rivals, runner, search

TABLES = [(feb03_training_schedules, 3), (jan15_lr_schedule, 5), (jan21_relevance, 3)]
IDS = [module.__name__.split(".")[-1] for module, _ in TABLES]
A = np.diag([1.0, 3.0, 0.2])
START = {"w": np.array([1.0, -2.0]), "b": np.array([3.0])}


def bowl(params, hyper, step):
    w = params["w"]
    return 0.5 * (w[0] ** 2 + 3.0 * w[1] ** 2 + 0.2 * params["b"][0] ** 2)


def flat(params):
    return np.concatenate([params["w"], params["b"]])


def test_the_online_rate_follows_the_hypergradient_of_each_step():
    w, v, rate = flat(START), np.zeros(3), 0.3
    for _ in range(7):
        g = A @ w
        rate *= 1.0 - 0.1 * (g @ v) / max(np.linalg.norm(g) * np.linalg.norm(v), 1e-15)
        v = 0.5 * v - 0.5 * g
        w = w + rate * v
    found = hg.train(bowl, START, online_rules.OnlineRate(0.3, 0.1, 0.5), steps=7)
    np.testing.assert_allclose(flat(found), w, rtol=1e-10)
    assert rate != 0.3
    alone = hg.train(bowl, START, hg.SGD(0.3, 0.5), steps=7)
    np.testing.assert_allclose(
        flat(hg.train(bowl, START, online_rules.OnlineRate(0.3, 0.0, 0.5), steps=7)), flat(alone)
    )


def test_schedule_free_descent_returns_the_average_of_its_way():
    z = x = flat(START)
    for t in range(9):
        y = 0.2 * z + 0.8 * x
        z = z - 0.3 * (A @ y)
        x = x + (z - x) / (t + 1)
    found = hg.train(bowl, START, online_rules.ScheduleFree(0.3, 0.8, 9), steps=9)
    np.testing.assert_allclose(flat(found), x, rtol=1e-12)


def test_the_numbers_of_a_table_are_means_with_intervals_over_runs_and_draws():
    config = rivals.Config(
        of="", names=("descent", "a", "b"), measured=("loss (nats)",), setting="", trainings=9, seeds=2
    )
    value = np.arange(24.0).reshape(3, 2, 4, 1)
    found = rivals.numbers(rivals.Results(value, np.zeros((3, 2, 4))), config)
    assert found["loss, a, mean"] == 11.5 and found["loss, b, by run"].tolist() == [17.5, 21.5]
    assert found["loss, best descent less best of the others"].mean == 3.5 - 11.5
    assert found["loss, b, lowest and highest run"] == (17.5, 21.5)
    mean, low, high = found["loss, a"]
    runs, draws = 8.0 / 2, 5.0 / 3 / 4  # variances of the means of 9.5 and 13.5, and of 10, 11, 12 and 13
    half = stats.t.ppf(0.975, (runs + draws) ** 2 / (runs**2 / 1 + draws**2 / 3)) * np.sqrt(runs + draws)
    assert (mean, high - mean, mean - low) == (11.5, pytest.approx(half), pytest.approx(half))
    same = found["loss, best descent less a"]  # the same in every run and draw, so nothing is left to chance
    assert (same.mean, same.low, same.high) == (-8.0, -8.0, -8.0)


@pytest.mark.parametrize(("module", "part"), TABLES, ids=IDS)
def test_every_rival_of_a_table_spends_what_it_may(module, part, tmp_path):
    if absent := search.missing():
        pytest.skip(absent)
    config = module.PARTS[part]
    of = importlib.import_module(f"experiments.shared.{config.of}")
    assert config.names == of.NAMES
    for name, rival in of.rivals(config, 0, tmp_path).items():
        if name.startswith("descent"):
            continue
        asked = []
        f = lambda z, number, asked=asked: asked.append(z) or np.sum((z - 0.5) ** 2)
        rival.by(f, rival.numbers, config.trainings, 3)
        assert 0.69 * config.trainings < len(asked) <= config.trainings, name  # CMA-ES: whole generations
        assert {z.shape for z in asked} == {(rival.numbers,)} and np.abs(asked).max() <= search.BOX


@pytest.mark.parametrize(("module", "part"), TABLES, ids=IDS)
def test_a_short_run_of_a_table(module, part, tmp_path):
    if absent := search.missing():
        pytest.skip(absent)
    full = module.PARTS[part]
    config = dataclasses.replace(full, every=full.quick_every, seeds=1)
    found = rivals.run(config, 1, tmp_path / "cache")
    assert found.value.shape == (len(full.names), 1, 2, len(full.measured)) and np.isfinite(found.value).all()
    assert runner.draw(module, tmp_path, part, config, found).stat().st_size > 10_000


@pytest.mark.parametrize(("module", "part"), TABLES, ids=IDS)
def test_what_the_rivals_of_a_table_reach_is_reproduced(module, part, tmp_path):
    config, stored = results.load(module, results.FIGURES / module.__name__.split(".")[-1], part)
    every = importlib.import_module(f"experiments.shared.{config.of}").rivals(config, 1, tmp_path)
    compared = 0
    for name, z, value in zip(config.names, stored.chosen[:, 1], stored.value[:, 1], strict=True):
        if np.isfinite(z[0]):
            ours = every[name].test(z[: every[name].numbers], 2)
            near = 1e-2 if config.of == "schedule_rivals" else 1e-6  # float32 is rounded differently elsewhere
            assert np.atleast_1d(ours) == pytest.approx(value[2], rel=near), name
            compared += 1
    assert compared >= 5
