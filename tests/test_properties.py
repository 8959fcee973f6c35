"""Property tests: random nets, nests, schedules and step counts against unrolled autograd and across modes."""

import autograd.numpy as anp
import numpy as np
import unrolled
from autograd import grad, make_jvp
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import by_autograd, classifier, relative_error

import hypergrad as hg
from hypergrad.nests import flatten, unflatten

shapes = st.lists(st.integers(1, 3), max_size=2).map(tuple)
nests = st.recursive(
    shapes.map(lambda shape: ("leaf", shape)),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3),
        st.lists(inner, min_size=1, max_size=3).map(tuple).map(lambda items: ("tuple", *items)),
        st.dictionaries(st.sampled_from("abcd"), inner, min_size=1, max_size=3),
    ),
    max_leaves=5,
)
seeds = st.integers(0, 2**31)


def build(description, rng):
    """The nest that a drawn description stands for, filled at random."""
    if isinstance(description, dict):
        return {key: build(below, rng) for key, below in description.items()}
    if isinstance(description, list):
        return [build(below, rng) for below in description]
    if description[0] == "tuple":
        return tuple(build(below, rng) for below in description[1:])
    return rng.uniform(-0.7, 0.7, description[1])


def prefix_schedule(params, steps, low, high, rng):
    """A random prefix of a nest, with scalars and schedules for leaves."""
    if not isinstance(params, dict | list | tuple) or rng.random() < 0.3:
        return rng.uniform(low, high, steps) if rng.random() < 0.5 else float(rng.uniform(low, high))
    if isinstance(params, dict):
        return {key: prefix_schedule(below, steps, low, high, rng) for key, below in params.items()}
    return type(params)(prefix_schedule(below, steps, low, high, rng) for below in params)


def smooth_loss(params, hyper, step):
    """Couples all arrays with each other, with the hyperparameters and with the step."""
    terms = [anp.sum(anp.sin((i + 1.0) * w + step)) for i, w in enumerate(flatten(params)[0])]
    weights = [anp.sum(h * h) for h in flatten(hyper)[0]]
    return sum(t * t for t in terms) * 0.1 + sum(terms) * sum(weights) * 0.1


def random_like(nest, rng):
    leaves, structure = flatten(nest)
    return unflatten(structure, [np.asarray(rng.standard_normal(np.shape(leaf))) for leaf in leaves])


@settings(max_examples=60, deadline=None)
@given(nests, nests, st.integers(0, 6), seeds)
def test_random_nests_and_schedules(params, hyper, steps, seed):
    rng = np.random.default_rng(seed)
    params, hyper = build(params, rng), build(hyper, rng)
    inputs = {
        "params": params,
        "hyper": hyper,
        "lr": prefix_schedule(params, steps, 0.05, 0.4, rng),
        "momentum": prefix_schedule(params, steps, 0.0, 0.9, rng),
    }
    save_at = sorted(rng.choice(steps + 1, size=rng.integers(1, steps + 2), replace=False).tolist())
    weights = rng.standard_normal(len(save_at))

    def objective(saved):
        return sum(c * anp.sum(anp.cos(w + i)) for c, p in zip(weights, saved) for i, w in enumerate(flatten(p)[0]))

    def ours(x):
        optimizer = hg.SGD(x["lr"], x["momentum"])
        return objective(hg.train(smooth_loss, x["params"], optimizer, x["hyper"], steps=steps, save_at=save_at))

    def reference(x):
        return objective(
            unrolled.train(smooth_loss, x["params"], unrolled.sgd, (x["lr"], x["momentum"]), x["hyper"], steps, save_at)
        )

    gradient, expected = grad(ours)(inputs), grad(reference)(inputs)
    for name in ("params", "hyper", "lr", "momentum"):
        scale = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in flatten(expected)[0]))
        for a, b in zip(flatten(gradient[name])[0], flatten(expected[name])[0]):
            assert np.shape(a) == np.shape(b)
            assert np.linalg.norm(a - b) <= 1e-9 * scale, name
    direction = random_like(inputs, rng)
    forward = make_jvp(ours)(inputs)(direction)[1]
    inner = [np.vdot(a, b) for a, b in zip(flatten(gradient)[0], flatten(direction)[0])]
    assert abs(forward - sum(inner)) <= 1e-9 * np.linalg.norm(inner)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=5),
    st.sampled_from(["tanh", "gelu", "identity"]),
    st.integers(1, 9),
    st.integers(1, 8),
    st.booleans(),
    seeds,
)
def test_random_nets(sizes, activation, batch_size, steps, own_gradient, seed):
    model, loss, params, X, T = classifier(sizes, activation, rows=9, batch_size=batch_size, seed=seed)
    rng = np.random.default_rng(seed)
    loss = loss if own_gradient else by_autograd(loss)
    inputs = (params, rng.uniform(0.1, 0.8, steps), rng.uniform(0.0, 0.95, steps))
    ours = lambda x: model.loss(hg.train(loss, x[0], hg.SGD(x[1], x[2]), steps=steps), X, T) + anp.sum(x[1])
    trained = lambda x: unrolled.train(loss, x[0], unrolled.sgd, x[1:], None, steps, [steps])[0]
    reference = lambda x: model.loss(trained(x), X, T) + anp.sum(x[1])
    assert relative_error(grad(ours)(inputs), grad(reference)(inputs)) < 1e-9
