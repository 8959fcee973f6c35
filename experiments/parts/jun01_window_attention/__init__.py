"""Parts of :mod:`experiments.jun01_window_attention` that have files of their own."""
