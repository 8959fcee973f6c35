"""The edge: the rule on dense grids, the search against it, and what it says where there is none."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd.tracer import getval
from problems import classifier

import hypergrad as hg
from experiments import jan14_lr_wiggliness as jan14
from experiments.shared import runner
from hypergrad.errors import ArgumentError
from hypergrad.probe import Sweep, locate_edge, sweep
from hypergrad.probe.edge import compare, first_failure


def logistic_map(r, steps=40):
    """The state after some steps of x ← r x (1 − x), which is chaotic for r above 3.57."""
    x = 0.3
    for _ in range(steps):
        x = r * x * (1.0 - x)
    return x


def sine_map(r, steps=40):
    """The same for x ← r sin(π x), chaotic above 0.865; here 3 r is varied, over a similar range."""
    x = 0.2
    for _ in range(steps):
        x = r / 3.0 * anp.sin(anp.pi * x)
    return x


def dense(f, low, high, values=1_000):
    return sweep(f, np.linspace(low, high, values), progress=False)


def sweep_of(x, loss, gradient):
    return Sweep(x, loss, gradient, np.full(len(x), -1))


@pytest.fixture(scope="module")
def recorded():
    """The dense sweep of 14 January, and a function that plays it back."""
    _, results = runner.load(jan14, runner.FIGURES / "jan14_lr_wiggliness", 2)
    sweep = results.sweeps()[0]
    data = Sweep(sweep.values, sweep.loss[:, 0], sweep.gradient[:, 0], sweep.diverged_at)

    def f(x):
        i = int(np.argmin(np.abs(data.values - getval(x))))
        return data.loss[i] + data.gradient[i] * (x - getval(x))

    return data, f


def test_the_rule_is_that_of_windows():
    """Against windows written out one by one."""
    data = dense(logistic_map, 3.2, 4.0, 400)
    x, spacing = data.values, data.values[1] - data.values[0]
    for first in range(400):
        last = int(np.searchsorted(x, x[first] + 0.1 - 1e-9))
        window = slice(first, last + 1)
        integral = np.trapezoid(data.gradient[window], dx=spacing)
        magnitude = np.trapezoid(np.abs(data.gradient[window]), dx=spacing)
        if abs(integral - (data.loss[last] - data.loss[first])) > 0.05 * magnitude:
            break
    assert data.edge == x[last] and 3.2 < x[last] < 4.0
    assert x[data.smooth].max() == x[last - 1]


def test_each_loss_has_its_own_edge():
    x = np.linspace(3.2, 4.0, 400)
    one, none = dense(logistic_map, 3.2, 4.0, 400), dense(anp.sin, 3.2, 4.0, 400)
    both = sweep_of(x, np.c_[one.loss, none.loss], np.c_[one.gradient, none.gradient])
    assert both.edge[0] == one.edge and np.isnan(both.edge[1]) and np.isnan(none.edge)
    assert both.smooth[:, 1].all()


def test_what_is_not_finite_is_past_the_edge():
    x = np.linspace(0.0, 2.0, 1_000)
    for bad in (np.nan, np.inf):
        loss, gradient = np.sin(x), np.cos(x)
        gradient[600:] = bad
        data = sweep_of(x, loss, gradient)
        assert data.edge == x[600] and data.smooth.sum() == 600
    early = np.cos(x)
    early[10] = np.nan
    data = sweep_of(x, np.sin(x), early)
    assert data.smooth.sum() == 10 and data.edge == pytest.approx(0.1, abs=0.003)


def test_rounding_is_no_edge():
    """Derivatives far below the rounding of the loss cannot be compared with it."""
    x = np.linspace(0.0, 2.0, 1_000)
    assert np.isnan(sweep_of(x, 5.0 + 1e-16 * np.sin(x), 1e-16 * np.cos(x)).edge)
    assert np.isnan(sweep_of(x, np.full(1_000, 3.0), np.zeros(1_000)).edge)


def test_coarse_grids_are_compared_interval_by_interval():
    x = np.linspace(0.0, 4.0, 20)
    gradient = np.where(x > 3.0, 100.0, np.cos(x))
    data = sweep_of(x, np.sin(x), gradient)
    assert data.smooth.sum() == (x <= 3.0).sum() and not data.matched[x[1:] > 3.0].any()
    assert data.matched[x[1:] <= 3.0].all() and np.isnan(data.edge), "the edge may lie anywhere in an interval"
    falling = sweep_of(x[::-1], np.sin(x[::-1]), np.cos(x[::-1]))
    assert falling.smooth.all() and falling.note == ""
    assert "the values do not increase" in sweep_of(x[::-1], np.sin(x[::-1]), gradient[::-1]).note
    short = sweep_of(x / 100.0, np.sin(x), gradient)
    assert np.isnan(short.edge) and "within one window of width 0.1" in short.note


def wiggly(x):
    """Smooth, with ripples that get too short for a spacing of 0.04 long before they do for the derivative."""
    return -0.5 * x + 0.002 * anp.sin(anp.exp(2.4 * x)) + 0.2 * anp.sin(3e5 * x) * (x > 2.06)


def test_a_grid_too_coarse_to_place_the_edge_refuses_and_says_what_it_takes():
    coarse, fine = dense(wiggly, 0.0, 5.0, 120), dense(wiggly, 0.0, 5.0, 1_001)
    assert np.isnan(coarse.edge) and coarse.smooth.sum() < 120
    assert (
        "values 0.042 apart are too few" in coarse.note
        and "it takes 0.01 or less (501 values from 0 to 5)" in coarse.note
    )
    assert coarse.note in repr(coarse) and "edge at 2.06" in repr(fine) and fine.note == ""
    assert fine.edge == pytest.approx(2.065, abs=0.005)
    needed = dense(wiggly, 0.0, 5.0, 501)
    assert needed.note == "" and needed.edge == pytest.approx(fine.edge, abs=0.05)
    assert locate_edge(wiggly, 0.0, 5.0).location == pytest.approx(fine.edge, abs=0.05)
    figure = coarse.plot(labels=["after 50 steps"])
    texts = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert any("losses 0.042 apart do not match" in text and "it takes 0.01 or less" in text for text in texts)
    assert not figure.axes[0].texts, "no edge is named"


def test_what_matches_past_the_edge_is_not_shaded():
    """Rough from 1 to 1.5, smooth after it."""
    x = np.linspace(0.0, 3.0, 1_001)
    rough = (x > 1.0) & (x < 1.5)
    rng = np.random.default_rng(0)
    data = sweep_of(
        x, np.sin(x) + 0.01 * rough * rng.standard_normal(1_001), np.cos(x) + 50.0 * rough * rng.choice([-1, 1], 1_001)
    )
    assert data.edge == pytest.approx(1.003, abs=0.005)
    middles = (x[1:] + x[:-1]) / 2.0
    assert data.matched[(middles < 1.0) | (middles > 1.51)].all()
    assert not data.matched[(middles > 1.01) & (middles < 1.49)].any(), "not where a window matches by chance either"
    for axis in data.plot().axes:
        (span,) = [patch for patch in axis.patches if hasattr(patch, "get_width")]
        assert span.get_x() == pytest.approx(1.0, abs=0.005) and span.get_width() == pytest.approx(0.5, abs=0.01)


def test_chaos_matches_nowhere(recorded):
    data, _ = recorded
    assert not data.matched[data.values[1:] >= data.edge].any() and data.matched[data.values[1:] < data.edge].all()


@pytest.mark.parametrize(("f", "low", "high"), [(logistic_map, 3.4, 4.0), (sine_map, 2.0, 3.0)])
def test_the_search_agrees_with_the_dense_sweep(f, low, high):
    reference, edge = dense(f, low, high).edge, locate_edge(f, low, high)
    assert edge.status == "edge" and edge.evaluations <= 40
    assert edge.location == pytest.approx(reference, abs=0.05)
    assert edge.bracket[0] <= reference <= edge.bracket[1] and edge.bracket[0] < edge.location <= edge.bracket[1]
    assert edge.values.shape == edge.loss.shape == edge.gradient.shape == (edge.evaluations - 1,)
    assert (np.diff(edge.values) > 0).all()
    np.testing.assert_array_equal(edge.loss, [f(x) for x in edge.values])


@pytest.mark.parametrize("first", [0, 40, 90, 200])
def test_the_search_on_the_sweep_of_january(recorded, first):
    data, f = recorded
    assert data.edge == pytest.approx(1.765, abs=0.001)
    low, high = data.values[first], data.values[-1]
    edge = locate_edge(f, low, high, values=1_000 - first)
    assert edge.location == pytest.approx(data.edge, abs=0.05)
    assert edge.bracket[0] <= data.edge <= edge.bracket[1] and edge.evaluations <= 40
    assert edge.reason.endswith("by values 0.002 apart")


def test_a_search_over_a_wider_range_says_that_it_looks_less_closely():
    found = [locate_edge(logistic_map, low, 4.0).reason for low in (3.4, 1.0)]
    assert "by values 0.0006 apart" in found[0] and "by values 0.003 apart" in found[1]


def test_a_single_spike_is_found():
    """A jump narrower than any interval the search begins with shows in the difference of f."""
    f = lambda x: x + 0.25 * anp.tanh((x - 1.3) / 4e-4)
    edge = locate_edge(f, 0.0, 2.0)
    assert edge.location == pytest.approx(1.3, abs=0.01)
    assert dense(f, 0.0, 2.0).edge == pytest.approx(1.3, abs=0.05)


def test_no_edge_and_chaos_throughout():
    edge = locate_edge(anp.sin, 0.0, 2.0)
    assert edge.status == "no edge" and np.isnan(edge.location) and edge.bracket == (2.0, np.inf)
    edge = locate_edge(lambda r: logistic_map(r, steps=300), 3.7, 4.0)
    assert edge.status == "chaotic throughout" and edge.location == 3.7
    assert edge.bracket[0] == -np.inf and 3.8 <= edge.bracket[1] <= 3.9 + 1e-9
    assert "window" in edge.reason


def test_divergence_is_an_edge():
    """Descent on a quartic from 1 runs away above the learning rate ½."""
    quartic = lambda w, hyper, step: anp.sum(w**4)
    f = lambda log_lr: anp.sum(hg.train(quartic, np.ones(1), hg.SGD(anp.exp(log_lr), 0.0), steps=15))
    edge = locate_edge(f, -2.0, 0.0)
    assert edge.location <= np.log(0.5) + 0.1 and edge.bracket[0] <= np.log(0.5)


def test_seeds():
    """The edge in the middle, and a bracket around all."""
    f = lambda r, seed: logistic_map(r + 0.02 * seed)
    edge = locate_edge(f, 3.3, 3.9, seeds=3)
    alone = [locate_edge(lambda x, s=s: f(x, s), 3.3, 3.9) for s in range(3)]
    assert [e.location for e in edge.by_seed] == [e.location for e in alone]
    assert edge.location == sorted(e.location for e in alone)[1] and edge.evaluations == sum(
        e.evaluations for e in alone
    )
    assert edge.bracket == (min(e.bracket[0] for e in alone), max(e.bracket[1] for e in alone))


def test_the_edge_of_a_net_is_found_with_the_budget():
    model, loss, params, X, T = classifier()
    calls = []

    def f(log_lr):
        calls.append(getval(log_lr))
        return model.loss(hg.train(loss, params, hg.SGD(anp.exp(log_lr), 0.5), steps=30), X, T)

    edge = locate_edge(f, 0.0, 4.0, budget=24)
    assert len(calls) == edge.evaluations <= 24
    assert edge.status == "edge" and 0.0 < edge.location < 4.0


def test_the_figure_marks_the_edge(recorded):
    data, _ = recorded
    upper, lower = data.plot().axes
    for axis in (upper, lower):
        lines = [line for line in axis.lines if line.get_linestyle() == "--"]
        assert [line.get_xdata()[0] for line in lines] == [data.edge]
    assert "edge 1.77" in [text.get_text() for text in upper.texts]
    assert not dense(anp.sin, 0.0, 1.0, 200).plot().axes[0].texts


def test_the_index_past_the_end_says_there_is_none():
    x = np.linspace(0.0, 1.0, 50)
    windows = compare(x, np.sin(x), np.cos(x))
    assert first_failure(windows) == len(windows.starts) > 40
    assert first_failure(compare(x[:1], np.sin(x[:1]), np.cos(x[:1]))) == 0
    one = sweep_of(x[:1], np.sin(x[:1]), np.cos(x[:1]))
    assert one.smooth.all() and np.isnan(one.edge) and one.note == "" and one.matched.shape == (0,)


rng = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: locate_edge(anp.sin, 2.0, 1.0), r"low must be below high, got low=2\.0 and high=1\.0"),
        (lambda: locate_edge(anp.sin, 1.0, 1.0), "low must be below high"),
        (lambda: locate_edge(anp.sin, np.nan, 1.0), "low must be a finite number, got nan"),
        (lambda: locate_edge(anp.sin, 0.0, "x"), "high must be a finite number, got 'x'"),
        (lambda: locate_edge(anp.sin, 0.0, 2.0, budget=9), "budget is 9, too small to say anything.* at least 16"),
        (lambda: locate_edge(anp.sin, 0.0, 2.0, budget=20.0), "budget must be an integer"),
        (lambda: locate_edge(anp.sin, 0.0, 0.05), "width must lie between .* got 0.1; give width="),
        (lambda: locate_edge(anp.sin, 0.0, 50.0), "width must lie between .* such as 2.5"),
        (lambda: locate_edge(anp.sin, 0.0, 2.0, seeds=0), "seeds must be an integer ≥ 1, got 0"),
        (lambda: locate_edge(lambda x: [x, x**2], 0.0, 2.0), r"has shape \(2,\); it must return a scalar"),
        (lambda: locate_edge(lambda x: 1.0, 0.0, 2.0), "does not depend on its argument"),
        (lambda: locate_edge(lambda x: x * rng.random(), 1.0, 2.0), r"not deterministic: at 1\.0 its value was .* fix"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
