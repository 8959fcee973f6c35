"""Parts of :mod:`experiments.scaling_laws` that have files of their own."""
