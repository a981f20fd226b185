"""The probe's table, its figure, and what they say in words."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def publish(found: dict[str, Any], folder: Path, command: str) -> None:
    """pronouns.md, pronouns.json and figures/pronouns.png of a run's folder."""
    atomic.write_text(folder / "pronouns.json", json.dumps(found, indent=2) + "\n")
    atomic.write_text(folder / "pronouns.md", markdown(found, command))
    atomic.write(folder / "figures" / "pronouns.png", lambda partial: draw(found).savefig(partial, format="png"))


def markdown(found: dict[str, Any], command: str) -> str:
    kinds = list(found["sentences"])
    counts = ", ".join(f"{kind} {count}" for kind, count in found["sentences"].items())
    examples = "\n".join(f"- {kind}: {text}" for kind, text in zip(kinds, found["examples"], strict=True))
    head = f"| attention | head | found | prefers | {' | '.join(f'prefers: {kind}' for kind in kinds)} |"
    lines = [head, "|---" * (4 + len(kinds)) + "|", *(_line(one, kinds) for one in found["heads"])]
    nearest = f"{found['nearest_noun']:.0%}"
    lines.append(f"| the nearest noun | | {nearest} | {nearest} | {' | '.join('50%' for _ in kinds)} |")
    return HEAD.format(command=command, counts=counts, examples=examples, words=words(found)) + "\n".join(lines) + "\n"


def words(found: dict[str, Any]) -> str:
    """What the numbers are worth."""
    best, (low, high) = found["best"], found["best"]["interval"]
    where = f"Head {best['head']} of {best['attention']}, chosen on half of the sentences ({best['chosen_on']:.0%})"
    judged = f"prefers the noun that is spoken of in {best['judged_on']:.0%} of the {best['sentences']} others"
    verdict = "better than the nearest noun" if low > 0.5 else "no better than the nearest noun, as far as they tell"
    return f"{where}, {judged} (95 % interval {low:.0%} to {high:.0%}): {verdict}."


def draw(found: dict[str, Any]) -> "Figure":
    """Attentions by heads, both questions."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(one["attention"] for one in found["heads"]))
    heads = 1 + max(one["head"] for one in found["heads"])
    figure = Figure(figsize=(2 * max(3.2, 0.7 * heads) + 1.5, 1.6 + 0.45 * len(names)), layout="constrained", dpi=120)
    for at, (key, title) in zip(figure.subplots(1, 2, sharey=True), TITLES.items(), strict=True):
        shares = np.full((len(names), heads), np.nan)
        for one in found["heads"]:
            shares[names.index(one["attention"]), one["head"]] = one[key]
        at.imshow(shares, cmap={"found": "Blues", "prefers": "RdBu"}[key], vmin=0, vmax=1, alpha=0.8, aspect="auto")
        for place in np.argwhere(~np.isnan(shares)):
            at.text(*place[::-1], f"{shares[tuple(place)]:.0%}", ha="center", va="center", fontsize=7)
        at.set_title(title, fontsize=9)
        at.set_xticks(range(heads))
        at.set_yticks(range(len(names)), names)
        at.set_xlabel("head")
    figure.suptitle("share of the sentences; the nearest noun: a half", fontsize=9)
    return figure


def _line(one: dict[str, Any], kinds: list[str]) -> str:
    by_kind = " | ".join(f"{one['kinds'][kind]['prefers']:.0%}" for kind in kinds)
    return f"| {one['attention']} | {one['head']} | {one['found']:.0%} | {one['prefers']:.0%} | {by_kind} |"


TITLES = {"found": "largest weight is on what is spoken of", "prefers": "more weight there than on the other noun"}

HEAD = """# Where heads find what a pronoun speaks of

    {command}

Sentences: {counts}. Both orders of the nouns and both pronouns of each, so that the nearest noun is right in half:

{examples}

{words}

*Found*: of all keys the pronoun reads most of the noun that it speaks of. *Prefers*: it reads more of that noun than of
the other one, which chance does in half of the sentences.

"""
