"""What someone probably meant, and how a value is shown to them."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """At most three of the names: those that were begun, then the likeliest misspelt ones."""
    known = sorted(set(names))
    begun = [other for other in known if len(name) > 2 and other.startswith(name)]
    near = get_close_matches(name, known, n=3, cutoff=0.6)
    return list(dict.fromkeys([*begun, *near]))[:3]


def did_you_mean(name: str, names: Iterable[str], prefix: str = "") -> str:
    """A question to end a sentence with, or nothing where no name is near."""
    found = [prefix + near for near in nearest(name, names)]
    return f" Did you mean {' or '.join(found)}?" if found else ""


def listed(what: str, names: Iterable[str]) -> str:
    """A line of valid names, below the sentence."""
    names = sorted(set(names))
    return f"\n{what}: {', '.join(names)}" if names else ""


def shown(value: object) -> str:
    """A value as one types it in yaml."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict) and "_target_" in value:
        return f"an object ({value['_target_']})"
    return repr(value)
