"""Where the processes of one run meet before they train: torch's own store, which all reach at the same address."""

import os
from collections.abc import Callable
from datetime import timedelta
from functools import cache

from torch.distributed import DistError, TCPStore

from manyheads.config.ranks import Ranks, started
from manyheads.errors import UserError

WAIT = timedelta(days=2)
"""For the first process while it reads its data: a large corpus takes hours to tokenise."""


def share(names: tuple[str, ...]) -> None:
    """Gives every process these environment variables as the first one has them (see config.ranks)."""
    ranks = started()
    for name in names:
        if ranks.rank == 0:
            _store(ranks).set(_key(name), f"={os.environ[name]}" if name in os.environ else "")
            continue
        told = _told(ranks, name)
        os.environ.pop(name, None)
        if told:
            os.environ[name] = told[1:]


def one_before_others(do: Callable[[], None]) -> None:
    """`do()` by one process of each node, then by the others: what the first made and kept serves them."""
    ranks = started()
    if ranks is None:
        return do()
    name = f"prepared/{ranks.node}"
    if ranks.local > 0:
        _told(ranks, name)
    do()
    if ranks.local == 0:
        _store(ranks).set(_key(name), "done")


@cache
def _store(ranks: Ranks) -> TCPStore:
    """Open as long as the process lives: others may still be about to ask."""
    host, port = _address(ranks)
    # torchrun keeps a store itself, unless it is told not to; else the first process does, and torch takes the same one
    # when the training starts.
    own = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    return TCPStore(host, port, ranks.world, own and ranks.rank == 0, WAIT, wait_for_workers=False, multi_tenant=own)


def _address(ranks: Ranks) -> tuple[str, int]:
    if ranks.by == "torchrun":
        return os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    from lightning.fabric.plugins.environments import SLURMEnvironment

    place = SLURMEnvironment()
    return place.main_address, place.main_port


def _told(ranks: Ranks, name: str) -> str:
    try:
        _store(ranks).wait([_key(name)], WAIT)
        return _store(ranks).get(_key(name)).decode()
    except DistError as problem:
        raise UserError("The first process of this run is gone: what it said before is the reason.") from problem


def _key(name: str) -> str:
    """torchrun starts the processes anew where one has failed (--max-restarts): what was said before is out of date."""
    return f"manyheads/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}/{name}"
