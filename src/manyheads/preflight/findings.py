"""What a check found."""

from typing import NamedTuple


class Finding(NamedTuple):
    """The check's name, whether the model passed, and one sentence: what was seen or, if not, where and how bad."""

    name: str
    ok: bool
    sentence: str


def percent(share: float) -> str:
    """A share as people read it."""
    return f"{100 * share:.0f} %" if share > 0.1 else f"{100 * share:.2g} %"
