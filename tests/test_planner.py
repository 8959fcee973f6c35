"""The planner: what it chooses, what it predicts, and that the choice never changes a result."""

import dataclasses
import re
import tracemalloc
import warnings
from itertools import pairwise

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, value_and_grad
from optimizer_table import Nesterov
from problems import by_autograd, classifier

import hypergrad as hg
from hypergrad import errors, planner
from hypergrad.nests import flatten
from hypergrad.workspace import release_kept

MODEL, LOSS, PARAMS, X, T = classifier((100, 60, 30, 10), rows=200, batch_size=50)
LOSSES = {"own gradient": LOSS, "autograd": by_autograd(LOSS)}
STEPS = 60


def measured_peak(f, x):
    """Peak bytes that a gradient allocates."""
    grad(f)(x)
    release_kept()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        grad(f)(x)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("optimizer", "budget", "expected"),
    [
        (hg.SGD(0.1), "1GB", hg.Stored),
        (hg.Adam(0.01), "1GB", hg.Stored),
        (hg.RMSProp(0.01), "1GB", hg.Stored),
        (Nesterov(0.1), "1GB", hg.Stored),
        (hg.SGD(0.1), "5MB", hg.Checkpointed),
        (hg.Adam(0.01), "5MB", hg.Checkpointed),
        (hg.Adam(0.01), "8MB", hg.Checkpointed),
        (hg.SGD(0.1, exact=True), "5MB", hg.Reversible),
        (hg.Adam(0.01, exact=True), "5MB", hg.Reversible),
    ],
)
def test_the_prediction_is_within_a_fifth_of_what_is_measured(optimizer, budget, expected, loss):
    plan = hg.plan(LOSSES[loss], PARAMS, optimizer, steps=STEPS, memory_budget=budget)
    assert isinstance(plan.adjoint, expected)
    assert plan.memory <= plan.budget

    def f(params):
        trained = hg.train(LOSSES[loss], params, optimizer, steps=STEPS, adjoint=plan.adjoint)
        return anp.sum(trained[0][1])

    assert plan.memory == pytest.approx(measured_peak(f, PARAMS), rel=0.2)


def least_budget(optimizer):
    """The smallest budget, in bytes, in which anything fits."""
    with pytest.raises(errors.MemoryBudgetError) as caught:
        hg.plan(LOSS, PARAMS, optimizer, steps=STEPS, memory_budget=1_000)
    return int(str(caught.value).split("the least is ")[1].split(" bytes")[0].replace(",", ""))


def test_predicted_products_are_those_of_the_schedules():
    products = lambda optimizer, budget: hg.plan(LOSS, PARAMS, optimizer, steps=STEPS, memory_budget=budget).products
    assert products(hg.SGD(0.1), "1GB") == 4.0
    assert products(hg.SGD(0.1, exact=True), "5MB") == 6.0
    with pytest.warns(errors.CostWarning):
        assert 6.0 < products(hg.SGD(0.1), "5MB") < products(hg.SGD(0.1), least_budget(hg.SGD(0.1)))


def test_more_memory_means_more_snapshots_until_everything_is_stored():
    plans = [hg.plan(LOSS, PARAMS, hg.SGD(0.1), steps=STEPS, memory_budget=b * 1_000_000) for b in range(4, 40, 2)]
    snapshots = [p.adjoint.snapshots if isinstance(p.adjoint, hg.Checkpointed) else STEPS for p in plans]
    assert snapshots == sorted(snapshots) and snapshots[0] < STEPS == snapshots[-1]
    assert all(a.products >= b.products for a, b in pairwise(plans))


@pytest.mark.parametrize("exact", [False, True])
def test_the_budget_never_changes_the_trajectory(exact):
    def f(log_lr, budget):
        optimizer = hg.SGD(anp.exp(log_lr), exact=exact)
        trained = hg.train(LOSS, PARAMS, optimizer, steps=STEPS, memory_budget=budget)
        return MODEL.loss(trained, X, T)

    results = [value_and_grad(f)(-1.0, budget) for budget in ("1GB", "5MB", "3.2MB")]
    assert len({value for value, _ in results}) == 1
    for _, gradient in results:
        assert gradient == pytest.approx(results[0][1], rel=1e-12)


def test_the_environment_variable(monkeypatch):
    monkeypatch.setenv(planner.VARIABLE, "5MB")
    assert isinstance(hg.plan(LOSS, PARAMS, hg.SGD(0.1), steps=STEPS).adjoint, hg.Checkpointed)
    assert hg.plan(LOSS, PARAMS, hg.SGD(0.1), steps=STEPS, memory_budget="1GB").adjoint == hg.Stored()
    monkeypatch.setenv(planner.VARIABLE, "plenty")
    with pytest.raises(errors.ArgumentError, match=r"HYPERGRAD_MEMORY_BUDGET must be a number of bytes.*'plenty'"):
        hg.plan(LOSS, PARAMS, hg.SGD(0.1), steps=STEPS)


def test_without_a_budget_it_is_a_quarter_of_the_free_memory(monkeypatch):
    monkeypatch.delenv(planner.VARIABLE, raising=False)
    assert 0 < planner.free_memory() < 2**50
    monkeypatch.setattr(planner, "free_memory", lambda: 4_000_000_000)
    assert hg.plan(LOSS, PARAMS, hg.SGD(0.1), steps=STEPS).budget == 1_000_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [(1_000, 1_000), (2.5e6, 2_500_000), ("1000", 1_000), ("2kB", 2_000), ("1.5 GiB", 3 * 2**29), ("3M", 3_000_000)],
)
def test_budgets_in_words(text, expected):
    assert planner.parse_budget(text) == expected


@pytest.mark.parametrize("budget", [0, -5, "", "2 potatoes", True, np.nan, np.inf, [1], "1.2.3GB"])
def test_bad_budgets(budget):
    with pytest.raises(errors.ArgumentError, match="memory_budget must be a number of bytes"):
        hg.plan(LOSS, PARAMS, hg.SGD(0.1), steps=STEPS, memory_budget=budget)


@pytest.mark.filterwarnings("ignore::hypergrad.errors.CostWarning")
@pytest.mark.parametrize("exact", [False, True])
def test_a_budget_in_which_nothing_fits_says_the_least_that_would(exact):
    optimizer = hg.SGD(0.1, exact=exact)
    with pytest.raises(
        errors.MemoryBudgetError, match=r"budget of 1,000 bytes: the least is ([0-9,]+) bytes"
    ) as caught:
        hg.plan(LOSS, PARAMS, optimizer, steps=STEPS, memory_budget=1_000)
    least = int(str(caught.value).split("the least is ")[1].split(" bytes")[0].replace(",", ""))
    assert hg.plan(LOSS, PARAMS, optimizer, steps=STEPS, memory_budget=1.02 * least).memory <= 1.02 * least
    with pytest.raises(errors.MemoryBudgetError):
        hg.plan(LOSS, PARAMS, optimizer, steps=STEPS, memory_budget=0.98 * least)
    f = lambda p: MODEL.loss(hg.train(LOSS, p, optimizer, steps=STEPS, memory_budget=1_000), X, T)
    with pytest.raises(errors.MemoryBudgetError):
        grad(f)(PARAMS)


def test_a_plan_for_no_steps():
    assert hg.plan(LOSS, PARAMS, hg.SGD(0.1), steps=0, memory_budget="1GB").adjoint == hg.Stored()


def test_memory_of_checkpointed_and_reversible_is_flat_in_the_number_of_steps():
    """Apart from the bits that a decay loses."""

    def peak(optimizer, adjoint, steps):
        return measured_peak(
            lambda p: anp.sum(hg.train(LOSS, p, optimizer, steps=steps, adjoint=adjoint)[0][1]), PARAMS
        )

    size = sum(w.size for w in flatten(PARAMS)[0])
    short, long = (peak(hg.SGD(0.1), hg.Checkpointed(3), steps) for steps in (20, 100))
    assert long == pytest.approx(short, rel=0.05)
    short, long = (peak(hg.SGD(0.1, exact=True), hg.Reversible(), steps) for steps in (200, 800))
    entropy, schedules = 600 * -np.log2(0.9) / 8 * size, 600 * 8 * 4
    assert long - short < 1.05 * entropy + schedules + 0.02 * short


def test_large_activations_and_differentiated_hyper_are_predicted_too():
    _, loss, params, *_ = classifier((20, 30, 10), rows=2_000, batch_size=2_000)
    penalised = lambda p, h, t: loss(p, None, t) + h * anp.sum(p[0][0] ** 2)
    for function, hyper in ((loss, None), (penalised, 0.1)):
        for optimizer, adjoint in ((hg.SGD(0.1), hg.Stored()), (hg.SGD(0.1, exact=True), hg.Reversible())):
            budget = "1GB" if adjoint == hg.Stored() else "12MB"
            plan = hg.plan(function, params, optimizer, hyper, steps=STEPS, memory_budget=budget)
            assert plan.adjoint == adjoint

            def f(x, function=function, optimizer=optimizer, adjoint=adjoint):
                trained = hg.train(function, x[0], optimizer, x[1] or None, steps=STEPS, adjoint=adjoint)
                return anp.sum(trained[0][1])

            x = (params, hyper) if hyper else (params, 0.0)
            if hyper is None:
                g = lambda p, f=f: f((p, None))
                peak = measured_peak(g, params)
            else:
                peak = measured_peak(f, x)
            assert plan.memory == pytest.approx(peak, rel=0.2)


def test_the_plan_counts_the_parameters_that_are_saved():
    plain, saving = (
        hg.plan(LOSS, PARAMS, hg.SGD(0.1), steps=STEPS, save_at=save_at, memory_budget="1GB").memory
        for save_at in (None, list(range(STEPS + 1)))
    )
    size = sum(w.nbytes for w in flatten(PARAMS)[0])
    assert saving - plain == pytest.approx(2 * STEPS * size, rel=0.01)


def test_a_dear_plan_is_not_taken_silently_and_says_what_would_be_cheaper():
    with pytest.warns(errors.CostWarning, match=r"takes (\d+(\.\d+)?) × the products of training") as caught:
        plan = hg.plan(LOSS, PARAMS, hg.SGD(0.1), steps=STEPS, memory_budget=least_budget(hg.SGD(0.1)))
    assert plan.products > 20.0
    enough = re.search(r'memory_budget="([0-9.]+MB)"', str(caught[0].message))[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert 6.0 < hg.plan(LOSS, PARAMS, hg.SGD(0.1), steps=STEPS, memory_budget=enough).products <= 20.0


def test_a_plan_prints_megabytes_and_factors():
    plan = hg.plan(LOSS, PARAMS, hg.SGD(0.1), steps=STEPS, memory_budget="1GB")
    assert re.fullmatch(
        r"Plan\(Stored\(\): 1\d(\.\d)? MB of a budget of 1 GB, 2 × the products of training\)", repr(plan)
    )


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("budget", ["1GB", "5MB"])
def test_planning_calls_the_loss_no_more_than_the_run_does(budget, exact):
    calls = []

    def counted(params, hyper, step):
        calls.append(step)
        return LOSS(params, hyper, step)

    f = lambda lr: MODEL.loss(
        hg.train(counted, PARAMS, hg.SGD(lr, exact=exact), steps=8, memory_budget=budget, check_purity=False), X, T
    )
    value_and_grad(f)(0.1)
    assert calls[:8] == list(range(8))
    if budget == "1GB":
        assert len(calls) == 8


def test_the_planner_knows_no_adjoint_by_name(monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Frugal(hg.Adjoint):
        def run(self, dynamics, save_at):
            return hg.Stored().run(dynamics, save_at)

        def cost(self, sizes):
            return hg.Cost(1_000, 5.0)

    monkeypatch.setattr(planner, "PLANNED", (hg.Stored(), Frugal()))
    assert isinstance(hg.plan(LOSS, PARAMS, hg.SGD(0.1), steps=STEPS, memory_budget="5MB").adjoint, Frugal)
