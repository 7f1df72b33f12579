"""What recordings go through beside white noise: drift, heavy tails, gaps and more."""
