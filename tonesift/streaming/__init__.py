"""The trained filter for files and streams."""
