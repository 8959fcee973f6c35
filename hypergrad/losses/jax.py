"""Losses written with jax.numpy: their derivatives are traced and compiled by JAX."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..bridge import getval
from ..checks import check_dtype
from ..errors import ArgumentError, LossError
from ..nests import LEAF, Structure, as_numpy, check_leaves, flatten, is_tracer_of_jax, leaf_places, unflatten
from ..workspace import Arena
from .autograd import warn_if_unused
from .base import Inputs, Linearized, Loss, register
from .jax_tracing import (
    TRACING,
    Compiled,
    Jitted,
    Traced,
    apply,
    as_dtype,
    evaluate,
    jax_for,
    precision,
    used,
)


def from_jax(loss: Callable, *, dtype: Any = None) -> JaxLoss:
    """A loss written with jax.numpy, for :func:`hypergrad.train`: JAX traces it once and compiles its derivatives.

        loss = hg.losses.from_jax(lambda params, hyper, step: jnp.mean((X @ params["w"] - y) ** 2))

    It trains with every optimizer, adjoint and mode. Gradient and what its products need come from one executable, so
    that a step that is computed again has the same bits. Called with the arguments of a loss it is a function that
    autograd differentiates, in both modes, so it can be part of another loss or of what is differentiated.

    Args:
      loss: ``loss(params, hyper, step)``, a float scalar, a pure function in jax.numpy. All three are traced: choose
        the minibatch of ``step`` by ``jax.lax.dynamic_slice`` or indexing of a JAX array, random numbers by
        ``jax.random.fold_in(key, step)``. What it captures is constant from its first call on, as in ``jax.jit``:
        values to be changed or differentiated come in through ``hyper``.
      dtype: what it computes in, float64 or float32; if None, that of the arrays of ``params``. The parameters and
        their updates keep their own dtype.

    Returns:
      The loss, an object that cannot be changed.

    Raises:
      ArgumentError: ``loss`` is no function, or ``dtype`` none of those.
      MissingExtraError: JAX is not installed.

    Training then raises LossError for what cannot be traced, is no scalar, does not depend on ``params``, or captures
    a float32 array in a float64 run.

    Cost: one compilation for each structure and shapes of ``params`` and ``hyper``; then a call a step for the gradient
    and one for the product. The parameters are copied to JAX's device at each step, and the gradient back.
    """
    jax_for("hg.losses.from_jax")
    if not callable(loss):
        raise ArgumentError(f"from_jax needs a function loss(params, hyper, step), got {loss!r}")
    return JaxLoss(loss, check_dtype(dtype, "dtype of from_jax"))


def jax_function(f: Callable, *, dtype: Any = None) -> JaxFunction:
    """A function written with jax.numpy as one that autograd differentiates: a validation loss, or a part of one.

        validation_loss = hg.losses.jax_function(lambda params: jnp.mean((X_valid @ params["w"] - y_valid) ** 2))

    Differentiable in reverse mode, in forward mode, and in both again, by every float array or number in its arguments;
    so a function that autograd differentiates may mix autograd.numpy and jax.numpy.

    Args:
      f: takes nests of float or integer arrays and numbers, all of which are traced, and returns a float array or a
        nest of those. What else it needs, a flag or a shape, it captures; that is constant from the first call on.
      dtype: what it computes in, float64 or float32; if None, float64, unless all float arrays among its arguments
        are float32.

    Returns:
      The function. It returns NumPy arrays.

    Raises:
      ArgumentError: ``f`` is no function, or ``dtype`` none of those.
      MissingExtraError: JAX is not installed.

    Cost: one compilation for each structure and shapes of its arguments, and one for each derivative of it.
    """
    jax_for("hg.losses.jax_function")
    if not callable(f):
        raise ArgumentError(f"jax_function needs a function, got {f!r}")
    return JaxFunction(f, check_dtype(dtype, "dtype of jax_function"))


class _OfJax:
    """A function in jax.numpy with what was traced and compiled of it, for each form of its arguments."""

    __slots__ = ("_made", "dtype", "function")

    function: Callable
    dtype: np.dtype | None
    _made: dict

    def __init__(self, function: Callable, dtype: np.dtype | None):
        for name, value in (("function", function), ("dtype", dtype), ("_made", {})):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value):
        raise AttributeError(
            f"{name} of a {type(self).__name__} cannot be changed, since what is compiled belongs to it; make another"
        )

    def __reduce__(self):
        return type(self), (self.function, self.dtype)

    def _once(self, key: Any, make: Callable) -> Any:
        """What is made for a key, and JAX's own x64 flag: by one thread, once."""
        import jax

        key = key, jax.config.jax_enable_x64
        with TRACING:
            if key not in self._made:
                self._made[key] = make()
            return self._made[key]


class JaxFunction(_OfJax):
    """What :func:`jax_function` returns."""

    __slots__ = ()

    def __call__(self, *arguments):
        leaves, structure = flatten(arguments)
        if any(map(is_tracer_of_jax, leaves)):  # it is part of another function in JAX
            return self.function(*arguments)
        places = [place.removeprefix("arguments") for place in leaf_places(structure, "arguments")]
        leaves = [_number(leaf, f"argument {place}") for leaf, place in zip(leaves, places)]
        arrays = [np.asarray(getval(leaf)) for leaf in leaves]
        dtype = self.dtype or _dtype_of(arrays)
        traced, compiled = self._once(
            (structure, _forms(arrays), dtype), lambda: self._trace_form(structure, arrays, dtype)
        )
        results = apply(compiled, *leaves)
        return unflatten(traced.structure, [results[i] for i in range(traced.structure.size)])

    def _trace_form(self, structure: Structure, arrays: list, dtype: np.dtype) -> tuple[Traced, Compiled]:
        def check(results, structure):
            for result, place in zip(results, leaf_places(structure, "its result")):
                _check_float(result, place, "the function")

        function = lambda leaves: self.function(*unflatten(structure, leaves))
        traced = Traced(function, [as_dtype(a, dtype) for a in arrays], dtype, "the function", check)
        return traced, Compiled(traced, traced.constants, dtype)


class JaxLoss(_OfJax):
    """What :func:`from_jax` returns: a loss in jax.numpy, and its derivatives by JAX."""

    __slots__ = ()

    def __init_subclass__(cls):
        raise TypeError("a JaxLoss cannot be derived from, since its derivatives belong to its function")

    def __call__(self, params, hyper, step):
        (param_leaves, structure), (hyper_leaves, hyper_structure) = flatten(params), flatten(hyper)
        if any(map(is_tracer_of_jax, [*param_leaves, *hyper_leaves, step])):  # it is part of another function in JAX
            return self.function(params, hyper, step)
        param_leaves = check_leaves(param_leaves, leaf_places(structure, "params"))
        hyper_leaves = check_leaves(hyper_leaves, leaf_places(hyper_structure, "hyper"))
        arrays = [[np.asarray(getval(leaf)) for leaf in leaves] for leaves in (param_leaves, hyper_leaves)]
        step_of_run = self.step_for(structure, hyper_structure, *arrays)
        return apply(step_of_run.compiled, *param_leaves, *hyper_leaves, step)[0]

    def step_for(self, params: Structure, hyper: Structure, param_arrays: list, hyper_arrays: list) -> CompiledStep:
        """What is compiled for parameters and ``hyper`` of these structures and shapes."""
        dtype = self.dtype or _dtype_of(param_arrays)
        key = params, hyper, _forms(param_arrays), _forms(hyper_arrays), dtype
        make = lambda: CompiledStep(self.function, params, hyper, param_arrays, hyper_arrays, dtype)
        return self._once(key, make)


def _forms(arrays: list) -> tuple:
    return tuple((a.shape, a.dtype.str if a.dtype.kind != "f" else "f") for a in arrays)


def _dtype_of(arrays: list) -> np.dtype:
    """float64, unless all floats are float32."""
    floats = {a.dtype for a in arrays if a.dtype.kind == "f"}
    return np.dtype(np.float32 if floats == {np.dtype(np.float32)} else np.float64)


def _number(leaf, place: str):
    """An argument of a function: a float or integer array or number."""
    leaf = as_numpy(leaf, place)
    if np.asarray(getval(leaf)).dtype.kind not in "fiub":
        raise ArgumentError(
            f"{place} is {leaf!r:.100}, but a function in JAX takes nests of arrays and numbers; let it capture what "
            "else it needs"
        )
    return leaf


def _check_float(result, place: str, what: str) -> None:
    dtype = getattr(result, "dtype", None)
    if not isinstance(result, float) and (dtype is None or np.dtype(dtype).kind != "f"):
        found = type(result).__name__ if dtype is None else f"of dtype {dtype}"
        raise LossError(f"{place} of {what} is {found}; it must be a float array, to be differentiated")


class _Linear(NamedTuple):
    """A compiled function, linear in its directions.

    Attributes:
      apply: ``apply(kept, directions)``.
      needs: the numbers of the residuals that it needs, ``kept``.
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
        if not {id(v) for v in jaxpr.invars[: self.count]} & used(jaxpr, jaxpr.outvars):
            raise LossError(
                "the loss does not depend on params; compute it from the params it is given, with jax.numpy"
            )
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
        """Say where each residual comes from: what was given or captured is not computed, nor kept, at every step."""
        import jax
        from jax.extend.core import Literal

        results, first = whole.jaxpr.outvars, 1 + self.count
        given = {id(v): i for i, v in enumerate(whole.jaxpr.invars)}
        fixed = {id(v): c for v, c in zip(whole.jaxpr.constvars, whole.consts)}
        returned, places = list(range(first)), {}
        self._sources: list[tuple[str, Any]] = []
        for i in range(first, len(results)):
            v = results[i]
            if isinstance(v, Literal) or id(v) in fixed:
                self._sources.append(("fixed", v.val if isinstance(v, Literal) else jax.device_put(fixed[id(v)])))
            elif id(v) in given:
                self._sources.append(("given", given[id(v)]))
            else:
                if id(v) not in places:
                    places[id(v)] = len(returned)
                    returned.append(i)
                self._sources.append(("computed", places[id(v)]))
        first_param = len(self.traced.constants)
        places_of_params = range(first_param, first_param + self.count)
        self.kept_params = sorted(
            {what - first_param for where, what in self._sources if where == "given" and what in places_of_params}
        )
        self._residuals = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in results[first:]]
        hypers = {id(v) for v in whole.jaxpr.invars[len(whole.jaxpr.invars) - 1 - self.hyper_count : -1]}
        self.uses_hyper = bool(hypers & used(whole.jaxpr, results[1:first]))

        def run(constants, ws, hs, step):
            results = evaluate(whole.jaxpr, whole.consts, [*constants, *ws, *hs, step])
            return [results[i] for i in returned]

        self.run = Jitted(run)

    def at(self, ws: list, hs: list, step: int, linear: _Linear | None = None) -> tuple[Any, list, list]:
        """The loss, its gradient, and the residuals that a linear function needs."""
        import jax

        constants = self.traced.constants
        results = jax.block_until_ready(self.run(constants, ws, hs, step))  # it may read the memory of ws till then
        kept = []
        for i in () if linear is None else linear.needs:
            where, what = self._sources[i]
            if where == "given":
                what = [*constants, *ws, *hs, step][what]
            kept.append(results[what] if where == "computed" else what)
        return results[0], results[1 : 1 + self.count], kept

    def nbytes(self, kept: list, linear: _Linear) -> int:
        """Bytes of the residuals that are kept for each step."""
        params = {len(self.traced.constants) + i for i in self.kept_params}
        ours = [where == "computed" or (where == "given" and what in params) for where, what in self._sources]
        once = {id(k): k.nbytes for i, k in zip(linear.needs, kept) if ours[i]}
        return sum(once.values())

    @cached_property
    def pull(self) -> _Linear:
        """A direction d to ∂G/∂w · d, transposed."""
        return self._linear(lambda linear, ds: self._transposed(linear)(ds)[0], self._ws)

    @cached_property
    def pull_with_hyper(self) -> _Linear:
        """The same, and ∂G/∂h · d, transposed."""
        return self._linear(lambda linear, ds: [bar for bars in self._transposed(linear)(ds) for bar in bars], self._ws)

    @cached_property
    def push(self) -> _Linear:
        """A tangent dw to ∂G/∂w · dw."""
        zeros = lambda: [np.zeros(*form) for form in self._hs]
        return self._linear(lambda linear, dots: linear(dots, zeros())[1], self._ws)

    @cached_property
    def push_with_hyper(self) -> _Linear:
        """Tangents (dw, dh) to ∂G/∂w · dw + ∂G/∂h · dh."""
        apart = lambda dots: (dots[: self.count], dots[self.count :])
        return self._linear(lambda linear, dots: linear(*apart(dots))[1], self._ws + self._hs)

    def _transposed(self, linear: Callable) -> Callable:
        import jax

        like = ([jax.ShapeDtypeStruct(*form) for form in forms] for forms in (self._ws, self._hs))
        return jax.linear_transpose(lambda dws, dhs: linear(dws, dhs)[1], *like)

    def _linear(self, function: Callable, directions: list) -> _Linear:
        """A linear function ``function(linear, directions)``, compiled, on the residuals that it needs."""
        import jax
        import jax.numpy as jnp

        def whole(residuals, directions):
            return function(jax.tree.unflatten(self._form, residuals), directions)

        with TRACING, precision(self.dtype):
            traced = jax.make_jaxpr(whole)(self._residuals, [jax.ShapeDtypeStruct(*form) for form in directions]).jaxpr
        found = used(traced, traced.outvars)
        # Random keys are no numbers that zeros could stand for.
        needs = [
            i
            for i, residual in enumerate(self._residuals)
            if id(traced.invars[i]) in found or not isinstance(residual.dtype, np.dtype)
        ]

        def apply(kept, directions):
            residuals = dict(zip(needs, kept))
            missing = lambda i: jnp.zeros(self._residuals[i].shape, self._residuals[i].dtype)
            all_of_them = [residuals[i] if i in residuals else missing(i) for i in range(len(self._residuals))]
            return whole(all_of_them, directions)

        return _Linear(Jitted(apply), needs)


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
    _check_float(results[0], "the value", "the loss")


class LossOfJax(Loss):
    """The loss of a run, with JAX's derivatives of it."""

    keeps_params = False  # JAX may use an array's memory as it is: of parameters that are kept, it gets copies

    def __init__(self, loss: JaxLoss, inputs: Inputs):
        self.loss, self.inputs = loss, inputs
        self._compiled: CompiledStep | None = None

    def working(self, kept: int) -> int:
        return 2 * kept  # of a step that is computed again, and what a product works with

    def value(self, params: list, step: int) -> float:
        compiled = self._for(params)
        with precision(compiled.dtype):
            return float(compiled.at(self._given(params), self._hs, step)[0])

    def gradient(self, params: list, step: int, to: list, arena: Arena) -> float | None:
        return self._at(params, step, to, None)[0]

    def linearize(self, params: list, step: int, to: list, arena: Arena) -> Linearized:
        compiled, with_hyper = self._for(params), self.inputs.wants_hyper
        pull = compiled.pull_with_hyper if with_hyper else compiled.pull
        value, kept = self._at(params, step, to, pull)

        def product(direction: list, to: list, add: bool = False) -> list:
            if with_hyper and step == 0 and not compiled.uses_hyper:
                warn_if_unused([None])
            with precision(compiled.dtype):
                bars = pull.apply(kept, self._given(direction))
            _write(bars[: len(to)], to, add)
            return [np.asarray(bar).astype(h.dtype) for bar, h in zip(bars[len(to) :], self.inputs.hyper_leaves)]

        return Linearized(value, product, lambda: compiled.nbytes(kept, pull))

    def tangent(self, params, step, to, params_dot, hyper_dot, to_dot, arena):
        compiled, with_hyper = self._for(params), self.inputs.wants_hyper
        if with_hyper and step == 0 and not compiled.uses_hyper:
            warn_if_unused([None])
        push = compiled.push_with_hyper if with_hyper else compiled.push
        value, kept = self._at(params, step, to, push)
        with precision(compiled.dtype):
            dots = push.apply(kept, self._given([*params_dot, *hyper_dot] if with_hyper else params_dot))
        _write(dots, to_dot)
        return value

    def _at(self, params: list, step: int, to: list, linear: _Linear | None) -> tuple[float, list]:
        """Write the gradient; returns the loss, and what the linear function needs."""
        compiled = self._for(params)
        with precision(compiled.dtype):
            ws = self._given(params)
            for i in compiled.kept_params:
                ws[i] = ws[i].copy()
            value, gradient, kept = compiled.at(ws, self._hs, step, linear)
        _write(gradient, to)
        return float(value), kept

    def _for(self, params: list) -> CompiledStep:
        if self._compiled is None:
            hyper = flatten(None)[1] if self.inputs.hyper is None else self.inputs.hyper
            self._compiled = self.loss.step_for(self.inputs.params, hyper, params, self.inputs.hyper_leaves)
            self._hs = self._given([h.copy() for h in self.inputs.hyper_leaves])
        return self._compiled

    def _given(self, arrays: list) -> list:
        """The arrays in the dtype of the loss; the run's own memory, if they have it already."""
        return [as_dtype(a, self._compiled.dtype) for a in arrays]  # type: ignore[union-attr]


def _write(values: list, to: list, add: bool = False) -> None:
    """Write what JAX computed over arrays, or add it to them."""
    for value, array in zip(values, to):
        if add:
            array += np.asarray(value)
        else:
            array[...] = np.asarray(value)


register(JaxLoss, LossOfJax)
