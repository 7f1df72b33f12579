"""What stands in the workspace beside the last commit: whether it has made the committed bits, and the way back."""
