"""Searches over DVC experiments: every trial is code, data, parameters and metrics in one commit."""
