"""Every row of the table of the mutual information compiles for every architecture, unspilled."""

from collections.abc import Iterator

import pytest
from tests.core.ops.aot import ARCHITECTURES, Variant, compile_variants
from tests.core.ops.information_variants import Layout, variant

from vilseg_core.ops.information_launches import FINISH, FINISH_WARPS, NORMALISE, ONE_TILE
from vilseg_core.ops.kernel_configs_information import MUTUAL_INFORMATION, Launch, Width

pytest.importorskip("triton")

CLUSTERS = {16: 12, 32: 25, 64: 64, 128: 128, 512: 512}
"""What a row is compiled for: common numbers of clusters, aligned and not."""


def row_variants(
    bucket: int, width: Width, *, layout: Layout, architecture: int, masked: bool = True
) -> Iterator[Variant]:
    config = MUTUAL_INFORMATION[bucket, width]
    kernels = [("kernels:joint_partials", config.joint)]
    if bucket <= ONE_TILE:
        kernels += [("kernels:information_backward", config.backward)]
    else:
        assert config.values is not None
        kernels += [
            ("wide:normalisers", NORMALISE),
            ("wide:pixel_values", config.values),
            ("wide:side_backward", config.backward),
        ]
    options = {} if masked else {"weights": None, "WEIGHTED": False, "WANTS_WEIGHTS": False}
    for kernel, launch in kernels:
        yield variant(
            kernel,
            launch,
            pointer="*bf16" if width == "half" else "*fp32",
            layout=layout,
            architecture=architecture,
            C=CLUSTERS[bucket],
            CHANNELS=config.channels,
            PRODUCTS=1 if width == "half" else 3,
            **options,
        )


def finish_variants(architecture: int) -> Iterator[Variant]:
    for one_tile, clusters in ((True, 25), (False, 512)):
        side, parts = FINISH[one_tile]
        yield variant(
            "finish:finish_information",
            Launch(1, FINISH_WARPS, 1),
            pointer="*fp32",
            layout="first",
            architecture=architecture,
            C=clusters,
            SIDE=side,
            PARTS=parts,
            SYMMETRIC=True,
            PROGRAMS=256,
        )


@pytest.mark.slow
def test_every_row_compiles_without_a_spill() -> None:
    variants: list[Variant] = []
    for architecture in ARCHITECTURES:
        for bucket, width in MUTUAL_INFORMATION:
            variants += row_variants(bucket, width, layout="first", architecture=architecture)
        variants += finish_variants(architecture)
    for bucket, width in MUTUAL_INFORMATION:
        variants += row_variants(bucket, width, layout="last", architecture=90)
        variants += row_variants(bucket, width, layout="first", architecture=90, masked=False)
    found = compile_variants(variants)
    faults = {
        f"{variants[i].kernel} {variants[i].architecture} {dict(variants[i].constexprs)}": fault
        for i, needs in found.items()
        if (fault := needs.fault(variants[i].architecture))
    }
    assert len(found) == len(variants)
    assert not faults
    products = [
        i for i, x in enumerate(variants) if "PRODUCTS" in x.constexprs and "norm" not in x.kernel
    ]
    assert all(found[i].tensor_cores for i in products)


@pytest.mark.slow
def test_the_gate_sees_a_spill() -> None:
    config = MUTUAL_INFORMATION[128, "half"]
    too_large = variant(
        "kernels:joint_partials",
        Launch(block=64, warps=4, stages=2),
        pointer="*bf16",
        layout="first",
        architecture=90,
        C=128,
        CHANNELS=config.channels,
        PRODUCTS=1,
    )
    (needs,) = compile_variants([too_large], processes=1).values()
    assert "spilled" in needs.fault(90)
