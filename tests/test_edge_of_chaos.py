"""The experiment on the edge of chaos: small runs of its parts, and what the log says of the checked-in results."""

import dataclasses

import numpy as np
import pytest

from experiments import edge_of_chaos
from experiments.shared import edge_curves, edge_sharpness, results, small_net

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
    rows = small_net.sharpness_along(net, 1, stored.location[1, 0] - config.calm, stored.counts[0][:3])
    for ours, name in zip(rows.T, ("loss", "sharpness", "batch_sharpness")):
        np.testing.assert_allclose(ours, getattr(stored, name)[1, 0, :3], rtol=1e-6)


def test_the_signs_of_the_edge_agree():
    config, stored = checked_in(1)
    for seed, location in enumerate(stored.location):
        assert abs(stored.flips(seed)[0] - location) <= 0.1
        assert 0.1 <= stored.onset(seed, 2.0 / config.steps) - location <= 0.45
    assert (stored.late_growth > 0.0).all() and (stored.growth > 0.0).all()


def test_the_bound_holds_for_all_images_and_momentum_and_not_without():
    config, stored = checked_in(2)
    nets = config.nets()
    highest = edge_curves.bounds(stored, nets)["highest sharpness in a calm training"]
    above = np.median(stored.location - highest, axis=0)
    assert abs(above[nets.index(small_net.run_of(config, batch_size=500))]) < 0.2
    assert above[nets.index(small_net.run_of(config, momentum=0.0))] > 0.5
    assert above[nets.index(small_net.run_of(config, batch_size=25))] < -2.0


def test_where_training_sits_at_the_edge():
    config, stored = checked_in(3)
    momentum = np.array([net.momentum for net in config.nets()])
    peaks = [
        edge_sharpness.to_limit(stored.sharpness[:, n], stored.log_lr[:, n], beta).max(axis=-1)
        for n, beta in enumerate(momentum)
    ]
    assert (peaks[0] < 1.0).all()
    assert (peaks[1][:, 0] < 1.0).all() and (peaks[1][:, 1:] > 1.0).all()
