"""AdamW, its parameter groups, and the learning rate as a function of the step."""

import math
from typing import Any, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

# Positions and class tokens are added to features, they do not multiply them: decay only shrinks
# what they say. Vectors (norms, biases) and the scalar temperature are told by their shape.
_NO_DECAY = ("pos_embed", "position", "cls_token", "reg_token", "logit_scale")


class OptimConfig(BaseModel):
    """AdamW with linear warm-up and cosine decay; the defaults are the paper's, at paper scale."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lr: float = Field(5e-4, gt=0)
    head_lr: float | None = Field(None, gt=0, description="of the clustering head; None: lr")
    weight_decay: float = Field(0.04, ge=0)
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = Field(1e-8, gt=0)
    warmup_steps: int = Field(4000, ge=0)
    clip: float = Field(1.0, ge=0, description="largest norm of the gradient; 0: no clipping")
    final_lr_share: float = Field(0.0, ge=0, le=1, description="of lr, at the last step")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas: expected two numbers in [0, 1), came {list(self.betas)}")
        return self


def learning_rate_factor(step: int, total: int, *, warmup: int, final_share: float = 0.0) -> float:
    """The share of the full learning rate at `step` (0 ... total - 1).

    Linear from 1 / warmup to 1 over `warmup` steps, then half a cosine down to `final_share`,
    reached at step `total`.
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return final_share + (1 - final_share) * 0.5 * (1 + math.cos(math.pi * progress))


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: not on norms, biases, the temperature and positions."""
    return parameter.ndim > 1 and not any(part in name for part in _NO_DECAY)


def build_optimizer(modules: dict[str, nn.Module], config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over the trainable parameters of `modules` (prefix -> module).

    Up to four groups, {encoders, clustering head} x {with decay, without}. Every group keeps the
    `names` of its parameters (prefix.name) and `base_lr`, from which `set_learning_rate` works.
    """
    named = [
        (f"{prefix}.{name}", parameter)
        for prefix, module in modules.items()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    ]
    groups: list[dict[str, Any]] = []
    for head in (False, True):
        lr = config.head_lr if head and config.head_lr is not None else config.lr
        for decay in (True, False):
            members = [
                (name, parameter)
                for name, parameter in named
                if ("clustering_head." in name) == head and decays(name, parameter) == decay
            ]
            if members:
                groups.append(
                    {
                        "params": [parameter for _, parameter in members],
                        "names": [name for name, _ in members],
                        "lr": lr,
                        "base_lr": lr,
                        "weight_decay": config.weight_decay if decay else 0.0,
                    }
                )
    return torch.optim.AdamW(groups, betas=config.betas, eps=config.eps, fused=True)


def set_learning_rate(
    optimizer: torch.optim.Optimizer, config: OptimConfig, *, step: int, total: int
) -> float:
    """Give every group its rate for `step`; returns that of the encoders."""
    factor = learning_rate_factor(
        step, total, warmup=config.warmup_steps, final_share=config.final_lr_share
    )
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    return config.lr * factor


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The moments and step counts by `field/parameter name`; untouched parameters have none."""
    return {
        f"{field}/{name}": value
        for group in optimizer.param_groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
        for field, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]
) -> None:
    """The inverse of `optimizer_tensors`. A field of an unknown parameter raises `ValueError`."""
    parameters = {
        name: parameter
        for group in optimizer.param_groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
    }
    optimizer.state.clear()
    for key, tensor in tensors.items():
        field, _, name = key.partition("/")
        if name not in parameters:
            raise ValueError(f"the optimizer state names {name!r}, which this model does not have")
        parameter = parameters[name]
        if field != "step" and tensor.shape != parameter.shape:
            raise ValueError(
                f"the optimizer's {field} of {name} has shape {tuple(tensor.shape)}, "
                f"expected {tuple(parameter.shape)}"
            )
        state = optimizer.state.setdefault(parameter, {})
        state[field] = tensor.to(parameter.device).clone()
