"""Sizes of tiles for each kernel, device, head size and type: a table, since measuring at import would cost minutes.

Entries of sm_90 are chosen by what compiles for it without spilling a register and with the warp-group matrix
instructions; the others are small enough for every device since sm_80.
"""

from dataclasses import dataclass
from functools import cache

import torch

INTERPRETER, ANY = "interpreter", "any"


@dataclass(frozen=True)
class Config:
    """queries, keys: rows of a tile of each; warps and stages: how Triton spreads and pipelines the work."""

    queries: int
    keys: int
    warps: int
    stages: int


Sizes = dict[int, Config]
"""By the greatest padded head size that an entry serves."""

TABLE: dict[tuple[str, str, int], Sizes] = {
    # (device, kernel, bytes of an element); busy: windows, dropout and sigmoid need more registers for a score.
    ("sm_90", "forward", 2): {64: Config(128, 64, 4, 3), 128: Config(128, 128, 8, 2), 256: Config(128, 32, 8, 2)},
    ("sm_90", "forward busy", 2): {64: Config(128, 64, 8, 3), 128: Config(128, 64, 8, 2), 256: Config(64, 32, 8, 2)},
    ("sm_90", "queries", 2): {64: Config(128, 64, 8, 3), 128: Config(128, 64, 8, 2), 256: Config(128, 32, 8, 2)},
    ("sm_90", "keys", 2): {64: Config(64, 128, 8, 3), 128: Config(32, 128, 8, 2), 256: Config(16, 64, 8, 1)},
    ("sm_90", "keys busy", 2): {64: Config(64, 128, 8, 2), 128: Config(32, 128, 8, 2), 256: Config(16, 64, 8, 1)},
    ("sm_90", "split", 2): {64: Config(64, 128, 4, 3), 128: Config(64, 64, 4, 3), 256: Config(64, 64, 8, 2)},
    (ANY, "forward", 2): {64: Config(64, 64, 4, 2), 128: Config(64, 32, 4, 2), 256: Config(32, 32, 4, 1)},
    (ANY, "queries", 2): {64: Config(64, 32, 4, 2), 128: Config(32, 32, 4, 2), 256: Config(32, 16, 4, 1)},
    (ANY, "keys", 2): {64: Config(32, 64, 4, 2), 128: Config(32, 32, 4, 2), 256: Config(16, 32, 4, 1)},
    (ANY, "split", 2): {64: Config(64, 64, 4, 2), 128: Config(64, 64, 4, 2), 256: Config(64, 32, 4, 1)},
    (ANY, "forward", 4): {64: Config(32, 32, 8, 1), 128: Config(32, 32, 8, 1), 256: Config(16, 16, 8, 1)},
    (ANY, "queries", 4): {64: Config(32, 32, 8, 1), 128: Config(16, 16, 8, 1), 256: Config(16, 16, 8, 1)},
    (ANY, "keys", 4): {64: Config(32, 32, 4, 1), 128: Config(32, 16, 4, 1), 256: Config(16, 16, 4, 1)},
    (ANY, "split", 4): {64: Config(16, 32, 4, 1), 128: Config(16, 32, 8, 1), 256: Config(16, 16, 16, 1)},
    # Small, so that short tests have several tiles, and unequal, so that queries and keys cannot be mixed up.
    (INTERPRETER, "forward", 0): {256: Config(32, 16, 4, 1)},
    (INTERPRETER, "queries", 0): {256: Config(16, 32, 4, 1)},
    (INTERPRETER, "keys", 0): {256: Config(32, 16, 4, 1)},
    (INTERPRETER, "split", 0): {256: Config(64, 16, 4, 1)},
}


def find(kernel: str, device: str, size: int, width: int, busy: bool) -> Config:
    """The entry for a padded head size and an element of `width` bytes; devices without one take the safe ones.

    A busy entry's tiles are never longer than the plain one's: blocks that allow these allow those.
    """
    own = [(device, f"{kernel} busy", width)] if busy else []
    for key in (*own, (device, kernel, width), (device, kernel, 0), (ANY, kernel, width)):
        if key in TABLE:
            return next(config for most, config in TABLE[key].items() if size <= most)
    raise KeyError(f"no configuration of {kernel} for elements of {width} bytes")


def smaller(config: Config, block: int) -> Config:
    """The same with no tile longer than `block`: tiles of a pattern's blocks must not straddle them."""
    queries, keys = min(config.queries, block), min(config.keys, block)
    if (queries, keys) == (config.queries, config.keys):
        return config
    # 64 × 64 is the work of four warps with the warp-group instructions of sm_90. Where tiles were short before, heads
    # are large and need the registers of all warps.
    warps = config.warps if 32 * 32 <= queries * keys < 64 * 64 else min(config.warps, 4)
    return Config(queries, keys, warps, config.stages)


@cache
def named(device: torch.device) -> str:
    """The table's name of a CUDA device: its compute capability."""
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"
