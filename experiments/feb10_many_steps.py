"""10 February 2015: through how many training steps can one go back, in how much memory?

Setting: the validation loss after training, differentiated by the log learning rate of every step and group of
parameters and by the log scales of the initial weights. Training is SGD with momentum 0.9 in exact arithmetic, far
below the edge of chaos, and is run backwards. Beside it the same derivative along one direction in forward mode, and
what storing the steps would take, measured for a few steps. Each run is in a process of its own.

Part 1: 20,000 steps of 784-50-50-50-10 tanh, 10,000 MNIST images in minibatches of 50 (100 epochs).
Part 2: 5,000 steps of a transformer of one block written in jax.numpy, which predicts the next pixel of MNIST images
    averaged to 7 by 7 pixels of 8 grey levels, 2,000 images in minibatches of 4 (10 epochs). It needs the extra `jax`.
"""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np
from autograd import make_jvp, value_and_grad

import hypergrad as hg
from experiments.parts.feb10_many_steps import many_steps_plot
from experiments.shared import runner
from experiments.shared.apart import apart, peak_of, seconds_of
from hypergrad.nests import flatten
from hypergrad.problem import check_problem
from hypergrad.runs.parallel import compute

LOOK_AT = "Look at the memory: beside what storing the steps would take, and beside the bits that momentum throws away."
NAME = "experiments.feb10_many_steps"


@dataclass(frozen=True)
class Config(runner.PartConfig):
    """A quick run has ``every`` times fewer steps, and a short run less."""

    network: str
    steps: int
    log_lr: float
    images: int
    batch_size: int
    held_out: int = 1_000
    momentum: float = 0.9
    distance: float = 1e-4  # of the central difference, of the log learning rates
    bins: int = 50
    points: int = 26  # of curves
    short: tuple[int, ...] = (50, 100, 200)  # steps after which memory is measured too


PARTS = {
    1: Config("mlp", 20_000, -2.0, 10_000, 50, seeds=10, quick_every=100),
    2: Config("transformer", 5_000, -1.0, 2_000, 4, held_out=50, seeds=10, quick_every=100),
}


class Results(NamedTuple):
    """Arrays of s seeds, g groups of parameters, b bins of steps, c points of curves, k short runs."""

    parameters: np.ndarray  # ()
    curve_steps: np.ndarray  # (c,)
    curve: np.ndarray  # (s, c), validation loss, nats
    bits: np.ndarray  # (s, c), in the information buffers
    bound: np.ndarray  # (c,), bits that momentum loses: steps · parameters · log2(1/β)
    gradient: np.ndarray  # (s, g, b), by the log learning rates, summed over the steps of a bin, nats
    by_scale: np.ndarray  # (s, 4), by the log scales of initial weights, nats
    slope: np.ndarray  # (s, 3), along one direction: by exact reversal, in forward mode, as central difference
    seconds: np.ndarray  # (s, 4), processor time: training in floats, in exact arithmetic; forward mode, reversal
    bytes: np.ndarray  # (s,), peak of the reversal beyond libraries and data
    short_steps: np.ndarray  # (k,)
    short_bytes: np.ndarray  # (k, 2), the same for seed 0 after fewer steps, by reversal and with the steps stored


SEED_AXIS = dict.fromkeys(("curve", "bits", "gradient", "by_scale", "slope", "seconds", "bytes"), 0)
SEED_AXIS |= dict.fromkeys(("parameters", "curve_steps", "bound", "short_steps", "short_bytes"))


class Problem(NamedTuple):
    """What is trained.

    Attributes:
      batch_loss, validation_loss: functions of (params, hyper, step) and of params.
      init: the initial parameters for four scales, relative to 1/√fan-in.
      spread: a list of four values, one for each group, as a nest for the optimizer.
    """

    batch_loss: Callable
    validation_loss: Callable
    init: Callable
    spread: Callable


def of_mlp(config: Config, seed: int) -> Problem:
    """Four layers, each with learning rates of its own."""
    (X, T), held_out = hg.data.load_mnist(config.images, config.held_out)
    model = hg.nn.MLP([784, 50, 50, 50, 10])

    def init(scales):
        stds = [(scale * W[0] ** -0.5, 0.0) for scale, (W, b) in zip(scales, model.shapes)]
        return hg.init.scaled_normal(model.shapes, stds, seed)

    batch_loss = hg.nn.MinibatchLoss(model, X, T, config.batch_size)
    return Problem(batch_loss, lambda params: model.loss(params, *held_out), init, list)


def of_transformer(config: Config, seed: int) -> Problem:
    """One block of width 16; embedding, attention, MLP and head have learning rates of their own."""
    import jax

    X, X_valid = grey_levels(config.images, config.held_out)
    model = hg.nn.Transformer(8, width=16, depth=1, heads=2, length=48, position="learned")

    def batch_loss(params, hyper, step):
        first = step % (len(X) // config.batch_size) * config.batch_size
        return next_pixel(params, jax.lax.dynamic_slice_in_dim(X, first, config.batch_size), model.heads)

    def spread(groups):
        embedding, attention, mlp, head = groups
        block = {
            name: mlp if name.startswith(("up", "down", "mlp")) else attention for name in model.shapes["blocks"][0]
        }
        return {"embedding": embedding, "position": embedding, "blocks": [block], "norm": head, "head": head}

    init = lambda scales: model.init(seed, dict(zip(("embedding", "qkv", "mlp", "head"), scales)))
    validation_loss = hg.losses.jax_function(lambda params: next_pixel(params, X_valid, model.heads))
    return Problem(hg.losses.from_jax(batch_loss), validation_loss, init, spread)


def next_pixel(params, X, heads: int):
    """The cross-entropy of the grey level of the next pixel, in nats; the function of hg.nn.Transformer."""
    import jax
    import jax.numpy as jnp

    def norm(x, by):
        return jax.nn.standardize(x, axis=-1, epsilon=1e-5) * by["gain"] + by["bias"]

    def split(x):
        return x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)

    seen, answers = X[:, :-1], X[:, 1:]
    positions = seen.shape[1]
    past = jnp.tri(positions, dtype=bool)
    x = params["embedding"][seen] + params["position"][:positions]
    for block in params["blocks"]:
        q, k, v = (split(norm(x, block["norm"]) @ block[name]) for name in ("query", "key", "value"))
        scores = jnp.where(past, q @ k.swapaxes(2, 3) / q.shape[-1] ** 0.5, -1e30)
        x = x + (jax.nn.softmax(scores) @ v).swapaxes(1, 2).reshape(x.shape) @ block["output"]
        a = jax.nn.gelu(norm(x, block["mlp_norm"]) @ block["up"] + block["up_bias"], approximate=False)
        x = x + a @ block["down"] + block["down_bias"]
    logs = jax.nn.log_softmax(norm(x, params["norm"]) @ params["head"])
    return -jnp.mean(jnp.take_along_axis(logs, answers[..., None], axis=-1))


def grey_levels(*counts: int) -> list:
    """MNIST images as rows of 49 pixels of 8 grey levels, integers."""
    images = [X.reshape(-1, 7, 4, 7, 4).mean((2, 4)).reshape(-1, 49) for X, _ in hg.data.load_mnist(*counts)]
    return [np.minimum(8 * X, 7).astype(int) for X in images]


PROBLEMS = {"mlp": of_mlp, "transformer": of_transformer}


def hypers(config: Config, steps: int) -> dict:
    """Where the derivative is taken: one learning rate for all steps and groups, weights of 1/√fan-in."""
    return {"log_lr": np.full((4, steps), config.log_lr), "log_scale": np.zeros(4)}


def optimizer_of(problem: Problem, config: Config, log_lr, exact: bool):
    return hg.SGD(problem.spread([anp.exp(group) for group in log_lr]), config.momentum, exact=exact)


def objective(problem: Problem, config: Config, adjoint=None, exact: bool = True) -> Callable:
    """The validation loss after training, as a function of the hyperparameters."""

    def loss(h):
        optimizer, steps = optimizer_of(problem, config, h["log_lr"], exact), h["log_lr"].shape[1]
        params = problem.init(anp.exp(h["log_scale"]))
        trained = hg.train(problem.batch_loss, params, optimizer, steps=steps, adjoint=adjoint)
        return problem.validation_loss(trained)

    return loss


ADJOINTS = {"reversible": (hg.Reversible(), True), "stored": (hg.Stored(), False)}


def memory(config: Config, adjoint: str, steps: int) -> dict:
    """Peak memory of one hypergradient of seed 0 after so many steps."""
    problem = PROBLEMS[config.network](config, 0)
    f = value_and_grad(objective(problem, config, *ADJOINTS[adjoint]))
    f(hypers(config, 2))  # what is compiled or set up once belongs to the libraries
    return {"bytes": peak_of(lambda: f(hypers(config, steps)))[1]}


def measure(config: Config, seed: int) -> dict:
    """Everything about one long run: a piece of most arrays of the results."""
    steps, problem = config.steps // config.every, PROBLEMS[config.network](config, seed)
    start, rng = hypers(config, steps), np.random.default_rng((seed, 10))
    direction = {name: rng.standard_normal(h.shape) for name, h in start.items()}
    f = objective(problem, config, hg.Reversible())
    for warm in (value_and_grad(f), lambda h: make_jvp(f)(h)(h), objective(problem, config, exact=False)):
        warm(hypers(config, 2))

    def reversal():
        return value_and_grad(f)(start)

    ((_, gradient), reversing), peak = peak_of(lambda: seconds_of(reversal))
    (_, forward), in_forward_mode = seconds_of(lambda: make_jvp(f)(start)(direction))
    around = [
        {name: h + side * direction[name] for name, h in start.items()} for side in (config.distance, -config.distance)
    ]
    (above, below), exactly = seconds_of(lambda: [f(h) for h in around])
    counts = np.linspace(0, steps, config.points).astype(int)
    (curve, in_floats) = seconds_of(lambda: trained_at(problem, config, start, counts))
    bits, parameters = held(problem, config, start, counts)
    return {
        "parameters": parameters,
        "curve": [problem.validation_loss(params) for params in curve],
        "bits": bits,
        "gradient": gradient["log_lr"].reshape(4, config.bins, -1).sum(axis=2),
        "by_scale": gradient["log_scale"],
        "slope": [
            sum(np.sum(gradient[name] * direction[name]) for name in direction),
            forward,
            (above - below) / (2.0 * config.distance),
        ],
        "seconds": [in_floats, exactly / 2.0, in_forward_mode, reversing],
        "bytes": peak,
    }


def trained_at(problem: Problem, config: Config, h: dict, counts) -> list:
    """The parameters after these step counts, trained in ordinary floats."""
    params, optimizer = problem.init(np.exp(h["log_scale"])), optimizer_of(problem, config, h["log_lr"], exact=False)
    return hg.train(problem.batch_loss, params, optimizer, steps=int(counts[-1]), save_at=counts)


def held(problem: Problem, config: Config, h: dict, counts) -> tuple[list, int]:
    """The bits in the information buffers after these step counts, and the number of parameters.

    These are the engine's own steps, since no part of a run that a user sees tells of its buffers.
    """
    params, optimizer = problem.init(np.exp(h["log_scale"])), optimizer_of(problem, config, h["log_lr"], exact=True)
    dynamics = check_problem(problem.batch_loss, params, optimizer, None, int(counts[-1])).dynamics()
    state, bits = dynamics.start(record=True), []
    for step in range(dynamics.steps + 1):
        if step in counts:
            buffers = [buffer for run in state.fixed for buffer in run.buffers]
            bits.append(sum(16 * b.stack.size + np.sum(np.log2(b.words.astype(float)) - 48.0) for b in buffers))
        if step < dynamics.steps:
            state = dynamics.step(state, step)
    return bits, sum(w.size for w in flatten(params)[0])


def run(config: Config, jobs: int, cache) -> Results:
    """One run after the other, whatever ``jobs`` is: their times are measured."""
    if config.network == "transformer" and importlib.util.find_spec("jax") is None:
        raise runner.CommandError("the transformer of part 2 is written in JAX: python -m pip install -e '.[jax]'")
    once = {"n_jobs": 1, "recheck": False}  # times and memory come out differently when they are measured again
    long = compute(
        lambda seed: apart(NAME, "measure", config, int(seed)), config.numbered, cache=cache / "long", **once
    )
    counts = config.short if config.every == 1 else config.short[:2]
    if config.first_seed:
        counts = ()  # they are those of seed 0
    short = {name: compute(partial(_short, config, name), counts, cache=cache / name, **once) for name in ADJOINTS}
    curve_steps = np.linspace(0, config.steps // config.every, config.points).astype(int)
    lost = np.log2(2.0**32 / round(config.momentum * 2.0**32))  # of the momentum that exact arithmetic takes
    arrays = {name: np.array([one[name] for one in long]) for name in long[0] if name != "parameters"}
    return Results(
        parameters=long[0]["parameters"],
        curve_steps=curve_steps,
        bound=curve_steps * long[0]["parameters"] * lost,
        short_steps=np.array(counts),
        short_bytes=np.array([[point["bytes"] for point in short[name]] for name in ADJOINTS]).T,
        **arrays,
    )


def _short(config: Config, adjoint: str, steps: float) -> dict:
    return apart(NAME, "memory", config, adjoint, int(steps))


plot, numbers = many_steps_plot.plot, many_steps_plot.numbers

if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
