"""The loop over cases: each contestant and length in a process of its own, within the time given."""

import time
from collections.abc import Callable
from dataclasses import asdict

import torch

from manyheads.measure.attention import memory, plan
from manyheads.measure.attention.asked import Attention
from manyheads.measure.attention.case import Case, Settings
from manyheads.measure.attention.forecast import CALLS, forecast, skip
from manyheads.measure.attention.processes import OUT_OF_TIME, process
from manyheads.measure.attention.store import Row, Store
from manyheads.training import record

GIBI = 1024
START = 6.0
"""Seconds that a process takes before it measures: torch, and for some peers transformers."""


def bench(asked: Attention, overrides: list[str]) -> None:
    """Measures what is still missing, and writes the tables and figures of all that is there."""
    begun = time.monotonic()
    settings = plan.settings_of(asked, overrides)
    groups = plan.cases(asked) if asked.duel == "false" else plan.duels(asked)
    run = Run(asked, settings, Store(asked.output, settings), begun)
    left = run.all(groups)
    print(f"{left} cases are left: the same command goes on with them." if left else "all cases are done.", flush=True)
    from manyheads.measure.attention.publish import publish

    publish(asked.output, settings, list(run.store.rows.values()), left)


class Run:
    """One call of the command."""

    def __init__(self, asked: Attention, settings: Settings, store: Store, begun: float) -> None:
        self.asked, self.settings, self.store = asked, settings, store
        self.end = None if asked.seconds is None else begun + asked.seconds
        free = memory.free(torch.device(settings.device)) / 2
        self.mib = free if asked.memory is None else asked.memory * GIBI
        here = record.environment()
        self.about = {"date": time.strftime("%Y-%m-%d %H:%M"), "commit": here["git"], "changes": here["git_changes"]}

    def all(self, groups: list[list[Case]]) -> int:
        """How many cases are left undone for want of time."""
        if self.asked.duel == "false":
            self._probe([case for group in groups for case in self._missing(group)])
        groups = [group for group in groups if self._missing(group)]
        return sum(self._one(group, f"{number}/{len(groups)}") for number, group in enumerate(groups, 1))

    def _missing(self, group: list[Case]) -> list[Case]:
        """A duel is played by all or not at all."""
        missing = [case for case in group if not self.store.finished(case, self.asked.retry)]
        return missing if self.asked.duel == "false" or not missing else group

    def _probe(self, cases: list[Case]) -> None:
        """Refusals cost no process each. One that is cut off is asked again by the case itself."""
        by_key = {case.key: case for case in cases}
        if not cases:
            return
        self._process("probe", cases, self._seconds(), lambda row: self._add(by_key[row["key"]], row))

    def _one(self, group: list[Case], number: str) -> int:
        """How many cases of the group are left undone; those not worth trying are dealt with."""
        wanted = [case for case in self._missing(group) if not self._skipped(case, number)]
        expected = sum(CALLS * (forecast(case, self.store.rows).seconds or 0.0) for case in wanted)
        seconds = self._seconds()
        if wanted and seconds < min(self.asked.limit, START + expected):
            return len(wanted)
        return self._measured(wanted, number, seconds) if wanted else 0

    def _skipped(self, case: Case, number: str) -> bool:
        reason = None
        if self.asked.duel == "false":
            reason = skip(case, self.store.rows, self.asked.limit, self.mib)
        if reason is not None:
            self._say(number, self._add(case, {"status": "skipped", "reason": reason}))
        return reason is not None

    def _measured(self, group: list[Case], number: str, seconds: float) -> int:
        missing = {case.key: case for case in group}

        def tell(row: Row) -> None:
            self._say(number, self._add(missing.pop(row["key"]), row))

        ended = self._process("case" if self.asked.duel == "false" else "duel", group, seconds, tell)
        # A case that was given less than its own limit has not shown that it cannot be measured.
        if missing and ended is OUT_OF_TIME and seconds < self.asked.limit:
            return len(missing)
        for case in missing.values():
            reason = f"took longer than {seconds:,.0f} s (limit=)." if ended is OUT_OF_TIME else ended
            self._say(number, self._add(case, {"status": "failed", "reason": reason}))
        return 0

    def _seconds(self) -> float:
        """For the next process."""
        return self.asked.limit if self.end is None else min(self.asked.limit, self.end - time.monotonic())

    def _process(self, what: str, cases: list[Case], seconds: float, tell: Callable[[Row], object]) -> str:
        order = {
            "what": what,
            "settings": asdict(self.settings),
            "cases": [asdict(case) for case in cases],
            "memory": self.mib,
            "rounds": self.asked.rounds,
            "seconds": seconds / 2,
        }
        return process(order, seconds, self.asked.output / "worker.log", tell)

    def _add(self, case: Case, row: Row) -> Row:
        row = {**asdict(case), **row, "key": case.key, **self.about}
        self.store.add(row)
        return row

    def _say(self, number: str, row: Row) -> None:
        shown = row.get("reason") or _shown(row)
        print(f"{number}  {row['key']}: {row['status']} {shown}", flush=True)


def _shown(row: Row) -> str:
    if "ratio_cpu" in row:
        return f"{row['ratio_cpu'][0]:.2f} × the first"
    if "wall" in row:
        return f"{row['wall'] * 1000:.1f} ms"
    return f"{row['error_forward']:.1e} against {row['against']}" if "error_forward" in row else ""
