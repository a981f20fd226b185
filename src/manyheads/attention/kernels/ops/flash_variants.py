"""Every flash kernel with every tuned configuration and flavour, as needed to compile it without a device."""

from collections.abc import Iterator

import triton

from manyheads.attention.kernels.ops import tuned
from manyheads.attention.kernels.triton import softmax_backward, softmax_decode, softmax_forward

Variant = tuple[str, triton.JITFunction, dict[str, str], dict[str, object], dict[str, int]]

FP32 = ("LSE", "DELTA", "PART", "PARTS", "SHIFT", "SLOPES")
INDICES = {"SEED": "*i64", "LENGTHS": "*i64", "OFFSETS": "*i64", "DOCUMENTS": "*i64"}
INDICES |= {"BOUNDS": "*i32", "INDEX": "*i32", "ORDER": "*i32"}
FLOATS = ("scale", "dropout", "unit")
FLAGS = ("CAUSAL", "WINDOW", "DILATED", "DROPOUT", "SIGMOID", "EVEN")

FLAVOURS: dict[str, tuple[str, ...]] = {
    "full": ("EVEN",),
    "causal": ("CAUSAL", "EVEN"),
    "lengths": ("LENGTHS",),
    "cached": ("CAUSAL", "LENGTHS", "OFFSETS"),
    "documents": ("CAUSAL", "DOCUMENTS", "BOUNDS", "EVEN"),
    "blocks": ("BOUNDS", "EVEN"),
    "window": ("CAUSAL", "WINDOW", "BOUNDS", "EVEN"),
    "window-unlisted": ("CAUSAL", "WINDOW", "EVEN"),
    "window-dilated": ("CAUSAL", "WINDOW", "DILATED", "BOUNDS", "EVEN"),
    "distance": ("CAUSAL", "SLOPES", "EVEN"),
    "dropout": ("CAUSAL", "DROPOUT", "SEED", "EVEN"),
    "sigmoid": ("CAUSAL", "SHIFT", "SIGMOID", "EVEN"),
}
"""What each has besides the plain kernel; BOUNDS stands for INDEX and ORDER too."""

KERNELS = {
    "forward": softmax_forward.forward,
    "queries": softmax_backward.queries,
    "keys": softmax_backward.keys,
    "split": softmax_decode.split,
}
ABLE = {"split": ("full", "causal", "lengths", "cached", "distance", "sigmoid")}
WIDTHS = {"bf16": 2, "fp16": 2, "fp32": 4}
DEVICES = ("sm_90",)
BLOCK, SHORTEST = 64, 16
"""Positions of a pattern's block (BigBird's default), and queries of the shortest tile that tl.dot takes."""


def variants(devices: tuple[str, ...] = DEVICES, dtypes: tuple[str, ...] = ("bf16", "fp32")) -> Iterator[Variant]:
    """(name, kernel, signature, constants, options) of each; fp32 in its plainest flavours alone.

    Pointers (written in capitals) and strides (s, tensor, axis) are to be taken as multiples of 16: `aligned`.
    """
    for device in devices:
        for name in KERNELS:
            for dtype in dtypes:
                for flavour in ABLE.get(name, FLAVOURS) if WIDTHS[dtype] == 2 else ("full", "causal"):
                    for size in (64, 128, 256):
                        yield variant(name, device, dtype, size, flavour)
        yield _combine()


def variant(name: str, device: str, dtype: str, size: int, flavour: str) -> Variant:
    """One of them, for a head of `size`."""
    config, kernel, has = _config(name, device, dtype, size, flavour), KERNELS[name], FLAVOURS[flavour]
    # One cached query is padded to the shortest tile there is.
    queries = SHORTEST if flavour == "cached" and name == "split" else config.queries
    constants = {"D": size, "BD": size, "BM": queries, "BN": config.keys} | {flag: flag in has for flag in FLAGS}
    listed = ("INDEX", "ORDER") if "BOUNDS" in has else ()
    absent = {"SLOPES", "SHIFT", *INDICES} - {*has, *listed}
    constants |= dict.fromkeys(absent)
    constants = {key: x for key, x in constants.items() if key in kernel.arg_names}
    options = {"num_warps": config.warps, "num_stages": config.stages}
    label = f"flash {name} {dtype} {size} {flavour} {queries}x{config.keys}"
    return label, kernel, signature(kernel, dtype, constants), constants, options


def _config(name: str, device: str, dtype: str, size: int, flavour: str) -> tuned.Config:
    busy = any(has in ("WINDOW", "DROPOUT", "SHIFT") for has in FLAVOURS[flavour])
    found = tuned.find(name, device, size, WIDTHS[dtype], busy)
    return tuned.smaller(found, BLOCK) if flavour == "blocks" else found


def signature(kernel: triton.JITFunction, dtype: str, constants: dict[str, object]) -> dict[str, str]:
    def kind(name: str) -> str:
        if name in constants:
            return "constexpr"
        if name in INDICES or name in FP32:
            return INDICES.get(name, "*fp32")
        if name in ("Q", "K", "V", "OUT", "DOUT", "DQ", "DK", "DV"):
            return f"*{dtype}"
        return "fp32" if name in FLOATS else "i32"

    return {name: kind(name) for name in kernel.arg_names}


def aligned(kernel: triton.JITFunction, constants: dict[str, object]) -> dict[tuple[int, ...], list[list[object]]]:
    """The attributes with which Triton compiles for pointers and strides that are multiples of 16."""

    def sixteen(name: str) -> bool:
        pointer = name.isupper() and name not in ("H", "GROUP", "N", "M", "OFFSET", "SPLITS", "ROWS")
        return name not in constants and (pointer or (len(name) == 3 and name.startswith("s")))

    return {(at,): [["tt.divisibility", 16]] for at, name in enumerate(kernel.arg_names) if sixteen(name)}


def _combine() -> Variant:
    kernel, constants = softmax_decode.combine, {"D": 128, "BD": 128, "SIGMOID": False}
    return "flash combine bf16 128", kernel, signature(kernel, "bf16", constants), constants, {"num_warps": 4}
