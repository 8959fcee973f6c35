"""Data that come with the package."""

from .mnist import load_mnist

__all__ = ["load_mnist"]
