"""Nests of every kind, in params, hyper and the fields of an optimizer: the same type comes back."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, make_jvp, make_vjp
from hypothesis import given, settings
from hypothesis import strategies as st

import hypergrad as hg
from hypergrad import errors
from hypergrad.nests import broadcast_prefix, flatten, leaf_places, leaves_like, unflatten


class Layer(NamedTuple):
    W: Any
    b: Any


Pair = namedtuple("Pair", "first second")


@dataclass(frozen=True)
class Net:
    hidden: Any
    output: Any


@dataclass(frozen=True)
class Counting:
    """Not every field is an argument, so it cannot be made again from its leaves."""

    W: Any = field(default=1.0, init=False)


W, B = np.array([[0.3, -0.2], [0.1, 0.4]]), np.array([0.5, -0.5])
NESTS = {
    "named tuple": Layer(W, B),
    "collections.namedtuple": Pair(W, {"b": B}),
    "frozen dataclass": Net(W, [B]),
    "ordered dict": OrderedDict([("z", W), ("a", B)]),
    "absent leaf": {"W": W, "bias": None, "b": B},
    "absent leaf in a tuple": (W, None, B),
    "all of them": OrderedDict(x=Net(Layer(W, None), (B, None)), y=Pair(None, [W])),
}


def loss(params, hyper, step):
    return sum(anp.sum((i + 1.0) * w**4 - anp.cos(w)) for i, w in enumerate(flatten(params)[0]))


@pytest.mark.parametrize("adjoint", [hg.Stored(), hg.Checkpointed(2), None])
@pytest.mark.parametrize("name", NESTS)
def test_the_same_type_comes_back_and_derivatives_go_through(name, adjoint):
    params = NESTS[name]
    leaves, structure = flatten(params)
    trained = hg.train(loss, params, hg.SGD(0.1), steps=3)
    assert flatten(trained)[1] == structure and type(trained) is type(params)
    plain = hg.train(lambda p, h, t: loss(p, h, t), leaves, hg.SGD(0.1), steps=3)
    assert all(np.array_equal(a, b) for a, b in zip(flatten(trained)[0], plain))

    def f(lr, start=params):
        saved = hg.train(loss, start, hg.SGD(lr, 0.5), steps=4, save_at=[2, 4], adjoint=adjoint)
        assert all(type(nest) is type(params) for nest in saved) or structure.known_to_autograd
        return loss(saved[1], None, 0) + 2.0 * loss(saved[0], None, 0)

    expected = grad(lambda lr: f(lr, leaves) if structure.known_to_autograd else f(lr))(0.1)
    assert grad(f)(0.1) == expected
    assert make_jvp(f)(0.1)(1.0)[1] == pytest.approx(expected, rel=1e-9)
    assert (f(0.1 + 1e-6) - f(0.1 - 1e-6)) / 2e-6 == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", NESTS)
def test_hyper_and_the_fields_of_an_optimizer(name):
    params = NESTS[name]
    leaves, structure = flatten(params)

    def f(x):
        hyper, rates = (
            unflatten(structure, [x[key][i] * anp.ones(()) for i in range(len(leaves))]) for key in ("h", "r")
        )
        penalised = lambda p, h, t: (
            loss(p, None, t) + sum(a * anp.sum(w**2) for a, w in zip(flatten(h)[0], flatten(p)[0]))
        )
        return loss(hg.train(penalised, params, hg.SGD(rates, 0.5), hyper, steps=3), None, 0)

    hg.testing.check_hypergradient(f, {"h": np.full(len(leaves), 0.1), "r": np.full(len(leaves), 0.05)})


@pytest.mark.parametrize("name", NESTS)
def test_check_hypergradient_and_callbacks_take_any_nest(name):
    params, seen = NESTS[name], []
    watch = lambda step, p, state, gradient, value: seen.append((type(p), type(state.velocity), type(gradient), value))
    f = lambda start: loss(hg.train(loss, start, hg.SGD(0.1), steps=2, callback=watch), None, 0)
    hg.testing.check_hypergradient(f, params)
    assert all(kinds[:3] == (type(params),) * 3 and np.isfinite(kinds[3]) for kinds in seen)


leaf = st.just(1.0) | st.none()
nests = st.recursive(
    leaf,
    lambda below: st.one_of(
        st.lists(below, max_size=3),
        st.lists(below, max_size=3).map(tuple),
        st.dictionaries(st.sampled_from("abc"), below, max_size=3),
        st.dictionaries(st.sampled_from("abc"), below, max_size=3).map(OrderedDict),
        st.builds(Layer, below, below),
        st.builds(Net, below, below),
    ),
    max_leaves=8,
)


@given(nests)
@settings(max_examples=300, deadline=None)
def test_flattening_and_building_are_inverse(nest):
    leaves, structure = flatten(nest)
    numbered = unflatten(structure, range(len(leaves)))
    assert flatten(numbered) == (list(range(len(leaves))), structure)
    assert len(leaf_places(structure, "nest")) == len(leaves) == structure.size
    assert leaves_like(numbered, structure) == list(range(len(leaves)))
    found, cover, _ = broadcast_prefix(numbered, structure, name="nest", target="itself")
    assert found == cover == list(range(len(leaves)))


def test_the_entries_of_a_cotangent_are_taken_by_their_keys():
    bowl = lambda p, h, t: 0.5 * anp.sum(p["a"] ** 2) + 2.0 * anp.sum(p["b"] ** 2)
    run = lambda lr: hg.train(bowl, {"a": np.ones(2), "b": np.ones(2)}, hg.SGD(lr, 0.0), steps=1)
    vjp, _ = make_vjp(run)(0.1)
    one, zero = np.ones(2), np.zeros(2)
    assert vjp({"a": one, "b": zero}) == vjp({"b": zero, "a": one}) == pytest.approx(-2.0)
    assert vjp({"b": one, "a": zero}) == vjp({"a": zero, "b": one}) == pytest.approx(-8.0)
    for wrong in ({"a": one}, {"a": one, "c": zero}, [one, zero], one):
        with pytest.raises(errors.ArgumentError, match="the cotangent of a run must be a nest like"):
            vjp(wrong)


@pytest.mark.parametrize(
    ("params", "rate", "message"),
    [
        (Layer(W, B), Layer(0.1, None), r"SGD\.lr\.b is None, but params has an array there"),
        (Net(W, B), Layer(0.1, 0.1), r"SGD\.lr is a Layer of length 2, but params has a Net of length 2"),
        (
            {"a": W, "b": None},
            {"a": 0.1, "b": [0.1]},
            r"SGD\.lr\['b'\] is a list of length 1, but params has None there",
        ),
        (Counting(), 0.1, r"params is a test_nests\.Counting: nests hold"),
        (Layer(W, Tensor := type("Tensor", (), {})()), 0.1, r"params\.b is a test_nests\.Tensor"),
    ],
)
def test_errors_name_the_place(params, rate, message):
    with pytest.raises(errors.NestError, match=message):
        hg.train(loss, params, hg.SGD(rate), steps=1)
