"""Parts of :mod:`experiments.feb04_weight_sharing` that have files of their own."""
