"""Where findings go: one that decides at a wanted depth, and many that do not, over the entire note.

What does not decide is drawn without a look at the label, so the part before the least depth says nothing of it. The
deciding finding is one more than all of them, so counts of words know a little (TF-IDF gives 32 to 37 % of notes of
1,500 words their label, where chance gives 25 %). That is meant: where it took the place of another, so that counts
knew nothing at all, a small transformer had no slope to begin on and stayed at chance.
"""

from itertools import accumulate
from random import Random

from manyheads.data.synthetic.notes.findings import DECISIVE, DISTRACTING, FINDINGS, GRADES, LABELS, SITES
from manyheads.data.synthetic.notes.writing import Part, Slots

APART = 150  # Words of a note for each finding in it: ten in 1,500 words.
FEWEST = 6  # In a short note: with fewer around it, the deciding one would be half of what counts see.
Place = tuple[int, int]  # a part and the line of it before which a sentence goes


def mentions(length: int) -> int:
    """Findings that a note of so many words names."""
    return max(FEWEST, length // APART)


def plant(random: Random, parts: list[Part], label: str, number: int, depth: tuple[float, float]) -> None:
    """Puts `number` findings into a note, of which one decides; its sentence begins at a relative place in `depth`."""
    others = random.choices(LABELS, k=number - 1)
    early, slots = round(len(others) * depth[0]), Slots(random)
    _scatter(slots, parts, others[:early], (0.0, depth[0]))
    _scatter(slots, parts, others[early:], (depth[0], 1.0))
    sentence = _sentence(slots, DECISIVE, label)
    _insert(parts, _nearest(parts, random.uniform(*depth), depth, len(sentence)), sentence)


def _scatter(slots: Slots, parts: list[Part], labels: list[str], within: tuple[float, float]) -> None:
    found = places(parts)
    fitting = [place for place, at in found if within[0] <= at <= within[1]] or [place for place, _ in found]
    chosen = slots.random.choices(fitting, k=len(labels))
    # From the end on, so that the places before stay what they are.
    for place, label in sorted(zip(chosen, labels, strict=True), reverse=True):
        _insert(parts, place, _sentence(slots, slots.random.choice(DISTRACTING), label))


def _nearest(parts: list[Part], wanted: float, depth: tuple[float, float], added: int) -> Place:
    found = places(parts, added)
    within = [(place, at) for place, at in found if depth[0] <= at <= depth[1]]
    return min(within or found, key=lambda pair: abs(pair[1] - wanted))[0]


def places(parts: list[Part], added: int = 0) -> list[tuple[Place, float]]:
    """Beginnings of the sentences of all prose, as shares of the text's characters once `added` have come to it."""
    pieces = [piece for part in parts for piece in part.pieces()]
    starts = iter([0, *accumulate(map(len, pieces))])
    found = []
    for number, part in enumerate(parts):
        next(starts)
        lines = [((number, line), next(starts)) for line in range(len(part.lines))]
        found += lines if part.prose else []
    total = sum(map(len, pieces)) + added
    return [(place, at / total) for place, at in found]


def _sentence(slots: Slots, templates: tuple[str, ...], label: str) -> str:
    random = slots.random
    finding = f"{random.choice(GRADES)} {random.choice(FINDINGS[label])} {random.choice(SITES)}"
    return slots.sentence(random.choice(templates).replace("{finding}", finding))


def _insert(parts: list[Part], place: Place, sentence: str) -> None:
    parts[place[0]].lines.insert(place[1], sentence)
