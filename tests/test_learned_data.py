"""The experiment with learned training images: what it trains on, its hypergradient, its checked-in results."""

import dataclasses
import itertools

import numpy as np
import pytest

import hypergrad as hg
from experiments import jan19_learned_data as jan19
from experiments.shared import results
from experiments.shared.scores import loss_and_error

PARTS = list(jan19.PARTS)
NAMES = list(jan19.WAYS)


def checked_in(part):
    return results.load(jan19, results.FIGURES / "jan19_learned_data", part)


def test_the_hypergradient_by_the_pixels():
    X, T = (array[:200] for array in jan19.pieces()[0])
    for name, model in jan19.MODELS.items():
        params = jan19.start(name, -4.0, 0)
        f = lambda images, name=name, model=model, params=params: model.loss(
            jan19.trained(name, images, params, (5,))[0], X, T
        )
        hg.testing.check_hypergradient(f, jan19.real_images(2, np.random.default_rng(0)))


@pytest.mark.parametrize("part", PARTS)
def test_a_short_run_agrees_with_the_checked_in_results(part, tmp_path):
    config, stored = checked_in(part)
    short = dataclasses.replace(config, every=config.quick_every, seeds=1)
    for name in ("learned for logistic regression", "class means"):
        way = NAMES.index(name)
        value, _, unseen = jan19.learn(short, name, 0, tmp_path / "cache")
        np.testing.assert_allclose(value, stored.value[way, 0, : len(value)], rtol=1e-6)
        if name == "class means":
            np.testing.assert_allclose(unseen, stored.unseen[way, 0, :, :, :2], rtol=1e-6)


@pytest.mark.parametrize("part", PARTS)
def test_the_stored_images_give_the_stored_losses_again(part):
    """They are stored in single precision."""
    config, stored = checked_in(part)
    for way, name in enumerate(NAMES):
        if jan19.WAYS[name] == jan19.Way() or jan19.WAYS[name].everything:
            continue
        for m, seed in itertools.product(range(len(jan19.MODELS)), (0, config.seeds - 1)):
            (name, model), images = list(jan19.MODELS.items())[m], stored.images[way, seed].astype(float)
            params = jan19.trained(name, images, jan19.start(name, config.log_scale, 3), config.counts)[0]
            loss, _ = loss_and_error(model, params, *jan19.pieces()[1])
            assert loss == pytest.approx(stored.unseen[way, seed, m, 0, 3, 0], rel=1e-4)


@pytest.mark.parametrize("per_digit", [1, 10])
def test_every_ten_images_have_one_of_each_digit(per_digit):
    X, T = jan19.pieces()[0]
    drawn = jan19.real_images(per_digit, np.random.default_rng(0))
    labels = [np.argmax(T[np.flatnonzero((image == X).all(axis=1))[0]]) for image in drawn]
    assert labels == list(range(10)) * per_digit
    assert not np.array_equal(drawn, jan19.real_images(per_digit, np.random.default_rng(1)))
    means, sizes = jan19.class_means(per_digit), T.sum(axis=0)
    for digit in range(10):
        whole = X[T[:, digit] == 1.0].mean(axis=0)
        np.testing.assert_allclose(means[digit::10].mean(axis=0), whole, atol=2.0 * per_digit / sizes[digit])


def test_what_search_tries():
    way, rng = jan19.WAYS["class means, best contrast"], np.random.default_rng(0)
    means = jan19.class_means(1)
    tried = [next(jan19.tries(way, 1, np.random.default_rng(seed))) for seed in (0, 1)]
    factor, share = np.exp(rng.uniform(-2.0, 2.0)), rng.uniform(0.0, 1.0)
    np.testing.assert_allclose(tried[0], factor * (means - share * means.mean(axis=0)))
    assert not np.array_equal(*tried)
    assert next(jan19.tries(jan19.WAYS["all 10,000 real images"], 1, rng)) is None


def test_the_error_rate_counts_what_is_missed():
    model, rng = jan19.MODELS["logistic regression"], np.random.default_rng(0)
    params, X, T = jan19.start("logistic regression", 0.0, 0), rng.random((50, 784)), np.eye(10)[np.arange(50) % 10]
    loss, error = loss_and_error(model, params, X, T)
    assert loss == pytest.approx(model.loss(params, X, T)) and error == pytest.approx(model.error_rate(params, X, T))
