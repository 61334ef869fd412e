"""What is to be known of one image file: its size, whether training could read it, its hash."""

import hashlib
import io
import warnings
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from vilseg_data.captions.sample import BrokenSampleError
from vilseg_data.decode import decode_image
from vilseg_data.survey.hashing import perceptual_hash
from vilseg_data.survey.records import Finding

# Decoding to 64 px reads a JPEG to its end, at an eighth of its size; the hash needs 32.
_SIZE = 64


@dataclass(frozen=True)
class Header:
    """The header of an image file: size in pixels, Pillow's names of format and mode."""

    width: int
    height: int
    format: str
    mode: str


@dataclass(frozen=True)
class Seen:
    """What an image came to: a finding, or a digest of its bytes and the hash of its pixels."""

    finding: Finding | None
    digest: int = 0
    hash: int | None = None


def read_header(data: bytes, *, key: str, least_side: int = 1) -> Header | Finding:
    """The header, or the finding that says why the image cannot be used.

    Not safe in several threads at once: it turns Pillow's warning of oversized images into an
    error, and filters of warnings belong to the process.
    """
    if not data:
        return Finding("empty-image", key, "0 bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                header = Header(image.width, image.height, str(image.format), image.mode)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        return Finding("huge-image", key, str(error).partition(", could be")[0])
    # Pillow's readers raise anything on damaged bytes; `decode_image` has the list.
    except Exception as error:
        unknown = isinstance(error, UnidentifiedImageError)
        return Finding("bad-image", key, "not an image" if unknown else str(error))
    if min(header.width, header.height) < least_side:
        reason = f"{header.width} x {header.height} pixels, a side below {least_side}"
        return Finding("tiny-image", key, reason)
    return header


def look(data: bytes, *, key: str) -> Seen:
    """Decode an image whose header is sound, as training would."""
    try:
        image = decode_image(data, key=key, size=_SIZE)
    except BrokenSampleError as error:
        return Seen(Finding("bad-image", key, error.reason))
    return Seen(None, digest64(data), perceptual_hash(image))


def digest64(data: bytes) -> int:
    """64 bits of BLAKE2b: the same for the same bytes, by chance for two in 2**64."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
