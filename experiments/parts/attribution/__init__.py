"""Parts of :mod:`experiments.attribution` that have files of their own."""
