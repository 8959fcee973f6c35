"""A jaxpr as a list of equations: which values depend on which, and which are cheap to compute again from others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

# What moves numbers about, or takes a few operations for each of them.
_CHEAP = frozenset(
    [
        "abs",
        "add",
        "add_any",
        "and",
        "broadcast_in_dim",
        "ceil",
        "clamp",
        "concatenate",
        "conj",
        "convert_element_type",
        "copy",
        "copy_p",
        "div",
        "dynamic_slice",
        "eq",
        "expand_dims",
        "floor",
        "gather",
        "ge",
        "gt",
        "imag",
        "integer_pow",
        "iota",
        "le",
        "lt",
        "max",
        "min",
        "mul",
        "ne",
        "neg",
        "not",
        "or",
        "pad",
        "real",
        "rem",
        "reshape",
        "rev",
        "round",
        "select_n",
        "sign",
        "slice",
        "split",
        "square",
        "squeeze",
        "stop_gradient",
        "sub",
        "transpose",
        "xor",
    ]
)
_AT_MOST = 16  # operations on arrays in the place of one that is kept
_CALLS = ("jit", "pjit", "closed_call")


class Equation(NamedTuple):
    """One operation.

    Attributes:
      primitive, params: what it does.
      inputs: numbers of variables, and JAX's literals.
      outputs: numbers of variables.
      makes_arrays: whether some of those are larger than one number.
    """

    primitive: Any
    params: dict
    inputs: list
    outputs: list[int]
    makes_arrays: bool


class Program:
    """The equations of a jaxpr in the order of their computation, those of functions inside it in place of the calls.

    Attributes:
      constants, inputs: the numbers of its variables for what it captures and what it is given.
      results: of what it returns; a literal where that is one.
    """

    def __init__(self, jaxpr: Any):
        self._size = 0
        self._equations: list[Equation] = []
        names: dict[int, Any] = {}
        self.constants = self._new(jaxpr.constvars, names)
        self.inputs = self._new(jaxpr.invars, names)
        self._add(jaxpr, names)
        self.results = [_read(v, names) for v in jaxpr.outvars]
        self._producers = {name: i for i, equation in enumerate(self._equations) for name in equation.outputs}

    def _new(self, variables: Iterable, names: dict) -> list[int]:
        numbers = []
        for variable in variables:
            names[id(variable)] = self._size
            numbers.append(self._size)
            self._size += 1
        return numbers

    def _add(self, jaxpr: Any, names: dict) -> None:
        for equation in jaxpr.eqns:
            inputs = [_read(v, names) for v in equation.invars]
            inner = equation.params.get("jaxpr") if equation.primitive.name in _CALLS else None
            if inner is None or inner.consts:
                outputs = self._new(equation.outvars, names)
                makes_arrays = any(v.aval.size > 1 for v in equation.outvars if hasattr(v.aval, "size"))
                self._equations.append(Equation(equation.primitive, equation.params, inputs, outputs, makes_arrays))
                continue
            below = {id(v): name for v, name in zip(inner.jaxpr.invars, inputs)}
            self._add(inner.jaxpr, below)
            names |= {id(v): _read(w, below) for v, w in zip(equation.outvars, inner.jaxpr.outvars)}

    def ancestors(self, wanted: Iterable, known: Collection[int] = ()) -> tuple[list[Equation], list[int]]:
        """The equations that these values come from, and the variables that those start with.

        Args:
          wanted: variables and literals.
          known: variables that need not be computed.
        """
        waiting, found, starts = [name for name in wanted if isinstance(name, int)], set(), set()
        while waiting:
            name = waiting.pop()
            number = None if name in known else self._producers.get(name)
            if number is None:
                starts.add(name)
            elif number not in found:
                found.add(number)
                waiting += [below for below in self._equations[number].inputs if isinstance(below, int)]
        return [self._equations[number] for number in sorted(found)], sorted(starts)

    def to_keep(self, wanted: Iterable, known: Collection[int]) -> list[int]:
        """Of the computed values that are wanted, those that the others are not cheap to compute from.

        Args:
          wanted: variables and literals.
          known: variables that are there in any case.
        """
        kept: list[int] = []
        computed = {name for name in wanted if isinstance(name, int) and name in self._producers}
        for name in sorted(computed, key=lambda name: (self._producers[name], name)):
            if not self._is_cheap(name, {*known, *kept}):
                kept.append(name)
        return kept

    def _is_cheap(self, name: int, known: Collection[int]) -> bool:
        waiting, seen, arrays = [name], set(), 0
        while waiting:
            name = waiting.pop()
            if name in known or name in seen:
                continue
            seen.add(name)
            if name not in self._producers:
                return False
            equation = self._equations[self._producers[name]]
            arrays += equation.makes_arrays
            if equation.primitive.name not in _CHEAP or arrays > _AT_MOST:
                return False
            waiting += [below for below in equation.inputs if isinstance(below, int)]
        return True


def compute(equations: Sequence[Equation], values: dict[int, Any]) -> None:
    """Put what cheap equations compute beside the values that they start with."""
    read = lambda name: values[name] if isinstance(name, int) else name.val
    for primitive, params, inputs, outputs, _ in equations:
        results = primitive.bind(*map(read, inputs), **params)
        values.update(zip(outputs, results if primitive.multiple_results else [results]))


def _read(variable: Any, names: dict) -> Any:
    """The number of a variable; a literal as it is."""
    from jax.extend.core import Literal

    return variable if isinstance(variable, Literal) else names[id(variable)]
