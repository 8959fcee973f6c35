"""The experiments on learned schedules: their spaces of hyperparameters, searches, and checked-in results."""

import dataclasses
import itertools

import numpy as np
import pytest
from autograd import grad

import hypergrad as hg
from experiments import feb03_training_schedules as feb03
from experiments import feb13_equal_cost as feb13
from experiments import nov26_schedule_transfer as nov26
from experiments.shared import results, runner, scheduled_net, search, small_digits
from experiments.shared.scheduled_net import DESCENT, FIRST, HELD_OUT, Net, seed_of

SMALL = Net((784, 6, 5, 5, 10), steps=12, batch_size=50, single=False)


def checked_in(module, part):
    return results.load(module, results.FIGURES / module.__name__.split(".")[-1], part)


def test_the_paper_has_1608_hyperparameters():
    assert Net().numbers == 1608 and feb13.PARTS[1].spaces() == (1, 5, 20, 1608)


def test_hyperparameters_are_those_of_train():
    rng = np.random.default_rng(0)
    hypers = SMALL.start() + 0.3 * rng.standard_normal(SMALL.numbers)
    log_lr, logit, log_scale = SMALL.parts(hypers)
    pairs = lambda rows: list(zip(rows[::2], rows[1::2]))
    params = hg.init.scaled_normal(SMALL.model.shapes, pairs(np.exp(log_scale)), 3)
    X, T = hg.data.load_mnist(10_000)[0]
    loss = hg.nn.MinibatchLoss(SMALL.model, X, T, 50)
    optimizer = hg.SGD(pairs(np.exp(log_lr)), pairs(1.0 / (1.0 + np.exp(-logit))))
    expected = SMALL.model.loss(hg.train(loss, params, optimizer, steps=12), X, T)
    assert scheduled_net.loss(SMALL, "training", hypers, 3) == pytest.approx(expected, rel=1e-9)
    assert scheduled_net.plain_loss(SMALL, "training", hypers, 3) == pytest.approx(expected, rel=1e-9)
    assert scheduled_net.curve(SMALL, hypers, 3, [0, 12])[1] == pytest.approx(expected, rel=1e-9)
    direction = rng.standard_normal(SMALL.numbers)
    ends = [scheduled_net.loss(SMALL, "training", hypers + h * direction, 3) for h in (-1e-5, 1e-5)]
    slope = grad(lambda h: scheduled_net.loss(SMALL, "training", h, 3))(hypers) @ direction
    assert slope == pytest.approx((ends[1] - ends[0]) / 2e-5, rel=1e-5)


def test_training_validation_and_test_images_are_different():
    pieces = scheduled_net.images(True)
    assert [len(X) for X, _ in pieces.values()] == [10_000, 5_000, 10_000]
    first = [X[0].tobytes() for X, _ in pieces.values()]
    assert len(set(first)) == 3 and pieces["test"][0].dtype == np.float32


def test_what_diverges_counts_ten_nats():
    hypers = SMALL.start()
    SMALL.parts(hypers)[0][...] = 300.0
    assert scheduled_net.plain_loss(SMALL, "test", hypers, 0) == search.DIVERGED


def test_each_space_lies_within_the_next():
    spaces = [scheduled_net.space(SMALL, n) for n in (1, 3, 5, 20, SMALL.numbers)]
    rng = np.random.default_rng(1)
    for smaller, larger in itertools.pairwise(spaces):
        assert np.array_equal(smaller.at(np.zeros(smaller.numbers)), SMALL.start())
        wanted = smaller.at(rng.standard_normal(smaller.numbers)) - SMALL.start()
        if larger.basis is not None:
            fitted = np.linalg.lstsq(larger.basis.T, wanted, rcond=None)[0]
            np.testing.assert_allclose(fitted @ larger.basis, wanted, atol=1e-12)
    with pytest.raises(ValueError, match="no space of 7 numbers"):
        scheduled_net.space(SMALL, 7)


def test_five_numbers_are_a_rate_at_three_steps_a_momentum_and_a_scale():
    net = dataclasses.replace(SMALL, steps=11)
    log_lr, logit, log_scale = net.parts(scheduled_net.space(net, 5).at(np.array([0.0, 1.0, -1.0, 0.5, 2.0])))
    assert (log_lr == log_lr[0]).all() and log_lr[0, [0, 5, 10]].tolist() == [-1.0, 0.0, -2.0]
    np.testing.assert_allclose(np.diff(log_lr[0])[:5], 0.2)
    assert (logit == 0.5).all() and (log_scale == -1.0).all()
    layers = np.zeros(20)
    layers[5 * 2 : 5 * 3] = [0.0, 1.0, -1.0, 0.5, 2.0]
    parts = net.parts(scheduled_net.space(net, 20).at(layers))
    np.testing.assert_array_equal(parts[0][4:6], log_lr[:2])
    assert (parts[0][[0, 1, 2, 3, 6, 7]] == -1.0).all() and parts[2].tolist() == [-3] * 4 + [-1] * 2 + [-3] * 2


def test_a_shaped_schedule_has_its_peak_where_it_is_said():
    shape = hg.schedules.one_cycle(1.0, 12)
    log_lr, logit, _ = SMALL.parts(scheduled_net.shaped(SMALL, shape).at(np.array([1.5, 3.0, 0.0])))
    np.testing.assert_allclose(np.exp(log_lr[3]), np.exp(0.5) * shape)
    assert (logit == 3.0).all()


def test_carrying_over_stretches_schedules_and_keeps_the_variance_of_the_inputs():
    before, after = SMALL, dataclasses.replace(SMALL, sizes=(784, 24, 20, 20, 10), steps=24)
    hypers = before.start() + np.random.default_rng(2).standard_normal(before.numbers)
    np.testing.assert_array_equal(scheduled_net.carried_over(hypers, before, before), hypers)
    old, new = before.parts(hypers), after.parts(scheduled_net.carried_over(hypers, before, after))
    for one, two in zip(old[:2], new[:2]):
        np.testing.assert_allclose(two[:, 1:-1].reshape(8, -1, 2).mean(axis=-1), (one[:, 1:] + one[:, :-1]) / 2)
    fan_in = np.array([[784, 784], [6, 24], [5, 20], [5, 20]])
    np.testing.assert_allclose(np.exp(2 * new[2][::2]) * fan_in[:, 1], np.exp(2 * old[2][::2]) * fan_in[:, 0])
    np.testing.assert_array_equal(new[2][1::2], old[2][1::2])


def test_the_means_of_schedules_are_those_of_logs_and_logits():
    hypers = SMALL.start() + np.random.default_rng(3).standard_normal(SMALL.numbers)
    old, new = SMALL.parts(hypers), SMALL.parts(scheduled_net.averaged(SMALL, hypers))
    for one, two in zip(old[:2], new[:2]):
        np.testing.assert_allclose(two, np.repeat(one.mean(axis=1), 12).reshape(8, 12))
    np.testing.assert_array_equal(new[2], old[2])


def bowl(z, number):
    """A loss with noise by number, lowest at 1."""
    noise = 0.01 * np.random.default_rng((5, number)).standard_normal()
    return ((z - 1.0) ** 2).sum() / z.size + noise


@pytest.mark.parametrize("by", [search.at_random, search.tpe, search.cma], ids=["random", "tpe", "cma"])
@pytest.mark.parametrize("numbers", [2, 120])
def test_searches_spend_what_they_may_and_find_something(by, numbers):
    if by is not search.at_random and search.missing():
        pytest.skip(search.missing())
    asked = []
    path = by(lambda z, number: asked.append((z.copy(), number)) or bowl(z, number), numbers, 60, 7)
    assert len(asked) <= 60 and [number for _, number in asked] == list(range(len(asked)))
    assert all(np.abs(z).max() <= search.BOX for z, _ in asked)
    assert path.trainings[0] == 0 and (path.points[0] == 0.0).all() and (np.diff(path.trainings) > 0).all()
    assert path.trainings[-1] == len(asked) > 30
    if numbers == 2 or by is search.cma:
        assert bowl(path.after(60), 0) < bowl(np.zeros(numbers), 0)
        assert not np.array_equal(path.after(20), path.after(60))
    again = by(bowl, numbers, 60, 7)
    np.testing.assert_array_equal(path.points, again.points)


def test_what_is_recommended_is_the_best_of_what_was_tried():
    tried = []

    def f(z, number):
        tried.append((bowl(z, number), tuple(z)))
        return tried[-1][0]

    path = search.at_random(f, 3, 20, 0)
    assert tuple(path.after(7)) == min(tried[:7])[1] and tuple(path.after(1)) == (0.0, 0.0, 0.0)
    grid = search.on_grid(bowl, 2, None, 0, axes=[np.arange(-2.0, 3.0), np.array([0.0, 1.0])])
    assert grid.points[-1].tolist() == [1.0, 1.0] and grid.trainings[-1] == 10


def test_a_descent_spends_three_trainings_a_step(tmp_path):
    path = search.descent(lambda z, number: ((z - 1.0) ** 2).sum(), 2, 30, 0.1, tmp_path / "cache")
    assert path.trainings.tolist() == list(range(0, 31, 3))
    assert (
        (path.after(5) == 0.0).all() and np.allclose(path.after(6), 0.1) and np.abs(path.points[-1] - 1.0).max() < 0.3
    )


def test_a_search_is_read_from_its_file(tmp_path):
    path = search.at_random(bowl, 2, 5, 0)
    assert search.kept(tmp_path / "a.npz", lambda: path) is path
    again = search.kept(tmp_path / "a.npz", lambda: pytest.fail("it is stored"))
    np.testing.assert_array_equal(again.points, path.points)


def test_without_the_extra_the_run_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(feb13, "missing", lambda: "optuna not installed: pip install")
    assert runner.main(feb13, ["--quick", "--seeds", "1", "--output", str(tmp_path)]) == 2
    assert "feb13_equal_cost: optuna not installed" in capsys.readouterr().err
    monkeypatch.setattr(search, "find_spec", lambda name: None)
    assert search.missing() == "optuna and cmaes not installed: python -m pip install -e '.[search]'"


@pytest.mark.parametrize("part", [1, 2])
def test_a_short_run_of_the_descents_agrees_with_the_checked_in_results_and_is_drawn(part, tmp_path):
    full, (_, stored) = feb03.PARTS[part], checked_in(feb03, part)
    config = dataclasses.replace(full, every=full.quick_every, seeds=1)
    again = feb03.run(config, jobs=1, cache=tmp_path / "cache")
    assert runner.draw(feb03, tmp_path, part, config, again).stat().st_size > 10_000
    if part == 1:  # the other one starts from what a shorter search found
        for name in ("value", "gradient_norm", "log_scale"):
            ours, theirs = (getattr(r, name)[:, :1, :2] for r in (again, stored))
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, err_msg=name)


def test_the_first_hypergradient_of_the_schedules_is_reproduced():
    _, stored = checked_in(feb03, 1)
    net = feb03.PARTS[1].net()
    ours = grad(lambda hypers: scheduled_net.loss(net, "training", hypers, seed_of(0, FIRST)))(net.start())
    assert np.linalg.norm(ours - stored.first[0, 0, 0]) <= 1e-3 * np.linalg.norm(ours)


def test_test_losses_of_learned_schedules_are_reproduced():
    """To a hundredth: float32 is rounded differently elsewhere."""
    config, stored = checked_in(feb03, 2)
    net, constant = config.net(), scheduled_net.space(config.net(), 3)
    hypers = [stored.start[0, 1], constant.at(stored.constant[0, 1]), stored.learned[0, 1]]
    ours = [scheduled_net.plain_loss(net, "test", h, seed_of(1, HELD_OUT, 2)) for h in hypers]
    np.testing.assert_allclose(ours, stored.test[0, 1, :, 2], rtol=1e-2)
    value = scheduled_net.plain_loss(net, "validation", hypers[0], seed_of(1, DESCENT, 0))
    assert value == pytest.approx(stored.value[0, 1, 0], rel=1e-2)


def test_test_losses_at_equal_cost_are_reproduced():
    config, stored = checked_in(feb13, 1)
    net = config.net()
    start = scheduled_net.plain_loss(net, "test", net.start(), seed_of(0, HELD_OUT, 1))
    assert start == pytest.approx(stored.start[0, 1], rel=1e-2)
    z = stored.tuned[0, 0] - scheduled_net.START
    ours = scheduled_net.plain_loss(net, "test", scheduled_net.space(net, 3).at(z), seed_of(0, HELD_OUT, 1))
    assert ours == pytest.approx(stored.shaped[0, 0, -1, 1], rel=1e-2)


def test_test_losses_of_schedules_carried_over_are_reproduced():
    config, stored = checked_in(nov26, 1)
    _, learned = checked_in(feb03, 2)
    n = config.taken().index("minibatches of 50")
    net = nov26.SETTINGS["minibatches of 50"]
    carried = scheduled_net.carried_over(learned.learned[0, 0], nov26.LEARNED_IN, net)
    found = scheduled_net.space(net, 3).at(stored.tuned[0, n] - scheduled_net.START)
    ours = [scheduled_net.plain_loss(net, "test", h, seed_of(0, HELD_OUT, 3)) for h in (carried, found)]
    np.testing.assert_allclose(ours, stored.value[0, n, ::3, 3], rtol=1e-2)


SHARED = ("curve_steps", "start")  # may be the same for two runs
TEN = [(feb03, 1), (feb03, 2), (feb03, 3), (feb13, 1), (nov26, 1), (nov26, 2)]


@pytest.mark.parametrize(
    ("module", "part"), TEN, ids=[f"{module.__name__.split('.')[-1]}-{part}" for module, part in TEN]
)
def test_there_are_ten_runs_along_the_axis_of_seeds(module, part):
    config, stored = checked_in(module, part)
    axes = results.kind(config).SEED_AXIS
    assert config == module.PARTS[part] and config.seeds == 10 and set(axes) == set(stored._fields)
    found = {name: np.moveaxis(array, axes[name], 0) for name, array in stored._asdict().items() if array.size}
    assert len(found) >= 2
    for name, by_seed in found.items():
        assert len(by_seed) == 10, name
        assert name in SHARED or not np.array_equal(by_seed[2], by_seed[3], equal_nan=True), name


def by_hand(values):
    """The mean of runs and its interval, with the quantile of Student's t for one degree of freedom less."""
    half = {3: 4.302653, 10: 2.262157}[len(values)] * np.std(values, ddof=1) / np.sqrt(len(values))
    return pytest.approx((np.mean(values), np.mean(values) - half, np.mean(values) + half), rel=1e-6)


def test_the_intervals_at_equal_cost_are_over_runs():
    config, stored = checked_in(feb13, 1)
    found = feb13.numbers(stored, config)
    value, shaped = stored.value.mean(axis=-1)[..., 2], stored.shaped.mean(axis=-1)[..., 2]
    assert config.budgets[2] == config.trainings == 150
    for p, space in enumerate((1, 5, 20, 1608)):
        better = min((value[:, m, p] for m in (0, 1)), key=np.mean)
        search = min((value[:, m, p] for m in (2, 3, 4) if np.isfinite(value[:, m, p]).all()), key=np.mean)
        assert found[f"hypergradient less best search, {space}"] == by_hand(better - search)
        assert found[f"hypergradient less best shape, {space}"] == by_hand(better - min(shaped.T, key=np.mean))
    assert found["CMA-ES, 20"] == by_hand(value[:, 4, 2])
    assert found["schedule-free"] == by_hand(shaped[:, 4])


def test_the_intervals_of_learned_schedules_and_of_those_carried_over_are_over_runs():
    config, stored = checked_in(feb03, 2)
    start, constant, learned = np.moveaxis(stored.test[0].mean(axis=-1), 1, 0)
    found = feb03.numbers(stored, config)
    assert found["start"] == by_hand(start) and found["learned"] == by_hand(learned)
    assert found["learned less constant"] == by_hand(learned - constant)
    for part in (1, 2):
        config, stored = checked_in(nov26, part)
        found = nov26.numbers(stored, config)
        for n, name in enumerate(config.settings):
            by_way = stored.value[:, n].mean(axis=-1)
            assert found[f"{name}, less found there"] == by_hand(by_way[:, 0] - by_way[:, 3])
            assert found[f"{name}, less their means"] == by_hand(by_way[:, 0] - by_way[:, 1])


def test_small_digits_are_enlarged_with_a_frame():
    image = np.arange(64.0).reshape(1, 8, 8) % 17
    large = small_digits.enlarged(image).reshape(28, 28)
    np.testing.assert_array_equal(large[2:26:3, 4:26:3], image[0] / 16.0)
    assert (large[3:5, 2:5] == large[2, 2]).all() and large[:2].sum() == large[26:].sum() == large[:, :2].sum() == 0.0


def test_pieces_of_the_small_digits_have_no_image_in_common():
    if absent := small_digits.missing():
        pytest.skip(absent)
    pieces = small_digits.pieces(1_000, 297, 500)
    X, T = (np.concatenate(arrays) for arrays in zip(*pieces))
    from sklearn.datasets import load_digits

    found = load_digits()
    ours = sorted((x.tobytes(), t.argmax()) for x, t in zip(X, T))
    assert ours == sorted((x.tobytes(), t) for x, t in zip(small_digits.enlarged(found.images), found.target))


def test_test_losses_on_small_digits_are_reproduced():
    if absent := small_digits.missing():
        pytest.skip(absent)
    config, stored = checked_in(nov26, 2)
    _, learned = checked_in(feb03, 2)
    net = nov26.SETTINGS["digits of scikit-learn"]
    found = scheduled_net.space(net, 3).at(stored.tuned[1, 0] - scheduled_net.START)
    hypers = [learned.learned[0, 1], found]
    ours = [scheduled_net.plain_loss(net, "test", h, seed_of(1, HELD_OUT, 3)) for h in hypers]
    np.testing.assert_allclose(ours, stored.value[1, 0, ::3, 3], rtol=1e-2)
    assert config.taken() == ("digits of scikit-learn",)
