"""The experiments with meta-descent: short runs, their checked-in results and figures."""

import dataclasses

import autograd.numpy as anp
import numpy as np
import pytest

import hypergrad as hg
from experiments import jan15_lr_schedule, jan16_initial_dist
from experiments.parts.jan16_initial_dist import scales_and_rates
from experiments.shared import descents, runner
from experiments.shared.intervals import t_interval

MODULES = (jan15_lr_schedule, jan16_initial_dist)
PARTS = [(m, part) for m in MODULES for part, config in m.PARTS.items() if isinstance(config, m.Config)]
NAMES = [f"{module.__name__.split('.')[-1]}-{part}" for module, part in PARTS]


def checked_in(module, part):
    return runner.load(module, runner.FIGURES / module.__name__.split(".")[-1], part)


@pytest.mark.parametrize(("module", "part"), PARTS, ids=NAMES)
def test_a_short_run_agrees_with_the_checked_in_results_and_is_drawn(module, part, tmp_path):
    full = module.PARTS[part]
    few = {name: min(2, getattr(full, name)) for name in ("fresh", "held_out") if hasattr(full, name)}
    config = dataclasses.replace(full, every=full.quick_every, seeds=1, **few)
    results = module.run(config, jobs=1, cache=tmp_path / "cache")
    assert runner.draw(module, tmp_path, part, config, results).stat().st_size > 10_000
    _, stored = checked_in(module, part)
    if (module, part) == (jan15_lr_schedule, 3):
        return  # a shorter training, not one of fewer values; see the next test
    for name in ("value", "gradient", "curve"):
        ours, theirs = (getattr(r, name)[:, :1, :2] for r in (results, stored))
        assert ours.shape == theirs.shape
        assert anp.linalg.norm(ours - theirs) <= 1e-6 * anp.linalg.norm(theirs), name


def test_the_long_training_of_the_schedules_is_reproduced():
    """The first learning curve of part 3: 1,200 steps with all learning rates 1."""
    config, stored = checked_in(jan15_lr_schedule, 3)
    X, T = hg.data.load_mnist(config.images)[0]
    model = hg.nn.MLP([784, 200, 50, 10])
    params = hg.init.scaled_normal(model.shapes, np.exp(config.log_scale), 0)
    counts = stored.curve_steps[0, 0].astype(int)[:21]
    saved = hg.train(hg.nn.MinibatchLoss(model, X, T, 250), params, hg.SGD(1.0, 0.9), steps=counts[-1], save_at=counts)
    curve = [model.loss(trained, X[:1000], T[:1000]) for trained in saved]
    np.testing.assert_allclose(curve, stored.curve[0, 0, 0, :21], rtol=1e-6)


def test_learned_distributions_beat_their_start_and_the_fan_in_rule_on_draws_not_trained_on():
    _, results = checked_in(jan16_initial_dist, 4)
    start, found, fan_in = anp.moveaxis(results.held_out[-1], -1, 0)
    assert (found.max(axis=1) < start.min(axis=1)).all()
    assert (found.mean(axis=1) < 0.8 * fan_in.mean(axis=1)).all()


def test_plain_search_for_a_constant_rate_is_reproduced():
    config, stored = checked_in(jan15_lr_schedule, 4)
    few = dataclasses.replace(config, constants=config.constants[:8:7])  # 1 and e^1.4
    for losses, seed in ((stored.constant[1, 2], 201), (stored.constant_fresh[3], 10_003)):
        np.testing.assert_allclose(jan15_lr_schedule.constant_losses(few, seed), losses[:8:7], rtol=1e-6)
    assert stored.constant[0, 0, 0] == pytest.approx(stored.value[0, 0, 0], rel=1e-9), "both have all rates 1"
    chosen = stored.chosen(4)
    assert chosen.shape == (config.seeds,)
    means = stored.constant.mean(axis=1)
    assert (means[range(config.seeds), chosen] == means.min(axis=1)).all()


def test_losses_at_other_rates_are_reproduced():
    config, stored = checked_in(jan16_initial_dist, 4)
    ((X, T),) = hg.data.load_mnist(1_000)
    model = hg.nn.MLP([784, 50, 10])
    batch_loss = hg.nn.MinibatchLoss(model, X, T, 250)

    def loss(params, log_rate):
        return model.loss(hg.train(batch_loss, params, hg.SGD(np.exp(log_rate), 0.9), steps=20), X, T)

    free = stored.free[-1, 1, np.argmin(stored.value[-1, 1])]
    learned = hg.init.quantile(model.shapes, [(free[0], free[1]), (free[2], free[3])], 10**6 + 4)
    fan_in = hg.init.scaled_normal(model.shapes, [(784**-0.5, 0.0), (50**-0.5, 0.0)], 10**6 + 4)
    rows = stored.by_rate[-1, 1, 4]
    assert loss(learned, 0.0) == pytest.approx(rows[0, 0], rel=1e-6)
    assert [loss(fan_in, x) for x in (0.0, 1.0)] == pytest.approx(rows[[0, config.log_rates.index(1.0)], 1], rel=1e-6)
    deviation = jan16_initial_dist.standard_deviation(free[2])
    assert np.std(hg.init.quantile((200, 200), free[2], 0)) == pytest.approx(deviation, rel=0.01)


def test_scales_and_rates_together_are_reproduced(tmp_path):
    full, stored = checked_in(jan16_initial_dist, 5)
    config = dataclasses.replace(full, every=full.quick_every, seeds=1, held_out=2, ways=full.ways[2:])
    results = scales_and_rates.run(config, jobs=1, cache=tmp_path / "cache")
    np.testing.assert_allclose(results.value, stored.value[2:, :1, :3], rtol=1e-6)
    np.testing.assert_allclose(results.log_lr, stored.log_lr[2:, :1, :3], rtol=1e-6)
    np.testing.assert_allclose(results.grid, stored.grid[:1, :1], rtol=1e-6)
    np.testing.assert_allclose(results.grid_held_out, stored.grid_held_out[:2, :1], rtol=1e-6)
    np.testing.assert_array_equal(results.candidate, stored.candidate[:1, : config.candidates])
    calm = results.candidate_value < 1.0
    assert calm.sum() >= 2
    np.testing.assert_allclose(
        results.candidate_value[calm], stored.candidate_value[:1, : calm.shape[1]][calm], rtol=1e-6
    )


def test_an_interval_on_numbers_from_a_table():
    mean, low, high = t_interval([4.0, 6.0, 8.0, 10.0])  # t for 3 degrees of freedom is 3.182
    assert (mean, high - mean) == (7.0, pytest.approx(3.182 * np.sqrt(20.0 / 3.0) / 2.0, rel=1e-3))
    assert high - mean == pytest.approx(mean - low)


def test_a_descent_that_diverges_keeps_what_it_reached(capsys):
    loss = lambda w, hyper, step: 0.5 * anp.sum(w**2)
    train = lambda log_lr: anp.sum(hg.train(loss, np.ones(2), hg.SGD(anp.exp(log_lr), 0.0), steps=2))
    found = descents.history(train, -1.0, steps=3, step_size=1e4)
    assert len(found) == 1 and "ended early: in meta-iteration 1, SGD.lr must lie in" in capsys.readouterr().out
    (values,) = descents.columns([(e.value,) for e in found], 4)
    assert np.isfinite(values[0]) and np.isnan(values[1:]).all() and values.shape == (4,)
    too_far = found[0]._replace(hypers=1e3)
    assert np.isnan(descents.or_nan(lambda log_lr: [train(log_lr)] * 3, 3)(too_far)).all()
    assert descents.or_nan(lambda log_lr: [train(log_lr)], 1)(found[0]) == found[0].value


def test_clipping_leaves_small_gradients_alone_and_shortens_large_ones():
    small, large = anp.array([5.0, 0.3, 0.4]), anp.array([1.0, 30.0, 40.0])
    kept, clipped = descents.clipping(5.0)([small, large])
    assert anp.array_equal(kept, small)
    assert anp.linalg.norm(clipped[1:]) == pytest.approx(5.0) and clipped[1] / clipped[2] == pytest.approx(0.75)


def test_the_scales_of_the_learned_distributions_matter_and_not_their_shape():
    """Normal weights of the same standard deviations train as well, on the draws that were not trained on."""
    config, results = checked_in(jan16_initial_dist, 4)
    ((X, T),) = hg.data.load_mnist(1_000)
    model = hg.nn.MLP([784, 50, 10])
    batch_loss = hg.nn.MinibatchLoss(model, X, T, 250)
    ours, seeds = [], range(3)
    for seed in seeds:
        free = results.free[-1, seed, anp.nanargmin(results.value[-1, seed])]
        drawn = hg.init.quantile(model.shapes, [(free[0], free[1]), (free[2], free[3])], 10**6)
        scales = [tuple(float(anp.std(w)) for w in layer) for layer in drawn]
        for draw in range(config.held_out):
            params = hg.init.scaled_normal(model.shapes, scales, 10**6 + draw)
            ours.append(model.loss(hg.train(batch_loss, params, hg.SGD(1.0, 0.9), steps=20), X, T))
    _, found, fan_in = anp.moveaxis(results.held_out[-1, : len(seeds)], -1, 0)
    assert anp.mean(ours) == pytest.approx(found.mean(), rel=0.05)
    assert anp.mean(ours) < 0.75 * fan_in.mean()
