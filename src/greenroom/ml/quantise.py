"""Puts the matrices of a frozen base into 4 bits, so that a large base trains on a small card. Knows no LoRA.

The numbers are NF4 in blocks of 64 (Dettmers et al. 2023, arXiv:2305.14314); gradients pass through them to
the LoRA, whose own weights stay in float32.
"""

from __future__ import annotations

from torch import nn

from greenroom.ml.families.estimate import stands_in_block


def to_nf4(denoiser: nn.Module) -> int:
    """Replace the linears of the denoiser's repeated blocks; returns how many. Weights are frozen.

    What stands before and after the blocks stays as it is: it is small, and its errors would reach everything.
    """
    from bitsandbytes.nn.modules import (
        Linear4bit,
        Params4bit,
    )  # an optional package: preflight.check_package says so when it is missing

    found = [
        (path, part)
        for path, part in denoiser.named_modules()
        if type(part) is nn.Linear and stands_in_block(path)
    ]
    for path, linear in found:
        small = Linear4bit(
            linear.in_features,
            linear.out_features,
            bias=linear.bias is not None,
            compute_dtype=linear.weight.dtype,
            compress_statistics=False,
            quant_type="nf4",
            device="meta",
        )
        small.weight = Params4bit(
            linear.weight.data,
            requires_grad=False,
            compress_statistics=False,
            quant_type="nf4",
            module=small,
        )
        small.bias = linear.bias
        # NOTE: else a CPU with AVX-512 repacks the weights for its own use when samples are drawn, and the
        # training that follows would compute with other sums than one without samples.
        small.support_avx512bf16_for_cpu = False
        parent, _, name = path.rpartition(".")
        # Moving is what quantises; it is done layer by layer, so that no second copy of the base is there.
        setattr(denoiser.get_submodule(parent), name, small.to(linear.weight.device).train(linear.training))
    return len(found)
