"""Parts of :mod:`experiments.jan16_initial_dist` that have files of their own."""
