"""What is told of a run, in words: diagnosis, model card, report page."""
