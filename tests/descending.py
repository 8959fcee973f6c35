"""Descents without a bar, and functions for them."""

import autograd.numpy as anp

import hypergrad as hg


def minimize(f, hypers, *, steps=4, **options):
    return hg.meta.minimize(f, hypers, steps=steps, progress=False, **options)


def rosenbrock(h):
    return (1.0 - h["x"]) ** 2 + 100.0 * (h["y"] - h["x"] ** 2) ** 2


def wavy(h):
    """A valley with ripples that no step over it sees."""
    return h**2 + 1e-3 * anp.sin(1e6 * h)
