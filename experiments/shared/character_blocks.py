"""Character models of blocks put together from the functions of `hg.nn`, with a learning rate tuned for each.

With x = the embedding of the characters and N a layer norm, each block has some of

    x ← x + W_r Re h,   h_k = z ⊙ h_{k−1} + W_d N(x)_k          a diagonal linear recurrence
    x ← x + W_o attention(N(x) W_q, N(x) W_k, N(x) W_v)         causal, perhaps in a window, with rotary positions
    x ← x + W₂ φ(W₁ N(x) + b₁) + b₂                             an MLP, or with a gate
    x ← x + W₂ (φ(W_g N(x) + b_g) ⊙ (W₁ N(x) + b₁)) + b₂

and logits = N(x) W_head. Without the recurrence and the gate it is `hg.nn.Transformer`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from experiments.shared import character_runs, text

MINIBATCHES, HELD_OUT, MEMORY = 1, 2, 3  # purposes of random numbers
UNSEEN = 10**6  # the first seed that nothing was chosen by
ADDED = ("remembered", "output", "down")  # W_r, W_o and W₂, whose products are added to x


@dataclass(frozen=True)
class Blocks:
    """A model.

    Attributes:
      length: characters of a piece.
      hidden: of the MLP.
      activation: φ, the name of a function of `hg.nn`.
      gated: whether it is that of a gate.
      units: of the recurrence, complex numbers; 0 for none.
      attends: whether there is attention.
      window: how many characters attention sees, itself among them; None for all before it.
    """

    width: int
    depth: int
    heads: int
    length: int
    hidden: int
    activation: str = "silu"
    gated: bool = False
    units: int = 0
    attends: bool = True
    window: int | None = None

    @property
    def shapes(self) -> dict:
        w, norm, block = self.width, {"gain": (self.width,), "bias": (self.width,)}, {}
        if self.units:
            block |= {"drive": (w, self.units), "log_decay": (self.units,), "angle": (self.units,)}
            block |= {"remembered": (self.units, w), "memory_norm": norm}
        if self.attends:
            block |= {**dict.fromkeys(("query", "key", "value", "output"), (w, w)), "norm": norm}
        for name in ("gate", "up") if self.gated else ("up",):
            block |= {name: (w, self.hidden), f"{name}_bias": (self.hidden,)}
        block |= {"down": (self.hidden, w), "down_bias": (w,), "mlp_norm": norm}
        return {"embedding": (256, w), "blocks": [block] * self.depth, "norm": norm, "head": (w, 256)}

    def init(self, seed: int) -> dict:
        """Weights normal, 1/√fan-in, what is added to x besides over the root of how often; biases 0, gains 1.

        The recurrence remembers for 1 to 128 characters, log-uniform, and its drive is so scaled that states begin
        at order 1; its angles are those `hg.nn.DiagonalRecurrence` begins with.
        """
        shapes = self.shapes
        often = sum(name in shapes["blocks"][0] for name in ADDED) * self.depth

        def stds(nest):
            return {
                name: stds(shape)
                if isinstance(shape, dict)
                else shape[0] ** -0.5 * (often**-0.5 if name in ADDED else 1.0) * (len(shape) == 2)
                for name, shape in nest.items()
            }

        std = {name: [stds(block) for block in shape] for name, shape in shapes.items() if name == "blocks"}
        std |= {"embedding": 1.0, "norm": 0.0, "head": self.width**-0.5}
        params = hg.init.scaled_normal(shapes, {name: std[name] for name in shapes}, seed, np.float32)
        rng = np.random.default_rng((seed, MEMORY))
        for nest in (params, *params["blocks"]):
            for norm in (nest[name] for name in nest if name.endswith("norm")):
                norm["gain"] = np.ones_like(norm["gain"])
            if "drive" in nest:
                log_decay = -rng.uniform(0.0, np.log(128.0), self.units)
                angle = np.exp(rng.uniform(*np.log([2 * np.pi / 1_000, 2 * np.pi]), self.units))
                nest["log_decay"], nest["angle"] = log_decay.astype(np.float32), angle.astype(np.float32)
                nest["drive"] = nest["drive"] * np.sqrt(-np.expm1(-2.0 * np.exp(log_decay))).astype(np.float32)
        return params

    def logits(self, params, X):
        """Of the next character, (n, T, 256), for characters (n, T)."""
        n, length = X.shape
        x = anp.reshape(hg.nn.embedding(params["embedding"], X), (n * length, self.width))
        for block in params["blocks"]:
            if self.units:
                x = x + self._remembered(block, _normed(x, block["memory_norm"]), n, length)
            if self.attends:
                x = x + self._seen(block, _normed(x, block["norm"]), n, length)
            x = x + self._computed(block, _normed(x, block["mlp_norm"]))
        logits = anp.dot(_normed(x, params["norm"]), params["head"])
        return anp.reshape(logits, (n, length, 256))

    def loss(self, params, X, T):
        """The mean over all positions, nats a character."""
        return hg.nn.softmax_cross_entropy(self.logits(params, X), T)

    def by_position(self, params, X, T) -> np.ndarray:
        """(T,): the mean over the pieces at each position."""
        log_p = hg.nn.log_softmax(self.logits(params, X))
        return -np.take_along_axis(log_p, T[..., None], axis=-1)[..., 0].mean(axis=0)

    def _remembered(self, block, a, n: int, length: int):
        drive = anp.reshape(anp.dot(a, block["drive"]), (n, length, self.units))
        h = hg.nn.diagonal_recurrence(anp.exp(1j * block["angle"] - anp.exp(block["log_decay"])), drive)
        return anp.dot(anp.reshape(anp.real(h), (n * length, self.units)), block["remembered"])

    def _seen(self, block, a, n: int, length: int):
        split = (n, length, self.heads, self.width // self.heads)
        q, k, v = (
            anp.swapaxes(anp.reshape(anp.dot(a, block[name]), split), 1, 2) for name in ("query", "key", "value")
        )
        seen = hg.nn.attention(hg.nn.rotary(q), hg.nn.rotary(k), v, window=self.window)
        return anp.dot(anp.reshape(anp.swapaxes(seen, 1, 2), (n * length, self.width)), block["output"])

    def _computed(self, block, a):
        activation, up = getattr(hg.nn, self.activation), anp.dot(a, block["up"]) + block["up_bias"]
        hidden = activation(anp.dot(a, block["gate"]) + block["gate_bias"]) * up if self.gated else activation(up)
        return anp.dot(hidden, block["down"]) + block["down_bias"]


def _normed(x, norm):
    return hg.nn.layer_norm(x, norm["gain"], norm["bias"])


@dataclass(frozen=True)
class Config(character_runs.Trained):
    """``seeds`` draws of initial weights and minibatches, the same for all models, choose the rate of each.

    Attributes:
      width, depth, heads: of the models.
      characters: of a minibatch.
      log_rates: log10 of the learning rates of the grid.
      tested: characters of validation text, and of test text, for each draw others; ``every`` times fewer if quick.
    """

    width: int = 32
    depth: int = 1
    heads: int = 2
    characters: int = 512
    log_rates: tuple[float, ...] = (-1.75, -1.5, -1.25)
    tested: int = 8_192

    @property
    def unseen_seeds(self) -> range:
        return range(UNSEEN, UNSEEN + self.unseen_draws)


@lru_cache(2)
def pieces(count: int, length: int, seed: int):
    """Of training text, none planned twice."""
    return text.windows(text.training(), count, length, (seed, MINIBATCHES))


@lru_cache(4)
def held_out(config: Config, length: int, seed: int):
    """Pieces of validation text; of test text for draws that nothing was chosen by."""
    part = text.test() if seed >= UNSEEN else text.validation()
    return text.windows(part, config.tested // (config.every * length), length, (seed, HELD_OUT))


def trained(config: Config, model: Blocks, log_rate: float, seed: int, counts):
    """The parameters after so many steps, for each count, at a constant rate.

    Raises:
      DivergedError: a parameter is no longer finite.
    """
    batch = config.characters // model.length
    X, T = pieces(max(counts) * batch, model.length, seed)

    def batch_loss(params, _, step):
        rows = slice(step * batch, (step + 1) * batch)
        return model.loss(params, X[rows], T[rows])

    optimizer = hg.Adam(10.0**log_rate, eps=config.eps)
    return hg.train(batch_loss, model.init(seed), optimizer, steps=max(counts), save_at=list(counts))


def tuned(config: Config, kinds, tune: Callable, jobs: int, cache) -> tuple[np.ndarray, dict[str, float]]:
    """Validation losses of ``tune(config, point, seed)``, (kinds, rates, draws); the best log10 rate of each kind."""
    grid = {"kind": list(kinds), "log_rate": config.log_rates}
    found = hg.runs.trials(
        grid, partial(tune, config), seeds=config.seeds, cache=cache / "rates", n_jobs=jobs, progress=False
    )
    by_rate = found.array("loss")
    return by_rate, dict(zip(kinds, best_rates(config, by_rate).tolist()))


def best_rates(config: Config, by_rate: np.ndarray) -> np.ndarray:
    """log10 of the rate with the lowest mean over draws, from (…, rates, draws); none at which one diverges."""
    return np.array(config.log_rates)[np.nanargmin(by_rate.mean(axis=-1), axis=-1)]
