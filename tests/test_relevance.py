"""The experiment with a penalty for every weight: its loss, the search beside it, its checked-in results."""

import dataclasses
import re
from itertools import islice

import numpy as np
import pytest

import hypergrad as hg
from experiments import jan21_relevance as jan21
from experiments.shared import penalised_regression, penalties, proposals, results, search
from experiments.shared.intervals import crossed_interval

PARTS = [part for part, config in jan21.PARTS.items() if isinstance(config, jan21.Config)]


def checked_in(part):
    return results.load(jan21, results.FIGURES / "jan21_relevance", part)


def test_the_derivatives_of_the_penalised_loss():
    X, T = (array[:50] for array in jan21.pieces()[0])
    loss = penalties.penalised(hg.nn.MinibatchLoss(jan21.MODEL, X, T, 25))
    log_penalty = np.random.default_rng(0).normal(-3.0, 1.0, (784, 10))
    hg.testing.check_loss(loss, hg.init.scaled_normal(jan21.MODEL.shapes, 0.1, 0), log_penalty)


@pytest.mark.parametrize("part", PARTS)
def test_the_first_hypergradient_and_a_short_run_agree_with_the_checked_in_results(part, tmp_path):
    config, stored = checked_in(part)
    (gradient,) = jan21.first_gradient(config, "start", 0, None)
    assert np.linalg.norm(gradient - stored.gradient[0]) <= 1e-5 * np.linalg.norm(gradient)
    short = dataclasses.replace(config, every=config.quick_every, seeds=1, unseen=2)
    names = list(jan21.WAYS)
    for name in ("no penalty", "7,840, by descent"):
        way = names.index(name)
        value, _, own, unseen = jan21.choose(short, name, 0, tmp_path / "cache")
        np.testing.assert_allclose(value, stored.value[way, 0, : len(value)], rtol=1e-6)
        if name == "no penalty":
            np.testing.assert_allclose(own, stored.own[way, 0], rtol=1e-6)
            np.testing.assert_allclose(unseen, stored.unseen[way, 0, :2], rtol=1e-6)


@pytest.mark.parametrize("part", PARTS)
def test_the_learned_penalties_give_the_stored_losses_again(part):
    """On an unseen training set; the penalties are stored in single precision."""
    config, stored = checked_in(part)
    for way, name in enumerate(jan21.WAYS):
        for seed in (0, config.seeds - 1) if jan21.WAYS[name].shape is not None else ():
            params = jan21.trained(config, stored.log_penalty[way, seed].astype(float), 0, 1, jan21.UNSEEN)
            loss = jan21.MODEL.loss(params, *jan21.pieces()[jan21.TEST])
            assert loss == pytest.approx(stored.unseen[way, seed, 1, 0], rel=1e-5), (name, seed)


def test_training_sets_of_one_pass_have_no_image_in_common():
    config = dataclasses.replace(jan21.PARTS[1], steps=1)
    seen = [penalised_regression.rows(config, 0, number, jan21.UNSEEN) for number in range(config.unseen)]
    assert len(np.unique(seen)) == config.unseen * config.images
    assert not np.array_equal(seen[0], penalised_regression.rows(config, 1, 0, jan21.UNSEEN))


def test_any_number_of_first_values_is_spread_evenly():
    for count in (5, 20, 100):
        values = np.sort(list(islice(proposals.spread(-1.0, 3.0), count)))
        gaps = np.diff(np.concatenate([[-1.0], values, [3.0]]))
        assert values[0] >= -1.0 and values[-1] <= 3.0 and gaps.max() < 3.0 * 4.0 / count


def evolved(f, shape, trials):
    return search.tried(
        lambda z, _: f(z), proposals.evolution(np.random.default_rng((0, 21)), -4.0, 4.0, shape, trials)
    )


def test_plain_search_finds_a_minimum_in_one_and_in_ten_dimensions():
    one = evolved(lambda x: np.sum((x - 0.3) ** 2), (1, 1), 60)
    assert len(one.values) == 60 and abs(one.best.item() - 0.3) < 0.1
    target = np.linspace(-1.0, 1.0, 10)
    ten = evolved(lambda x: np.sum((x - target) ** 2), (1, 10), 300)
    assert ten.points.shape == (300, 1, 10) and np.ptp(ten.points[:100], axis=-1).max() == 0.0
    assert ten.values.min() < 0.05 * ten.values[:100].min()


def test_the_best_so_far_does_not_count_what_diverged():
    tried = search.Tried(np.arange(4.0)[:, None], np.array([3.0, np.nan, 2.0, 5.0]))
    assert tried.lowest([1, 2, 3, 4, 9]).tolist() == [3.0, 3.0, 2.0, 2.0, 2.0]
    assert tried.best == 2.0 and tried.path().points.ravel().tolist() == [0.0, 0.0, 0.0, 2.0, 2.0]


def test_the_log_tells_by_how_much_the_descent_on_ten_penalties_is_ahead_of_every_search_of_them():
    config, stored = checked_in(3)
    values = dict(zip(config.names, stored.value, strict=True))
    led, words = values.pop("descent, 10 penalties"), []
    del values["descent, 7,840 penalties"]
    closest = min(values, key=lambda name: values[name][..., 0].mean())
    assert closest == "CMA-ES, 10 penalties" == min(values, key=lambda name: values[name][..., 1].mean())
    for c, (digits, unit) in enumerate(((3, "nats"), (2, "points"))):
        apart = {name: crossed_interval((led - value)[..., c]) for name, value in values.items()}
        assert max(less.high for less in apart.values()) < 0.0, "ahead of all"
        assert crossed_interval((led - values[closest])[:3, ..., c]).high > 0.0, "by three runs alike"
        words.append("{:.{n}f} [{:.{n}f}, {:.{n}f}] {unit}".format(*apart[closest], n=digits, unit=unit))
    log = re.sub("<!--.*?-->", "", (results.EXPERIMENTS / "LOG.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert " and ".join(words).replace("-", "−") in " ".join(log.split())
