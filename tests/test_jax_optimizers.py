"""Optimizers and schedules against those of optax, in float64: the same weights over 50 steps."""

import autograd.numpy as anp
import numpy as np
import pytest
from pages import namespace_of

import hypergrad as hg
from hypergrad import errors

jax = pytest.importorskip("jax", reason="needs the extra jax: pip install -e '.[jax]'")
optax = pytest.importorskip("optax", reason="needs the extra models: pip install -e '.[models]'")
jnp = jax.numpy

STEPS = 50
RNG = np.random.default_rng(0)
A, Y = RNG.standard_normal((12, 5)), RNG.standard_normal(12)
START = {"w": RNG.standard_normal(5), "b": np.array(0.3)}


def make_loss(np):
    def loss(params, hyper, step):
        errors = np.tanh(np.dot(A, params["w"]) + params["b"]) - Y
        return np.mean(errors**2) + 0.1 * np.sum(np.cos(params["w"] + 0.1 * step))

    return loss


LOSS, THEIRS = make_loss(anp), make_loss(jnp)


def several(optimizer, every):
    with jax.enable_x64(True):  # outside of it float64 would quietly be float32
        return optax.MultiSteps(optimizer, every, accumulator_dtype=np.float64)


def trained_there(optimizer):
    with jax.enable_x64(True):
        params = {name: jnp.asarray(value) for name, value in START.items()}
        state = optimizer.init(params)

        @jax.jit
        def one(params, state, step):
            updates, state = optimizer.update(jax.grad(THEIRS)(params, None, step), state, params)
            return optax.apply_updates(params, updates), state

        for step in range(STEPS):
            params, state = one(params, state, float(step))
        return {name: np.asarray(value) for name, value in params.items()}


def close(optimizer, expected):
    trained = hg.train(LOSS, START, optimizer, steps=STEPS)
    assert np.linalg.norm(expected["w"] - START["w"]) > 0.05, "it has moved"
    for name, value in expected.items():
        np.testing.assert_allclose(trained[name], value, rtol=1e-12, atol=1e-13)


SAME = {
    "sgd": ("sgd", {"learning_rate": 0.05, "momentum": 0.9}),
    "plain": ("sgd", {"learning_rate": 0.05}),
    "Nesterov": ("sgd", {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True}),
    "rmsprop": ("rmsprop", {"learning_rate": 0.01, "decay": 0.9, "eps_in_sqrt": False}),
    "adam": ("adam", {"learning_rate": 0.02, "b1": 0.8, "b2": 0.95}),
    "adamw": ("adamw", {"learning_rate": 0.02, "weight_decay": 0.3}),
}


@pytest.mark.parametrize("case", SAME)
def test_the_same_steps(case):
    name, settings = SAME[case]
    close(hg.optimizers.from_optax(name, **settings), trained_there(getattr(optax, name)(**settings)))


def test_a_decayed_sgd():
    """optax multiplies the decay by the learning rate alone: ours is λ (1 − β), with α = lr / (1 − β)."""
    chain = optax.chain(optax.trace(0.9), optax.add_decayed_weights(0.2), optax.scale(-0.05))
    close(hg.SGD(0.05 / (1.0 - 0.9), 0.9, weight_decay=0.2 * (1.0 - 0.9)), trained_there(chain))


@pytest.mark.parametrize("limit", [0.05, 0.3])
def test_clipping(limit):
    chain = optax.chain(optax.clip_by_global_norm(limit), optax.adamw(0.02, weight_decay=0.1))
    close(hg.Clipped(hg.Adam(0.02, weight_decay=0.1), limit), trained_there(chain))


@pytest.mark.parametrize("every", [1, 3])
def test_accumulation(every):
    """The mean is what is clipped."""
    chain = optax.chain(optax.clip_by_global_norm(0.2), optax.sgd(0.05, 0.9))
    ours = hg.Accumulated(hg.Clipped(hg.optimizers.from_optax("sgd", learning_rate=0.05, momentum=0.9), 0.2), every)
    close(ours, trained_there(several(chain, every)))


def test_accumulation_counts_updates_in_the_bias_correction():
    close(
        hg.Accumulated(hg.Adam(0.05), 3),
        trained_there(several(optax.adam(0.05), 3)),
    )


SCHEDULES = {
    "cosine": (
        lambda: hg.schedules.cosine(0.1, STEPS, warmup=10, final=0.02),
        lambda: optax.warmup_cosine_decay_schedule(0.0, 0.1, warmup_steps=10, decay_steps=STEPS, end_value=0.02),
    ),
    "linear": (
        lambda: hg.schedules.linear(0.1, 0.02, STEPS, over=30),
        lambda: optax.linear_schedule(0.1, 0.02, transition_steps=30),
    ),
    "exponential": (
        lambda: hg.schedules.exponential(0.1, 0.5, STEPS, every=10),
        lambda: optax.exponential_decay(0.1, transition_steps=10, decay_rate=0.5),
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name):
    ours, make = SCHEDULES[name]
    with jax.enable_x64(True):
        schedule = make()
        rates = [float(schedule(jnp.asarray(float(step)))) for step in range(STEPS)]
    np.testing.assert_allclose(ours(), rates, rtol=1e-12, atol=1e-16)


def test_a_scheduled_adamw():
    rates = hg.schedules.cosine(0.1, STEPS, warmup=10)
    with jax.enable_x64(True):
        table = jnp.asarray(rates)
    chain = optax.adamw(lambda count: table[count], weight_decay=0.1)
    close(hg.optimizers.from_optax("adamw", learning_rate=rates, weight_decay=0.1), trained_there(chain))


RATE = hg.schedules.cosine(0.5, STEPS, warmup=10, final=0.01)
BETA = np.linspace(0.5, 0.95, STEPS)
EXPORTED = {
    "a rate": (RATE, None),
    "a rate and a constant momentum": (RATE, 0.9),
    "both": (RATE, BETA),
    "a momentum of 0 at times": (RATE, np.where(np.arange(STEPS) % 5 == 0, 0.0, 0.8)),
    "rates by array": ({"w": RATE, "b": 0.1}, 0.9),
    "momenta by array": (RATE, {"w": BETA, "b": 0.2}),
    "both by array": ({"w": RATE, "b": 0.2}, {"b": BETA, "w": 0.5}),
}


@pytest.mark.parametrize("case", EXPORTED)
def test_an_exported_schedule_makes_the_same_steps(case):
    lr, momentum = EXPORTED[case]
    exported = hg.schedules.export(lr, momentum, to="optax")
    close(hg.SGD(lr, 0.0 if momentum is None else momentum), trained_there(exported.sgd()))


def test_an_exported_rate_is_a_schedule_of_optax():
    exported = hg.schedules.export(0.1 * RATE, to="optax")
    assert exported.momentum is None
    close(hg.Adam(0.1 * RATE), trained_there(optax.adam(exported.lr)))
    with jax.enable_x64(True):
        compiled = jax.jit(exported.lr)
        assert [float(compiled(jnp.asarray(step))) for step in (0, 7, STEPS - 1)] == list(0.1 * RATE[[0, 7, STEPS - 1]])
        assert float(compiled(jnp.asarray(STEPS + 9))) == 0.1 * RATE[-1], "after the end the last value"


def test_lion_on_the_page():
    Lion = namespace_of("docs/optimizers.md")["Lion"]
    close(Lion(0.01, weight_decay=0.1), trained_there(optax.lion(0.01, weight_decay=0.1)))
    f = lambda h: LOSS(hg.train(LOSS, START, Lion(h[0], weight_decay=h[1]), steps=10), None, 0)
    hg.testing.check_hypergradient(f, np.array([0.01, 0.1]))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("lion", {}, "optax name must be one of sgd, rmsprop, adam, adamw, got 'lion'"),
        ("rmsprop", {"learning_rate": 0.1}, "ε lies outside of the root here: give eps_in_sqrt=False"),
        ("adam", {"learning_rate": 0.1, "eps_root": 1e-8}, r"adam\(eps_root=1e-08\) has no counterpart"),
        ("adamw", {"learning_rate": 0.1, "mask": {"w": True}}, "a nest that is a prefix of the parameters"),
        ("sgd", {}, "optax sgd: missing 1 required positional argument: 'learning_rate'"),
    ],
)
def test_what_has_no_counterpart(name, settings, message):
    with pytest.raises(errors.ArgumentError, match=message):
        hg.optimizers.from_optax(name, **settings)
