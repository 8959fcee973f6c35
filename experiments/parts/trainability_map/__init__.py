"""Parts of :mod:`experiments.trainability_map` that have files of their own."""
