"""Parts of :mod:`experiments.jan15_lr_schedule` that have files of their own."""
