"""Places in the array `levels` that a filter carries on beside its state: what it knows of the noise, and counts."""

NOISE, SURPRISE, MIXTURE_POWER, ERROR_POWER, LARGEST, USED, RESTARTS, CLIPPED, MISSING = range(9)
LEVELS = 9
