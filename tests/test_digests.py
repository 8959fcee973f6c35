"""Exact runs keep their bits from version to version: digests of trained parameters and their cotangents.

Polynomials only, so that no rounding depends on the processor.
"""

import hashlib

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad

import hypergrad as hg

RNG = np.random.default_rng(7)
START = {"w": RNG.integers(-64, 64, (40, 30)) / 64.0, "b": RNG.integers(-64, 64, 30) / 64.0}
RATES, DECAYS = np.linspace(0.02, 0.2, 60), np.linspace(0.3, 0.98, 60)
RUNS = {
    "SGD": (lambda: hg.SGD(RATES, DECAYS, exact=True), "e2810dd4b15fd140"),
    "SGD, by array": (
        lambda: hg.SGD({"w": RATES, "b": 0.05}, {"w": 0.9, "b": DECAYS}, exact=True),
        "ab0a5ea42339b962",
    ),
    "Adam": (lambda: hg.Adam(0.1 * RATES, DECAYS, 0.99, eps=0.01, exact=True), "79c495856ccf8a13"),
}


def loss(params, hyper, step):
    w, b = params["w"], params["b"]
    quartic = anp.sum(0.25 * w**2 * w**2 - 0.5 * w * w)
    return quartic + anp.sum((b - 0.125 * step) * (b - 0.125 * step)) + 0.0625 * anp.sum(w[0] * b)


@pytest.mark.parametrize("adjoint", [hg.Stored(), hg.Reversible(), hg.Checkpointed(5), None])
@pytest.mark.parametrize("name", RUNS)
def test_the_bits_of_exact_runs(name, adjoint):
    make, recorded = RUNS[name]

    def f(start):
        trained = hg.train(loss, start, make(), steps=60, adjoint=adjoint)
        return anp.sum(trained["w"]) + anp.sum(trained["b"] * 2.0)

    digest = hashlib.sha256()
    for nest in (hg.train(loss, START, make(), steps=60), grad(f)(START)):
        for key in ("w", "b"):
            digest.update(np.ascontiguousarray(nest[key]).tobytes())
    assert digest.hexdigest()[:16] == recorded
