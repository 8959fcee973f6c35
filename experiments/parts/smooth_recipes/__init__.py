"""Parts of :mod:`experiments.smooth_recipes` that have files of their own."""
