"""Keep freed memory in the process while training on the CPU."""

import ctypes
import platform
import sys

# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Tell glibc never to give freed memory back; returns whether it was told.

    Every step frees and asks again for the same activations. By default glibc maps each large
    tensor anew, and the kernel then zeroes its pages one fault at a time, which costs more than
    the arithmetic of a small model. It holds for the whole process, whose memory stays at its
    peak. Elsewhere than on Linux with glibc nothing happens.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 256 * 2**20}
    return all(mallopt(parameter, value) == 1 for parameter, value in settings.items())
