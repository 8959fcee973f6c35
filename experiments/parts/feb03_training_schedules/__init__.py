"""Parts of :mod:`experiments.feb03_training_schedules` that have files of their own."""
