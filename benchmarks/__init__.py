"""What `docs/speed.md` says, as commands (`make bench`): both sides of a comparison take turns in one run."""
