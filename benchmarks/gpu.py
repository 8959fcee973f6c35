"""``python -m benchmarks.gpu``: losses from PyTorch and JAX on a GPU, beside their own unrolled runs there.

A tanh network so wide that a GPU is busy, in float64 and in float32. The state and the updates of ours are NumPy's, in
the machine's memory, so that parameters and gradients cross over at every step; those of the others stay on the GPU.
``--write`` puts results and table into ``docs/``. Without a GPU the same runs on the CPU, to see that everything runs.
"""

from __future__ import annotations

import os
from functools import partial

import autograd.numpy as anp
import numpy as np
from autograd import grad

import hypergrad as hg
from benchmarks import one_table
from benchmarks.foreign import ours_in_jax, ours_in_torch
from benchmarks.peers import jax, pytorch
from benchmarks.problems import Network
from benchmarks.timing import interleaved, medians
from hypergrad.errors import HypergradError

DTYPES = {"float64": np.float64, "float32": np.float32}


def device() -> str:
    """Where PyTorch computes."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def problem_of(quick: bool) -> Network:
    """A network, 50 steps with minibatches of 1,000, and the derivative by one log learning rate."""
    sizes = (784, 20, 10) if quick else (784, 1_024, 1_024, 10)
    return Network(sizes, 3 if quick else 50, 50 if quick else 1_000, log_lr=-2.0, images=100 if quick else 5_000)


def entries(problem: Network, library: str, name: str) -> dict:
    """What is timed of one library, in one precision."""
    dtype = DTYPES[name]
    params = [tuple(a.astype(dtype) for a in layer) for layer in problem.params]
    on_torch = library == "PyTorch"
    batch_loss, value = ours_in_torch(problem, device(), dtype) if on_torch else ours_in_jax(problem, dtype)
    theirs = {"PyTorch, unrolled with create_graph": partial(pytorch, device=device())}
    if not on_torch:
        theirs = {f"JAX, scan{plus} under jit": partial(jax, checkpointed=bool(plus)) for plus in ("", " + checkpoint")}

    def final_loss(adjoint=None, exact=False):
        def f(log_lr):
            optimizer = hg.SGD(anp.exp(log_lr), 0.9, exact=exact)
            return value(hg.train(batch_loss, params, optimizer, steps=problem.steps, adjoint=adjoint))

        return f

    def reverse(adjoint, exact=False):
        gradient = grad(final_loss(adjoint, exact))
        return lambda: np.ravel(gradient(float(problem.hypers[0])))

    found = {
        f"training, loss from {library}": lambda: final_loss()(float(problem.hypers[0])),
        f"Stored(), loss from {library}": reverse(hg.Stored()),
    }
    if dtype == np.float64:
        found[f"Reversible(), loss from {library}"] = reverse(hg.Reversible(), exact=True)
    return found | {name: make(problem, dtype=dtype) for name, make in theirs.items()}


def measure(part: str, quick: bool, repeats: int) -> list[dict]:
    """The rows of a library: seconds, and for PyTorch the peak of the GPU's memory."""
    library, precision = part.split(", ")
    problem = problem_of(quick)
    runs = entries(problem, library, precision)
    gradients, missing = {}, {}
    for name, run in runs.items():
        try:
            gradients[name] = run()
        except HypergradError as error:  # kernels that round differently from call to call
            missing[name] = f"{type(error).__name__}: {error}"
    runs = {name: run for name, run in runs.items() if name not in missing}
    expected = gradients[f"Stored(), loss from {library}"]
    seconds = medians(interleaved(runs, threads=os.cpu_count() or 1, repeats=repeats))
    return [
        {"entry": name, "precision": precision, "seconds": None, "missing": why} for name, why in missing.items()
    ] + [
        {
            "entry": name,
            "precision": precision,
            "seconds": seconds[name],
            "difference": None if "training" in name else float(abs(gradients[name] / expected - 1.0).max()),
            "bytes": peak_on_gpu(run) if library == "PyTorch" else None,
            "gpu": gpu(),
            "cores": os.cpu_count(),
        }
        for name, run in runs.items()
    ]


def peak_on_gpu(run) -> int | None:
    """The most that PyTorch takes of the GPU's memory, beyond what is there before."""
    import torch

    if device() == "cpu":
        return None
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return torch.cuda.max_memory_allocated() - before


def gpu() -> str:
    """Its name."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"


def as_markdown(rows: list[dict]) -> str:
    """The table."""
    at = {(row["entry"], row["precision"]): row for row in rows}
    where = f"one {rows[-1]['gpu']}, {rows[-1]['cores']} cores"
    lines = [f"| 50 steps on {where} | float64 | float32 | GPU memory, float64 |", "|---|---|---|---|"]
    for entry in dict.fromkeys(row["entry"] for row in rows):
        found = [at.get((entry, precision)) for precision in DTYPES]
        cells = ["–" if row is None or not row["seconds"] else f"{row['seconds'] * 1e3:,.0f} ms" for row in found]
        nbytes = None if found[0] is None else found[0].get("bytes")
        lines.append(f"| {entry} | {' | '.join(cells)} | {'–' if nbytes is None else f'{nbytes / 1e6:,.0f} MB'} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parts = [f"{library}, {precision}" for library in ("PyTorch", "JAX") for precision in DTYPES]
    one_table.main("gpu", __doc__, measure, as_markdown, repeats=5, threads=None, parts=parts)
