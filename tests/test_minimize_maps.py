"""Maps and bounds of the hyperparameters of a descent."""

import autograd.numpy as anp
import numpy as np
import pytest
from descending import minimize, wavy
from hypothesis import given, settings
from hypothesis import strategies as st

from hypergrad import errors
from hypergrad.meta import maps
from hypergrad.meta.objective import Mapping
from hypergrad.nests import flatten

MAPS = {
    "plain": (maps.plain(), lambda a: a),
    "log": (maps.log(), lambda a: np.exp(a)),
    "logit": (maps.logit(-1.0, 3.0), lambda a: -1.0 + 4.0 / (1.0 + np.exp(-a))),
    "softmax": (maps.softmax(), lambda a: np.exp(a) / np.exp(a).sum()),
    "increasing": (maps.monotone(), lambda a: np.cumsum(np.r_[a[0], np.exp(a[1:])])),
    "decreasing": (maps.monotone(False), lambda a: np.cumsum(np.r_[a[0], -np.exp(a[1:])])),
    "tied": (maps.tied(maps.log()), lambda a: np.exp(a)),
}


@pytest.mark.parametrize("name", MAPS)
@given(free=st.lists(st.floats(-3.0, 3.0), min_size=2, max_size=5))
@settings(max_examples=25)
def test_a_map_and_its_inverse(name, free):
    one, expected = MAPS[name]
    values = one.value([np.array(free)])
    np.testing.assert_allclose(values[0], expected(np.array(free)), rtol=1e-12)
    again = one.value(one.free(values, ["h"]))
    np.testing.assert_allclose(again[0], values[0], rtol=1e-9)


def test_steps_are_taken_on_the_free_variables_and_f_sees_the_others():
    f = lambda h: (anp.log(h["a"]) - 1.0) ** 2 + anp.sum(h["b"] ** 2)
    result = minimize(f, {"a": 2.0, "b": np.ones(2)}, step_size=0.25, maps={"a": maps.log(), "b": maps.plain()})
    free = np.log(2.0)
    for found in result.history:
        assert found.hypers["a"] == pytest.approx(np.exp(free), rel=1e-12)
        assert found.gradient["a"] == pytest.approx(2.0 * (free - 1.0), rel=1e-10)
        assert found.free["a"] == pytest.approx(free, rel=1e-12)
        free -= 0.25 * 2.0 * (free - 1.0)


def test_tied_leaves_move_together_along_the_mean():
    f = lambda h: (h["u"] - 1.0) ** 2 + 3.0 * (h["v"] + 1.0) ** 2
    result = minimize(f, {"u": 0.5, "v": 0.5}, steps=60, step_size=0.2, maps=maps.tied())
    assert result.hypers["u"] == result.hypers["v"] == pytest.approx(-0.5, abs=1e-6)  # of 4 h² + 4 h + 4
    assert result.history[1].hypers["u"] == pytest.approx(0.5 - 0.2 * (-1.0 + 9.0) / 2.0, rel=1e-12)


def test_a_simplex_and_a_monotone_schedule_stay_what_they_are():
    target = np.array([0.7, 0.2, 0.1])
    f = lambda h: anp.sum((h["p"] - target) ** 2) + anp.sum((h["s"] - np.array([3.0, 2.0, 2.5])) ** 2)
    start = {"p": np.full(3, 1 / 3), "s": np.array([1.0, 0.5, 0.1])}
    result = minimize(f, start, steps=300, method="L-BFGS-B", maps={"p": maps.softmax(), "s": maps.monotone(False)})
    np.testing.assert_allclose(result.hypers["p"], target, atol=1e-3)
    np.testing.assert_allclose(result.hypers["s"], [3.0, 2.25, 2.25], atol=1e-2)
    assert all(np.isclose(e.hypers["p"].sum(), 1.0) and np.all(np.diff(e.hypers["s"]) < 0.0) for e in result.history)


@pytest.mark.parametrize(
    ("given_maps", "message"),
    [
        (maps.log(), r"hypers\['a'\] is mapped by its logarithm and must be positive, got .*-1\.0"),
        ({"a": maps.logit(0.0, 1.0), "b": maps.plain()}, r"hypers\['a'\] must lie inside \(0, 1\)"),
        ({"a": maps.softmax(), "b": maps.plain()}, r"hypers\['a'\] is mapped by maps\.softmax"),
        ({"a": maps.monotone(), "b": maps.plain()}, r"hypers\['a'\] must be one-dimensional and increase"),
        (maps.tied(), r"hypers\['b'\] is tied to hypers\['a'\]"),
        ({"a": "log", "b": maps.plain()}, r"maps\['a'\] must be one of hypergrad\.meta\.maps.*got 'log'"),
    ],
)
def test_a_start_that_no_free_variable_leads_to_is_refused(given_maps, message):
    with pytest.raises(errors.ArgumentError, match=message):
        minimize(lambda h: h["a"] + h["b"], {"a": -1.0, "b": 2.0}, maps=given_maps)


@pytest.mark.parametrize("given", [{"a": maps.log()}, {"a": maps.log(), "b": None}])
def test_where_a_leaf_has_no_map_the_one_that_leaves_it_is_named(given):
    with pytest.raises(errors.NestError, match=r"'b'.*maps\.plain\(\) is the map of a leaf that stays as it is"):
        minimize(lambda h: h["a"] + h["b"], {"a": 1.0, "b": 2.0}, maps=given)


@pytest.mark.parametrize("options", [{"step_size": 0.5}, {"method": "L-BFGS-B"}, {"method": "SLSQP"}, {}])
@pytest.mark.parametrize("mapped", [None, maps.log()])
def test_steps_end_at_the_bounds(options, mapped):
    f = lambda h: anp.sum((h - np.array([5.0, 1.2, 0.1])) ** 2)
    result = minimize(f, np.ones(3), steps=60, bounds=(np.array([0.0, 0.5, 0.5]), 2.0), maps=mapped, **options)
    np.testing.assert_allclose(result.hypers, [2.0, 1.2, 0.5], rtol=1e-3)
    assert all(np.all((e.hypers <= 2.0 + 1e-12) & (e.hypers >= [0, 0.5 - 1e-12, 0.5 - 1e-12])) for e in result.history)


def test_a_map_that_mixes_entries_takes_no_bounds():
    with pytest.raises(errors.ArgumentError, match=r"hypers is mapped by maps\.softmax\(\).*takes no bounds"):
        minimize(lambda h: h[0], np.array([0.5, 0.5]), maps=maps.softmax(), bounds=(0.1, 0.9))


def test_a_gradient_by_the_hyperparameters_is_pulled_back_through_the_maps():
    estimator = lambda hypers, iteration: (0.0, 2.0 * hypers)
    result = minimize(lambda h: wavy(h), 1.0, steps=3, step_size=0.1, maps=maps.log(), on_chaos=estimator)
    doubted = [e for e in result.history if e.doubt]
    assert doubted and all(e.answer == pytest.approx(2.0 * e.hypers**2, rel=1e-12) for e in doubted)


def test_maps_are_declared_once_for_all_below():
    structure = flatten({"a": [1.0, 2.0], "b": 3.0})[1]
    mapping = Mapping.of({"a": maps.log(), "b": maps.plain()}, structure)
    assert mapping.groups == [[0, 1], [2]] and repr(mapping.map_of(1)) == "maps.log()"
