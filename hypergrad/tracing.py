"""Autograd's reverse and forward mode for functions of several arrays with several results.

``make_vjp`` and ``make_jvp`` take one input; a container around several costs a scatter into a nest
of zeros for every entry. Here each array is a root of the graph of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from autograd.core import JVPNode, VJPNode, add_outgrads
from autograd.tracer import isbox, new_box, toposort, trace_stack


def linearize(fun: Callable[[list], list], inputs: list) -> tuple[list, Callable[[list], list]]:
    """Run ``fun`` on arrays; return its outputs and the function that pulls cotangents back.

    An output that does not depend on the inputs counts as a constant; an input without influence
    gets None. ``pull.depends`` tells whether any output depends on any input.
    """
    with trace_stack.new_trace() as trace:
        roots = [VJPNode.new_root() for _ in inputs]
        outputs = fun([new_box(x, trace, root) for x, root in zip(inputs, roots)])
        traced = [isbox(y) and y._trace == trace for y in outputs]
        nodes = [y._node for y, is_traced in zip(outputs, traced) if is_traced]
        values = [y._value if is_traced else y for y, is_traced in zip(outputs, traced)]
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

    pull.depends = any(traced)
    return values, pull


def push(fun: Callable[[list], list], inputs: list, tangents: list) -> tuple[list, list]:
    """Run ``fun`` on arrays and their tangents; return its outputs and theirs (zeros for a constant)."""
    with trace_stack.new_trace() as trace:
        outputs = fun([new_box(x, trace, JVPNode.new_root(t)) for x, t in zip(inputs, tangents)])
        pairs = [
            (y._value, y._node.g) if isbox(y) and y._trace == trace else (y, np.zeros(np.shape(y))) for y in outputs
        ]
    return [value for value, _ in pairs], [tangent for _, tangent in pairs]
