"""Convolutional networks: plain functions of a nest of parameters."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np

from ..bridge import getval, isbox
from ..checks import check_integer
from ..errors import ArgumentError
from . import activations
from .classifier import Classifier
from .convolution import conv2d
from .cross_entropy import softmax_cross_entropy
from .labels import labels_for
from .pooling import max_pool


class ConvNet(Classifier):
    """A convolutional network with softmax cross-entropy: ``ConvNet(16, 2)``.

    Block k = 0 … depth − 1 is a convolution with 3 × 3 kernels and padding to width · 2ᵏ channels, the activation, and
    max-pooling of 2 × 2 while the image has as many rows and columns. What is left is flattened for a linear layer
    to the classes.

    The parameters are a list of ``(W, b)``, one for each layer: W of shape (3, 3, inputs, outputs), that of the last
    (features, classes); b of shape (outputs,).

    Args:
      width: channels of the first block, ≥ 1; each further one has twice as many.
      depth: number of blocks, ≥ 1.
      classes: ≥ 1.
      image: (height, width, channels) of an image.
      activation: a name or an object, as for :class:`MLP`.

    Attributes:
      shapes: the shapes of the parameters, for :func:`hypergrad.init.scaled_normal`.

    Raises:
      ArgumentError: an argument that is none of these.

    Its derivatives come from autograd, through primitives of :mod:`hypergrad.nn`.

    >>> ConvNet(4, 2).shapes
    [((3, 3, 1, 4), (4,)), ((3, 3, 4, 8), (8,)), ((392, 10), (10,))]
    """

    def __init__(
        self,
        width: int,
        depth: int,
        *,
        classes: int = 10,
        image: tuple[int, int, int] = (28, 28, 1),
        activation: Any = "relu",
    ):
        self.width, self.depth = check_integer(width, "width", 1), check_integer(depth, "depth", 1)
        self.classes = check_integer(classes, "classes", 1)
        if not isinstance(image, tuple | list) or len(image) != 3:
            raise ArgumentError(f"image must be (height, width, channels), got {image!r}")
        self.image = tuple(check_integer(length, f"image[{i}]", 1) for i, length in enumerate(image))
        activations.get(activation)
        self.activation = activation
        self.shapes: list = []
        height, across, channels = self.image
        for block in range(self.depth):
            outputs = self.width * 2**block
            self.shapes.append(((3, 3, channels, outputs), (outputs,)))
            channels = outputs
            if _is_pooled(height, across):
                height, across = height // 2, across // 2
        self.shapes.append(((height * across * channels, self.classes), (self.classes,)))

    def __repr__(self):
        return (
            f"ConvNet({self.width}, {self.depth}, classes={self.classes}, image={self.image}, "
            f"activation={self.activation!r})"
        )

    def logits(self, params, X):
        """Log-probabilities of the classes up to a constant a row, shape (n, classes).

        Args:
          params: as ``shapes`` says.
          X: images of shape (n, height, width, channels), or flat, (n, height · width · channels).

        Raises:
          ArgumentError: parameters or images of other shapes.
        """
        self._check_params(params)
        phi = activations.get(self.activation)
        a = self._images(X, getval(params[0][0]).dtype)
        for W, b in params[:-1]:
            a = phi(conv2d(a, W) + b)
            if _is_pooled(*getval(a).shape[1:3]):
                a = max_pool(a, 2)
        W, b = params[-1]
        return anp.dot(anp.reshape(a, (len(getval(a)), -1)), W) + b

    def loss(self, params, X, T, weights=None):
        """Mean over the images of the cross-entropy with T, a scalar, in nats; see :func:`softmax_cross_entropy`.

        Args:
          T: integer classes of shape (n,), or distributions of shape (n, classes).
          weights: None, or one for each image.

        Raises:
          ArgumentError: parameters, images, labels or weights that don't fit.
        """
        return softmax_cross_entropy(self.logits(params, X), T, weights)

    def check_data(self, X: np.ndarray, T: np.ndarray) -> np.ndarray:
        self._images(X, X.dtype)
        return labels_for(T, (len(X), self.classes), T.dtype, "T")

    def _images(self, X, dtype):
        """X as images, in the dtype of the parameters."""
        X = X if isbox(X) else np.asarray(X)
        shape = getval(X).shape
        flat = int(np.prod(self.image))
        if getval(X).dtype.kind not in "fiub" or shape[1:] not in (self.image, (flat,)) or shape[0] == 0:
            raise ArgumentError(
                f"X has shape {shape} and dtype {getval(X).dtype}, but {self!r} needs numbers of shape "
                f"(n, {', '.join(map(str, self.image))}) or (n, {flat})"
            )
        X = X if isbox(X) or X.dtype == dtype else X.astype(dtype)
        return X if shape[1:] == self.image else anp.reshape(X, (shape[0], *self.image))


def _is_pooled(height: int, width: int) -> bool:
    return min(height, width) >= 2
