"""How a network learns: batches and streams read from recordings, what an epoch is, gradient descent."""
