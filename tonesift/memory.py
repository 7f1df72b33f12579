"""Memory that cannot be had is refused before it is asked for: a system that is asked kills, and not always the asker.

Estimates are of what is needed at the least, so that nothing is refused that would have worked.
"""

import resource
from collections.abc import Mapping

import psutil

from tonesift.errors import InputError


def available() -> int:
    """Bytes that this process may still have: of the machine, or of what `ulimit -v` leaves it."""
    free = psutil.virtual_memory().available
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return free
    return min(free, max(limit - psutil.Process().memory_info().vms, 0))


def check(needed: Mapping[str, float]) -> None:
    """Refuse what needs more memory than there is.

    Parameters
    ----------
    needed : mapping of str to float
        Bytes, by what they are for: parameters, or a file.

    Raises
    ------
    InputError
        With the sum, and what takes the largest part of it.
    """
    total, free = sum(needed.values()), available()
    if total > free:
        largest = max(needed, key=needed.__getitem__)
        raise InputError(
            f"{largest}: takes {needed[largest] / 2**30:.3g} of {total / 2**30:.3g} GiB of memory that are needed at "
            f"least, but there are {free / 2**30:.3g}: make it smaller"
        )
