"""What a network that corrects filters reads of a tone at a step: a frame of numbers, and which of them is what.

turn              radians in a sample
    features          what filters know of the tone, whatever its phase and the recording's unit (see `stepping`)
phasor            A cos, A sin of the first filter at the end of the step, in units of the amplitude beforehand
differences       of each other filter's phasor from that one, cosine and sine

A network that corrects the filters of all tones at once reads wide frames, which go on with

offsets           of the frequency that each filter follows, relative; the turn is then that of the first one
direction         of the phasor: cosine and sine, less where it is near nothing
samples           the step's own, their logarithms with their signs; the same in the frames of all tones
"""

FILTERS = 4  # side by side, the first one to be corrected
OWN, CROSS, COMMON = 8, 4, 6  # features of a filter, of a filter beside the first, of the step and the tone
FEATURES = FILTERS * OWN + (FILTERS - 1) * CROSS + COMMON
PHASOR = 1 + FEATURES  # where the first phasor stands
FRAME = PHASOR + 2 * FILTERS
DIRECTION = FRAME + FILTERS  # of a wide frame
SAMPLES = DIRECTION + 2


def wide(hop: int) -> int:
    """Numbers in a wide frame."""
    return SAMPLES + hop
