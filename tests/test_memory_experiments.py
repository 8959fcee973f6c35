"""The experiments with recurrences: frozen and learned memory, gates at time one, least squares, completions."""

import dataclasses

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.extend import defvjp, primitive

import hypergrad as hg
from experiments import aug08_trained_memory as aug08
from experiments import aug10_time_gates as aug10
from experiments.parts.aug08_trained_memory import memorised_digit, memory_range
from experiments.parts.aug10_time_gates import digit_completion
from experiments.shared import pixel_memory, results, search

PARTS = [(module, part) for module in (aug08, aug10) for part in module.PARTS]
RNG = np.random.default_rng(0)
X, T = RNG.standard_normal((6, 9, 2)), RNG.standard_normal((6, 9, 1))


def checked_in(module, part):
    return results.load(module, results.FIGURES / module.__name__.split(".")[-1], part)


@primitive
def stopped(a):
    """The same value, through which no gradient comes."""
    return a + 0.0


defvjp(stopped, lambda ans, a: lambda g: np.zeros_like(g))


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("optimizer", [hg.SGD(0.05, 0.9), hg.Adam(0.01)])
def test_a_memory_split_off_gives_the_bits_of_a_stopped_gradient(gated, optimizer):
    model = hg.nn.DiagonalRecurrence(2, 5, 1, gated=gated, levels=2, targets="reals")
    start = model.init(0, {"input": 0.3})
    memory, rest = pixel_memory.split(start)
    assert not any(name in level for level in rest["levels"] for name in pixel_memory.MEMORY)

    def frozen(rest, hyper, step):
        return model.loss(pixel_memory.joined(memory, rest), X, T)

    def with_stop(params, hyper, step):
        kept, others = pixel_memory.split(params)
        kept = [{name: stopped(leaf) for name, leaf in level.items()} for level in kept]
        return model.loss(pixel_memory.joined(kept, others), X, T)

    ours = pixel_memory.joined(memory, hg.train(frozen, rest, optimizer, steps=8, check_purity=False))
    theirs = hg.train(with_stop, start, optimizer, steps=8, check_purity=False)
    moved = hg.train(lambda p, h, t: model.loss(p, X, T), start, optimizer, steps=8)
    for level, (a, b, c) in enumerate(zip(ours["levels"], theirs["levels"], moved["levels"], strict=True)):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
            assert not np.array_equal(a[name], c[name]), name
        for name in pixel_memory.MEMORY:
            np.testing.assert_array_equal(a[name], start["levels"][level][name])
    np.testing.assert_array_equal(ours["output"], theirs["output"])


@pytest.mark.parametrize("learns_memory", [False, True])
def test_training_with_a_memory_and_its_hypergradient(learns_memory):
    """The memory may be differentiated whether it is learned or not; against central differences."""
    model = hg.nn.DiagonalRecurrence(2, 4, 1, targets="reals")
    batch_loss, params = hg.nn.MinibatchLoss(model, X, T, 3), model.init(1, {"input": 0.3})

    def after(ranges):
        start = pixel_memory.with_ranges(params, ranges, 3)
        saved = pixel_memory.trained(batch_loss, start, learns_memory=learns_memory, lr=0.01, counts=[0, 4])
        assert (saved[0]["levels"][0]["angle"] is not None) and len(saved) == 2
        return model.loss(saved[-1], X, T)

    ranges = np.array([[-3.0, -1.0], [-2.0, 1.0]])
    found, differences = grad(after)(ranges), np.empty((2, 2))
    for i in np.ndindex(2, 2):
        shift = np.zeros((2, 2))
        shift[i] = 1e-5
        differences[i] = (after(ranges + shift) - after(ranges - shift)) / 2e-5
    assert np.linalg.norm(found) > 1e-4
    np.testing.assert_allclose(found, differences, rtol=1e-4, atol=1e-6 * np.linalg.norm(found))


def test_memories_are_drawn_from_their_ranges():
    params = hg.nn.DiagonalRecurrence(1, 4_000, 1).init(0, dtype=np.float32)
    level = pixel_memory.with_ranges(params, pixel_memory.DEFAULT_RANGES, 5)["levels"][0]
    assert level["angle"].dtype == level["log_decay"].dtype == np.float32
    for values, low, high in (
        (1.0 - np.exp(-np.exp(level["log_decay"].astype(float))), 1e-4, 1e-3),
        (level["angle"], 2 * np.pi / 1000, 2 * np.pi),
    ):
        assert low * 0.999 < values.min() < low * 1.01 and high * 0.99 < values.max() < high * 1.001
        assert np.median(values) == pytest.approx(np.sqrt(low * high), rel=0.2)
    np.testing.assert_array_equal(memory_range.in_ranges(np.zeros(4)), pixel_memory.DEFAULT_RANGES)


def test_at_time_one_gates_do_nothing_and_the_stack_is_that_of_the_model():
    plain = hg.nn.DiagonalRecurrence(2, 5, 3, levels=3, targets="reals")
    gated = hg.nn.DiagonalRecurrence(2, 5, 3, levels=3, gated=True, targets="reals")
    params = plain.init(0)
    with_gates = {
        **params,
        "levels": [
            {**level, "gate": RNG.standard_normal((len(level["input"]), 5)), "gate_bias": RNG.standard_normal(5)}
            for level in params["levels"]
        ],
    }
    close = {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(pixel_memory.read(params, X)[0], plain.logits(params, X), **close)
    np.testing.assert_allclose(pixel_memory.read(with_gates, X)[0], gated.logits(with_gates, X), **close)
    at_one = pixel_memory.read(with_gates, X, gate="one")[0]
    np.testing.assert_allclose(at_one, plain.logits(params, X), **close)
    late = [{**level, "gate": 0.0 * level["gate"], "gate_bias": np.full(5, 50.0)} for level in with_gates["levels"]]
    np.testing.assert_allclose(gated.logits({**params, "levels": late}, X), at_one, **close)
    unbiased = [{**level, "gate_bias": np.zeros(5)} for level in with_gates["levels"]]
    no_bias = pixel_memory.read(with_gates, X, gate="no bias")[0]
    np.testing.assert_allclose(no_bias, gated.logits({**params, "levels": unbiased}, X), **close)
    assert np.abs(no_bias - at_one).max() > 1e-3


def test_a_skip_path_adds_what_a_level_reads():
    """By silencing the levels above: without the path nothing is left, with it the first level is."""
    model = hg.nn.DiagonalRecurrence(2, 5, 3, levels=3, targets="reals")
    params = model.init(0)
    silent = [params["levels"][0], *({**level, "input": 0.0 * level["input"]} for level in params["levels"][1:])]
    one_level = hg.nn.DiagonalRecurrence(2, 5, 3, targets="reals").logits({**params, "levels": silent[:1]}, X)
    with_path, _ = pixel_memory.read({**params, "levels": silent}, X, skip=True)
    without, _ = pixel_memory.read({**params, "levels": silent}, X)
    np.testing.assert_allclose(with_path, one_level, rtol=1e-12)
    assert not without.any() and with_path.any()


def test_reading_goes_on_from_the_states_of_each_level():
    params = hg.nn.DiagonalRecurrence(2, 5, 3, levels=2, gated=True, targets="reals").init(0)
    whole, last = pixel_memory.read(params, X)
    _, states = pixel_memory.read(params, X[:, :4])
    rest, again = pixel_memory.read(params, X[:, 4:], first=states)
    np.testing.assert_allclose(rest, whole[:, 4:], rtol=1e-12, atol=1e-13)
    for a, b in zip(again, last, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def test_no_training_of_the_weights_comes_below_the_best_readout():
    model = hg.nn.DiagonalRecurrence(1, 4, 1, targets="reals")
    params, x = model.init(0, {"input": 0.3}), X[..., :1]
    limit, elsewhere = pixel_memory.best_readout(params["levels"][0], x, T, (x[:2], T[:2]))
    batch_loss = hg.nn.MinibatchLoss(model, x, T)
    found = pixel_memory.trained(batch_loss, params, learns_memory=False, lr=0.02, counts=[3_000])[0]
    assert limit <= model.loss(found, x, T) < 1.05 * limit < model.loss(params, x, T)
    assert elsewhere != limit


def test_pixels_are_asked_for_after_those_before_them():
    (sequences,) = pixel_memory.pieces(0, 14, 3)
    inputs, targets = pixel_memory.to_predict(sequences)
    assert inputs.shape == targets.shape == (3, 196, 1) and inputs.dtype == np.float32
    assert not inputs[:, 0].any()
    np.testing.assert_array_equal(inputs[:, 1:], targets[:, :-1])
    image = hg.data.load_mnist(1)[0][0]
    pooled = pixel_memory.pooled(image, 14)[0]
    assert pooled[14 * 5 + 6] == pytest.approx(image.reshape(28, 28)[10:12, 12:14].mean())
    np.testing.assert_array_equal(pixel_memory.pooled(image, 28), image)


def test_what_completes_a_digit_sees_its_upper_half_only():
    config = dataclasses.replace(aug10.PARTS[2], per_digit=2, units=6, side=14)
    _, _, unseen = digit_completion.images(0, config)
    other = unseen.copy()
    other[:, 98:] = 0.5
    inputs = digit_completion.upper(unseen)
    np.testing.assert_array_equal(inputs, digit_completion.upper(other))
    np.testing.assert_allclose(inputs[3, :7, :14].ravel(), unseen[3, :98], rtol=1e-6)
    assert inputs[:, 7, 14].all() and not inputs[:, 7:, :14].any() and inputs[..., 14].sum() == len(inputs)
    model = hg.nn.DiagonalRecurrence(15, 6, 14, gated=True, targets="reals")
    params = model.init(0)
    found = digit_completion.drawn(params, inputs)
    _, states = pixel_memory.read(params, inputs[:, :7])
    np.testing.assert_allclose(digit_completion.drawn_from(params, states, inputs), found, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gated", [False, True])
def test_mixed_states_are_drawn_as_mixed_drawings_and_mixed_inputs_only_without_gates(gated):
    config = dataclasses.replace(aug10.PARTS[2], per_digit=2, units=6, side=14, pairs=4)
    _, _, unseen = digit_completion.images(0, config)
    params = hg.nn.DiagonalRecurrence(15, 6, 14, gated=gated, targets="reals").init(0)
    apart, shown = digit_completion.mixtures(config, params, unseen, np.random.default_rng(0))
    assert apart[0].max() < 1e-6 and (apart[1, 1:-1].min() > 1e-3 if gated else apart[1].max() < 1e-6)
    assert shown.shape == (2, 5, 196) and np.isfinite(shown).all()


def test_baselines_of_completions():
    rng = np.random.default_rng(0)
    sequences = rng.uniform(size=(50, 8))
    sequences[:, 4:] = sequences[:, :4] @ rng.standard_normal((4, 4)) + 1.0
    mean, nearest, ridge = digit_completion.baselines(sequences, sequences[:5, :4])
    np.testing.assert_allclose(mean, np.tile(sequences[:, 4:].mean(axis=0), (5, 1)))
    np.testing.assert_array_equal(nearest, sequences[:5, 4:])
    assert np.mean((ridge - sequences[:5, 4:]) ** 2) < 0.1 * np.mean((mean - sequences[:5, 4:]) ** 2)


def test_looks_and_left_out_digits_are_counted_where_they_belong():
    centres = np.arange(10.0)[:, None] * np.ones(3)
    found = np.stack([np.full((4, 3), digit) for digit in (0, 1, 2, 3, 4, 5, 6, 7, 8, 2)])
    shares = digit_completion.looks_like(found + 0.1, centres)
    assert shares[9, 2] == 1.0 and np.trace(shares) == 9.0 and (shares.sum(axis=1) == 1.0).all()
    errors = np.arange(110.0).reshape(11, 10)
    np.testing.assert_array_equal(digit_completion.own(errors), [10.0 + 11.0 * digit for digit in range(10)])


def test_the_first_evaluations_of_the_searches_for_a_range_are_reproduced(tmp_path):
    config, stored = checked_in(aug08, 2)
    f = lambda z, number: memory_range.loss_after_training(config, memory_range.in_ranges(z), number)
    path = search.descent(f, 4, 4 * search.COST, config.meta_step, tmp_path / "descent")
    ours = [memory_range.in_ranges(path.after(spent)) for spent in stored.trainings[:4]]
    np.testing.assert_allclose(ours, stored.path[0, :4], rtol=1e-4)
    again = memory_range.loss_after_training(config, stored.ranges[-1, 1], memory_range.UNSEEN + 3)
    assert again == pytest.approx(stored.value[memory_range.METHODS.index("hypergradient"), 1, 3], rel=1e-3)
    assert stored.trainings[-1] <= config.trainings


def test_the_start_of_long_trainings_is_reproduced():
    config, stored = checked_in(aug08, 1)
    few = dataclasses.replace(config, steps=int(stored.steps[1]), points=2)
    value, _, limit, memory = aug08.compare(few, 4, 2, None)
    np.testing.assert_allclose(value, stored.value[0, 2, :, :2], rtol=1e-4)
    np.testing.assert_allclose(limit, stored.limit[0, 2], rtol=1e-6)
    np.testing.assert_allclose(memory[0], stored.memory[0, 2, 0], rtol=1e-6)
    assert (stored.train[:, :, 0] >= 0.999 * stored.limit[..., 0]).all(), "least squares is the least"


def test_the_smallest_drawing_by_heart_is_reproduced():
    config, stored = checked_in(aug08, 3)
    errors, _, image, _ = memorised_digit.draw(dataclasses.replace(config, every=config.steps), 50, 1, None)
    assert errors[0] == pytest.approx(stored.value[config.units.index(50), 1, 0], rel=1e-6), "least squares"
    assert errors[1] > stored.value[config.units.index(50), 1, 1], "not trained"
    np.testing.assert_allclose(image, stored.image[1])


def test_models_without_gates_are_reproduced():
    config, stored = checked_in(aug10, 1)
    value, train, time = aug10.compare(config, "no gates", 1, None)
    np.testing.assert_allclose([value, train], [stored.value[0, 1], stored.train[0, 1]], rtol=0.02)
    assert (time == 1.0).all() and anp.isfinite(stored.value).all()


@pytest.mark.parametrize(("module", "part"), PARTS)
def test_intervals_of_the_log_are_those_of_enough_seeds_or_draws(module, part):
    config, stored = checked_in(module, part)
    named = results.kind(config).numbers(stored, config)
    assert all(np.isfinite(value).all() for value in named.values())
    if (module, part) == (aug08, 2):
        assert stored.value.shape[2] >= 10, "unseen draws"
        difference = stored.value[3] - stored.value[1]
        mean, low, high = named["hypergradient less random search"]
        runs, draws = (difference.mean(axis=axis).std(ddof=1) for axis in (1, 0))
        least = 1.96 * np.sqrt(runs**2 / config.seeds + draws**2 / stored.value.shape[2])  # no t is smaller
        assert mean == pytest.approx(difference.mean()) and high - mean == pytest.approx(mean - low)
        assert least < high - mean < 2.27 * least / 1.96, "t of 9 degrees of freedom or more"
    assert config.seeds >= 10
