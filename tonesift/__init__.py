"""Pull one tone out of a noisy mixture of tones: signals, windows, networks, and figures that say what it is worth."""
