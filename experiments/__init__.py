"""A log of dated experiments on what happens inside training; LOG.md tells what was seen."""
