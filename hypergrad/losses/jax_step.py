"""What JAX computes at a step of a run: the loss, its gradient, and products with second derivatives."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..errors import LossError
from ..nests import LEAF, Structure, unflatten
from .jax_programs import Program, compute
from .jax_tracing import TRACING, Compiled, Jitted, Traced, as_dtype, check_float, evaluate, held_as, precision


class Linear(NamedTuple):
    """A compiled function, linear in its directions.

    Attributes:
      apply: ``apply(kept, directions)``.
      needs: the variables of the step that it needs, ``kept``.
    """

    apply: Callable
    needs: list[int]


class CompiledStep:
    """What JAX computes at a step of a run, compiled for parameters and ``hyper`` of these shapes.

    The gradient G(w, h) = ∂L/∂w is linearized: its derivative is a linear function of (dw, dh) with coefficients, the
    residuals, that are kept. Forward mode applies it, reverse mode its transpose, so that neither relies on the
    symmetry of second derivatives, which is lost where the loss has rules of its own. The
    executable that computes the residuals computes the gradient at every step: another one might round it differently.
    """

    def __init__(
        self,
        function: Callable,
        params: Structure,
        hyper: Structure,
        param_arrays: list,
        hyper_arrays: list,
        dtype: np.dtype,
    ):
        import jax

        self.dtype, self.count, self.hyper_count = dtype, len(param_arrays), len(hyper_arrays)
        leaves = [as_dtype(a, dtype) for a in (*param_arrays, *hyper_arrays)]
        nests = lambda leaves: (unflatten(params, leaves[: self.count]), unflatten(hyper, leaves[self.count : -1]))
        self.traced = Traced(
            lambda leaves: function(*nests(leaves), leaves[-1]), [*leaves, 0], dtype, _LOSS, _check_scalar
        )
        self.compiled = Compiled(self.traced, self.traced.constants, dtype)
        constants, jaxpr = self.traced.constants, self.traced.jaxpr
        program = Program(jaxpr)
        if not set(program.inputs[: self.count]) & set(program.ancestors(program.results)[1]):
            raise LossError(
                "the loss does not depend on params; compute it from the params it is given, with jax.numpy"
            )
        self.closed = "callback" not in str(jaxpr)  # which would call back to Python
        self._ws, self._hs = ([(a.shape, dtype) for a in arrays] for arrays in (param_arrays, hyper_arrays))
        with precision(dtype):
            try:
                whole = jax.make_jaxpr(self._linearized)(constants, leaves[: self.count], leaves[self.count :], 0)
            except (TypeError, ValueError, NotImplementedError) as error:
                reason = str(error).split("\n")[0]
                raise LossError(f"JAX cannot differentiate the loss, or not twice: {reason}") from error
            self._plan(whole)

    def _linearized(self, constants: list, ws: list, hs: list, step) -> tuple:
        """Loss, gradient and residuals."""
        import jax

        def gradient_of(ws, hs):
            loss = lambda ws: self.traced(constants, [*ws, *hs, step])[0]
            value, gradient = jax.value_and_grad(loss)(ws)
            return jax.lax.stop_gradient(value), gradient

        (value, gradient), linear = jax.linearize(gradient_of, ws, hs)
        residuals, self._form = jax.tree.flatten(linear)
        return value, gradient, residuals

    def _plan(self, whole: Any) -> None:
        """Choose what of the residuals is computed, and kept, at every step.

        Not what was given or captured; and not what is cheap to compute again from that and from what is kept, such as
        the rows of a minibatch or 1 − tanh².
        """
        import jax

        program, first = Program(whole.jaxpr), 1 + self.count
        constants, ws, hs, step = self._groups(program.inputs)
        residuals = program.results[first:]
        self._kept_params = {name: i for i, name in enumerate(ws) if name in residuals}
        known = {*program.constants, *constants, *hs, step, *self._kept_params}
        kept = program.to_keep(residuals, known)
        places = {name: program.results.index(name) for name in kept}
        returned = [*range(first), *places.values()]
        self._computed = {name: first + i for i, name in enumerate(places)}
        self._fixed = {name: jax.device_put(value) for name, value in zip(program.constants, whole.consts)}
        self._program, self._known = program, known | set(kept)
        forms = [(v.aval.shape, held_as(v.aval.dtype, self.dtype)) for v in whole.jaxpr.outvars[first:]]
        self._residuals = [jax.ShapeDtypeStruct(*form) for form in forms]
        self.kept_params = sorted(self._kept_params.values())
        self.uses_hyper = bool(set(hs) & set(program.ancestors(program.results[1:first])[1]))

        def run(constants, ws, hs, step):
            results = evaluate(whole.jaxpr, whole.consts, [*constants, *ws, *hs, step])
            return [results[i] for i in returned]

        self.run = Jitted(run)

    def _groups(self, inputs: list) -> tuple[list, list, list, Any]:
        """What the whole computation is given: captured arrays, parameters, ``hyper``, and the step."""
        first = len(self.traced.constants)
        middle = first + self.count
        return inputs[:first], inputs[first:middle], inputs[middle:-1], inputs[-1]

    def at(self, ws: list, hs: list, step: int, linear: Linear | None = None) -> tuple[Any, list, list]:
        """The loss, its gradient, and what a linear function needs."""
        import jax

        constants = self.traced.constants
        results = jax.block_until_ready(self.run(constants, ws, hs, step))  # it may read the memory of ws till then
        given = dict(zip(self._program.inputs, [*constants, *ws, *hs, step]))
        find = lambda name: results[self._computed[name]] if name in self._computed else given.get(name)
        kept = [] if linear is None else [self._fixed.get(name, find(name)) for name in linear.needs]
        return results[0], results[1 : 1 + self.count], kept

    def nbytes(self, kept: list, linear: Linear) -> int:
        """Bytes of what is kept for each step."""
        each_step = (k for name, k in zip(linear.needs, kept) if name in self._computed or name in self._kept_params)
        return sum(k.size * k.dtype.itemsize for k in each_step)  # JAX 0.4 halves nbytes outside of an x64 context

    @cached_property
    def pull(self) -> Linear:
        """A direction d to ∂G/∂w · d, transposed."""
        return self._linear(lambda linear, ds: self._transposed(linear)(ds)[0], self._ws)

    @cached_property
    def pull_with_hyper(self) -> Linear:
        """The same, and ∂G/∂h · d, transposed."""
        return self._linear(lambda linear, ds: [bar for bars in self._transposed(linear)(ds) for bar in bars], self._ws)

    @cached_property
    def push(self) -> Linear:
        """A tangent dw to ∂G/∂w · dw."""
        zeros = lambda: [np.zeros(*form) for form in self._hs]
        return self._linear(lambda linear, dots: linear(dots, zeros())[1], self._ws)

    @cached_property
    def push_with_hyper(self) -> Linear:
        """Tangents (dw, dh) to ∂G/∂w · dw + ∂G/∂h · dh."""
        apart = lambda dots: (dots[: self.count], dots[self.count :])
        return self._linear(lambda linear, dots: linear(*apart(dots))[1], self._ws + self._hs)

    def _transposed(self, linear: Callable) -> Callable:
        import jax

        like = ([jax.ShapeDtypeStruct(*form) for form in forms] for forms in (self._ws, self._hs))
        return jax.linear_transpose(lambda dws, dhs: linear(dws, dhs)[1], *like)

    def _linear(self, function: Callable, directions: list) -> Linear:
        """A linear function ``function(linear, directions)``, compiled, on the residuals that it needs."""
        import jax
        import jax.numpy as jnp

        def whole(residuals, directions):
            return function(jax.tree.unflatten(self._form, residuals), directions)

        with TRACING, precision(self.dtype):
            traced = jax.make_jaxpr(whole)(self._residuals, [jax.ShapeDtypeStruct(*form) for form in directions]).jaxpr
        of_these = Program(traced)
        found = set(of_these.ancestors(of_these.results)[1])
        # Random keys are no numbers that zeros could stand for.
        wanted = [
            i
            for i, residual in enumerate(self._residuals)
            if of_these.inputs[i] in found or not isinstance(residual.dtype, np.dtype)
        ]
        names = self._program.results[1 + self.count :]
        again, needs = self._program.ancestors([names[i] for i in wanted], self._known)

        def apply(kept, directions):
            values = dict(zip(needs, kept))
            compute(again, values)
            residuals = [jnp.zeros(residual.shape, residual.dtype) for residual in self._residuals]
            for i in wanted:
                residuals[i] = values[names[i]] if isinstance(names[i], int) else names[i].val
            return whole(residuals, directions)

        return Linear(Jitted(apply), needs)


_LOSS = "the loss"


def _check_scalar(results: list, structure: Structure) -> None:
    """Whether what a loss returned is one float."""
    if structure != LEAF:
        kind = "None" if structure.kind is None or not structure.size else f"a {structure.kind.__name__}"
        raise LossError(f"the loss returned {kind}; it must return a scalar of jax.numpy")
    shape, dtype = np.shape(results[0]), getattr(results[0], "dtype", np.dtype(float))
    if shape != ():
        raise LossError(f"the loss has shape {shape}; it must be a scalar: return a sum or a mean")
    if np.dtype(dtype).kind == "c":
        raise LossError("the loss is complex; take its real part or magnitude")
    check_float(results[0], "the value", "the loss")
