"""Parts of :mod:`experiments.depth_trials` that have files of their own."""
