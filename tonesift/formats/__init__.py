"""Signals from files and to files of every kind, read as what they are or refused."""
