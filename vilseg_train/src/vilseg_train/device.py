"""Where a run computes."""

import torch


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" is the first GPU, or the CPU where there is none."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"train.device: expected auto, cpu or cuda, came {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"train.device: expected auto, cpu or cuda, came {name!r}")
    found = torch.cuda.device_count() if device.type == "cuda" else 0
    if device.type == "cuda" and (device.index or 0) >= found:
        raise ValueError(
            f"train.device: {name!r} asked for, but torch finds {found or 'no'} GPU; use "
            f"{'cuda' if found else 'cpu'}"
        )
    return device
