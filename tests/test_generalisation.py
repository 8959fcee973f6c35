"""How many hyperparameters a validation set can choose: the spaces, what is looked at, checked-in results."""

import dataclasses
from types import SimpleNamespace

import autograd.numpy as anp
import numpy as np
import pytest
from drawn import check

import hypergrad as hg
from experiments import nov26_generalisation as generalisation
from experiments.parts.nov26_generalisation import overfitting
from experiments.shared import pooled, results
from experiments.shared.penalties import penalised

COUNTS = (1, 5, 54, 203, 4_322)


def checked_in():
    return results.load(generalisation, results.FIGURES / "nov26_generalisation", 1)


def test_the_derivatives_of_the_penalised_loss_of_a_network_with_a_hidden_layer():
    rng, model = np.random.default_rng(0), hg.nn.MLP([6, 4, 3])
    X, T = rng.standard_normal((20, 6)), np.eye(3)[rng.integers(0, 3, 20)]
    log_penalties = [rng.normal(-2.0, 1.0, shape) for shape, _ in model.shapes]
    params = hg.init.scaled_normal(model.shapes, 0.5, 0)
    loss = penalised(hg.nn.MinibatchLoss(model, X, T, 10))
    hg.testing.check_loss(loss, params, log_penalties)
    plain = model.loss(params, X[10:], T[10:])
    squares = sum(np.sum(np.exp(logs) * W**2) for logs, (W, _) in zip(log_penalties, params))
    assert loss(params, log_penalties, 1) == pytest.approx(plain + squares, rel=1e-12) and squares > 0.1


def test_each_space_lies_in_the_next_and_all_begin_alike():
    config = generalisation.PARTS[1]
    assert tuple(config.spaces()) == COUNTS
    z, steps = np.linspace(-0.5, 0.5, 5), config.steps
    rate, momentum, scales, penalty = z[0], z[1], z[2:4], z[4]
    same = [
        z,
        np.concatenate([np.full(steps, rate), z[1:]]),
        np.concatenate([np.full(2 * steps, rate), np.full(2 * steps, momentum), scales, [penalty]]),
        np.concatenate([np.full(2 * steps, rate), np.full(2 * steps, momentum), scales, np.full(4_120, penalty)]),
    ]
    start = generalisation.training(config, np.zeros(1))
    rates, momenta, scales, log_penalties = start
    assert (
        (rates == 1.0).all() and np.allclose(momenta, 0.9) and (scales == 1.0).all() and (log_penalties == -7.0).all()
    )
    for count, there in zip(COUNTS[1:], same, strict=True):
        assert len(there) == count
        for ours, theirs in zip(generalisation.training(config, there), generalisation.training(config, z)):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12)
        for ours, theirs in zip(generalisation.training(config, np.zeros(count)), start):
            np.testing.assert_array_equal(ours, theirs)
    only_rate = generalisation.training(config, np.array([0.3]))
    np.testing.assert_allclose(only_rate[0], np.exp(0.3))
    np.testing.assert_array_equal(only_rate[3], log_penalties)


def test_the_hypergradient_in_the_largest_space_of_a_short_training():
    config = dataclasses.replace(generalisation.PARTS[1], steps=3)
    train, (X, T), _ = generalisation.split(config, 0)
    loss = lambda z: generalisation.MODEL.loss(generalisation.trained(config, z, train, 0), X[:50], T[:50])
    z = np.random.default_rng(0).normal(0.0, 0.3, list(config.spaces())[-1])
    hg.testing.check_hypergradient(loss, z)


def test_the_three_splits_have_no_image_in_common_and_larger_sets_contain_the_smaller():
    X, _ = pooled.images(generalisation.POOL + generalisation.THIRD, generalisation.SIDE)
    (own, _), (valid, _), (third, _) = generalisation.split(generalisation.PARTS[1], 3)
    assert [len(piece) for piece in (own, valid, third)] == [500, 1_000, 10_000]
    np.testing.assert_array_equal(third, X[generalisation.POOL :])
    place = {row.tobytes(): i for i, row in enumerate(X)}
    rows = np.array([place[row.tobytes()] for row in np.concatenate([own, valid])])
    assert len(np.unique(rows)) == 1_500 and rows.max() < generalisation.POOL
    other = generalisation.split(generalisation.PARTS[1], 4)
    assert not np.array_equal(other[0][0], own)


def test_losses_on_the_first_images_are_those_of_the_model():
    _, (X, T), _ = generalisation.split(generalisation.PARTS[1], 0)
    params = hg.init.scaled_normal(generalisation.MODEL.shapes, 0.3, 0)
    counts = (25, 50, 1_000)
    expected = [generalisation.MODEL.loss(params, X[:n], T[:n]) for n in counts]
    np.testing.assert_allclose(generalisation.losses_on_first(params, X, T, counts), expected, rtol=1e-12)


def test_gaps_turns_and_choices_on_numbers_worked_out_by_hand():
    """One space, two seeds, three iterations, descents on 2 and on 4 images, all curves made up."""
    config = SimpleNamespace(sizes=(4,), descended=lambda: (2, 4))
    valid = np.zeros((1, 2, 2, 3, 2))
    valid[0, 0, 0] = [[1.0, 1.5], [0.5, 1.0], [0.25, 1.25]]  # on 2: the other half is 2, 1.5, 2.25
    valid[0, 0, 1] = [[1.0, 1.0], [0.5, 1.0], [0.25, 0.5]]  # the other half is 1, 1.5, 0.75
    valid[0, 1, :, :, 1] = [[3.0, 2.0, 1.0], [3.0, 1.0, 2.0]]
    third = np.zeros((1, 2, 2, 3, 2))
    third[0, 0, ..., 0] = [[10.0, 11.0, 12.0], [20.0, 21.0, 22.0]]
    third[0, 1, ..., 0] = [[5.0, 3.0, 4.0], [5.0, 4.5, 9.0]]
    found = SimpleNamespace(train=np.zeros((1, 2, 2, 3)), valid=valid, third=third)
    np.testing.assert_allclose(overfitting.on_other_half(found, config, 4)[0], [[2.0, 1.5, 2.25], [1.0, 1.5, 0.75]])
    expected = {
        "last": [4.0, 9.0],
        "lowest validation": [4.0, 4.5],
        "other half": [11.0, 22.0],
        "iteration of the half": [3.0, 9.0],
        "lowest third": [3.0, 4.5],
    }
    for way in overfitting.WAYS:
        np.testing.assert_allclose(overfitting.chosen(found, config, 4, way)[0][0], expected[way])
    np.testing.assert_allclose(overfitting.gap(found, config, 4)[0], [1.0, 1.5])
    curves = np.array([[5.0, 3.0, 4.0], [5.0, 6.0, 9.0], [5.0, 2.0, 1.0]])
    assert overfitting.turn(curves) == 1
    np.testing.assert_allclose(overfitting.rise(curves), [4.0 - 3.0, 9.0 - 6.0, 1.0 - 2.0])


def test_exponents_of_a_gap_that_is_a_power_law():
    config = SimpleNamespace(spaces=lambda: dict.fromkeys((5, 54, 203, 4_322)), sizes=(4,), descended=lambda: (50, 200))
    third = np.zeros((4, 2, 3, 2, 2))
    for at, n in enumerate((50, 200)):
        for place, count in enumerate((5, 54, 203, 4_322)):
            third[place, at, :, 1, 0] = count**0.5 / n**0.8 * np.array([0.9, 1.0, 1.1])
    valid = np.zeros((4, 2, 3, 2, 2))
    valid[..., 1, :], third[..., 1, 0] = -0.01, third[..., 1, 0] - 0.01  # lowest at the end
    found = SimpleNamespace(train=np.zeros((4, 2, 3, 2)), valid=valid, third=third)
    a, low, high, b, *_ = overfitting.exponents(found, config)
    assert (a, b) == (pytest.approx(0.5), pytest.approx(0.8)) and low == pytest.approx(0.5) == high


def test_the_beginnings_of_descents_and_of_searches_are_reproduced(tmp_path):
    config, stored = checked_in()
    short, sizes = dataclasses.replace(config, iterations=2), config.descended()
    for place, count in ((0, min(config.spaces())), (-1, max(config.spaces()))):
        train, valid, third, _ = generalisation.descend(short, (count, sizes[0]), 1, tmp_path)
        np.testing.assert_allclose(train, stored.train[place, 0, 1, :2], rtol=1e-5)
        np.testing.assert_allclose(valid, stored.valid[place, 0, 1, :2], rtol=1e-5)
        np.testing.assert_allclose(third, stored.third[place, 0, 1, :2], rtol=1e-5)
    for place, count in enumerate(generalisation.SEARCHED):
        (rows,) = generalisation.plain_search(short, (count, config.sizes[0]), 1, tmp_path)
        np.testing.assert_allclose(rows[:3], stored.searched[place, 0, 1, :3], rtol=1e-5)


def test_stopping_the_training_early_is_reproduced():
    config, stored = checked_in()
    found = generalisation.stop_early(config, np.zeros(1), 200, 2)
    np.testing.assert_allclose(found, stored.stopped[0, 1, 2, 0], rtol=1e-6)
    step, loss, _ = found
    train, _, third = generalisation.split(config, 2)
    saved = generalisation.trained(config, anp.zeros(1), train, 2, save_at=[int(step)])
    assert generalisation.MODEL.loss(saved[0], *third) == pytest.approx(loss, rel=1e-12)


def test_the_main_numbers_of_the_log_computed_plainly_from_the_results():
    """Validation sets of 50 and 1,000 images are places 1 and 5 of those descended on, 4,322 the last space."""
    config, stored = checked_in()
    found = generalisation.numbers(stored, config)
    assert config.descended() == (25, 50, 100, 200, 500, 1_000) and tuple(config.spaces()) == COUNTS
    by_seed, effective = [], []
    for seed in range(config.seeds):
        valid, third = stored.valid[4, 5, seed, :, 5], stored.third[4, 5, seed, :, 0]
        best = int(np.argmin(valid))
        effective.append(1_000.0 * ((third[best] - valid[best]) - (third[0] - valid[0])))
        other = 2.0 * stored.valid[4, 4, seed, :, 5] - stored.valid[4, 4, seed, :, 4]
        one = stored.third[0, 5, seed, np.argmin(stored.valid[0, 5, seed, :, 5]), 0]
        by_seed.append((third[best], third[np.argmin(other)], third[np.argmin(other)] - one))
    mean = np.mean(by_seed, axis=0)
    assert found["lowest validation, 4322, n = 1000"].mean == pytest.approx(mean[0], rel=1e-5)
    assert found["iteration of the half only, 4322, n = 1000"] == pytest.approx(mean[1], rel=1e-5)
    assert found["effective, 4322, n = 1000"] == pytest.approx(np.mean(effective), rel=1e-4)
    rows = stored.searched[1, 0]  # 5 hyperparameters, 50 images
    losses = [trials[np.argmin(trials[:, 0]), 1] for trials in rows]
    assert found["search, 5, n = 50"].mean == pytest.approx(np.mean(losses), rel=1e-5)
    assert rows.shape[:2] == (config.seeds, found["trainings"])


def test_some_of_the_spaces_alone_and_without_rivals(tmp_path):
    config = dataclasses.replace(
        generalisation.PARTS[1], seeds=1, iterations=2, sizes=(50, 100), skipped=(2, 3, 4), rivals=False
    )
    found = generalisation.run(config, jobs=1, cache=tmp_path)
    assert found.third.shape == (2, 2, 1, 2, 2) and found.searched.size == 0
    figure = generalisation.plot(found, config)
    assert len(figure.axes) == 4
    check(figure, found, config)
