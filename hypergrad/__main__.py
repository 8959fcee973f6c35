"""``python -m hypergrad``: versions, BLAS and threads, and a self-test of about ten seconds; for reports of bugs.

It ends with status 1 if a part of the self-test fails.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import autograd.numpy as np
import numpy
from autograd import grad, make_jvp

from . import __version__, data, init, nn, probe
from .adjoints import Checkpointed, Reversible, Stored
from .fixed import arithmetic, compiled
from .optimizers import SGD
from .train import train

NEEDED = ("numpy", "autograd", "scipy", "matplotlib", "joblib", "tqdm", "threadpoolctl")
OPTIONAL = ("numba", "jax", "torch", "optax", "equinox", "tensorboard", "distributed", "optuna", "cmaes")
VARIABLES = (  # that change what is computed, or how fast
    "HYPERGRAD_NUMBA",
    "MKL_NUM_THREADS",
    "NUMBA_DISABLE_JIT",
    "OMP_NUM_THREADS",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "OPENBLAS_NUM_THREADS",
)


def installed(names) -> list[str]:
    """Those of the packages that are there, with their versions."""
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            if find_spec(name):
                found.append(f"{name} (of unknown version)")
    return found


def description() -> str:
    """What a bug may depend on, a line for each kind."""
    from threadpoolctl import threadpool_info

    pools = [
        f"{pool['internal_api']} {pool['version']}, {pool.get('architecture', 'unknown')} kernels, "
        f"{pool['num_threads']} thread{'s' * (pool['num_threads'] != 1)}"
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    ]
    found = installed(OPTIONAL)
    absent = [name for name in OPTIONAL if not any(words.split()[0] == name for words in found)]
    missing = [name for name in NEEDED if not any(words.split()[0] == name for words in installed(NEEDED))]
    given = [f"{name}={os.environ[name]}" for name in VARIABLES if name in os.environ]
    lines = {
        "hypergrad": __version__,
        "Python": f"{platform.python_version()} ({platform.python_implementation()}), {platform.platform()}",
        "libraries": ", ".join(installed(NEEDED)) + (f"; missing: {', '.join(missing)}" if missing else ""),
        "BLAS": "; ".join(pools) or "threadpoolctl finds none",
        "processors": str(os.cpu_count()),
        "extras": f"{', '.join(found) or 'none'}; not installed: {', '.join(absent) or 'none'}",
        "exact arithmetic": "compiled by numba" if compiled.loops() is not None else "in NumPy",
        "environment": ", ".join(given) or "nothing of what matters is set",
    }
    return "\n".join(f"{name + ':':<18}{words}" for name, words in lines.items())


def _problem():
    """A small network on MNIST: the training loss after some steps, by the log rate of each."""
    ((X, T),) = data.load_mnist(500)
    model = nn.MLP([784, 30, 10])
    batch_loss = nn.MinibatchLoss(model, X, T, batch_size=125)
    params = init.scaled_normal(model.shapes, numpy.exp(-2.0), seed=0)

    def loss_after(log_lr, adjoint=None, exact=False, steps=40):
        trained = train(batch_loss, params, SGD(np.exp(log_lr), 0.9, exact=exact), steps=steps, adjoint=adjoint)
        return model.loss(trained, X, T)

    return loss_after


def _apart(found, expected) -> float:
    """The distance relative to the norm of what is expected."""
    return float(numpy.linalg.norm(found - expected) / numpy.linalg.norm(expected))


def adjoints_agree() -> str:
    """Every way to a hypergradient, and a central difference."""
    loss_after, log_lr = _problem(), numpy.linspace(0.0, -1.0, 40)
    expected = grad(loss_after)(log_lr, Stored())
    direction = numpy.random.default_rng(0).standard_normal(40)
    along, difference = numpy.dot(expected, direction), 1e-5 * direction
    apart = {
        "Checkpointed": _apart(grad(loss_after)(log_lr, Checkpointed(4)), expected),
        "Reversible": _apart(grad(loss_after)(log_lr, Reversible(), True), expected),
        "forward mode": _apart(make_jvp(loss_after)(log_lr)(direction)[1], along),
        "differences": _apart((loss_after(log_lr + difference) - loss_after(log_lr - difference)) / 2e-5, along),
    }
    for name, distance in apart.items():
        if not distance <= (1e-4 if name == "differences" else 1e-8):
            raise AssertionError(f"{name} differs from Stored() by {distance:.1e} of the hypergradient")
    return ", ".join(
        f"{name} within {distance:.0e}" if distance else f"{name} exactly" for name, distance in apart.items()
    )


def exact_reversal_returns() -> str:
    """Numbers that were multiplied and added to, undone in reverse order; and a training run backwards."""
    rng = numpy.random.default_rng(0)
    start = rng.integers(-(2**50), 2**50, 10_000)
    factors = [arithmetic.numerator(beta) for beta in rng.uniform(0.3, 0.99, 50)]
    terms = rng.standard_normal((len(factors), start.size))
    numbers, buffer = start.copy(), arithmetic.InformationBuffer(start.size)
    for n, term in zip(factors, terms):
        arithmetic.multiply(numbers, n, buffer)
        arithmetic.add(numbers, term, 40)
    if numpy.array_equal(numbers, start):
        raise AssertionError("numbers did not change")
    for n, term in zip(factors[::-1], terms[::-1]):
        arithmetic.add(numbers, term, 40, -1)
        arithmetic.divide(numbers, n, buffer)
    if not (numpy.array_equal(numbers, start) and buffer.is_initial()):
        lost = numpy.sum(numbers != start)
        raise AssertionError(f"{lost:,} of {start.size:,} numbers did not come back to their start, bit for bit")
    grad(_problem())(numpy.zeros(200), Reversible(), True, 200)  # raises if a bit of its start is another
    return f"{start.size:,} numbers after {len(factors)} steps and a training of 200 steps, every bit"


def a_sweep_sees_the_slope() -> str:
    """A sweep in two processes: its derivative is the slope of its losses."""
    swept = probe.sweep(_problem(), numpy.linspace(-2.0, 0.0, 9), n_jobs=2, progress=False)
    if not (numpy.isfinite(swept.loss).all() and swept.matched.all()):
        raise AssertionError(f"the derivative does not match the losses:\n{swept}")
    return f"{len(swept.values)} values in two processes, losses from {swept.loss.max():.3f} to {swept.loss.min():.3f}"


PARTS = {
    "adjoints agree": adjoints_agree,
    "exact reversal returns to its start": exact_reversal_returns,
    "a sweep": a_sweep_sees_the_slope,
}


def self_test(parts: dict[str, Callable[[], str]] = PARTS) -> list[str]:
    """Run the parts and print a line for each; a sentence for each that failed."""
    failures = []
    for name, part in parts.items():
        start = time.perf_counter()
        try:
            words = part()
        except Exception as error:  # whatever went wrong is what is to be reported
            failures.append(f"{name}: {type(error).__name__}: {error}")
            words = "FAILED"
        print(f"{name}: {words} ({time.perf_counter() - start:.1f} s)", flush=True)
    return failures


def main(argv: list[str] | None = None) -> int:
    """Returns 1 if the self-test failed, else 0."""
    parser = argparse.ArgumentParser(prog="python -m hypergrad", description=__doc__)
    parser.add_argument("--no-test", action="store_true", help="only say what is installed")
    args = parser.parse_args(argv)
    print(description(), flush=True)
    if args.no_test:
        return 0
    print()
    failures = self_test()
    for failure in failures:
        print(f"The self-test failed: {failure}", file=sys.stderr)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
