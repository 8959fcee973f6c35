"""Floating-point operations of training, counted from the matrix products that a model makes.

A product of (rows, inner) with (inner, columns) is rows · inner · columns multiplications, and as many additions. Its
gradient is one product of the same size by the weights, and one more by what is multiplied with them, unless that is
the data. What is done entry by entry (activations, pooling, norms, the softmax, the update) is left out, as
usual; zeros around an image count, since they are multiplied.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import hypergrad as hg
from hypergrad.nests import flatten


class Product(NamedTuple):
    """Multiplications of a matrix product, and how many products of that size its gradient takes."""

    size: int
    backward: int


def products(model: Any) -> list[Product]:
    """Those of one example; of one of ``length`` characters, if it is a :class:`hypergrad.nn.Transformer` or alike."""
    if isinstance(model, hg.nn.MLP):
        sizes = [m * n for m, n in zip(model.sizes, model.sizes[1:])]
        return [Product(size, 1 if layer == 0 else 2) for layer, size in enumerate(sizes)]
    if isinstance(model, hg.nn.ConvNet):
        return _of_convolutions(model)
    return _of_blocks(model)


def _of_convolutions(model: hg.nn.ConvNet) -> list[Product]:
    found = []
    height, across, _ = model.image
    for layer, (W, _) in enumerate(model.shapes[:-1]):
        found.append(Product(height * across * int(np.prod(W)), 1 if layer == 0 else 2))
        if min(height, across) >= 2:
            height, across = height // 2, across // 2
    return [*found, Product(int(np.prod(model.shapes[-1][0])), 2)]


def _of_blocks(model: Any) -> list[Product]:
    """Attention multiplies all pairs of positions, those that the mask hides too; an embedding is looked up."""
    shapes = model.shapes["blocks"][0]
    block = [Product(int(np.prod(size)), 2) for size in shapes.values() if isinstance(size, tuple) and len(size) == 2]
    if "query" in shapes:
        block += [Product(model.length * model.width, 2)] * 2  # queries with keys, weights with values
    return [*block * model.depth, Product(int(np.prod(model.shapes["head"])), 2)]


def forward(model: Any) -> int:
    """FLOPs of the loss of one example."""
    return 2 * sum(product.size for product in products(model))


def training(model: Any) -> int:
    """FLOPs of the loss of one example and its gradient."""
    return 2 * sum(product.size * (1 + product.backward) for product in products(model))


def parameters(model: Any, *, embedded: bool = True) -> int:
    """How many parameters there are; without the embedding and the head, if not ``embedded``."""
    shapes = model.shapes
    if not embedded:
        shapes = {name: shape for name, shape in shapes.items() if name not in ("embedding", "position", "head")}
    return sum(int(np.size(array)) for array in flatten(hg.init.scaled_normal(shapes, 0.0, 0))[0])
