"""A log of dated experiments on what happens inside training; LOG.md tells what was seen.

Each file here is one experiment and reads like its entry in the log. What they have in common lies in ``shared``.
"""
