"""Checks of a building block: both modes, first and second order, against differences and against plain formulas."""

import autograd.numpy as anp
import numpy as np
from autograd import grad, make_jvp
from autograd.builtins import tuple as autograd_tuple
from autograd.core import make_vjp


def weighted(function, seed=0):
    """A scalar function of the same arguments: the outputs times fixed random weights, bent so that nothing is linear.

    With a term of the arguments alone, so that there is something to be relative to where the outputs are constant.
    """

    def scalar(args):
        out = function(*args)
        weights = np.random.default_rng([seed, 99]).standard_normal(np.shape(out))
        return anp.sum(weights * out) + 0.3 * anp.sum(anp.sin(out)) + 0.01 * sum(anp.sum(anp.sin(x)) for x in args)

    return scalar


def error(actual, expected):
    """Norm of the difference of two tuples of arrays, relative to that of the expected one."""
    flat = [np.concatenate([np.ravel(np.asarray(x)) for x in nest]) for nest in (actual, expected)]
    return np.linalg.norm(flat[0] - flat[1]) / np.linalg.norm(flat[1])


def check(function, *args, plain=None, seed=0, differences=True, step=1e-5, rtol=1e-9):
    """Compare a function's derivatives with each other, with differences, and with those of ``plain`` by autograd.

    Raises:
      AssertionError: two disagree by more than ``rtol``, or from differences by more than 1e-6, relative to the norm.
    """
    f, rng = weighted(function, seed), np.random.default_rng([seed, 1])
    args = autograd_tuple(args)
    d = autograd_tuple([rng.standard_normal(np.shape(x)) for x in args])
    moved = lambda h: autograd_tuple([x + h * e for x, e in zip(args, d)])
    slope = lambda g: sum(np.sum(a * b) for a, b in zip(g, d))
    gradient = grad(f)
    g, product = gradient(args), make_vjp(gradient, args)[0](d)
    assert all(np.shape(a) == np.shape(x) for a, x in zip(g, args))
    scale = max(abs(slope(g)), 1e-2 * np.sqrt(sum(np.sum(np.square(a)) for a in g)))
    assert abs(make_jvp(f)(args)(d)[1] - slope(g)) < rtol * scale, "forward against reverse mode"
    assert error(make_jvp(gradient)(args)(d)[1], product) < rtol, "forward over reverse against reverse over reverse"
    curvature = make_jvp(lambda x: make_jvp(f)(x)(d)[1])(args)(d)[1]
    assert abs(curvature - slope(product)) < 10 * rtol * max(abs(slope(product)), abs(curvature), 1e-3 * scale), (
        "forward over forward mode"
    )
    if differences:
        assert abs((f(moved(step)) - f(moved(-step))) / (2 * step) - slope(g)) < 1e-6 * scale, "gradient"
        numeric = [(a - b) / (2 * step) for a, b in zip(gradient(moved(step)), gradient(moved(-step)))]
        assert error(product, numeric) < 1e-6, "Hessian-vector product"
    if plain is not None:
        other = grad(weighted(plain, seed))
        np.testing.assert_allclose(function(*args), plain(*args), rtol=1e-12, atol=1e-13)
        assert error(g, other(args)) < rtol, "gradient against that of plain formulas"
        assert error(product, make_vjp(other, args)[0](d)) < rtol, "product against that of plain formulas"
