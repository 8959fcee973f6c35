"""The experiment with shared weights: its penalties and its tied networks, worked out in other ways."""

import dataclasses

import numpy as np
import pytest
from autograd import grad
from scipy.stats import t

import hypergrad as hg
from experiments import feb04_weight_sharing as feb04
from experiments.parts.feb04_weight_sharing import sharing_plot
from experiments.shared import results

SMALL = dataclasses.replace(feb04.PARTS[1], pool=600, per_digit=3, held_out=5, hidden=4, steps=6, side=7)


def checked_in():
    return results.load(feb04, results.FIGURES / "feb04_weight_sharing", 1)


def test_the_matrices_are_the_penalty_of_the_docstring():
    logs = np.random.default_rng(0).normal(-2.0, 1.0, (3, 45))
    w = np.random.default_rng(1).standard_normal((10, 7))
    for A, couplings in zip(feb04.matrices(SMALL, logs), np.exp(logs), strict=True):
        apart = sum(
            c * np.sum((w[t] - w[u]) ** 2) for c, t, u in zip(couplings, feb04.FIRST, feb04.SECOND, strict=True)
        )
        assert 0.5 * np.sum(A * (w @ w.T)) == pytest.approx(0.5 * SMALL.penalty * np.sum(w**2) + 0.5 * apart)
        assert (A == A.T).all() and np.linalg.eigvalsh(A).min() == pytest.approx(SMALL.penalty)
        np.testing.assert_allclose(A.sum(axis=1), SMALL.penalty)


def test_tasks_have_the_digits_and_turns_they_are_named_after():
    X = feb04.examples(SMALL, 0, 3, np.random.default_rng(0)).reshape(10, 6, 7, 7)
    by_digit = feb04.images(7, 600)[0]
    for task, name in enumerate(feb04.TASKS):
        for half, digit in ((X[task, :3], int(name[0])), (X[task, 3:], int(name[2]))):
            upright = np.rot90(half, -1, axes=(1, 2)) if "rotated" in name else half
            assert all(any(np.array_equal(one, image) for image in by_digit[digit]) for one in upright), name
    splits = feb04.images(7, 600)
    assert not any(np.array_equal(a, b) for a in splits[0][0] for b in splits[2][0])


def test_tied_networks_are_the_limit_of_a_strong_coupling():
    """And a coupled training is that of the sum of the losses, step by step."""
    strong = dataclasses.replace(SMALL, log_lr=-4.0)
    logs = np.full((3, 45), np.log(30.0))
    coupled, X = feb04.trained(strong, 0, feb04.matrices(strong, logs))
    tied, again = feb04.trained(strong, 0, feb04.matrices(strong, logs), tied=3)
    np.testing.assert_array_equal(X, again)
    moved = np.abs(tied[0][0] - feb04.start(strong, 0, 3)[0][0]).max()
    assert all(w.shape[0] == 1 for pair in tied for w in pair) and moved > 1e-4
    for ours, theirs in zip(coupled, tied, strict=True):
        np.testing.assert_allclose(ours[0].mean(axis=0), theirs[0][0], atol=0.05 * moved)


def test_without_couplings_every_task_is_trained_alone():
    nothing = [SMALL.penalty * np.eye(10)] * 3
    params, X = feb04.trained(SMALL, 0, nothing)
    alone = [tuple(w[4:5] for w in pair) for pair in feb04.start(SMALL, 0)]

    def loss(one, hyper, step):
        penalty = sum(0.5 * SMALL.penalty * (W**2).sum() for pair in one for W in pair)
        return feb04.mean_loss(one, X[4:5]) + penalty

    expected = hg.train(loss, alone, hg.SGD(np.exp(SMALL.log_lr), 0.9), steps=SMALL.steps)
    for pair, theirs in zip(params, expected, strict=True):
        for w, v in zip(pair, theirs, strict=True):
            np.testing.assert_allclose(w[4:5], v, rtol=1e-10, atol=1e-14)


def test_a_search_looks_around_its_best_and_finds_a_minimum():
    points, values = feb04.search_layers(SMALL, 0, 80, lambda logs: np.sum((logs + 3.0) ** 2))
    ends = np.log([SMALL.lowest, SMALL.largest])
    assert points.shape == (80, 3) and (points >= ends[0]).all() and (points <= ends[1]).all()
    assert values[40:].min() < values[:40].min() and values.min() < 1.0


def test_the_search_that_is_checked_in_went_where_it_would_go_again():
    config, stored = checked_in()
    for seed, rows in enumerate(stored.per_layer):
        values = iter(rows[:, -1])
        points, _ = feb04.search_layers(config, seed, len(rows), lambda _, values=values: next(values))
        np.testing.assert_array_equal(points, rows[:, :-1])


def test_the_first_steps_of_the_descent_are_reproduced():
    config, stored = checked_in()
    valid = feb04.examples(config, 1, config.held_out, np.random.default_rng(4))
    for seed, iteration in ((0, 0), (2, 1)):
        logs = stored.log_coupling[seed, iteration]
        params, _ = feb04.trained(config, 1_000 * seed + iteration, feb04.matrices(config, logs))
        assert feb04.mean_loss(params, valid) == pytest.approx(stored.value[seed, iteration], rel=1e-6)


def test_the_losses_of_a_draw_are_reproduced():
    config, stored = checked_in()
    test = feb04.examples(config, 2, config.held_out, np.random.default_rng(4))
    last = feb04.WAYS.index("learned")
    params, X = feb04.trained(config, feb04.UNSEEN + 1, feb04.matrices(config, stored.learned[0]))
    assert feb04.mean_loss(params, X) == pytest.approx(stored.train[0, last, 1], rel=1e-6)
    assert feb04.mean_loss(params, test) == pytest.approx(stored.test[0, last, 1], rel=1e-6)
    best = stored.per_layer[0, np.argmin(stored.per_layer[0, :, -1]), :-1]
    A = feb04.matrices(config, np.repeat(best[:, None], 45, axis=1))
    expected = stored.test[0, feb04.WAYS.index("one for each layer"), 0]
    assert feb04.mean_loss(feb04.trained(config, feb04.UNSEEN, A)[0], test) == pytest.approx(expected, rel=1e-6)


def test_the_search_had_as_many_trainings_as_the_descent():
    config, stored = checked_in()
    descent = config.trainings + 3 * (config.iterations + 1)
    assert 0 <= descent - stored.per_layer.shape[1] * config.draws < config.draws


def test_the_hypergradient_is_right():
    X = feb04.examples(SMALL, 1, 5, np.random.default_rng(4))
    f = lambda logs: feb04.mean_loss(feb04.trained(SMALL, 0, feb04.matrices(SMALL, logs))[0], X)
    hg.testing.check_hypergradient(f, np.full((3, 45), -2.0))
    assert np.abs(grad(f)(np.full((3, 45), -2.0))).max() > 0.0


def test_kinds_of_pairs():
    first, second = feb04.FIRST, feb04.SECOND
    kinds = np.array(list(sharing_plot.KINDS.values()))
    assert kinds.sum(axis=1).tolist() == [20, 5, 20] and (kinds.sum(axis=0) == 1).all()
    same = [(a, b) for a, b, k in zip(first, second, kinds[1], strict=True) if k]
    assert same == [(i, i + 5) for i in range(5)]


def test_the_strongest_couplings_are_those_that_the_log_names():
    config, stored = checked_in()
    assert config.seeds == len(stored.learned) >= 10
    named = [
        [(feb04.TASKS[feb04.FIRST[p]], feb04.TASKS[feb04.SECOND[p]]) for p in np.argsort(-logs)]
        for logs in stored.learned.mean(axis=0)
    ]
    assert [pairs[0] for pairs in named] == [("2/3", "0/1 rotated"), ("8/9", "0/1 rotated"), ("8/9", "0/1 rotated")]
    for pairs in named[1:]:
        assert {("6/7", "8/9"), ("6/7 rotated", "8/9 rotated")} <= set(pairs[:4])
    by_descent = np.argmax(stored.learned, axis=2).T
    assert [np.bincount(layer).max() for layer in by_descent] == [8, 3, 2], "descents with the same strongest pair"
    assert np.corrcoef(stored.learned[:, 0])[np.triu_indices(config.seeds, 1)].min() > 0.85


def test_what_kinds_of_pairs_share_is_told_with_an_interval_over_descents():
    config, stored = checked_in()
    named, n = sharing_plot.numbers(stored, config), config.seeds
    log10 = stored.learned[:, 0] / np.log(10.0)
    same = feb04.SECOND - feb04.FIRST == 5
    others = (feb04.FIRST < 5) & (feb04.SECOND >= 5) & ~same
    gaps = log10[:, same].mean(axis=1) - log10[:, others].mean(axis=1)
    half = t.ppf(0.975, n - 1) * gaps.std(ddof=1) / n**0.5
    assert named["same digits less others, input"] == pytest.approx(
        (gaps.mean(), gaps.mean() - half, gaps.mean() + half)
    )
    sure = {name for name, found in named.items() if "less others" in name and found[1] * found[2] > 0.0}
    assert sure == {"same digits less others, input"} and gaps.mean() < 0.0
