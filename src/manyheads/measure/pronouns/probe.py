"""In which head of a trained model a pronoun's row finds what it speaks of, beside who always takes the nearest noun.

Two questions of each row: does it read most of the noun spoken of (`found`: the largest weight of all keys is there),
and does it read more of it than of the other noun (`prefers`: by chance and for the nearest noun a half).

The best of many heads is better than chance by chance. So it is chosen on half of the sentences and judged on the rest.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from manyheads.load import Loaded
from manyheads.measure.pronouns.reading import Row, rows
from manyheads.measure.pronouns.sentences import Sentence, sentences


@dataclass(frozen=True)
class Answer:
    """What one head made of one sentence."""

    attention: str
    head: int
    sentence: Sentence
    found: bool
    prefers: bool


def probe(run: Loaded, each: int, seed: int) -> dict[str, Any]:
    """Shares by head, and what the best one is worth; about `each` sentences of a kind."""
    return summed([answer for row in rows(run, sentences(each, seed)) for answer in answers(row)])


def answers(row: Row) -> Iterable[Answer]:
    for head, weights in enumerate(row.weights):
        referent, other = (float(weights[tokens].sum()) for tokens in (row.referent, row.other))
        found = bool(weights.any()) and int(weights.argmax()) in row.referent
        yield Answer(row.name, head, row.sentence, found, referent > other)


def summed(given: list[Answer]) -> dict[str, Any]:
    asked = list(dict.fromkeys(answer.sentence for answer in given))
    heads = dict.fromkeys((answer.attention, answer.head) for answer in given)
    kinds = list(dict.fromkeys(sentence.kind for sentence in asked))
    table = []
    for attention, head in heads:
        mine = [answer for answer in given if (answer.attention, answer.head) == (attention, head)]
        of_kinds = {kind: _shares(a for a in mine if a.sentence.kind == kind) for kind in kinds}
        table.append({"attention": attention, "head": head, **_shares(mine), "kinds": of_kinds})
    return {
        "sentences": {kind: sum(sentence.kind == kind for sentence in asked) for kind in kinds},
        "nearest_noun": _share(sentence.nearest for sentence in asked),
        "heads": table,
        "best": _best(given),
        "examples": [asdict(next(s for s in asked if s.kind == kind))["text"] for kind in kinds],
    }


def _best(given: list[Answer]) -> dict[str, Any]:
    """The head that prefers the right noun most often in one half, and how often it does in the other."""
    halves: list[dict[tuple[str, int], list[bool]]] = [{}, {}]
    fours = {(answer.sentence.kind, answer.sentence.four) for answer in given if answer.sentence.four % 2}
    for answer in given:
        halves[answer.sentence.four % 2].setdefault((answer.attention, answer.head), []).append(answer.prefers)
    chosen, judged = halves
    attention, head = best = max(chosen, key=lambda one: _share(chosen[one]))
    right = judged.get(best, [])
    return {
        "attention": attention,
        "head": head,
        "chosen_on": _share(chosen[best]),
        "judged_on": _share(right),
        "sentences": len(right),
        # The four sentences of a quadruple share their words: together they count as one.
        "interval": wilson(_share(right) * len(fours), len(fours)),
    }


def wilson(right: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    if not count:
        return 0.0, 1.0
    share, room = right / count, z * z / count
    middle = (share + room / 2) / (1 + room)
    half = z * (share * (1 - share) / count + room / (4 * count)) ** 0.5 / (1 + room)
    return middle - half, middle + half


def _shares(given: Iterable[Answer]) -> dict[str, float]:
    given = list(given)
    return {"found": _share(a.found for a in given), "prefers": _share(a.prefers for a in given)}


def _share(given: Iterable[bool]) -> float:
    given = list(given)
    return sum(given) / len(given) if given else 0.0
