"""What the experiments share: the command line, where results lie, networks, sweeps, descents and figures."""
