"""Functions in jax.numpy, traced once into a jaxpr, and what is compiled from it.

Everything that JAX is asked for lies in a context for the dtype: float64 is switched on there, for this thread only,
and JAX's global flag stays as it is.
"""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..bridge import defjvp_argnums, defvjp_argnums, getval, isbox, levels, primitive, takes_forward_mode
from ..checks import import_extra
from ..errors import DifferentiationError, HypergradError, LossError
from ..nests import Structure, flatten, is_tracer_of_jax
from .autograd import CAPTURED, place_of

# One thread traces at a time: where two do, jax.numpy.asarray gives one the dtype of the other's context (JAX 0.10).
TRACING = threading.RLock()


def jax_for(what: str) -> Any:
    """The library, for what needs it."""
    import_extra("jax", what)
    import_extra("jax.extend.core", what)
    return import_extra("jax", what)


def precision(dtype: np.dtype) -> contextlib.AbstractContextManager:
    """A context in which JAX computes in this dtype: in float64 without its global flag, for this thread only."""
    if dtype != np.float64:
        return contextlib.nullcontext()
    import jax

    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64  # before JAX 0.8

    return enable_x64()


def held_as(dtype, precision: np.dtype) -> Any:
    """What JAX has numbers of this type as, where it computes in this precision.

    From JAX 0.11 on a trace in float32 says float64 of what it captures from NumPy, although it has it in float32.
    """
    halved = {"f8": np.float32, "i8": np.int32, "u8": np.uint32, "c16": np.complex64}
    if precision == np.float64 or not isinstance(dtype, np.dtype):
        return dtype
    return np.dtype(halved.get(dtype.str[1:], dtype))


class Traced:
    """A function of arrays, traced for arguments of these shapes.

    Args:
      function: takes a list of JAX's values, and returns a nest of them.
      examples: arguments of the shapes and dtypes that it will have.
      dtype: what it is computed in.
      what: "the loss" or "the function", as errors call it.
      check: takes the nest of results, and raises if it is not what is wanted.

    Attributes:
      jaxpr: with the arrays that the function captures for its first arguments.
      constants: those, on JAX's device.
      structure: of the results.

    Raises:
      LossError: what the function does cannot be traced; names the line.
      DifferentiationError: it uses a value that is being differentiated without being told of it.
    """

    def __init__(self, function: Callable, examples: list, dtype: np.dtype, what: str, check: Callable):
        import jax

        self.dtype, structures = dtype, []

        def flat(*leaves):
            results, structure = flatten(function(list(leaves)))
            if any(map(isbox, results)):
                raise DifferentiationError(_CAPTURED[what])
            check(results, structure)
            structures.append(structure)
            return results

        with TRACING, precision(dtype):
            try:
                closed = jax.make_jaxpr(flat)(*examples)
            except HypergradError:
                raise
            except Exception as error:
                _in_our_words(error, what)
                raise
            if any(map(is_tracer_of_jax, closed.consts)):
                raise DifferentiationError(
                    f"{what} captures a value that JAX is tracing (jax.grad or jax.jit around hypergrad.train), and "
                    "its derivative would be lost: hypergrad.train is differentiated by autograd's grad; pass the "
                    "value as train(..., hyper=value), and make the outer function one of autograd"
                )
            self.structure: Structure = structures[-1]
            if dtype == np.float64:
                _reject_single(closed, what)
            # Copies: an array of NumPy's that stays its owner's might be used as it is, and change.
            self.jaxpr, self.constants = closed.jaxpr, [jax.numpy.array(c) for c in closed.consts]

    def __call__(self, constants: Sequence, leaves: Sequence) -> list:
        """The function on JAX's values."""
        return evaluate(self.jaxpr, constants, leaves)


def evaluate(jaxpr: Any, constants: Sequence, leaves: Sequence) -> list:
    """The results of a jaxpr for these values; the constants may be traced ones."""
    from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

    return jaxpr_as_fun(ClosedJaxpr(jaxpr, list(constants)))(*leaves)


class Jitted:
    """A function compiled by JAX at its first call, for arguments of those shapes; other threads wait for that."""

    __slots__ = ("function", "is_ready")

    def __init__(self, function: Callable):
        import jax

        self.function, self.is_ready = jax.jit(function), False

    def __call__(self, *arguments):
        if self.is_ready:
            return self.function(*arguments)
        with TRACING:
            results = self.function(*arguments)
            self.is_ready = True
        return results


class Compiled:
    """A function of a flat list of arrays to a list of arrays, compiled; its derivatives are further ones like it.

    Args:
      function: ``function(constants, leaves)`` on JAX's values.
      constants: what it is given first.
      dtype: what it is computed in, and its floats are converted to.
    """

    def __init__(self, function: Callable, constants: list, dtype: np.dtype):
        self.function, self.constants, self.dtype = function, constants, dtype
        self._jitted = Jitted(lambda constants, leaves: function(constants, leaves))
        self._derived: dict = {}
        self._linearized: dict = {}

    def __call__(self, leaves: Sequence) -> tuple:
        """On NumPy's values."""
        with precision(self.dtype):
            results = self._jitted(self.constants, [as_dtype(leaf, self.dtype) for leaf in leaves])
        return tuple(np.array(result)[()] for result in results)

    def pulled(self, wanted: tuple[int, ...], count: int) -> Compiled:
        """What pulls cotangents of the results, given after its ``count`` leaves, back to the leaves wanted."""
        import jax

        def pull(constants, values):
            leaves, cotangents = values[:count], values[count:]
            results, back = jax.vjp(self._of(wanted, constants, leaves), *(leaves[i] for i in wanted))
            return list(back([c.astype(r.dtype) for c, r in zip(cotangents, results)]))

        return self._derive(("pulled", wanted, count), pull)

    def pushed(self, wanted: tuple[int, ...], count: int) -> Compiled:
        """What pushes tangents of the leaves wanted, given after all ``count`` leaves, forward to the results."""
        import jax

        def push(constants, values):
            leaves, tangents = values[:count], values[count:]
            of, primals = self._of(wanted, constants, leaves), [leaves[i] for i in wanted]
            return jax.jvp(of, primals, [t.astype(w.dtype) for t, w in zip(tangents, primals)])[1]

        return self._derive(("pushed", wanted, count), push)

    def with_pullback(self, wanted: tuple[int, ...], leaves: Sequence) -> tuple[tuple, Callable]:
        """The results, and what pulls cotangents of them back to the leaves wanted, computed with them."""
        import jax

        if wanted not in self._linearized:

            def run(constants, leaves):
                return jax.vjp(self._of(wanted, constants, leaves), *(leaves[i] for i in wanted))

            def pull(back, results, cotangents):
                return back([c.astype(r.dtype) for c, r in zip(cotangents, results)])

            self._linearized.setdefault(wanted, (Jitted(run), Jitted(pull)))
        run, pull = self._linearized[wanted]
        with precision(self.dtype):
            results, back = run(self.constants, [as_dtype(leaf, self.dtype) for leaf in leaves])

        def pull_back(cotangents: list) -> list:
            with precision(self.dtype):
                return [np.array(bar)[()] for bar in pull(back, results, cotangents)]

        return tuple(np.array(result)[()] for result in results), pull_back

    def _of(self, wanted: tuple[int, ...], constants, leaves) -> Callable:
        """The function of some of its leaves."""

        def of(*some):
            given = list(leaves)
            for i, value in zip(wanted, some):
                given[i] = value
            return self.function(constants, given)

        return of

    def _derive(self, key: tuple, function: Callable) -> Compiled:
        if key not in self._derived:  # if another thread is faster, the first one stays
            self._derived.setdefault(key, Compiled(function, self.constants, self.dtype))
        return self._derived[key]


def as_dtype(leaf: Any, dtype: np.dtype) -> np.ndarray:
    """A value as an array, in this dtype if it is a float."""
    array = np.asarray(leaf)
    return array.astype(dtype, copy=False) if array.dtype.kind == "f" else array


class Call:
    """One call of a compiled function in reverse mode: what its first derivative needs is computed with the value."""

    def __init__(self, compiled: Compiled, wanted: tuple[int, ...]):
        self.compiled, self.wanted = compiled, wanted
        self.pull_back: Callable | None = None

    def __call__(self, leaves: Sequence) -> tuple:
        results, self.pull_back = self.compiled.with_pullback(self.wanted, leaves)
        return results


def apply(function: Compiled, *leaves):
    """The results of a compiled function, a tuple; differentiable by autograd in both modes, as often as JAX can."""
    if levels(list(leaves)) == 1 and not takes_forward_mode(list(leaves)):
        wanted = tuple(i for i, leaf in enumerate(leaves) if isbox(leaf))
        return _apply(Call(function, wanted), *leaves)
    return _apply(function, *leaves)


@primitive
def _apply(function: Compiled | Call, *leaves):
    return function(leaves)


def _pull_back(argnums, ans, args, kwargs):
    function, *leaves = args
    wanted, count = tuple(i - 1 for i in argnums), len(ans)

    def pull(outgrad):
        cotangents, compiled = [outgrad[i] for i in range(count)], function
        if isinstance(function, Call):
            compiled, kept = function.compiled, function.pull_back
            # Let go: it may be large, and the training before it is still to be gone back through.
            function.pull_back = None
            if kept is not None and wanted == function.wanted and not any(map(isbox, cotangents)):
                return [_in_dtype_of(bar, leaves[i]) for i, bar in zip(wanted, kept(cotangents))]
        bars = _apply(compiled.pulled(wanted, len(leaves)), *leaves, *cotangents)
        return [_in_dtype_of(bar, leaves[i]) for i, bar in zip(wanted, bars)]

    return pull


def _push_forward(argnums, tangents, ans, args, kwargs):
    function, *leaves = args
    return _apply(function.pushed(tuple(i - 1 for i in argnums), len(leaves)), *leaves, *tangents)


defvjp_argnums(_apply, _pull_back)
defjvp_argnums(_apply, _push_forward)


def _in_dtype_of(value, leaf):
    """A cotangent in the dtype of what it belongs to, which may be computed with in another one."""
    dtype = np.asarray(getval(leaf)).dtype
    return value if getval(value).dtype == dtype else value.astype(dtype)


def _reject_single(closed: Any, what: str) -> None:
    """Raise if float64 is computed from an array, or a scalar, that was captured in float32.

    Raises:
      LossError: its values are good to 1e-7 only, and so would be all that comes of them.
    """
    for value in _captured(closed):
        dtype = str(getattr(value, "dtype", ""))
        if dtype in ("float32", "float16", "bfloat16"):
            raise LossError(
                f"{what} is computed in float64, but captures an array of shape {np.shape(value)} in {dtype}, whose "
                "values are good to 1e-7 or less (what jax.numpy makes outside of a hypergrad run is float32, if JAX's "
                "x64 flag is not set, and JAX 0.11 goes on to take a NumPy array that it had there for float32): "
                "capture a NumPy array in float64, a copy if JAX had it before, or make the array inside the "
                "function; or compute in float32, by dtype=numpy.float32"
            )


def _captured(closed: Any):
    """The arrays that a function captures, those of functions inside it too, and scalars that become float64."""
    from jax.extend.core import Literal

    yield from closed.consts
    for equation in closed.jaxpr.eqns:
        if equation.primitive.name == "convert_element_type" and equation.params["new_dtype"] == np.float64:
            yield from (v.val for v in equation.invars if isinstance(v, Literal))
        for inner in equation.params.values():
            for part in inner if isinstance(inner, tuple | list) else (inner,):
                if hasattr(part, "jaxpr") and hasattr(part, "consts"):
                    yield from _captured(part)


def check_float(result, place: str, what: str) -> None:
    dtype = getattr(result, "dtype", None)
    if not isinstance(result, float) and (dtype is None or np.dtype(dtype).kind != "f"):
        found = type(result).__name__ if dtype is None else f"of dtype {dtype}"
        raise LossError(f"{place} of {what} is {found}; it must be a float array, to be differentiated")


_CAPTURED = {
    "the loss": CAPTURED,
    "the function": "the function uses a value that is being differentiated but did not come in through its arguments, "
    "so the derivative would miss it; give it as an argument",
}
_CONCRETE = (
    "uses Python control flow, indexing or conversion (if, while, range, float(…), a NumPy index) on `step` or on "
    "params, which are traced: it is compiled once for all steps. Use jnp.where, jax.lax.cond, jax.lax.dynamic_slice "
    "or jax.lax.scan"
)
_TRACED = "its arguments are traced: jax.numpy and jax.lax compute with them, but no dict, Python or NumPy function"
_NUMPY = (
    "must be written with jax.numpy (import jax.numpy as jnp), not with NumPy or autograd.numpy, which cannot compute "
    "with traced values; rows of a NumPy array X that depend on `step` are those of jnp.asarray(X)"
)


def _in_our_words(error: Exception, what: str) -> None:
    """Raise what is wrong with a function that cannot be traced, if it is known.

    Errors that the function raises itself are its own affair, and left as they are.
    """
    import jax

    frames = [frame.filename.replace("\\", "/") for frame in traceback.extract_tb(error.__traceback__)]
    text, line = str(error).split("\n")[0], place_of(error)
    if (
        any(f"{kind}Box" in str(error) for kind in ("Array", "Sequence", "Dict"))
        or "setting an array element" in text
        or any("numpy_boxes" in f for f in frames)
    ):
        raise DifferentiationError(f"{line}: {_CAPTURED[what]}") from error
    if isinstance(error, jax.errors.TracerArrayConversionError):
        raise LossError(f"{line}: {what} {_NUMPY}") from error
    concrete = jax.errors.ConcretizationTypeError, jax.errors.TracerIntegerConversionError
    if isinstance(error, concrete) or (isinstance(error, IndexError) and "must be static" in text):
        raise LossError(f"{line}: {what} {_CONCRETE}") from error
    if ("Tracer" in text or "Traced<" in text) and isinstance(error, TypeError | ValueError | KeyError):
        raise LossError(f"{line}: {what} raised {type(error).__name__}: {text} ({_TRACED})") from error
    inside = "/jax/" in frames[-1] or "/jaxlib/" in frames[-1]
    if inside and isinstance(error, TypeError | ValueError | IndexError | AttributeError):
        raise LossError(f"{line}: {what} raised {type(error).__name__}: {text}") from error
