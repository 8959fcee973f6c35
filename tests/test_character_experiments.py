"""The experiments on character models: what they vary, and their checked-in results."""

from itertools import pairwise

import numpy as np
import pytest
from autograd import grad
from scipy import stats

import hypergrad as hg
from experiments import jun01_window_attention as jun01
from experiments import jun05_activations as jun05
from experiments import may24_compute_gate as may24
from experiments import may28_initial_scales as may28
from experiments.shared import character_blocks as blocks
from experiments.shared import flops, results, search, text
from experiments.shared.intervals import crossed_interval, t_interval
from hypergrad.nests import flatten


def checked_in(module):
    return results.load(module, results.FIGURES / module.__name__.split(".")[-1], 1)


@pytest.mark.parametrize("name", may28.RECIPES)
def test_a_recipe_is_read_off_the_shapes(name):
    config = may28.Config()
    params = may28.initial(config, name, 0)
    variance = {"he": lambda m, n: 2 / m, "1/√in": lambda m, n: 1 / m, "glorot": lambda m, n: 2 / (m + n)}[name]
    (block,) = params["blocks"]
    added = {"output": 0.5, "down": 0.5}  # 1 / (2 · depth)
    for key, w in {**block, "embedding": params["embedding"], "head": params["head"]}.items():
        if np.ndim(w) == 2:
            expected = np.sqrt(variance(*w.shape) * added.get(key, 1.0))
            assert np.std(w) == pytest.approx(expected, rel=0.1), key
            assert w.dtype == np.float32
    assert (block["norm"]["gain"] == 1.0).all() and (block["up_bias"] == 0.0).all()


def test_a_scale_of_the_transformer_is_a_factor_of_its_weights():
    config, z = may28.Config(), np.zeros(8)
    z[may28.HYPERS.index("mlp")] = np.log(2.0)
    one, other = (flatten(may28.initial(config, each, 3))[0] for each in (np.zeros(8), z))
    changed = [not np.array_equal(a, b) for a, b in zip(one, other)]
    assert sum(changed) == 2
    assert all(np.allclose(2.0 * a, b) for a, b, differs in zip(one, other, changed) if differs)


def test_no_minibatch_comes_twice_and_none_is_of_the_text_held_out():
    config = may28.Config(steps=10)
    batches = may28.minibatches(config, 0)
    assert batches.batches == 20 and len(np.unique(batches.X, axis=0)) == 160
    assert all(len(piece) == config.length for piece in batches.X)


def test_shapes_with_a_0_are_the_identity_and_with_minus_1_those_of_x_plus_tanh_x():
    x = np.linspace(-3.0, 3.0, 7)
    for a, expected in ((0.0, x), (-1.0, x + np.tanh(x))):
        z = np.array([a] * 3 + [0.0] * 4)
        for activation in jun05.shapes_of(z):
            np.testing.assert_allclose(activation(x), expected)
    config, log_rate = jun05.Config(steps=5), np.log(0.01)
    learned = jun05.losses_of(config, None, np.array([-1.0] * 3 + [0.0] * 3 + [log_rate]), 0)
    fixed = jun05.losses_of(config, jun05.KINDS["x + tanh x"], np.array([log_rate]), 0)
    np.testing.assert_allclose(learned, fixed, rtol=1e-5)


def test_the_hypergradient_by_the_shapes_is_the_slope_of_the_loss():
    config = jun05.Config(steps=5, batch_size=16, examples=64, eps=0.1)  # with a smaller ε first steps are signs
    z = np.array([-0.5, 0.2, 0.4, 0.1, 0.0, -0.1, -3.0])
    f = lambda z: jun05.losses_of(config, None, z, 0)[0]
    slopes = grad(f)(z)
    for i in range(7):
        step = 0.02 * np.eye(7)[i]
        assert slopes[i] == pytest.approx((f(z + step) - f(z - step)) / 0.04, rel=0.02, abs=2e-3), i


def test_an_evolution_begins_at_its_start():
    f = lambda x: float(np.sum(x**2))
    start = np.full(3, 2.0)
    found = search.by_evolution_from(f, start, 60, seed=1, length=0.3)
    assert len(found.values) == 60 and (found.points[0] == start).all()
    assert np.linalg.norm(found.points[1] - start) < 1.5 and found.values.min() < 0.3 * f(start)


def test_points_of_the_initial_scales_are_computed_again():
    config, found = checked_in(may28)
    best = int(np.nanargmin(found.by_rate))
    again = may28.mean_loss(config, np.zeros(8), config.log_rates[best])
    assert again == pytest.approx(found.by_rate[best], rel=5e-3)
    slope = may28.slope(config, config.log_rates[best], 0, config.eps)
    np.testing.assert_allclose(slope, found.slopes[0, 0], rtol=0.3, atol=0.03)
    np.testing.assert_array_equal(found.z[:, 0], 0.0)


def test_points_of_the_activations_are_computed_again():
    config, found = checked_in(jun05)
    for name in ("relu", "x + tanh x"):
        i = list(jun05.KINDS).index(name)
        again = jun05.mean_loss(config, jun05.KINDS[name], np.log(10.0) * np.array([config.log_rates[0]]), 0)
        assert again == pytest.approx(found.by_rate[i, 0], rel=5e-3), name


def test_what_ten_runs_say_of_the_activations_and_three_did_not():
    config, found = checked_in(jun05)
    named, compared = jun05.numbers(found, config), found.compared()
    learned, searched = compared["learned from x"], compared["search"]
    for name, low in (("gelu", 0), ("relu", 0), ("x", 1)):  # runs of the search below x, all; below the others, none
        assert named[f"runs below {name}, search"] == low * config.seeds, name
    assert not any(
        named[f"runs below {name}, learned from {start}"] for name in ("gelu", "relu") for start in jun05.STARTS
    )
    for name in ("learned from x", "learned from x + tanh x", "search"):
        assert named[f"{name} less relu"].low > 0.0, name
    assert crossed_interval(learned[:3] - compared["x"]).high < 0.0 < named["learned from x less x"].high
    assert crossed_interval(compared["relu"] - searched[:3]).high > 0.0
    worst = found.value[0, learned.mean(axis=1).argmax()]
    assert worst.argmin() == len(worst) - 4 and worst.argmax() == len(worst) - 1
    a = found.z[0, :, -1, :3]
    assert [t_interval(column[:3]).low > 0.0 for column in a.T] == [True, False, False]
    assert [t_interval(column).low > 0.0 for column in a.T] == [True, True, False]


def half_width(difference):
    """Of the 95 % interval of the mean of (r, d) differences of r runs on d draws, and its degrees of freedom."""
    terms = [difference.mean(axis=1 - axis).var(ddof=1) / n for axis, n in enumerate(difference.shape)]
    freedom = sum(terms) ** 2 / sum(term**2 / (n - 1) for term, n in zip(terms, difference.shape))
    return np.sqrt(sum(terms)) * stats.t.ppf(0.975, freedom), freedom


def test_runs_of_descent_and_search_are_compared_with_their_own_luck():
    """On the draws alone, as the log had it, the intervals would be shorter."""
    (config, found), (other_config, other) = checked_in(may28), checked_in(jun05)
    assert min(map(len, (found.learned, found.searched, *other.learned, other.searched))) >= 10
    named, other_named = may28.numbers(found, config), jun05.numbers(other, other_config)
    gelu = other.fixed[list(jun05.KINDS).index("gelu")]
    for (mean, low, high), difference in (
        (named["hypergradient less search"], found.learned[..., 0] - found.searched[..., 0]),
        (named["hypergradient less search, twice the steps"], found.learned[..., 1] - found.searched[..., 1]),
        (named["hypergradient less grid, best of each"], found.learned[..., 0] - found.fixed[-1, :, 0]),
        (other_named["learned from x less search"], other.learned[0] - other.searched),
        (other_named["gelu less search"], gelu - other.searched),
    ):
        half, freedom = half_width(difference)
        assert (mean, high - mean, mean - low) == pytest.approx((difference.mean(), half, half), rel=1e-9)
        assert (
            freedom >= len(difference) - 1
            and half > stats.t.ppf(0.975, freedom) * np.std(difference.mean(axis=0), ddof=1) / 10**0.5
        )


def test_blocks_without_recurrence_and_gate_are_the_transformer():
    model = blocks.Blocks(16, 2, 2, 12, 64, activation="gelu", window=5)
    same = hg.nn.Transformer(width=16, depth=2, heads=2, length=12, window=5)
    params = same.init(3, dtype=np.float32)
    X, T = text.windows(text.training(), 4, 12, 0)
    np.testing.assert_allclose(model.loss(params, X, T), same.loss(params, X, T), rtol=1e-6)
    assert flops.products(model) == flops.products(same)
    assert flops.parameters(model) == flops.parameters(same)
    ours, theirs = model.init(3), same.init(3, dtype=np.float32)
    for name in ("query", "output", "up", "down"):
        assert np.std(ours["blocks"][1][name]) == pytest.approx(np.std(theirs["blocks"][1][name]), rel=0.2), name
    np.testing.assert_allclose(model.by_position(params, X, T).mean(), same.loss(params, X, T), rtol=1e-5)


def test_a_gate_is_a_factor_of_what_is_computed():
    model, rng = blocks.Blocks(4, 1, 2, 8, 6, activation="silu", gated=True), np.random.default_rng(0)
    (block,) = model.init(0)["blocks"]
    block["gate_bias"], block["up_bias"] = rng.standard_normal((2, 6))
    a = rng.standard_normal((3, 4))
    gate, up = a @ block["gate"] + block["gate_bias"], a @ block["up"] + block["up_bias"]
    expected = (gate / (1 + np.exp(-gate)) * up) @ block["down"] + block["down_bias"]
    np.testing.assert_allclose(model._computed(block, a), expected, rtol=1e-6)
    plain = blocks.Blocks(4, 1, 2, 8, 9, activation="silu")
    assert flops.training(model) == flops.training(plain), "3 · 6 = 2 · 9 columns"


def test_the_recurrence_of_a_block_is_a_loop():
    model, rng = blocks.Blocks(4, 1, 2, 8, 6, units=5, attends=False), np.random.default_rng(0)
    (block,) = model.init(0)["blocks"]
    a, h, expected = rng.standard_normal((2, 8, 4)), 0.0, []
    z = np.exp(1j * block["angle"] - np.exp(block["log_decay"]))
    for k in range(8):
        h = z * h + a[:, k] @ block["drive"]
        expected.append(h.real @ block["remembered"])
    found = model._remembered(block, a.reshape(16, 4), 2, 8).reshape(2, 8, 4)
    np.testing.assert_allclose(found, np.swapaxes(expected, 0, 1), rtol=1e-4, atol=1e-5)


def test_states_begin_at_order_1_however_long_they_remember():
    model = blocks.Blocks(64, 1, 2, 512, 6, units=256, attends=False)
    (block,) = model.init(1)["blocks"]
    drive = np.random.default_rng(0).standard_normal((20, 512, 64)) @ block["drive"]
    z = np.exp(1j * block["angle"] - np.exp(block["log_decay"]))
    size = np.abs(hg.nn.diagonal_recurrence(z, drive)[:, -1]) ** 2
    assert size.mean() == pytest.approx(1.0, rel=0.15)
    slow = block["log_decay"] < np.median(block["log_decay"])
    assert size[:, slow].mean() / size[:, ~slow].mean() == pytest.approx(1.0, rel=0.3)


@pytest.mark.parametrize(("name", "reach"), [("attention, 2", 2), ("attention, 5", 5), ("recurrence, 2", 16)])
def test_a_window_hides_what_is_further_back_and_the_recurrence_hands_it_on(name, reach):
    model = jun01.model_of(jun01.Config(), name, 16)
    params, X = model.init(0), np.full((1, 16), 97)
    changed = [
        np.abs(model.logits(params, X) - model.logits(params, X + at))[0, -1].max() for at in np.eye(16, dtype=int)
    ]
    assert [bool(change > 1e-4) for change in changed] == [at >= 16 - reach for at in range(16)], changed


def test_gates_have_the_parameters_and_flops_of_what_they_are_compared_with():
    config = may24.Config()
    models = {name: may24.model_of(config, name) for name in may24.KINDS}
    for count in (flops.parameters, flops.training):
        first, second = (count(models[name]) for name in ("MLP, silu", "gate, silu"))
        assert abs(first - second) < 0.005 * first
    spent = {name: may24.steps_of(config, name)[-1] * flops.training(model) for name, model in models.items()}
    assert max(spent.values()) <= 1.01 * min(spent.values()), "within a step"
    assert models["wide gate, silu"].hidden == models["MLP, silu"].hidden == 128


def test_a_mean_over_bins_is_that_over_positions():
    config = jun01.Config()
    losses, bins = np.random.default_rng(0).standard_normal(128), config.bins
    assert bins.tolist() == [0, 1, 2, 4, 8, 16, 32, 64, 128]
    binned = np.array([losses[low:high].mean() for low, high in pairwise(bins)])
    found = jun01.Results(np.empty(0), np.broadcast_to(binned, (2, 3, 4, 8)), np.empty(0))
    own, past = found.own(config), found.past(config)
    assert own.shape == past.shape == (2, 3, 4)
    np.testing.assert_allclose(own[0], losses[:32].mean())
    np.testing.assert_allclose(own[1], losses.mean())
    np.testing.assert_allclose(past, losses[32:].mean())


def test_draws_that_nothing_was_chosen_by_are_of_the_test_text():
    config = blocks.Config()
    X, _ = blocks.held_out(config, 64, 0)
    unseen, _ = blocks.held_out(config, 64, blocks.UNSEEN)
    whole = {part: getattr(text, part)().tobytes() for part in ("validation", "test")}
    assert bytes(X[0].astype(np.uint8)) in whole["validation"] and bytes(unseen[0].astype(np.uint8)) in whole["test"]
    assert min(config.unseen_seeds) >= blocks.UNSEEN and len(config.unseen_seeds) >= 10


def test_points_of_the_compute_gate_are_computed_again():
    config, found = checked_in(may24)
    again = may24.tune(config, {"kind": "gate, silu", "log_rate": config.log_rates[0]}, 1)["loss"]
    assert again == pytest.approx(found.by_rate[list(may24.KINDS).index("gate, silu"), 0, 1], rel=5e-3)


def test_points_of_the_windows_are_computed_again():
    config, found = checked_in(jun01)
    again = jun01.tune(config, {"kind": "recurrence, 2", "log_rate": config.log_rates[0]}, 0)["loss"]
    assert again == pytest.approx(found.by_rate[list(jun01.KINDS).index("recurrence, 2"), 0, 0], rel=5e-3)
