"""Where a run computes."""

import torch

from vilseg_train.parallel import Ranks


def choose_device(
    name: str, *, ranks: Ranks | None = None, key: str = "train.device"
) -> torch.device:
    """The device of that name; "auto" is a GPU, or the CPU where there is none.

    Of several processes each takes the GPU of its `local_rank`, its current one from then on.
    An error speaks of `key`.
    """
    alone, local_rank = ranks is None or ranks.size == 1, ranks.local_rank if ranks else 0
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"{key}: expected auto, cpu or cuda, came {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"{key}: expected auto, cpu or cuda, came {name!r}")
    if device.type == "cpu":
        return device
    found = torch.cuda.device_count()
    if not alone and device.index is not None:
        raise ValueError(
            f"{key}: expected cuda for several processes, each of which takes its own, came "
            f"{name!r}; leave the number out"
        )
    if not alone and local_rank >= found:
        raise ValueError(
            f"{key}: expected a GPU for each process, came process {local_rank + 1} on a "
            f"machine with {found or 'none'}; start --nproc-per-node {found or 1}, or set "
            f"{key}=cpu"
        )
    if (device.index or 0) >= found:
        raise ValueError(
            f"{key}: {name!r} asked for, but torch finds {found or 'no'} GPU; use "
            f"{'cuda' if found else 'cpu'}"
        )
    device = device if alone else torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device
