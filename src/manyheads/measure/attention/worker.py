"""What a process of its own does for the loop: an order in, rows out.

An order is a plain dict: what (probe, case, duel), settings, cases, the limit of memory, and what a duel needs.
"""

import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import torch

from manyheads.attention.kernels import registry
from manyheads.attention.kernels.linear import registry as linear_registry
from manyheads.measure.attention import memory
from manyheads.measure.attention.case import Case, Settings
from manyheads.measure.attention.duel import duel
from manyheads.measure.attention.measure import measured, refusal
from manyheads.measure.attention.outcome import told
from manyheads.measure.attention.peers.registry import all_peers

Tell = Callable[[dict[str, Any]], None]

# Here and not when first needed: processes are forked from one that has imported this module.
all_peers()
for _registry in (registry, linear_registry):
    for _name in _registry.names():
        _registry.find(_name)


def work(order: dict[str, Any], rows: Connection, log: str) -> None:
    """The process: what libraries print goes to `log`; what it starts (compilers) belongs to its own group."""
    os.setsid()
    with open(log, "w", encoding="utf-8") as printed:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(printed.fileno(), stream.fileno())
    # Before transformers is imported.
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore")
    serve(order, rows.send)


def serve(order: dict[str, Any], tell: Tell) -> None:
    settings = Settings(**order["settings"])
    if order.get("memory"):
        memory.limit(order["memory"], torch.device(settings.device))
    ORDERS[order["what"]](order, [Case(**case) for case in order["cases"]], settings, tell)


def _probe(order: dict[str, Any], cases: list[Case], settings: Settings, tell: Tell) -> None:
    """Tells only of those that cannot run. One that fails even here says so when it is measured itself."""
    for case in cases:
        with suppress(Exception):
            if (reason := refusal(case, settings)) is not None:
                tell({"key": case.key, "status": "refused", "reason": reason})


def _case(order: dict[str, Any], cases: list[Case], settings: Settings, tell: Tell) -> None:
    for case in cases:
        try:
            tell(measured(case, settings))
        except Exception as error:
            tell(told(case.key, error))


def _duel(order: dict[str, Any], cases: list[Case], settings: Settings, tell: Tell) -> None:
    for row in duel(cases, settings, order["rounds"], order["seconds"]):
        tell(row)


ORDERS = {"probe": _probe, "case": _case, "duel": _duel}
