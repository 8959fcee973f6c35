"""A causal transformer on characters: a plain function of a nest of parameters."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np

from ..bridge import getval
from ..checks import check_integer
from ..errors import ArgumentError
from ..init import scaled_normal
from . import activations
from .attention import attention
from .labels import check_classes
from .lookup import embedding
from .normalisation import layer_norm
from .rotary import rotary
from .sequence_model import SequenceModel, check_characters, factors

SCALES = ("embedding", "position", "qkv", "value", "output", "mlp", "head")


class Transformer(SequenceModel):
    """A causal transformer that predicts the next character: ``Transformer(width=64, depth=2, heads=4, length=128)``.

    With x = the embedding of the characters, for each block

        x ← x + W_o attention(N(x) W_q, N(x) W_k, N(x) W_v)        x ← x + W₂ φ(N(x) W₁ + b₁) + b₂

    where N is the norm, and the heads share the width; then logits = N(x) W_head.

    The parameters are {"embedding": …, "position": …, "blocks": [{"query", "key", "value", "output", "up", "up_bias",
    "down", "down_bias", "norm", "mlp_norm"}, …], "norm": {"gain", "bias"}, "head": …}; positions only if they are
    learned, norms only if there are any. W₁, "up", has 4 · width columns.

    Args:
      vocabulary: number of characters.
      width: of x, a multiple of ``heads``.
      depth: number of blocks.
      heads: of attention.
      length: of the longest sequence.
      window: how many positions attention sees, itself among them; None for all before it. See :func:`attention`.
      norm: "layer" for :func:`layer_norm`, or None for none.
      activation: φ, a name or an object, as for :class:`MLP`.
      position: "rotary", which turns queries and keys, see :func:`rotary`; or "learned", which adds a row to x.

    Attributes:
      shapes: the shapes of the parameters.

    Raises:
      ArgumentError: an argument that is none of these.

    Its derivatives come from autograd, through primitives of :mod:`hypergrad.nn`.

    >>> model = Transformer(width=8, depth=1, heads=2, length=16)
    >>> model.shapes["blocks"][0]["up"], model.shapes["head"]
    ((8, 32), (8, 256))
    """

    def __init__(
        self,
        vocabulary: int = 256,
        *,
        width: int,
        depth: int,
        heads: int,
        length: int,
        window: int | None = None,
        norm: str | None = "layer",
        activation: Any = "gelu",
        position: str = "rotary",
    ):
        self.vocabulary, self.width = check_integer(vocabulary, "vocabulary", 1), check_integer(width, "width", 1)
        self.depth, self.heads = check_integer(depth, "depth", 1), check_integer(heads, "heads", 1)
        self.length = check_integer(length, "length", 1)
        self.window = None if window is None else check_integer(window, "window", 1)
        if self.width % self.heads:
            raise ArgumentError(f"width must be a multiple of heads, got width={width} and heads={heads}")
        if norm not in ("layer", None):
            raise ArgumentError(f"norm must be 'layer' or None, got {norm!r}")
        if position not in ("rotary", "learned"):
            raise ArgumentError(f"position must be 'rotary' or 'learned', got {position!r}")
        if position == "rotary" and self.width // self.heads % 2:
            raise ArgumentError(
                f"rotary positions turn pairs, so width / heads must be even, got {self.width // self.heads}; "
                "or give position='learned'"
            )
        activations.get(activation)
        self.norm, self.activation, self.position = norm, activation, position
        across = (self.width, self.width)
        block: dict = dict.fromkeys(("query", "key", "value", "output"), across)
        block.update(up=(self.width, 4 * self.width), up_bias=(4 * self.width,))
        block.update(down=(4 * self.width, self.width), down_bias=(self.width,))
        norms = {"gain": (self.width,), "bias": (self.width,)}
        if norm:
            block.update(norm=norms, mlp_norm=norms)
        self.shapes = {"embedding": (self.vocabulary, self.width)}
        if position == "learned":
            self.shapes["position"] = (self.length, self.width)
        self.shapes["blocks"] = [block] * self.depth
        if norm:
            self.shapes["norm"] = norms
        self.shapes["head"] = (self.width, self.vocabulary)

    def __repr__(self):
        return (
            f"Transformer({self.vocabulary}, width={self.width}, depth={self.depth}, heads={self.heads}, "
            f"length={self.length}, window={self.window}, norm={self.norm!r}, activation={self.activation!r}, "
            f"position={self.position!r})"
        )

    def init(self, seed: int, scales: Any = None, dtype=np.float64):  # type: ignore[override]
        """Initial parameters: weights are normal, biases 0, gains of norms 1.

        Standard deviations are 1/√fan-in, which is 1 for rows that are looked up, times the factors in ``scales``.
        Those of what each block adds to x, "output" and "down", are divided by √(2 · depth) besides, so that x stays of
        order 1. The draws do not depend on ``scales``.

        Args:
          seed: integer ≥ 0.
          scales: factors by name, a dict with some of "embedding", "position" (if learned), "qkv" (queries, keys and
            values), "value" (values, on top of that), "output", "mlp" (both of its matrices), "head". Each is a number,
            1 if left out; differentiable.
          dtype: float64 or float32.

        Raises:
          ArgumentError: a bad seed, scale or dtype.
        """
        names = SCALES if self.position == "learned" else tuple(name for name in SCALES if name != "position")
        scale = factors(scales, names)
        across, added = self.width**-0.5, (2 * self.depth) ** -0.5
        norms = {"gain": 0.0, "bias": 0.0}
        block: dict = {
            "query": scale["qkv"] * across,
            "key": scale["qkv"] * across,
            "value": scale["qkv"] * scale["value"] * across,
            "output": scale["output"] * across * added,
            "up": scale["mlp"] * across,
            "up_bias": 0.0,
            "down": scale["mlp"] * (4 * self.width) ** -0.5 * added,
            "down_bias": 0.0,
            "norm": norms,
            "mlp_norm": norms,
        }
        block = {name: block[name] for name in self.shapes["blocks"][0]}
        stds: dict = {
            "embedding": scale["embedding"],
            "position": scale.get("position"),
            "blocks": [block] * self.depth,
        }
        stds.update(norm=norms, head=scale["head"] * across)
        params = scaled_normal(self.shapes, {name: stds[name] for name in self.shapes}, seed, dtype)
        if self.norm:
            for norm in (params["norm"], *(block[name] for block in params["blocks"] for name in ("norm", "mlp_norm"))):
                norm["gain"] = np.ones_like(getval(norm["gain"]))
        return params

    def logits(self, params, X):
        """Log-probabilities of the next character up to a constant, shape (n, T, vocabulary).

        Args:
          params: as ``shapes`` says.
          X: integers of shape (n, T) in 0 … vocabulary − 1, T ≤ length.

        Raises:
          ArgumentError: parameters or data that don't fit.
        """
        self._check_params(params)
        phi = activations.get(self.activation)
        X = self._inputs(X, None)
        n, length = X.shape
        x = embedding(params["embedding"], X)
        if self.position == "learned":
            x = x + params["position"][:length]
        x = anp.reshape(x, (n * length, self.width))
        for block in params["blocks"]:
            a = self._normed(x, block, "norm")
            q, k, v = (self._split(anp.dot(a, block[name]), n, length) for name in ("query", "key", "value"))
            if self.position == "rotary":
                q, k = rotary(q), rotary(k)
            seen = anp.swapaxes(attention(q, k, v, window=self.window), 1, 2)
            x = x + anp.dot(anp.reshape(seen, (n * length, self.width)), block["output"])
            a = phi(anp.dot(self._normed(x, block, "mlp_norm"), block["up"]) + block["up_bias"])
            x = x + anp.dot(a, block["down"]) + block["down_bias"]
        logits = anp.dot(self._normed(x, params, "norm"), params["head"])
        return anp.reshape(logits, (n, length, self.vocabulary))

    def _normed(self, x, params, name: str) -> Any:
        return layer_norm(x, params[name]["gain"], params[name]["bias"]) if self.norm else x

    def _split(self, x, n: int, length: int) -> Any:
        """Rows for all heads as (n, heads, T, width / heads)."""
        return anp.swapaxes(anp.reshape(x, (n, length, self.heads, self.width // self.heads)), 1, 2)

    def _classes(self) -> int:
        return self.vocabulary

    def _inputs(self, X, dtype) -> Any:
        X = check_characters(X, self.vocabulary, self)
        if X.shape[1] > self.length:
            raise ArgumentError(f"X has {X.shape[1]} positions, but {self!r} has length {self.length}")
        check_classes(X, self.vocabulary, "X")
        return X
