"""Pull one tone out of a noisy mixture of tones: signals, windows, an LSTM, and figures that say what it is worth."""
