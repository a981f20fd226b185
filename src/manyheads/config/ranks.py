"""Processes that torchrun or SLURM started for one run: as many devices as there are, and one folder for all.

Each process composes a config of its own, at a time of its own. What none can know alone (the run's folder, the run
that `resume=auto` finds) the first one chooses, and tells the others, as environment variables.
"""

import os
from argparse import Namespace
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from manyheads.config.resume import CHOSEN
from manyheads.errors import UserError

STAMP = "MANYHEADS_STAMP"
SHARED = (STAMP, CHOSEN)

Share = Callable[[tuple[str, ...]], None]
"""Gives all processes these environment variables as the first one has them; the others wait for it."""


@dataclass(frozen=True)
class Ranks:
    """by: what started them. rank, local: this process's number in the run, and on its node. world: processes of the
    run. here: of each node. node: this node's number.
    """

    by: str
    rank: int
    local: int
    world: int
    here: int
    node: int

    @property
    def nodes(self) -> int:
        return self.world // self.here


def started(around: MutableMapping[str, str] = os.environ) -> Ranks | None:
    """Who started this process together with others; None where it stands alone, or starts others itself."""
    if "TORCHELASTIC_RUN_ID" in around:
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK")
        return _even(Ranks("torchrun", *(int(around[name]) for name in names)))
    if "SLURM_NTASKS" not in around or around.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return None
    if around["SLURM_NTASKS"] == "1":
        # Lightning would wait for tasks that are not there instead of starting processes of its own.
        del around["SLURM_NTASKS"]
        return None
    return _slurm(around) if "SLURM_PROCID" in around else None


def _slurm(around: MutableMapping[str, str]) -> Ranks:
    world, nodes = int(around["SLURM_NTASKS"]), int(around.get("SLURM_NNODES", 1))
    # Lightning wants to read it, and SLURM sets it only where it was asked for in these words.
    around.setdefault("SLURM_NTASKS_PER_NODE", str(world // nodes))
    rank, local, node = (int(around[name]) for name in ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"))
    return _even(Ranks("SLURM", rank, local, world, world // nodes, node))


def _even(ranks: Ranks) -> Ranks:
    if ranks.here * ranks.nodes != ranks.world:
        raise UserError(
            f"{ranks.by} started {ranks.world} processes, {ranks.here} of them on this node: every node of a run has "
            "to have as many as the others."
        )
    return ranks


def agree(args: Namespace, ranks: Ranks, share: Share, choose: Callable[[], None]) -> None:
    """Says on a parsed command line what is known of the processes, and lets the first one alone `choose`.

    Raises UserError where the user says otherwise.
    """
    for key, found in (("trainer.devices", ranks.here), ("trainer.num_nodes", ranks.nodes)):
        _refuse_other(args.overrides, key, found, ranks)
        args.overrides.append(f"{key}={found}")
    if ranks.rank > 0:
        share(SHARED)
        choose()
        # Notes of Hydra's own are the first one's to write.
        args.overrides.append("hydra.output_subdir=null")
        return
    try:
        choose()
        os.environ[STAMP] = _stamp()
    finally:  # whatever went wrong, nobody shall wait
        share(SHARED)


def refuse_sweep(ranks: Ranks) -> None:
    """Raises UserError."""
    raise UserError(
        f"{ranks.by} started {ranks.world} processes, each of which would run the whole sweep: start a sweep alone, "
        "and its jobs start their processes (trainer=ddp trainer.devices=2), or take hydra/launcher=slurm."
    )


def stamp() -> str:
    """What tells a run from all others: when it began, and something unique, since two may begin in the same second."""
    return os.environ.get(STAMP) or _stamp()


def _stamp() -> str:
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S}-{uuid4().hex[:6]}"


def _refuse_other(overrides: list[str], key: str, found: int, ranks: Ranks) -> None:
    for override in overrides:
        if override.partition("=")[0] == key and _value(override) not in (found, str(found), "auto", -1):
            raise UserError(f"{override}, but {ranks.by} started processes for {key}={found}: leave it out.")


def _value(override: str) -> Any:
    try:
        return OverridesParser.create().parse_override(override).value()
    except HydraException:
        return override.partition("=")[2]
