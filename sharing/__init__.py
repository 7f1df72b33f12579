"""What DVC leaves out about remotes: whether the objects there are whole, and how to mend them."""
