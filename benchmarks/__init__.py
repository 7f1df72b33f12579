"""What the README says about speed, as commands (`make bench`): both sides of a comparison take turns in one run."""
