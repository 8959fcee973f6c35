"""The sweep: its numbers, its workers, its cache, and what happens where training diverges."""

import autograd.numpy as anp
import joblib
import numpy as np
import pytest
from autograd import grad
from matplotlib.text import Text
from problems import classifier

import hypergrad as hg
from hypergrad.probe import CacheWarning, Sweep, sweep
from hypergrad.probe.figures import plot_sweep
from hypergrad.runs.parallel import compute, workers

MODEL, LOSS, PARAMS, X, T = classifier()
VALUES = np.linspace(-2.0, 1.0, 5)


def losses(log_lr):
    saved = hg.train(LOSS, PARAMS, hg.SGD(anp.exp(log_lr)), steps=6, save_at=[0, 2, 6])
    return [MODEL.loss(params, X, T) for params in saved]


def test_all_step_counts_from_one_sweep_equal_reverse_mode():
    result = sweep(losses, VALUES, progress=False)
    assert result.loss.shape == result.gradient.shape == (5, 3)
    for i, value in enumerate(VALUES):
        np.testing.assert_allclose(result.loss[i], losses(value), rtol=1e-12)
        for k in (1, 2):
            expected = grad(lambda x, k=k: losses(x)[k])(value)
            assert result.gradient[i, k] == pytest.approx(expected, rel=1e-9)
    assert not result.gradient[:, 0].any()
    assert (result.diverged_at == -1).all()


def test_workers_give_the_same_bits():
    one, two = (sweep(losses, VALUES, n_jobs=n, progress=False) for n in (1, 2))
    np.testing.assert_array_equal(one.loss, two.loss)
    np.testing.assert_array_equal(one.gradient, two.gradient)


def test_a_scalar_loss():
    result = sweep(lambda x: anp.sin(x), VALUES, progress=False)
    assert result.loss.shape == (5,)
    np.testing.assert_allclose(result.gradient, np.cos(VALUES), rtol=1e-12)


def quartic(lr):
    """Losses after 0, 1 and 40 steps of a descent that diverges for large learning rates."""
    loss = lambda w, hyper, step: anp.sum(w**4)
    return [anp.sum(w) for w in hg.train(loss, np.ones(2), hg.SGD(lr, 0.0), steps=40, save_at=[0, 1, 40])]


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_divergence_is_recorded_and_what_was_reached_is_kept():
    result = sweep(quartic, [0.1, 2.0, 0.2], progress=False)
    with pytest.raises(hg.DivergedError) as caught:
        quartic(2.0)
    assert result.diverged_at.tolist() == [-1, caught.value.step, -1]
    assert result.loss[1, :2].tolist() == [2.0, 2.0 * (1.0 - 2.0 * 4.0)]
    assert result.gradient[1, :2].tolist() == [0.0, -8.0]
    assert np.isnan(result.loss[1, 2]) and np.isnan(result.gradient[1, 2])
    assert np.isfinite(result.loss[[0, 2]]).all()
    everything = sweep(lambda lr: quartic(lr)[2], [2.0, 3.0], progress=False)
    assert np.isnan(everything.loss).all() and (everything.diverged_at >= 0).all()


def test_a_cache_of_another_function_is_noticed_by_its_shape(tmp_path):
    sweep(losses, VALUES[:2], cache=tmp_path, progress=False)
    other = lambda x: losses(x)[0] + anp.sin(x)
    with pytest.raises(hg.errors.OtherFunctionError, match=r"shape \(3,\) as stored, and .* shape \(\) now"):
        sweep(other, VALUES, cache=tmp_path, progress=False)
    with pytest.raises(hg.errors.ArgumentError, match=r"different shapes: \[\(\), \(3,\)\]"):
        sweep(other, VALUES, cache=tmp_path, recheck=False, progress=False)


def test_the_cache_goes_on_where_it_was(tmp_path):
    calls = []

    def counted(x):
        calls.append(float(getattr(x, "_value", x)))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return losses(x)

    with pytest.raises(KeyboardInterrupt):
        sweep(counted, VALUES, cache=tmp_path, progress=False)
    result = sweep(counted, VALUES, cache=tmp_path, progress=False)
    compared = calls.pop(3)
    assert compared in VALUES[:2], "one that was stored is computed again first"
    assert calls == [*VALUES[:3], *VALUES[2:]]
    plain = sweep(losses, VALUES, progress=False)
    np.testing.assert_array_equal(result.loss, plain.loss)
    np.testing.assert_array_equal(result.gradient, plain.gradient)
    sweep(counted, VALUES, cache=tmp_path, progress=False)
    assert len(calls) == 7, "nothing else is computed twice"
    sweep(counted, VALUES, cache=tmp_path, recheck=False, progress=False)
    assert len(calls) == 7


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("stored", [2, 5])
def test_a_cache_of_another_function_is_noticed_by_its_numbers(tmp_path, n_jobs, stored):
    old, new = (lambda x, c=c: c * anp.sin(x) for c in (2.0, 3.0))
    sweep(old, VALUES[:stored], cache=tmp_path, progress=False)
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(hg.errors.OtherFunctionError) as caught:
        sweep(new, VALUES, cache=tmp_path, n_jobs=n_jobs, progress=False)
    at = next(float(v) for v in VALUES if f"at {float(v)!r}," in str(caught.value))
    assert f"{tmp_path} are of another function" in str(caught.value) and "give another folder" in str(caught.value)
    assert f"'loss' is {float(old(at))!r} as stored, and {float(new(at))!r} now" in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == before, "nothing of the new function is among the old points"
    mixed = sweep(new, VALUES, cache=tmp_path, n_jobs=n_jobs, recheck=False, progress=False)
    np.testing.assert_array_equal(mixed.loss[:stored], old(VALUES[:stored]))
    np.testing.assert_array_equal(mixed.loss[stored:], new(VALUES[stored:]))


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_the_point_computed_again_is_one_that_did_not_diverge_if_there_is_one(tmp_path):
    again = []

    def counted(lr):
        again.append(float(getattr(lr, "_value", lr)))
        return quartic(lr)

    values = [2.0, 3.0, 0.1, 4.0, 5.0]
    first = sweep(quartic, values, cache=tmp_path / "one", progress=False)
    second = sweep(counted, values, cache=tmp_path / "one", progress=False)
    assert again == [0.1]
    np.testing.assert_array_equal(first.loss, second.loss)
    sweep(quartic, values[:2], cache=tmp_path / "all", progress=False)
    sweep(counted, values[:2], cache=tmp_path / "all", progress=False)
    assert again[1] in values[:2] and len(again) == 2, "NaN is the same as NaN"


def test_a_sweep_says_from_where_it_goes_on(tmp_path, capsys):
    sweep(anp.sin, VALUES[:2], cache=tmp_path)
    assert "going on" not in capsys.readouterr().err
    sweep(anp.sin, VALUES, cache=tmp_path)
    assert f"going on from 2 of 5 points, kept in {tmp_path}\n" in capsys.readouterr().err
    sweep(anp.sin, VALUES, cache=tmp_path, progress=False)
    assert capsys.readouterr().err == ""


def threads(x):
    """How many threads BLAS has where this runs."""
    from threadpoolctl import threadpool_info

    return {"threads": max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")}


def test_workers_have_one_blas_thread_and_this_process_those_it_had():
    from threadpoolctl import threadpool_limits

    before = threads(0.0)["threads"]
    assert [int(p["threads"]) for p in compute(threads, [1.0, 2.0], n_jobs=2, progress=False)] == [1, 1]
    with threadpool_limits(2, user_api="blas"):
        had = threads(0.0)["threads"]
        assert [int(p["threads"]) for p in compute(threads, [1.0], progress=False)] == [had]
    assert threads(0.0)["threads"] == before


def test_a_backend_or_number_of_threads_that_was_chosen_is_kept():
    assert type(workers(2)._backend).__name__ == "LokyBackend" and workers(2)._backend.inner_max_num_threads == 1
    with joblib.parallel_config("loky", inner_max_num_threads=3):
        assert workers(2)._backend.inner_max_num_threads == 3
    with joblib.parallel_config("threading") as config:
        assert workers(2)._backend is config["backend"]


@pytest.mark.parametrize("damage", ["truncated", "other point", "empty", "foreign"])
def test_a_damaged_cache_file_is_reported_and_computed_again(tmp_path, damage):
    expected = sweep(losses, VALUES, cache=tmp_path, progress=False)
    first, second, *_ = sorted(tmp_path.glob("*.npz"))
    if damage == "truncated":
        first.write_bytes(first.read_bytes()[:-40])
    elif damage == "other point":
        first.write_bytes(second.read_bytes())
    elif damage == "empty":
        first.write_bytes(b"")
    else:
        np.savez(first, something=np.ones(3))
    with pytest.warns(CacheWarning, match="not usable"):
        result = sweep(losses, VALUES, cache=tmp_path, progress=False)
    np.testing.assert_array_equal(result.loss, expected.loss)


def test_smooth_ends_where_the_derivative_stops_matching_the_loss():
    x = np.linspace(0.0, 3.0, 301)
    rough = x > 2.0
    gradient = np.where(rough, 1e3 * np.cos(1e5 * x), np.cos(x))
    result = Sweep(x, np.sin(x), gradient, np.full(301, -1))
    assert x[result.smooth].max() == pytest.approx(2.0)
    broken = gradient.copy()
    broken[100:] = np.nan
    assert x[Sweep(x, np.sin(x), broken, np.full(301, -1)).smooth].max() == pytest.approx(0.99)


def test_plot_shows_the_smooth_range_and_marks_what_leaves_it():
    x = np.linspace(0.0, 3.0, 31)
    loss = np.c_[np.sin(x), np.where(x > 2.0, 50.0, np.sin(x))]
    gradient = np.c_[np.cos(x), np.where(x > 2.0, 1e20, np.cos(x))]
    loss[-1], gradient[-1] = np.nan, np.nan
    figure = Sweep(x, loss, gradient, np.full(31, -1)).plot(xlabel="a", ylabel="b", labels=["one", "two"])
    upper, lower = figure.axes
    assert upper.get_ylim()[1] < 2.0 and lower.get_ylim()[1] < 2.0
    triangles = [line for line in lower.lines if line.get_marker() == "^"]
    assert sum(len(line.get_xdata()) for line in triangles) == (x > 2.0).sum() - 1
    crosses = [line for line in lower.lines if line.get_marker() == "x"]
    assert sum(len(line.get_xdata()) for line in crosses) == 2
    assert upper.get_ylabel() == "b" and lower.get_xlabel() == "a"


def test_low_losses_past_the_edge_stay_in_the_frame():
    x = np.linspace(0.0, 3.0, 301)
    past = x > 2.0
    loss = np.where(past, 0.5 + 0.4 * np.sin(1e5 * x), 2.0 - 0.2 * x)
    gradient = np.where(past, 4e4 * np.cos(1e5 * x), -0.2)
    upper, lower = Sweep(x, loss, gradient, np.full(301, -1)).plot().axes
    assert upper.get_ylim()[0] < loss.min() and upper.get_ylim()[1] < 3.0 and lower.get_ylim()[1] < 1.0
    loss[-1] = -1e6
    assert Sweep(x, loss, gradient, np.full(301, -1)).plot().axes[0].get_ylim()[0] > -100.0


def test_edges_that_were_located_are_marked_and_their_sides_named():
    x = np.linspace(0.0, 1.0, 21)
    sweeps = [Sweep(x, np.exp(-(x + seed)), -np.exp(-(x + seed)), np.full(21, -1)) for seed in (0.0, 0.1)]
    figure = plot_sweep(*sweeps, edges=[0.7, 0.6])
    words = [text.get_text() for text in figure.findobj(Text)]
    assert {"calm: the derivative is the slope", "chaotic: it is not", "edges, one a seed: 0.60, 0.70"} <= set(words)
    assert {"seed 0", "seed 1"} <= set(words)
    for axis in figure.axes:
        dashed = [line.get_xdata()[0] for line in axis.lines if line.get_linestyle() == "--" and len(line.get_xdata())]
        assert sorted(dashed) == [0.6, 0.7]
        (first, second) = (patch.get_x() for patch in axis.patches)
        assert (first, second) == (0.6, 0.7), "shaded from each edge on"
    for none in ([], [np.nan, np.nan]):
        figure = plot_sweep(*sweeps, edges=none)
        words = [text.get_text() for text in figure.findobj(Text)]
        assert any(word.startswith("no edge is marked: values 0.05 apart") for word in words)
        assert not any("chaotic" in word for word in words) and not figure.axes[0].patches


@pytest.mark.parametrize("losses", [1, 2])
def test_of_many_repetitions_the_first_stands_out(losses):
    x = np.linspace(0.0, 1.0, 21)
    loss = [np.exp(-(x + 0.1 * seed))[:, None] * np.arange(1.0, losses + 1.0) for seed in range(6)]
    sweeps = [Sweep(x, y, -y, np.full(21, -1)) for y in loss]
    figure = plot_sweep(*sweeps, edges=np.linspace(0.5, 0.7, 6), magnitude=True, moving_average=4)
    words = {text.get_text() for text in figure.findobj(Text)}
    assert "edges, one a seed, mean 0.60" in words
    assert {"seed 0", "seeds 1 to 5"} <= {word.split(",")[0].split(":")[0] for word in words}
    assert not {"seed 1", "seed 5"} & words
    for axis in figure.axes:
        lines = [line for line in axis.lines if len(line.get_xdata()) > 10]
        widths = np.array([line.get_linewidth() for line in lines]).reshape(6, losses)
        assert (widths[0] > widths[1:]).all() and len(lines) == 6 * losses
        assert min(line.get_zorder() for line in lines[:losses]) > max(line.get_zorder() for line in lines[losses:])
    colours = {str(line.get_color()) for line in figure.axes[0].lines if len(line.get_xdata()) > 10}
    assert len(colours) == 2, "one for each loss, or one for the first of a single one and another for the rest"


def test_on_a_logarithmic_axis_nothing_is_outside():
    x = np.linspace(0.0, 1.0, 301)
    gradient = np.where(x > 0.7, 1e12 * np.sin(1e5 * x), -np.exp(-x))
    sweep = Sweep(x, np.exp(-x) + np.where(x > 0.7, 100.0, 0.0), gradient, np.full(301, -1))
    upper, lower = plot_sweep(sweep, log=True).axes
    assert upper.get_yscale() == "log" and lower.get_yscale() == "symlog"
    assert upper.get_ylim()[0] < sweep.loss.min() < sweep.loss.max() < upper.get_ylim()[1]
    assert lower.get_ylim()[0] < gradient.min() < gradient.max() < lower.get_ylim()[1]
    within = lower.yaxis.get_transform().linthresh
    assert 0.3 <= within <= 3.0 and any(f"linear within ±{within:g}" == text.get_text() for text in lower.texts)


def test_overflow_of_exact_arithmetic_counts_as_divergence():
    quadratic = lambda w, hyper, step: 0.5 * anp.sum(w**2)
    run = lambda lr: anp.sum(hg.train(quadratic, np.ones(2), hg.SGD(lr, 0.5, exact=True), steps=200))
    result = sweep(run, [0.1, 9.0], progress=False)
    assert result.diverged_at[0] == -1 < result.diverged_at[1]
