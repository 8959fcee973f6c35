"""The bridge to autograd: the one module that touches its boxes, nodes and traces.

Autograd's ``make_vjp`` and ``make_jvp`` take one input; a container around several costs a scatter into a nest of
zeros for every entry. Here each array is a root of the graph of its own.

Autograd keeps the depth of nested derivatives in one counter that all threads share, so that derivatives taken in
several threads at once are silently wrong. Importing this module gives each thread a counter of its own. It
is the only thing that hypergrad changes outside of itself, and only for the versions it was tested with.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

import autograd.tracer
import numpy as np
from autograd.core import JVPNode, VJPNode, add_outgrads, primitive_jvps, sum_outgrads, vspace
from autograd.extend import defjvp, defjvp_argnums, defvjp, defvjp_argnums, primitive
from autograd.tracer import getval, isbox, new_box, notrace_primitives, toposort

from .errors import DifferentiationError

__all__ = [
    "NESTED",
    "Outputs",
    "Probe",
    "check_one_trace",
    "count_of_tangents",
    "defjvp",
    "defjvp_argnums",
    "defvjp",
    "defvjp_argnums",
    "getval",
    "inside",
    "is_object_of_boxes",
    "isbox",
    "jvps",
    "levels",
    "primitive",
    "probe_of",
    "probed",
    "result_of_forward_mode",
    "result_of_reverse_mode",
    "sum_outgrads",
    "takes_forward_mode",
    "tangents_of",
    "vjp",
    "where_not_finite",
]

TESTED = ("1.8", "1.9")  # versions of autograd
NESTED = (
    "derivatives of derivatives through train (a Hessian, or grad inside grad or make_jvp) are not available: "
    "differentiate once, and take differences of the hypergradient for second derivatives"
)
_STALE = (
    "a value that the loss computed at an earlier step was kept and used again (a running mean, say), but the loss "
    "must depend on params, hyper and step alone, or its derivative is wrong; make what is kept a part of params or "
    "hyper, or keep plain numbers only"
)


class _Depth(threading.local):
    """What :class:`autograd.tracer.TraceStack` is, with a depth for each thread, and right again after an error."""

    def __init__(self):
        self.top = -1

    @contextlib.contextmanager
    def new_trace(self):
        self.top += 1
        try:
            yield self.top
        finally:
            self.top -= 1


def _separate_threads() -> None:
    """Give each thread its own depth of derivatives, if autograd is one that this is known to work with."""
    stack = autograd.tracer.trace_stack
    if isinstance(stack, _Depth):
        return
    known = version("autograd").rpartition(".")[0] in TESTED or version("autograd") in TESTED
    if not known or vars(stack) != {"top": -1}:
        warnings.warn(
            f"this autograd ({version('autograd')}) is not one that hypergrad was tested with ({', '.join(TESTED)}): "
            "different threads must not differentiate at the same time",
            RuntimeWarning,
            stacklevel=3,
        )
        return
    autograd.tracer.trace_stack = _Depth()


_separate_threads()


class _TapeNode(VJPNode):
    """A node that knows which trace it belongs to, so that values kept from another one are noticed."""

    __slots__ = ["token"]

    def __init__(self, value, fun, args, kwargs, parent_argnums, parents):
        try:
            token = parents[0].token
            for parent in parents:
                if parent.token is not token:
                    raise DifferentiationError(_STALE)
        except AttributeError:  # a node of another derivative, which has ended
            raise DifferentiationError(_STALE) from None
        self.token = token
        VJPNode.__init__(self, value, fun, args, kwargs, parent_argnums, parents)

    def initialize_root(self, token):
        super().initialize_root()
        self.token = token


class Probe:
    """What a probe wants of the runs inside the function it looks at, and what they tell it.

    Attributes:
      failures: the errors of runs that ended early; those return NaN for what they did not reach.
      tangent_norms: for each run the norms of its tangent of the parameters, one a step.
      losses: (loss, params, hyper) of each run, as :func:`hypergrad.train` was given them, in plain arrays.
    """

    def __init__(self):
        self.failures: list[Exception] = []
        self.tangent_norms: list[list[float]] = []
        self.losses: list[tuple] = []


class _TangentsNode(JVPNode):
    """A node of forward mode with a list of tangents, one for each direction: the value is computed once for all.

    It carries the probe that asked for it, if one did, to everything computed from it.
    """

    __slots__ = ["probe"]

    def __init__(self, value, fun, args, kwargs, parent_argnums, parents):
        if not all(isinstance(parent, _TangentsNode) for parent in parents):  # of another derivative, which has ended
            raise DifferentiationError(_STALE)
        self.probe = parents[0].probe
        rule = primitive_jvps.get(fun)
        if rule is None:
            raise _without_rule(getattr(fun, "__name__", str(fun)))
        if len({len(parent.g) for parent in parents}) > 1:
            raise DifferentiationError(_STALE)
        self.g = [rule(parent_argnums, list(gs), value, args, kwargs) for gs in zip(*(parent.g for parent in parents))]

    def initialize_root(self, tangents, probe=None):
        super().initialize_root(tangents)
        self.probe = probe


def _without_rule(name: str) -> DifferentiationError:
    return DifferentiationError(
        f"autograd has no forward-mode derivative (JVP) for `{name}`, and this function is differentiated in "
        f"forward mode; write it with other functions, give autograd the rule by "
        f"autograd.extend.defjvp({name}, …), or differentiate in reverse mode (grad) instead"
    )


for _ours, _theirs in ((_TapeNode, VJPNode), (_TangentsNode, JVPNode)):
    notrace_primitives[_ours] = notrace_primitives[_theirs]  # the functions that are constant to a trace


@contextlib.contextmanager
def _at_depth(depth: int):
    """Within it derivatives are taken as deep as they were there, at the least.

    Steps that are computed again on the way back must not take a value for their own that was differentiated further
    out when they ran first.
    """
    stack = autograd.tracer.trace_stack
    before = stack.top
    stack.top = max(before, depth)
    try:
        yield
    finally:
        stack.top = before


def _belongs(y, trace: int) -> bool:
    return isbox(y) and y._trace == trace


def vjp(fun: Callable[[list], list], inputs: list) -> tuple[list, Callable[[list], list]]:
    """Run ``fun`` on arrays; return its outputs and the function that pulls cotangents back.

    An output that does not depend on the inputs counts as a constant; an input without influence
    gets None. ``pull.depends`` tells whether any output depends on any input.

    Raises:
      DifferentiationError: a value kept from another trace came in.
    """
    token = object()
    with autograd.tracer.trace_stack.new_trace() as trace:
        roots = [_TapeNode.new_root(token) for _ in inputs]
        outputs = fun([new_box(x, trace, root) for x, root in zip(inputs, roots)])
        traced = [_belongs(y, trace) for y in outputs]
        nodes = [y._node for y, is_traced in zip(outputs, traced) if is_traced]
        values = [y._value if is_traced else y for y, is_traced in zip(outputs, traced)]
    if any(getattr(node, "token", None) is not token for node in nodes):
        raise DifferentiationError(_STALE)
    end = VJPNode.new_root()
    end.parents, end.vjp = nodes, lambda cotangents: cotangents

    def pull(cotangents: list) -> list:
        outgrads = {end: ([c for c, is_traced in zip(cotangents, traced) if is_traced], False)}
        wanted = dict.fromkeys(roots)
        for node in toposort(end):
            outgrad = outgrads.pop(node)[0]
            if node in wanted:
                wanted[node] = outgrad
            for parent, ingrad in zip(node.parents, node.vjp(outgrad)):
                outgrads[parent] = add_outgrads(outgrads.get(parent), ingrad)
        return [wanted[root] for root in roots]

    pull.depends = any(traced)  # type: ignore[attr-defined]
    return values, pull


def where_not_finite(fun: Callable[[list], Any], inputs: list) -> str | None:
    """The name of the operation whose derivative first turns finite numbers into others, on the way back.

    For messages: ``fun`` runs once more. None if there is none, or it cannot be told.
    """
    names: dict[Any, str] = {}

    class Named(_TapeNode):
        __slots__ = []

        def __init__(self, value, function, args, kwargs, parent_argnums, parents):
            super().__init__(value, function, args, kwargs, parent_argnums, parents)
            names[self] = getattr(function, "__name__", "?")

    notrace_primitives[Named] = notrace_primitives[VJPNode]
    token = object()
    try:
        with autograd.tracer.trace_stack.new_trace() as trace, np.errstate(all="ignore"):
            end = fun([new_box(x, trace, Named.new_root(token)) for x in inputs])
            outgrads = {end._node: (vspace(end._value).ones(), False)}
            for node in toposort(end._node):
                outgrad = outgrads.pop(node)[0]
                for parent, ingrad in zip(node.parents, node.vjp(outgrad)):
                    if np.isfinite(getval(outgrad)).all() and not np.isfinite(getval(ingrad)).all():
                        return names.get(node)
                    outgrads[parent] = add_outgrads(outgrads.get(parent), ingrad)
    except Exception:  # it is only for a message
        return None
    finally:
        del notrace_primitives[Named]
    return None


def jvps(fun: Callable[[list], list], inputs: list, tangents: list[list]) -> tuple[list, list[list]]:
    """Run ``fun`` on arrays, once, and push several tangents forward; return its outputs and theirs.

    Args:
      tangents: for each input a list of K tangents.

    Returns:
      The outputs, plain; and for each of the K directions the tangents of all outputs, zeros for a constant.

    Raises:
      DifferentiationError: a function in it has no derivative in forward mode.
    """
    count = len(tangents[0])
    with autograd.tracer.trace_stack.new_trace() as trace:
        outputs = fun([new_box(x, trace, _TangentsNode.new_root(list(ts))) for x, ts in zip(inputs, tangents)])
        pairs = [(y._value, y._node.g) if _belongs(y, trace) else (y, [np.zeros(np.shape(y))] * count) for y in outputs]
    return [value for value, _ in pairs], [[found[k] for _, found in pairs] for k in range(count)]


def probed(fun: Callable, values: list, tangents: list, probe: Probe) -> tuple[Any, Any]:
    """Run ``fun`` on a list of values in forward mode, with a probe that every run in it tells what it sees.

    Returns:
      What ``fun`` returned, and its tangent, None where it does not depend on the values.

    Raises:
      DifferentiationError: a function in it has no derivative in forward mode.
    """
    with autograd.tracer.trace_stack.new_trace() as trace:
        result = fun([new_box(x, trace, _TangentsNode.new_root([t], probe)) for x, t in zip(values, tangents)])
        return (result._value, result._node.g[0]) if _belongs(result, trace) else (result, None)


def probe_of(inputs: list) -> Probe | None:
    """The probe that asked for the values among these, if one did."""
    nodes = (x._node for x in inputs if isbox(x))
    return next((node.probe for node in nodes if isinstance(node, _TangentsNode)), None)


def takes_forward_mode(inputs: list) -> bool:
    """Whether any of these is being differentiated in forward mode, at the top level."""
    trace = _top(inputs)
    return any(isbox(x) and x._trace == trace and isinstance(x._node, JVPNode) for x in inputs)


def _top(inputs: list) -> int:
    return max((x._trace for x in inputs if isbox(x)), default=-1)


def check_one_trace(inputs: list) -> list:
    """The plain values of inputs to be differentiated once.

    Values that are being differentiated a second time, further out in reverse mode, are let through: what
    :func:`result_of_reverse_mode` returns raises when that derivative is asked for.

    Raises:
      DifferentiationError: forward mode is asked to go through two levels.
    """
    top = _top(inputs)
    below = [x if isbox(x) and x._trace < top else x._value for x in inputs if isbox(x)]
    deeper = [node for x in below for node in _nodes(x)]
    if any(isinstance(node, JVPNode) for node in deeper) or (deeper and takes_forward_mode(inputs)):
        raise DifferentiationError(NESTED)
    return [np.asarray(getval(x)) for x in inputs]


def _nodes(x) -> list:
    """The nodes of a value, from the outermost level of differentiation in."""
    return [x._node, *_nodes(x._value)] if isbox(x) else []


def levels(inputs: list) -> int:
    """How many derivatives, one inside the other, are being taken by these."""
    return max((len(_nodes(x)) for x in inputs), default=0)


def _refuse(cotangent):
    raise DifferentiationError(NESTED)


def _poisoned(values: list, inputs: list) -> list:
    """The values as they look to the levels of differentiation below the top: their derivatives there raise.

    A loss that itself trains has a gradient, and may be trained; it has no Hessian.
    """
    top = _top(inputs)
    below = [x if x._trace < top else x._value for x in inputs if isbox(x)]
    below = [x for x in below if isbox(x)]
    if not below:
        return values
    trace = _top(below)
    node = _node_for([x for x in below if x._trace == trace], _refuse)
    return [new_box(value, trace, node) for value in _poisoned(values, below)]


def _node_for(parents: list, pull_back: Callable) -> VJPNode:
    """A node made by hand, in the trace of its parents."""
    nodes = [x._node for x in parents]
    tokens = {id(getattr(node, "token", None)): getattr(node, "token", None) for node in nodes}
    if len(tokens) > 1:
        raise DifferentiationError(_STALE)
    (token,) = tokens.values()
    node = VJPNode.new_root() if token is None else _TapeNode.new_root(token)
    node.parents, node.vjp = nodes, pull_back
    return node


def result_of_reverse_mode(nest: Outputs, values: list, inputs: list, pull_back: Callable[[list], list]) -> Any:
    """The outputs of a run as values to be differentiated in reverse mode.

    Made by hand and not by a primitive, because the adjoint is prepared while the run goes forward.

    Args:
      nest: how the outputs are put together.
      values: their leaves, plain arrays.
      inputs: what they depend on; some of them boxes.
      pull_back: takes the cotangents of the outputs, plain arrays, and returns those of all inputs.
    """
    top, depth = _top(inputs), autograd.tracer.trace_stack.top
    boxed = [x for x in inputs if isbox(x) and x._trace == top]

    def pull_cotangent(cotangent):
        cotangents = nest.leaves(cotangent)
        with _at_depth(depth):
            bars = pull_back([getval(c) for c in cotangents])
        bars = [bar for x, bar in zip(inputs, bars) if isbox(x) and x._trace == top]
        return _poisoned(bars, inputs + cotangents)

    return _built(nest, _poisoned(values, inputs), top, _node_for(boxed, pull_cotangent))


def result_of_forward_mode(nest: Outputs, values: list, tangents: list[list], inputs: list) -> Any:
    """The outputs of a run as values with tangents, in forward mode; ``tangents`` has those of all, by direction."""
    boxes = [nest.as_box(each) for each in tangents]
    several = any(isinstance(x._node, _TangentsNode) for x in inputs if isbox(x))
    node = _TangentsNode.new_root(boxes, probe_of(inputs)) if several else JVPNode.new_root(boxes[0])
    return _built(nest, values, _top(inputs), node)


class Outputs(NamedTuple):
    """How the outputs of a run are put together.

    Attributes:
      build: makes the nest of a list of leaves.
      take_apart: makes the list of leaves of a nest; raises if it is another one.
      known: whether autograd knows the nest's containers. Then the nest itself is a box, so that it may be returned
        from the function that is differentiated; a nest of others holds boxes.
    """

    build: Callable[[list], Any]
    take_apart: Callable[[Any], list]
    known: bool

    def as_box(self, leaves: list) -> Any:
        """What the box of the run holds."""
        return self.build(leaves) if self.known else leaves

    def leaves(self, cotangent: Any) -> list:
        """The leaves of what autograd brings back for the box."""
        return self.take_apart(cotangent) if self.known else list(cotangent)


def _built(nest: Outputs, values: list, trace: int, node) -> Any:
    box = new_box(nest.as_box(values), trace, node)
    return box if nest.known else nest.build([box[i] for i in range(len(values))])


def tangents_of(x) -> list | None:
    """The tangents that an input brings from a trace in forward mode, one for each direction; None for a constant."""
    if not isbox(x):
        return None
    return x._node.g if isinstance(x._node, _TangentsNode) else [x._node.g]


def count_of_tangents(inputs: list) -> int:
    """How many directions these inputs are differentiated in.

    Raises:
      DifferentiationError: some bring more than others, from another derivative.
    """
    counts = {len(tangents) for tangents in map(tangents_of, inputs) if tangents is not None}
    if len(counts) > 1:
        raise DifferentiationError(_STALE)
    return counts.pop()


def is_object_of_boxes(value: np.ndarray) -> bool:
    """Whether an object array hides values that are being differentiated."""
    return value.dtype.kind == "O" and any(isbox(entry) for entry in np.ravel(value))


def inside(item: Any) -> list | None:
    """What a box or a node refers to; None for anything else."""
    if isbox(item):
        return [item._value, item._node]
    if isinstance(item, VJPNode):
        return [item.parents, item.vjp]
    return [item.g] if isinstance(item, JVPNode) else None
