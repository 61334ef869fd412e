"""Decoding JPEGs from memory, and loaders that read them from an archive or from shards."""

import io
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.data_images import cycle, write_archive, write_shards
from benchmarks.data_problems import RAW, Contender, Inputs, Problem, load
from vilseg_data import (
    ArchiveCaptions,
    CaptionLoader,
    CaptionSource,
    ShardCaptions,
    ShardStream,
    StreamLoader,
    decode_image,
)

# An epoch is the call of a loader, so that its start is part of what is measured.
_BATCHES = 4


def raw_decode(files: Sequence[bytes]) -> None:
    """Pillow's decoder over whole files, and nothing after it: the limit of every other."""
    for data in files:
        with Image.open(io.BytesIO(data)) as image:
            image.load()


def decoding(inputs: Inputs, *, size: int) -> Problem:
    """Files in memory to uint8 (3, size, size), squashed by a bicubic filter."""
    files = cycle(inputs.images.files, len(inputs.batch))
    each: dict[str, Callable[[bytes], object]] = {
        "Pillow + resize": lambda data: _by_pillow(data, size=size, draft=False),
        "Pillow draft + resize": lambda data: _by_pillow(data, size=size, draft=True),
    }

    def over_all(decode: Callable[[bytes], object]) -> Callable[[], object]:
        return lambda: [decode(data) for data in files]

    def torchvision(stack: ExitStack) -> Callable[[], object]:
        stack.enter_context(warnings.catch_warnings())
        # From 0.29 on it refers to torchcodec, of which it is the plainer predecessor.
        warnings.filterwarnings("ignore", message="The image decoding", category=DeprecationWarning)
        reader = load("torchvision.io", package="torchvision")
        functional = load("torchvision.transforms.v2.functional", package="torchvision")

        def decode(data: bytes) -> Tensor:
            pixels = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            image = reader.decode_jpeg(pixels, mode=reader.ImageReadMode.RGB)
            mode = functional.InterpolationMode.BICUBIC
            resized: Tensor = functional.resize(image, [size, size], interpolation=mode)
            return resized

        return over_all(decode)

    ours = over_all(lambda data: decode_image(data, size=size))
    contenders = [
        Contender("vilseg decode_image", "vilseg", lambda _: ours),
        Contender(RAW, "peer", lambda _: lambda: raw_decode(files)),
    ]
    for name, decode in each.items():
        call = over_all(decode)
        contenders.append(Contender(name, "peer", partial(_given, call)))
    contenders.append(Contender("torchvision decode_jpeg", "peer", torchvision))
    return Problem("decode", len(files), {"size": size}, tuple(contenders))


def loading(inputs: Inputs, *, size: int) -> Problem:
    """Batches of decoded images with captions, from a zip or from four tars, one epoch a call."""
    batch = len(inputs.batch)
    files = cycle(inputs.images.files, _BATCHES * batch)
    write_archive(inputs.folder, files)
    shards = write_shards(inputs.folder, files)

    def whole(source: Callable[[], CaptionSource], stack: ExitStack) -> Callable[[], object]:
        loader = CaptionLoader(
            source(),
            no_tokens,
            batch_size=batch,
            image_size=size,
            seed=inputs.seed,
            cache=False,
            threads=1,
        )
        stack.callback(loader.close)
        return lambda: [loader.next_batch() for _ in range(_BATCHES)]

    def stream(stack: ExitStack) -> Callable[[], object]:
        loader = StreamLoader(
            ShardStream(shards, seed=inputs.seed),
            no_tokens,
            batch_size=batch,
            image_size=size,
            threads=1,
        )
        stack.callback(loader.close)
        return lambda: [loader.next_batch() for _ in range(_BATCHES)]

    def webdataset(_: ExitStack) -> Callable[[], object]:
        wds = load("webdataset", package="webdataset")
        samples = wds.WebDataset(shards, shardshuffle=len(shards), seed=inputs.seed)
        samples = samples.shuffle(1000).repeat().to_tuple("jpg", "txt")
        samples = samples.map_tuple(lambda data: _by_pillow(data, size=size, draft=False))
        batches = iter(samples.batched(batch))
        return lambda: [next(batches) for _ in range(_BATCHES)]

    archive = inputs.folder
    contenders = (
        Contender(
            "vilseg CaptionLoader, zip",
            "vilseg",
            lambda stack: whole(lambda: ArchiveCaptions(archive, image_size=size), stack),
        ),
        Contender(
            "vilseg CaptionLoader, tar",
            "vilseg",
            lambda stack: whole(lambda: ShardCaptions(shards, image_size=size), stack),
        ),
        Contender("vilseg StreamLoader, tar", "vilseg", stream),
        Contender("webdataset plain, tar", "peer", webdataset),
        Contender(RAW, "peer", lambda _: lambda: raw_decode(files)),
    )
    return Problem("loader", len(files), {"size": size, "batch": batch}, contenders, alone=True)


def _by_pillow(data: bytes, *, size: int, draft: bool) -> Tensor:
    with Image.open(io.BytesIO(data)) as image:
        if draft:
            image.draft("RGB", (size, size))
        resized = image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous()


def _given(call: Callable[[], object], _: ExitStack) -> Callable[[], object]:
    return call


def no_tokens(captions: Sequence[str]) -> Tensor:
    """A token each, so that text costs nothing."""
    return torch.zeros(len(captions), 1, dtype=torch.int64)
