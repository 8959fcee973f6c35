"""Models of sequences made of the diagonal linear recurrence."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np

from ..bridge import getval, isbox
from ..checks import check_integer
from ..errors import ArgumentError
from ..init import scaled_normal
from . import activations
from .arrays import shape_of
from .labels import check_classes, weights_for
from .lookup import embedding
from .recurrence import diagonal_recurrence
from .sequence_model import SequenceModel, check_characters, factors

_DRAWN = 3  # the purpose of these random numbers, in seeds (seed, purpose); those of init are 0 and 1, of dropout 2
_DECAYS, _ANGLES = (1e-4, 1e-3), (2 * np.pi / 1000, 2 * np.pi)  # ranges of 1 − size and of the angle, at first


class DiagonalRecurrence(SequenceModel):
    """Damped oscillators that read a sequence: ``DiagonalRecurrence(256, 100, 256)``.

        h_k = z ⊙ h_{k−1} + W_d x_k,   z = size · e^{iθ},   output W_o Re h_k + b_o

    and with ``gated``, time runs faster or slower for each unit as the input says,

        h_k = z_k ⊙ h_{k−1} + t_k ⊙ W_d x_k,   t_k = σ(b + W_t x_k),   z_k = size^{t_k} · e^{iθ t_k},

    which at t = 1 is the model without. The memory is one complex number for each unit; sizes and angles are
    parameters, real numbers, with −log size = exp(log_decay), so that 0 < size < 1 whatever training does. To keep
    them as they are, train a loss of your own that fills them in.

    The parameters are {"levels": [{"input": W_d, "log_decay": …, "angle": θ, "gate": W_t, "gate_bias": b}, …],
    "output": W_o, "output_bias": b_o}; the gates only if gated.

    Args:
      inputs: length of x_k; or how many integers there are, if X are integers, which stand for one-hot rows.
      units: recurrent units of a level.
      outputs: classes, or length of the real targets.
      gated: whether time depends on the input.
      levels: recurrences on top of each other, ≥ 1; each reads the activation of Re h of the one below.
      activation: between levels, a name or an object, as for :class:`MLP`.
      targets: "classes", for softmax cross-entropy, or "reals", for the mean squared error.

    Attributes:
      shapes: the shapes of the parameters.

    Raises:
      ArgumentError: an argument that is none of these.

    Its derivatives come from autograd, through :func:`diagonal_recurrence`.

    >>> DiagonalRecurrence(3, 4, 2).shapes
    {'levels': [{'input': (3, 4), 'log_decay': (4,), 'angle': (4,)}], 'output': (4, 2), 'output_bias': (2,)}
    """

    def __init__(
        self,
        inputs: int,
        units: int,
        outputs: int,
        *,
        gated: bool = False,
        levels: int = 1,
        activation: Any = "identity",
        targets: str = "classes",
    ):
        self.inputs, self.units = check_integer(inputs, "inputs", 1), check_integer(units, "units", 1)
        self.outputs, self.levels = check_integer(outputs, "outputs", 1), check_integer(levels, "levels", 1)
        if not isinstance(gated, bool):
            raise ArgumentError(f"gated must be True or False, got {gated!r}")
        if targets not in ("classes", "reals"):
            raise ArgumentError(f"targets must be 'classes' or 'reals', got {targets!r}")
        activations.get(activation)
        self.gated, self.activation, self.targets = gated, activation, targets
        self.shapes = {
            "levels": [self._level(self.inputs if level == 0 else self.units) for level in range(self.levels)],
            "output": (self.units, self.outputs),
            "output_bias": (self.outputs,),
        }

    def _level(self, inputs: int) -> dict:
        shapes: dict = {"input": (inputs, self.units), "log_decay": (self.units,), "angle": (self.units,)}
        return {**shapes, "gate": (inputs, self.units), "gate_bias": (self.units,)} if self.gated else shapes

    def __repr__(self):
        return (
            f"DiagonalRecurrence({self.inputs}, {self.units}, {self.outputs}, gated={self.gated}, "
            f"levels={self.levels}, activation={self.activation!r}, targets={self.targets!r})"
        )

    def init(self, seed: int, scales: Any = None, dtype=np.float64):  # type: ignore[override]
        """Initial parameters: 1 − size log-uniform in [1e-4, 1e-3], θ log-uniform in [2π/1000, 2π].

        Weights are normal with standard deviation 1/√fan-in, biases 0. The draws do not depend on ``scales``.

        Args:
          seed: integer ≥ 0.
          scales: factors on the weights, by name, a dict with some of "input", "gate", "output"; differentiable.
          dtype: float64 or float32.

        Raises:
          ArgumentError: a bad seed, scale or dtype.
        """
        scale = factors(scales, ("input", "gate", "output"))
        stds: dict = {"output": scale["output"] * self.units**-0.5, "output_bias": 0.0, "levels": []}
        for shapes in self.shapes["levels"]:
            std = dict.fromkeys(shapes, 0.0)
            for name in ("input", "gate") if self.gated else ("input",):
                std[name] = scale[name] * shapes[name][0] ** -0.5
            stds["levels"].append(std)
        params = scaled_normal(self.shapes, stds, seed, dtype)
        rng = np.random.default_rng([seed, _DRAWN])
        for level in params["levels"]:
            decay = -np.log1p(-_log_uniform(rng, _DECAYS, self.units))
            level["log_decay"] = np.log(decay).astype(dtype)
            level["angle"] = _log_uniform(rng, _ANGLES, self.units).astype(dtype)
        return params

    def logits(self, params, X):
        """The outputs at every position, shape (n, T, outputs): log-probabilities up to a constant, or real numbers.

        Args:
          params: as ``shapes`` says.
          X: real numbers of shape (n, T, inputs), or integers of shape (n, T) in 0 … inputs − 1.

        Raises:
          ArgumentError: parameters or data that don't fit.
        """
        self._check_params(params)
        phi = activations.get(self.activation)
        X = self._inputs(X, getval(params["output"]).dtype)
        (n, length), a = shape_of(X)[:2], anp.swapaxes(X, 0, 1)  # by time, so that a step is memory in one piece
        for number, level in enumerate(params["levels"]):
            states = _states(level, phi(a) if number else a, self.gated)
            a = anp.real(states)
        rows = anp.reshape(a, (length * n, self.units))
        out = anp.dot(rows, params["output"]) + params["output_bias"]
        return anp.swapaxes(anp.reshape(out, (length, n, self.outputs)), 0, 1)

    def loss(self, params, X, T=None, weights=None):
        """The mean cross-entropy over all positions, in nats, or the mean of (output − T)² over all outputs.

        Args:
          T: integer classes of shape (n, T), or distributions of shape (n, T, outputs); real targets of that shape. If
            None, X are integers of shape (n, T + 1), and each is to be predicted from those before it.
          weights: None, or one for each sequence, or for each position.

        Raises:
          ArgumentError: parameters or data that don't fit.
        """
        if self.targets == "classes":
            return super().loss(params, X, T, weights)
        outputs = self.logits(params, X)
        squares = (outputs - self._real_targets(T, shape_of(outputs), getval(outputs).dtype)) ** 2
        if weights is not None:
            squares = squares * weights_for(weights, shape_of(outputs)[:-1], getval(outputs).dtype)[..., None]
        return anp.mean(squares)

    def predict(self, params, X):
        """The most probable class at each position, integers of shape (n, T)."""
        self._needs_classes("predict")
        return super().predict(params, X)

    def _misses(self, params, X, T):
        self._needs_classes("accuracy")
        return super()._misses(params, X, T)

    def _needs_classes(self, what: str) -> None:
        if self.targets != "classes":
            raise ArgumentError(f"{what} is of classes, but the targets of {self!r} are real numbers; take its loss")

    def _classes(self) -> int:
        return self.outputs

    def check_data(self, X: np.ndarray, T: np.ndarray) -> np.ndarray:
        if self.targets == "classes":
            return super().check_data(X, T)
        return self._real_targets(T, (*shape_of(self._inputs(X, X.dtype))[:2], self.outputs), T.dtype)

    def _real_targets(self, T, shape: tuple, dtype) -> Any:
        T = T if isbox(T) else np.asarray(T)
        if getval(T).dtype.kind != "f" or shape_of(T) != shape:
            raise ArgumentError(
                f"T has shape {shape_of(T)} and dtype {getval(T).dtype}, but {self!r} needs floats of shape {shape}"
            )
        return T if isbox(T) or T.dtype == dtype else T.astype(dtype)

    def _inputs(self, X, dtype) -> Any:
        if np.asarray(getval(X)).dtype.kind != "f":
            X = check_characters(X, self.inputs, self)
            check_classes(X, self.inputs, "X")
            return X
        X = X if isbox(X) else np.asarray(X)
        shape = shape_of(X)
        if len(shape) != 3 or shape[2] != self.inputs or 0 in shape:
            raise ArgumentError(
                f"X has shape {shape}, but {self!r} needs floats of shape (n, T, {self.inputs}), or integers of shape "
                f"(n, T) in 0 … {self.inputs - 1}"
            )
        return X if isbox(X) or X.dtype == dtype else X.astype(dtype)


def _states(level, a, gated: bool) -> Any:
    """States of a level, shape (T, n, units), from what it reads: integers (T, n) or rows of numbers (T, n, …)."""
    exponent = 1j * level["angle"] - anp.exp(level["log_decay"])
    drive = _linear(a, level["input"])
    if gated:
        time = activations.sigmoid(_linear(a, level["gate"]) + level["gate_bias"])
        exponent, drive = time * exponent, time * drive
    z = anp.exp(exponent)
    z = anp.swapaxes(z, 0, 1) if gated else z
    return anp.swapaxes(diagonal_recurrence(z, anp.swapaxes(drive, 0, 1)), 0, 1)


def _linear(a, W) -> Any:
    """W x for every row x, shape (T, n, units)."""
    shape = shape_of(a)
    if getval(a).dtype.kind in "iu":
        return embedding(W, a)
    return anp.reshape(anp.dot(anp.reshape(a, (shape[0] * shape[1], shape[2])), W), (*shape[:2], shape_of(W)[1]))


def _log_uniform(rng: np.random.Generator, bounds: tuple, count: int) -> np.ndarray:
    low, high = np.log(bounds)
    return np.exp(rng.uniform(low, high, count))
