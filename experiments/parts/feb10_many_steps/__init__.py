"""Parts of :mod:`experiments.feb10_many_steps` that have files of their own."""
