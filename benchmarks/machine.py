"""One line that says what a figure was measured on."""

import os
import platform

from tonesift import arithmetic


def describe() -> str:
    """Processor, cores, Python."""
    return f"{arithmetic.processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"
