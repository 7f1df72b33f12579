"""What is read: signals and their mixtures, recordings on disk, and which windows of them train and which validate."""
