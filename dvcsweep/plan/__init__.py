"""What is tried: study files, their check against the repository, strategies."""
