"""What was tried: the ledger, campaigns, and the names of experiments."""
