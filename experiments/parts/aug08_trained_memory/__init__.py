"""Parts of :mod:`experiments.aug08_trained_memory` that have files of their own."""
