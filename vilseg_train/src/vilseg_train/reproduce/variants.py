"""What is trained: changes to a preset, by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

CLUSTER_SWEEP = (5, 10, 15, 20, 25, 35)
WRONG_CAPTIONS = (10, 30)


@dataclass(frozen=True)
class Variant:
    """A change to the preset.

    Attributes:
        name: of its folder.
        overrides: "key=value" as for `vilseg train --set`.
        equal_compute: train for the FLOP that `full` takes in place of as many steps.
        parent: the variant whose run this one starts from, unless it teaches "all".
        teaches: "all" from nothing; "self" is self-training, with `overrides` of its own keys;
            "head" trains a clustering head anew on the encoders of the parent, for as many steps
            as the parent's had. While L_cluster does not reach the encoder, nothing else differs.
    """

    name: str
    overrides: tuple[str, ...] = ()
    equal_compute: bool = False
    parent: str | None = None
    teaches: Literal["all", "self", "head"] = "all"


def _head(name: str, *overrides: str) -> Variant:
    return Variant(name, overrides, parent="full", teaches="head")


VARIANTS: Mapping[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("full"),
        Variant("no-vision", ("loss.vision=0",)),
        Variant("no-vision-equal-compute", ("loss.vision=0",), equal_compute=True),
        Variant("contrast-equal-compute", ("loss.vision=0", "loss.cluster=0"), equal_compute=True),
        _head("no-augmentation", "views.gain=0", "views.bias=0", "views.augmentation_flip=0"),
        Variant("into-encoder", ("loss.cluster_gradient=encoder",)),
        Variant("mean-pooling", ("model.image.pooling=mean", "model.region_pooling=mean")),
        Variant(
            "exact-eq2",
            (
                "loss.vision_targets=none",
                "loss.vision=1",
                "loss.local_temperature=1",
                "loss.global_temperature=1",
            ),
        ),
        Variant("self-trained", parent="full", teaches="self"),
        Variant("self-distilled", ("self_train.labels=tokens",), parent="full", teaches="self"),
        Variant("seen-compositions", ("data.compositions=seen",)),
        *(Variant(f"wrong-{w}", (f"data.wrong_captions={w / 100}",)) for w in WRONG_CAPTIONS),
        *(_head(f"clusters-{c}", f"model.cluster.clusters={c}") for c in CLUSTER_SWEEP),
    )
}
