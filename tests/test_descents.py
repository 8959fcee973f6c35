"""The experiments with meta-descent: short runs, their checked-in results and figures."""

import dataclasses
import json

import autograd.numpy as np
import matplotlib
import numpy as onp
import pytest
from matplotlib.testing.compare import compare_images

import hypergrad as hg
from experiments import jan15_lr_schedule, jan16_initial_dist
from experiments.shared import descents, runner

PARTS = [(module, part) for module in (jan15_lr_schedule, jan16_initial_dist) for part in module.PARTS]
NAMES = [f"{module.__name__.split('.')[-1]}-{part}" for module, part in PARTS]


def checked_in(module, part):
    folder = runner.FIGURES / module.__name__.split(".")[-1]
    return folder, *runner.load(module, folder, part)


@pytest.mark.parametrize(("module", "part"), PARTS, ids=NAMES)
def test_a_short_run_agrees_with_the_checked_in_results_and_is_drawn(module, part, tmp_path):
    full = module.PARTS[part]
    config = dataclasses.replace(full, every=full.quick_every, seeds=1)
    results = module.run(config, jobs=1, cache=tmp_path / "cache")
    assert runner.draw(module, tmp_path, part, config, results).stat().st_size > 10_000
    _, _, stored = checked_in(module, part)
    if results.gradient.shape[-1] == stored.gradient.shape[-1]:  # trainings of the same length
        for name in ("value", "gradient"):
            ours, theirs = (getattr(r, name)[:, :1, :2] for r in (results, stored))
            # One meta-step is calm everywhere but where the meta-step itself is far too large.
            calm = np.flatnonzero(theirs[:, 0, 1].reshape(len(theirs), -1).max(axis=1) < 1.0)
            assert np.linalg.norm((ours - theirs)[:, :, 0]) <= 1e-6 * np.linalg.norm(theirs[:, :, 0])
            assert np.linalg.norm((ours - theirs)[calm]) <= 1e-6 * np.linalg.norm(theirs[calm])


@pytest.mark.parametrize(("module", "part"), PARTS, ids=NAMES)
def test_checked_in_figures_redraw(module, part, tmp_path):
    folder, config, results = checked_in(module, part)
    assert config == module.PARTS[part], "the checked-in results are those of the full run"
    path = runner.draw(module, tmp_path, part, config, results)
    if json.loads((folder / f"part{part}.json").read_text())["versions"]["matplotlib"] == matplotlib.__version__:
        assert compare_images(str(folder / f"part{part}.png"), str(path), tol=5.0) is None


def test_learned_distributions_beat_their_start_and_the_fan_in_rule_on_draws_not_trained_on():
    _, _, results = checked_in(jan16_initial_dist, 4)
    start, found, fan_in = np.moveaxis(results.held_out[-1], -1, 0)
    assert (found.max(axis=1) < start.min(axis=1)).all()
    assert (found.mean(axis=1) < 0.8 * fan_in.mean(axis=1)).all()


def test_a_descent_that_diverges_keeps_what_it_reached(capsys):
    loss = lambda w, hyper, step: 0.5 * np.sum(w**2)
    train = lambda log_lr: np.sum(hg.train(loss, onp.ones(2), hg.SGD(np.exp(log_lr), 0.0), steps=2))
    found = descents.history(train, -1.0, steps=3, step_size=1e4)
    assert len(found) == 1 and "ended early: in meta-iteration 1, SGD.lr must lie in" in capsys.readouterr().out
    (values,) = descents.columns([(e.value,) for e in found], 4)
    assert onp.isfinite(values[0]) and onp.isnan(values[1:]).all() and values.shape == (4,)
    too_far = found[0]._replace(hypers=1e3)
    assert onp.isnan(descents.or_nan(lambda log_lr: [train(log_lr)] * 3, 3)(too_far)).all()
    assert descents.or_nan(lambda log_lr: [train(log_lr)], 1)(found[0]) == found[0].value


def test_clipping_leaves_small_gradients_alone_and_shortens_large_ones():
    small, large = np.array([5.0, 0.3, 0.4]), np.array([1.0, 30.0, 40.0])
    kept, clipped = descents.clipping(5.0)([small, large])
    assert np.array_equal(kept, small)
    assert np.linalg.norm(clipped[1:]) == pytest.approx(5.0) and clipped[1] / clipped[2] == pytest.approx(0.75)


def test_the_scales_of_the_learned_distributions_matter_and_not_their_shape():
    """Normal weights of the same standard deviations train as well, on the draws that were not trained on."""
    _, config, results = checked_in(jan16_initial_dist, 4)
    ((X, T),) = hg.data.load_mnist(1_000)
    model = hg.nn.MLP([784, 50, 10])
    batch_loss = hg.nn.MinibatchLoss(model, X, T, 250)
    ours = []
    for seed in range(config.seeds):
        free = results.free[-1, seed, np.nanargmin(results.value[-1, seed])]
        drawn = hg.init.quantile(model.shapes, [(free[0], free[1]), (free[2], free[3])], 10**6)
        scales = [tuple(float(np.std(w)) for w in layer) for layer in drawn]
        for draw in range(config.held_out):
            params = hg.init.scaled_normal(model.shapes, scales, 10**6 + draw)
            ours.append(model.loss(hg.train(batch_loss, params, hg.SGD(1.0, 0.9), steps=20), X, T))
    _, found, fan_in = np.moveaxis(results.held_out[-1], -1, 0)
    assert np.mean(ours) == pytest.approx(found.mean(), rel=0.05)
    assert np.mean(ours) < 0.75 * fan_in.mean()
