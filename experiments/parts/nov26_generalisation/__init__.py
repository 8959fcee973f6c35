"""Parts of :mod:`experiments.nov26_generalisation` that have files of their own."""
