"""Parts of :mod:`experiments.advice` that have files of their own."""
