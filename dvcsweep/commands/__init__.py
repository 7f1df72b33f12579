"""The commands that look after a study beside `run`."""
