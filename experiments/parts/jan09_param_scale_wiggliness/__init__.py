"""Parts of :mod:`experiments.jan09_param_scale_wiggliness` that have files of their own."""
