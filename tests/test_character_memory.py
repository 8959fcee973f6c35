"""Recurrences on characters: read one by one, continued, told apart; tables of counts; what the log says of them."""

from collections import Counter

import numpy as np
import pytest

from experiments import aug12_characters as aug12
from experiments.parts.aug12_characters import (
    batch_and_length,
    character_memory,
    character_plots,
    character_samples,
    character_tables,
    told_apart,
)
from experiments.shared import results, text

RNG = np.random.default_rng(0)
X = RNG.integers(97, 101, (3, 9))
LOG = (results.EXPERIMENTS / "LOG.md").read_text(encoding="utf-8")
T_9 = 2.262157  # the 97.5 % quantile of Student's t with 9 degrees of freedom, from a table


def checked_in(part):
    """Config, results, and the numbers that the log quotes."""
    config, found = results.load(aug12, results.FIGURES / "aug12_characters", part)
    return config, found, results.kind(config).numbers(found, config)


def with_interval(values):
    """Mean and 95 % interval over ten seeds."""
    values = values.astype(float)
    assert values.shape == (10,)
    half = T_9 * values.std(ddof=1) / np.sqrt(10.0)
    return pytest.approx((values.mean(), values.mean() - half, values.mean() + half), rel=1e-5, abs=1e-12)


@pytest.fixture(params=character_memory.GATES)
def recurrence(request):
    return character_memory.model(6, character_memory.GATES[request.param])


def with_memory_of_its_own(recurrence):
    """Parameters whose gates, sizes and angles matter within a few characters."""
    params = recurrence.init(0, {"input": 16.0})
    (level,) = params["levels"]
    level["log_decay"] = level["log_decay"] + 6.0
    if "gate" in level:
        level["gate"], level["gate_bias"] = 16.0 * level["gate"], RNG.standard_normal(6)
    return params


def test_characters_read_one_by_one_give_the_logits_of_the_model(recurrence):
    params, state = with_memory_of_its_own(recurrence), np.zeros((3, 6), complex)
    for k, characters in enumerate(X.T):
        state, logits = character_memory.read(params, state, characters)
        np.testing.assert_allclose(logits, recurrence.logits(params, X)[:, k], rtol=1e-10, atol=1e-12)


def test_at_temperature_0_the_most_probable_character_follows(recurrence):
    params, whole = with_memory_of_its_own(recurrence), X
    for _ in range(5):
        whole = np.concatenate([whole, recurrence.predict(params, whole)[:, -1:]], axis=1)
    np.testing.assert_array_equal(character_memory.continued(params, X, 5), whole[:, -5:])
    np.testing.assert_array_equal(character_memory.continued(params, X, 5, 1e-6, seed=1), whole[:, -5:])


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_characters_are_drawn_with_their_probabilities_at_a_temperature(temperature):
    recurrence, draws = character_memory.model(6, True), 20_000
    params = recurrence.init(0)
    params["output_bias"] = np.where(np.arange(256) < 3, [[0.0], [1.0], [2.0], *[[-50.0]] * 253], -50.0)[:, 0]
    prompt = np.array([[97, 98]])
    logits = recurrence.logits(params, prompt)[0, -1, :3] / temperature
    drawn = character_memory.continued(params, np.tile(prompt, (draws, 1)), 1, temperature, seed=5)[:, 0]
    expected = np.exp(logits) / np.exp(logits).sum()
    shares = np.bincount(drawn, minlength=3) / draws
    np.testing.assert_allclose(shares, expected, atol=4.0 * np.sqrt(0.25 / draws))
    again = character_memory.continued(params, np.tile(prompt, (draws, 1)), 1, temperature, seed=5)[:, 0]
    np.testing.assert_array_equal(drawn, again)


def test_half_lives():
    level = {"log_decay": np.log([np.log(2.0) / n for n in (1.0, 2.0, 3.0, 4.0, 5.0)])}
    np.testing.assert_allclose(character_memory.half_lives({"levels": [level]}), [1.0, 2.0, 3.0, 4.0, 5.0])


def test_a_rate_is_chosen_by_draws_that_nothing_is_compared_on():
    asked = []

    def loss(config, arm, rate, seed):
        asked.append(seed)
        return np.nan if (arm, rate) == ("a", -1.0) else abs(rate + (1.25 if arm == "a" else 0.75)) + 0.01 * seed

    config = character_memory.Config(seeds=4, log_rates=(-1.5, -1.25, -1.0, -0.75))
    by_rate, rates, seeds = character_memory.compared(
        config, ["a", "b"], 1, loss, lambda config, arm, rate, seed: (np.array(rate), np.array([seed, 0]))
    )
    assert rates.tolist() == [[-1.25] * 4, [-0.75] * 4] and seeds.shape == (2, 4, 2)
    assert set(asked) == {0, 1} and set(seeds[..., 0].ravel()) == set(range(10**6, 10**6 + 4))
    np.testing.assert_allclose(by_rate[1], [0.755, 0.505, 0.255, 0.005])
    assert np.isnan(by_rate[0]).tolist() == [False, False, True, False] and config.trainings == 8


def probability(counted, context, character, k):
    """The recursion of the docstring, from counts of pieces of a text."""
    if context is None:
        return 1.0 / 256
    lower = probability(counted, context[1:] if context else None, character, k)
    total = sum(count for piece, count in counted[len(context) + 1].items() if piece[:-1] == context)
    return (counted[len(context) + 1][(*context, character)] + k * lower) / (total + k)


def test_tables_against_counts_written_with_loops():
    counting, sequences = RNG.integers(97, 101, 60), RNG.integers(97, 102, (2, 8))  # 101 never comes
    counted = {n: Counter(tuple(counting[i : i + n].tolist()) for i in range(61 - n)) for n in (1, 2, 3)}
    inputs, targets = sequences[:, :-1], sequences[:, 1:]
    losses = [
        -np.log(probability(counted, tuple(row[max(0, i - 1) : i + 1].tolist()), int(target[i]), 2.0))
        for row, target in zip(inputs, targets)
        for i in range(7)
    ]
    table = character_tables.Tables(counting, 2, 2.0)
    assert table.loss(inputs, targets) == pytest.approx(np.mean(losses), rel=1e-12)
    everything = table.probabilities(np.tile(sequences[0, :2], (256, 1)), np.arange(256))
    assert everything.sum() == pytest.approx(1.0) and (everything > 0.0).all()
    best = character_tables.fitted(counting, 2, inputs, targets)
    assert best.loss(inputs, targets) == min(table.of_strength(k).loss(inputs, targets) for k in (0.5, 2, 8, 32))


def test_a_table_goes_on_with_what_it_has_seen():
    counting = np.frombuffer(b"abcabcabcabc", np.uint8)
    for order in (1, 3):
        table = character_tables.Tables(counting, order, 0.1)
        np.testing.assert_array_equal(
            table.continued(np.frombuffer(b"xbca", np.uint8), 5, 0.0, 0), [98, 99, 97, 98, 99]
        )


def test_what_tables_have_right_at_most_counted_by_hand():
    sequences = np.array([list(b"abac"), list(b"abab")])
    share = lambda n, first: character_tables.best_by_last(sequences, n, first)
    assert share(1, 1) == 5 / 6, "b of b, c, b, b after a, and both of a, a after b"
    assert share(1, 2) == 3 / 4, "one of c, b, and both of a, a"
    assert share(2, 1) == 5 / 6, "both b after the first a, both a after ab, one of c, b after ba"
    assert share(1, 3) == share(2, 3) == share(3, 3) == 1 / 2


def test_the_arms_whose_best_rate_is_the_end_of_the_grid_are_those_that_the_log_names():
    """All of 16 units, and of those of 4 the ones without gates."""
    config, found = results.load(aug12, results.FIGURES / "aug12_characters", 2)
    at_the_end = found.by_rate.argmin(axis=-1) == len(config.rates) - 1
    without, gated = at_the_end.swapaxes(0, 1)
    assert config.units == (4, 16) and without.all() and gated[:, 1].all() and not gated[:, 0].any()
    assert config.rates[-1] == -0.5


@pytest.mark.parametrize("task", told_apart.TASKS)
def test_sequences_part_where_they_should(task):
    config, wanted = told_apart.Config(), told_apart.TASKS[task]
    for seed in range(3):
        found = told_apart.sequences(config, wanted, seed)
        prompt = wanted.prompt or 1
        assert found.shape == (wanted.sequences, prompt + wanted.shared + config.ending)
        assert len(np.unique(found[:, :prompt], axis=0)) == wanted.sequences
        assert len(np.unique(found[:, -config.ending])) == wanted.sequences
        assert (found[0, prompt : -config.ending] == found[:, prompt : -config.ending]).all()
        if not wanted.shared:
            training = text.as_text(text.training())
            assert all("\n" + text.as_text(row[0 if wanted.prompt else 1 :]) in training for row in found)
        shares = told_apart.tabled(config, wanted, seed)
        assert all(0.5 < share <= 1.0 for share in shares) and shares == sorted(shares)
        assert not wanted.shared or shares[-1] < 1.0, "what is shared is longer than what the tables read"


def test_words_are_those_of_the_training_text():
    row = np.frombuffer(b"xx the qqq heaven, and zzz", np.uint8)  # the first and the last may be cut off
    assert character_samples.share_of_words([row]) == 3 / 4
    assert "Jerusalem" in character_samples.vocabulary() and "qqq" not in character_samples.vocabulary()


def test_every_arm_sees_as_many_characters():
    config = aug12.PARTS[3]
    for name, _, batch, length in config.by_length + config.by_batch:
        assert name in character_memory.GATES
        assert config.seen // (batch * length) * batch * length == config.seen == 2**17
    assert {batch * length for _, _, batch, length in config.by_length} == {config.a_step}
    X, T = config.judged_by("test")
    np.testing.assert_array_equal(X[:, 1:], T[:, :-1])
    assert text.as_text(X[0]) in text.as_text(text.test())


def test_the_beginning_of_a_training_is_computed_again():
    config, found, _ = checked_in(1)
    for m, name in enumerate(character_memory.GATES):
        rate, few = config.rates[np.argmin(found.by_rate[m, 2])], found.steps[:6]
        recurrence, saved, characters = aug12.trained(config, (name, 8), rate, character_memory.UNSEEN + 3, few)
        losses = [recurrence.loss(params, characters) for params in saved]
        np.testing.assert_allclose(losses, found.value[m, 2, 3, :6], rtol=1e-3)
    share = character_tables.best_by_last(aug12.string(config, character_memory.UNSEEN + 4), 2, 1)
    assert share == found.table[4, 1]


def test_tables_and_a_short_training_on_the_text_are_computed_again():
    config, found, _ = checked_in(3)
    np.testing.assert_allclose(batch_and_length.tabled(config)[0], found.table[0], rtol=1e-10)
    arms = config.by_length + config.by_batch
    a = arms.index(("gates", 8, 128, 32))
    loss, *_ = batch_and_length.measure(config, arms[a], config.rates[np.argmin(found.by_rate[a])], 10**6 + 2)
    assert loss == pytest.approx(found.value[a, 2], rel=0.02)


def test_samples_of_the_table_are_drawn_again():
    config, found, _ = checked_in(4)
    loss, words, drawn = character_samples.of_table(config, character_memory.UNSEEN)
    assert loss == pytest.approx(found.value[-1, 0], rel=1e-10)
    np.testing.assert_array_equal(drawn, found.sampled[-1, 0])
    np.testing.assert_allclose(words, found.words[-1, 0])
    assert text.as_text(np.concatenate([found.prompt[1, 2], found.true[1, 2]])) in text.as_text(text.test())


def test_the_numbers_of_the_entry_on_memorising():
    """From the arrays, written out once more."""
    config, found, named = checked_in(1)
    for m, name in enumerate(("no gates", "gates")):
        for u, units in enumerate((2, 4, 8, 16, 32)):
            assert named[f"right, {name}, {units}"] == with_interval(100.0 * found.right[m, u, :, -1])
            assert named[f"drawn, {name}, {units}"] == with_interval(100.0 * found.drawn[m, u])
            mean, *_ = named[f"loss, {name}, {units}"]
            assert mean == pytest.approx(np.prod(found.value[m, u, :, -1].astype(float) ** 0.1), rel=1e-5)
    config, found, named = checked_in(2)
    shares = found.right, found.parting, found.drawn
    for k, task in enumerate(told_apart.TASKS):
        for m, name in enumerate(("no gates", "gates")):
            for u, units in enumerate(config.units):
                for what, share in zip(("right", "parting", "drawn"), shares):
                    assert named[f"{what}, {task}, {name}, {units}"] == with_interval(100.0 * share[k, m, u])


def test_the_numbers_of_the_entry_on_the_text():
    _, found, named = checked_in(3)
    lengths, batches = (8, 16, 32, 64, 128), (8, 32, 128)
    for m, name in enumerate(("no gates", "gates")):
        for i, length in enumerate(lengths):
            losses, arm = found.value[5 * m + i], f"{name}, 32 units, {512 // length} × {length}"
            assert named[arm] == with_interval(losses)
            assert named[f"{arm} less table of order 1"] == with_interval(losses - found.table[0, 1])
            first = found.by_position[5 * m + i, :, :8].mean(axis=1)
            assert named[f"first 8, {arm}"] == with_interval(first)
        longest, shortest = found.value[5 * m + 4], found.value[5 * m]
        assert named[f"{name}: length 128 less 8"] == with_interval(longest - shortest)
    for u, units in enumerate((8, 32, 128)):
        for b, batch in enumerate(batches):
            arm = f"gates, {units} units, {batch} × 32"
            assert named[arm] == with_interval(found.value[10 + 3 * u + b])
        assert named[f"{units} units: batch 128 less 8"] == with_interval(
            found.value[12 + 3 * u] - found.value[10 + 3 * u]
        )
    np.testing.assert_allclose(found.by_position.mean(axis=2), found.value, rtol=1e-4)


def test_samples_in_the_log_are_those_of_the_results():
    config, found, _ = checked_in(4)
    for w, name in enumerate(("no gates", "gates", "table")):
        t = config.temperatures.index(0.8)
        quoted = character_plots.shown(found.sampled[w, 0, t, 0]).replace("\n", "\n    ")
        assert f"    {quoted}\n" in LOG, name
    for characters in (found.prompt[0, 0], found.true[0, 0]):
        assert "    " + character_plots.shown(characters).replace("\n", "\n    ") in LOG
