"""What every evaluation finds: the network's figures on test recordings beside the best possible."""
