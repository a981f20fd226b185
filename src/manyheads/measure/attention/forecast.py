"""What a case will take, from the lengths before it, so that one that would not fit is never started."""

import math
from dataclasses import dataclass

from manyheads.measure.attention.case import Case
from manyheads.measure.attention.store import Row

FASTEST = 2.0
"""Growth that is assumed where one length is all there is to go by: that of n × n."""


@dataclass(frozen=True)
class Forecast:
    """seconds: of one call; mib: extra memory. None: nothing to go by."""

    seconds: float | None
    mib: float | None


def forecast(case: Case, rows: dict[str, Row]) -> Forecast:
    past = sorted((row for row in rows.values() if _shorter(row, case)), key=lambda row: row["length"])
    return Forecast(_grown(past, "wall", case.length), _grown(past, "extra_mib", case.length))


def skip(case: Case, rows: dict[str, Row], seconds: float, mib: float) -> str | None:
    """Why the case should not be tried within these limits."""
    shorter = [
        row["length"]
        for row in rows.values()
        if row["status"] == "failed" and _same(row, case) and row["length"] < case.length
    ]
    if shorter:
        return f"failed at {min(shorter)} already."
    expected = forecast(case, rows)
    if expected.mib is not None and expected.mib > mib:
        return f"predicted to need {expected.mib:,.0f} MiB, more than the limit of {mib:,.0f} (memory=)."
    if expected.seconds is not None and expected.seconds * CALLS > seconds:
        return f"predicted to take {expected.seconds:,.0f} s a call, too long for {seconds:,.0f} s a case (limit=)."
    return None


CALLS = 3
"""At least so many calls make a case: the first, the one for memory, and a timed one."""


def _grown(past: list[Row], key: str, length: int) -> float | None:
    """By the power of the length that the last two points follow, between linear and a little over quadratic."""
    # A duel measures no memory.
    past = [row for row in past if row.get(key) is not None]
    if not past:
        return None
    last, power = past[-1], FASTEST
    if len(past) > 1 and past[-2][key] > 0 and last[key] > 0:
        power = math.log(last[key] / past[-2][key]) / math.log(last["length"] / past[-2]["length"])
    return last[key] * (length / last["length"]) ** min(2.2, max(1.0, power))


def _shorter(row: Row, case: Case) -> bool:
    return row["status"] == "done" and "wall" in row and _same(row, case) and row["length"] < case.length


def _same(row: Row, case: Case) -> bool:
    own = {
        "what": case.what,
        "contestant": case.contestant,
        "causal": case.causal,
        "step": case.step,
        "dtype": case.dtype,
    }
    return all(row.get(key) == value for key, value in own.items())
