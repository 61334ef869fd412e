"""Files that appear whole and together, or not at all: those of `vilseg_data.files`."""

from vilseg_data.files import naming, write_atomically

__all__ = ["naming", "write_atomically"]
