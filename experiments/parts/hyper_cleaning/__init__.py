"""Parts of :mod:`experiments.hyper_cleaning` that have files of their own."""
