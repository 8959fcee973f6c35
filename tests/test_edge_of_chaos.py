"""The experiment on the edge of chaos: small runs of its parts, and what the log says of the checked-in results."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import t

from experiments import edge_of_chaos
from experiments.parts.edge_of_chaos import edge_agreement, edge_curves, edge_sharpness
from experiments.shared import results, small_net

SMALL = {"images": 50, "batch_size": 25, "steps": 10, "width": 5, "budget": 16, "seeds": 2}


def checked_in(part):
    return results.load(edge_of_chaos, results.FIGURES / "edge_of_chaos", part)


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        (
            2,
            {f"varied_{name}": (SMALL.get(name, 0.5),) for name in edge_curves.LABELS} | {"varied_hidden_layers": (0,)},
        ),
        (3, {"momenta": (0.5,), "batch_sizes": (25,), "step_counts": (10,), "checkpoints": 3}),
    ],
)
def test_a_small_run_is_stored_and_drawn(part, changed, tmp_path):
    config = dataclasses.replace(edge_of_chaos.PARTS[part], **SMALL, **changed)
    found = results.kind(config).run(config, 1, tmp_path / "cache")
    assert len({len(array) for name, array in found._asdict().items() if name != "counts"}) == 1
    assert (found.sharpness[..., 0] > 0.0).all()
    assert (found.loss[..., -1] < found.loss[..., 0]).any()
    results.save("edge_of_chaos", tmp_path, part, config, found, 0.0, "")
    assert results.draw(edge_of_chaos, tmp_path, part, config, found).stat().st_size > 10_000


def test_runs_that_curves_share_are_computed_once():
    nets = edge_of_chaos.PARTS[2].nets()
    assert len(nets) == len(set(nets)) == 6 * 5 - 5


def test_the_calm_trainings_are_reproduced():
    config, stored = checked_in(2)
    net = config.nets()[0]
    for seed in (1, config.seeds - 1):
        rows = small_net.sharpness_along(net, seed, stored.location[seed, 0] - config.calm, stored.counts[0][:3])
        for ours, name in zip(rows.T, ("loss", "sharpness", "batch_sharpness"), strict=True):
            np.testing.assert_allclose(ours, getattr(stored, name)[seed, 0, :3], rtol=1e-6)


def test_calm_points_of_the_sweep_are_reproduced():
    config, stored = checked_in(1)
    for seed, at in ((1, 0), (config.seeds - 1, 20)):
        again = edge_agreement.point(config, seed, stored.log_lr[at])
        for name in ("loss", "gradient", "growth", "late_growth"):
            assert again[name] == pytest.approx(getattr(stored, name)[seed, at], rel=1e-5), (seed, name)


def test_the_signs_of_the_edge_follow_from_the_sweep():
    config, stored = checked_in(1)
    assert config.seeds >= 10
    flips, onsets, dense = [], [], []
    for loss, slope, late in zip(stored.loss, stored.gradient, stored.late_growth):
        middles = (stored.log_lr[1:] + stored.log_lr[:-1]) / 2.0
        flips.append(middles[slope[1:] * slope[:-1] < 0.0][0])
        onsets.append(stored.log_lr[late > 1.0 / 25.0][0])
        for start in range(len(loss) - 10):  # windows of width 0.1
            width, at = np.diff(stored.log_lr[start : start + 11]), slice(start, start + 11)
            areas = width * (slope[at][1:] + slope[at][:-1]) / 2.0
            magnitude = np.sum(width * (np.abs(slope[at][1:]) + np.abs(slope[at][:-1])) / 2.0)
            if abs(areas.sum() - (loss[start + 10] - loss[start])) > 0.05 * magnitude:
                dense.append(stored.log_lr[start + 10])
                break
    named = edge_agreement.numbers(stored, config)
    for name, places in (("flip", flips), ("onset", onsets), ("dense", dense)):
        apart = np.array(places) - stored.location
        half = t.ppf(0.975, config.seeds - 1) * apart.std(ddof=1) / np.sqrt(config.seeds)
        assert named[f"{name} less located"] == pytest.approx((apart.mean(), apart.mean() - half, apart.mean() + half))
    assert (stored.late_growth > 0.0).all() and (stored.growth > 0.0).all(), "the sign of λ does not mark the edge"
    low, high = stored.bracket.T
    page = " ".join((results.ROOT / "docs" / "chaos.md").read_text().split())
    assert np.sum((low <= dense) & (dense <= high)) == 9 and "nine brackets of ten hold it" in page
    assert f"the location is {np.mean(dense - stored.location):.2f} early in the mean" in page


def test_the_bound_holds_for_all_images_and_momentum_and_not_without():
    config, stored = checked_in(2)
    assert config.seeds >= 10
    nets = config.nets()
    highest = edge_curves.bounds(stored, nets)["highest sharpness in a calm training"]
    apart = stored.location - highest
    above = np.median(apart, axis=0)
    few, all_images, calm = (
        nets.index(small_net.run_of(config, **changed))
        for changed in ({"batch_size": 25}, {"batch_size": 500}, {"momentum": 0.0})
    )
    assert abs(above[all_images]) < 0.2 and above[calm] > 0.5 and above[few] < -2.0
    named = edge_curves.numbers(stored, config)
    for value, at in (("batch size 25", few), ("batch size 500", all_images), ("momentum 0", calm)):
        half = t.ppf(0.975, config.seeds - 1) * apart[:, at].std(ddof=1) / np.sqrt(config.seeds)
        mean = apart[:, at].mean()
        assert named[f"edge less bound, {value}"] == pytest.approx((mean, mean - half, mean + half)), value
        assert named[f"seeds with the edge above the bound, {value}"] == sum(one > 0.0 for one in apart[:, at]), value
    base = stored.location[:, nets.index(small_net.run_of(config))]
    earlier = (stored.location[:, few] - base).mean()
    assert named["edge less that of the base, batch size 25"].mean == pytest.approx(earlier)
    fall = (stored.location[:, all_images] - stored.location[:, few]).mean()
    assert named["edge, last less first batch_size"].mean == pytest.approx(fall)


def test_where_training_sits_at_the_edge():
    config, stored = checked_in(3)
    assert config.seeds == len(stored.log_lr) >= 10
    momentum = np.array([net.momentum for net in config.nets()])
    peaks = [
        edge_sharpness.to_limit(stored.sharpness[:, n], stored.log_lr[:, n], beta).max(axis=-1)
        for n, beta in enumerate(momentum)
    ]
    assert (peaks[0][:, :2] < 1.0).all()
    assert (peaks[1][:, 0] < 1.0).all() and (peaks[1][:, 1:] > 1.0).all()
    named = edge_sharpness.numbers(stored, config)
    for n, beta in enumerate(momentum):
        for r, offset in enumerate(config.offsets):
            ours, name = peaks[n][:, r], f"momentum {beta:g}, offset {offset:g}"
            half = t.ppf(0.975, config.seeds - 1) * ours.std(ddof=1) / np.sqrt(config.seeds)
            assert named[f"peak, {name}"] == pytest.approx((ours.mean(), ours.mean() - half, ours.mean() + half))
    past = stored.sharpness[:, 1, -1] > 2.0 / np.exp(stored.log_lr[:, 1, -1])[:, None]
    assert named[f"seeds above 1 at the end, momentum 0, offset {config.offsets[-1]:g}"] == past[:, -1].sum()
    late = past[:, past.shape[1] // 2 :].any(axis=-1)
    assert named[f"seeds above 1 in the second half, momentum 0, offset {config.offsets[-1]:g}"] == late.sum()
