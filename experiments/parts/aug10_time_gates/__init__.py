"""Parts of :mod:`experiments.aug10_time_gates` that have files of their own."""
