"""``python -m benchmarks.blocks``: gradient and Hessian-vector product of each building block, beside PyTorch, JAX.

Each is the derivative of ½ ‖block(…)‖² / n, or of the block itself where that is a loss, by all its float arguments:
the gradient with what its product needs, and one product, as a step of a differentiated training takes them. Ours is
what ``hg.train`` does with a loss in autograd.numpy; PyTorch keeps the graph of the gradient; JAX runs two compiled
functions. They are compared first, then take turns, in a process on one core; ``--write`` puts medians into
``docs/blocks.json`` and the table into ``docs/benchmarks.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from benchmarks import one_table
from benchmarks.timing import interleaved, medians
from hypergrad.losses import loss_of
from hypergrad.losses.base import Inputs
from hypergrad.nests import flatten
from hypergrad.workspace import Arena


class Block(NamedTuple):
    """A block with the same thing elsewhere; each takes the arrays and returns an array or a scalar.

    Attributes:
      arrays: its float arguments.
      ours: with autograd.numpy.
      torch, jax: makers, given the library.
    """

    arrays: list
    ours: Callable
    torch: Callable
    jax: Callable


def blocks(quick: bool) -> dict[str, Block]:
    """All of them, at sizes of the later experiments; ``quick`` is for tests."""
    rng = np.random.default_rng(0)
    n, side, channels = (2, 8, 3) if quick else (64, 14, 16)
    draw = lambda *shape: rng.standard_normal(shape)
    images, kernel = draw(n, side, side, channels), 0.1 * draw(3, 3, channels, 2 * channels)
    first, first_kernel = draw(n, 2 * side, 2 * side, 1), draw(3, 3, 1, channels)
    rows, classes = (6, 5) if quick else (512, 256)
    logits, labels = draw(rows, classes), rng.integers(0, classes, rows)
    units = draw(rows, classes)

    def conv_in_torch(torch):
        def f(x, w):
            y = torch.nn.functional.conv2d(x.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1), padding=1)
            return y.permute(0, 2, 3, 1)

        return f

    def conv_in_jax(jax):
        layout = ("NHWC", "HWIO", "NHWC")
        return lambda x, w: jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=layout)

    def pool_in_torch(torch):
        return lambda x: torch.nn.functional.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)

    def pool_in_jax(jax):
        whole = (1, 2, 2, 1)
        return lambda x: jax.lax.reduce_window(x, -jax.numpy.inf, jax.lax.max, whole, whole, "VALID")

    def entropy_in_torch(torch):
        target = torch.tensor(labels)
        return lambda z: torch.nn.functional.cross_entropy(z, target)

    def entropy_in_jax(jax):
        return lambda z: -jax.numpy.mean(jax.nn.log_softmax(z)[jax.numpy.arange(rows), labels])

    batch, heads, length, width = (2, 1, 6, 4) if quick else (8, 4, 64, 32)
    query, key, value = (draw(batch, heads, length, width) for _ in range(3))
    tokens, gain, shift = draw(batch * length, heads * width), draw(heads * width), draw(heads * width)
    characters, table = rng.integers(0, classes, (batch, length)), draw(classes, heads * width)
    times, states = (6, 4) if quick else (128, 128)
    inputs, decay = draw(batch, times, states), np.exp(-rng.uniform(0.01, 0.1, states))

    def attention_in_torch(torch):
        past = torch.ones(length, length, dtype=torch.bool).tril()

        def f(q, k, v):
            scores = q @ k.transpose(-1, -2) / width**0.5
            return torch.softmax(scores.masked_fill(~past, -torch.inf), -1) @ v

        return f

    def attention_in_jax(jax):
        past = np.tri(length, dtype=bool)

        def f(q, k, v):
            scores = q @ k.swapaxes(-1, -2) / width**0.5
            return jax.nn.softmax(jax.numpy.where(past, scores, -jax.numpy.inf), -1) @ v

        return f

    def norm_in_torch(torch):
        return lambda x, g, b: torch.nn.functional.layer_norm(x, x.shape[-1:], g, b)

    def norm_in_jax(jax):
        def f(x, g, b):
            centred = x - x.mean(-1, keepdims=True)
            return centred / jax.numpy.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * g + b

        return f

    def lookup_in_torch(torch):
        wanted = torch.tensor(characters)
        return lambda table: torch.nn.functional.embedding(wanted, table)

    def recurrence_in_torch(torch):
        def f(z, x):
            state, found = torch.zeros_like(x[:, 0]), []
            for t in range(times):
                state = z * state + x[:, t]
                found.append(state)
            return torch.stack(found, dim=1)

        return f

    def recurrence_in_jax(jax):
        def f(z, x):
            one = lambda state, row: (z * state + row,) * 2
            return jax.lax.scan(one, jax.numpy.zeros_like(x[:, 0]), x.swapaxes(0, 1))[1].swapaxes(0, 1)

        return f

    return {
        "conv2d": Block([images, kernel], hg.nn.conv2d, conv_in_torch, conv_in_jax),
        "conv2d, one channel in": Block([first, first_kernel], hg.nn.conv2d, conv_in_torch, conv_in_jax),
        "max_pool": Block([images], lambda x: hg.nn.max_pool(x, 2), pool_in_torch, pool_in_jax),
        "softmax_cross_entropy": Block(
            [logits], lambda z: hg.nn.softmax_cross_entropy(z, labels), entropy_in_torch, entropy_in_jax
        ),
        "gelu": Block(
            [units],
            hg.nn.gelu,
            lambda torch: torch.nn.functional.gelu,
            lambda jax: partial(jax.nn.gelu, approximate=False),
        ),
        "attention, causal": Block([query, key, value], hg.nn.attention, attention_in_torch, attention_in_jax),
        "layer_norm": Block([tokens, gain, shift], hg.nn.layer_norm, norm_in_torch, norm_in_jax),
        "embedding": Block(
            [table],
            lambda table: hg.nn.embedding(table, characters),
            lookup_in_torch,
            lambda jax: lambda t: t[characters],
        ),
        "diagonal_recurrence": Block(
            [decay, inputs], hg.nn.diagonal_recurrence, recurrence_in_torch, recurrence_in_jax
        ),
    }


def _scalar(result):
    """½ ‖result‖² / n, or the result itself if it is a scalar; in any of the libraries."""
    return result if result.ndim == 0 else 0.5 * (result * result).sum() / result.shape[0]


def ours(block: Block, directions: list) -> Callable[[], list]:
    """The gradient and the product, as a run takes them."""

    def loss(params, hyper, step):
        result = block.ours(*params)
        return result if anp.ndim(result) == 0 else 0.5 * anp.sum(result * result) / len(result)

    run_loss = loss_of(loss, Inputs(flatten(list(block.arrays))[1], None, [], False))
    gradient, product = ([np.empty_like(a) for a in block.arrays] for _ in range(2))

    def run():
        run_loss.linearize(block.arrays, 0, gradient, Arena()).product(directions, product)
        return [*gradient, *product]

    return run


def in_torch(block: Block, directions: list) -> Callable[[], list]:
    """The same by PyTorch."""
    import torch

    f, tensors = block.torch(torch), [torch.tensor(a, requires_grad=True) for a in block.arrays]
    along = [torch.tensor(d) for d in directions]

    def run():
        gradient = torch.autograd.grad(_scalar(f(*tensors)), tensors, create_graph=True)
        product = torch.autograd.grad(gradient, tensors, along)
        return [a.detach().numpy() for a in (*gradient, *product)]

    return run


def in_jax(block: Block, directions: list) -> Callable[[], list]:
    """The same by JAX, compiled."""
    import jax

    jax.config.update("jax_enable_x64", True)
    f = block.jax(jax)
    gradient_and_residuals = jax.jit(lambda *arrays: jax.vjp(jax.grad(lambda a: _scalar(f(*a))), arrays))
    pull = jax.jit(lambda residuals, along: residuals(along)[0])
    arrays, along = (tuple(map(jax.numpy.asarray, given)) for given in (block.arrays, directions))

    def run():
        gradient, residuals = gradient_and_residuals(*arrays)
        product = pull(residuals, along)
        return [np.asarray(a) for a in (*gradient, *product)]

    return run


LIBRARIES = {"hypergrad": ours, "PyTorch": in_torch, "JAX": in_jax}


def measure(part: str, quick: bool, repeats: int) -> list[dict]:
    """A row for each block: seconds by library.

    Raises:
      SystemExit: two libraries disagree; then nothing is timed.
    """
    rows = []
    for name, block in blocks(quick).items():
        directions = [np.random.default_rng(1).standard_normal(a.shape) for a in block.arrays]
        runs: dict[str, Any] = {}
        for library, make in LIBRARIES.items():
            try:
                runs[library] = make(block, directions)
            except ImportError:
                continue
        expected = runs["hypergrad"]()
        for library, run in runs.items():
            for a, b in zip(run(), expected, strict=True):
                if not np.linalg.norm(a - b) <= 1e-9 * np.linalg.norm(b) + 1e-12:
                    raise SystemExit(f"{name}: {library} differs from ours by {np.linalg.norm(a - b):.1e}: not timed")
        rows.append({"block": name} | medians(interleaved(runs, threads=1, repeats=repeats)))
    return rows


def as_markdown(rows: list[dict]) -> str:
    """The table; ratios are ours to theirs."""
    lines = ["| block | hypergrad | PyTorch | JAX | hypergrad / PyTorch |", "|---|---|---|---|---|"]
    for row in rows:
        times = [f"{row[library] * 1e3:,.2f} ms" if library in row else "" for library in LIBRARIES]
        ratio = f"{row['hypergrad'] / row['PyTorch']:.2f}" if "PyTorch" in row else ""
        lines.append("| " + " | ".join([row["block"], *times, ratio]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    one_table.main(
        "blocks",
        __doc__,
        measure,
        as_markdown,
        repeats=15,
        introduction="On 1 core of an {processor}, in float64; {blas}.",
    )
