"""Long notes in three splits, each with one finding that decides its label, far from the beginning."""

from random import Random

from manyheads.data.synthetic.notes.findings import LABELS
from manyheads.data.synthetic.notes.planting import mentions, plant
from manyheads.data.synthetic.notes.writing import write
from manyheads.errors import UserError

SPREAD = 0.3  # Lengths differ by this share to either side.
SENTENCE = 12  # Words of a sentence with a finding, about.
SMALLEST, SHORTEST = 40, 200  # Documents and words: with less, a split lacks a label, or a note a section.


def notes(documents: int, seed: int, length: int, depth: tuple[float, float], noise: float) -> dict[str, list[dict]]:
    """`train`, `val` and `test` (80, 10, 10 %): dicts of text, label and name; labels as even as numbers allow.

    length: words of a note, give or take 30 %. depth: the least and the greatest relative place (in characters) of the
    sentence that decides. noise: share of the training labels that are replaced by another. The same arguments give the
    same notes on every machine, none of them twice. Raises UserError for arguments that make no corpus.
    """
    _check(documents, length, depth, noise)
    small = documents // 10
    sizes, seen = {"train": documents - 2 * small, "val": small, "test": small}, set()
    splits = {split: _split(f"{seed} {split}", size, length, depth, seen) for split, size in sizes.items()}
    _mistake(Random(f"{seed} noise"), splits["train"], noise)
    return splits


def _split(seed: str, size: int, length: int, depth: tuple[float, float], seen: set[str]) -> list[dict]:
    labels = [LABELS[number % len(LABELS)] for number in range(size)]
    Random(f"{seed} labels").shuffle(labels)
    split = seed.split()[-1]
    rows = []
    for number, label in enumerate(labels):
        random = Random(f"{seed} {number}")
        text = _note(random, label, length, depth)
        while text in seen:
            text = _note(random, label, length, depth)
        seen.add(text)
        rows.append({"text": text, "label": label, "name": f"{split}-{number:05d}"})
    return rows


def _note(random: Random, label: str, length: int, depth: tuple[float, float]) -> str:
    words = round(length * random.uniform(1 - SPREAD, 1 + SPREAD))
    number = mentions(words)
    parts = write(random, max(0, words - SENTENCE * number))
    plant(random, parts, label, number, depth)
    return "".join(piece for part in parts for piece in part.pieces()).rstrip() + "\n"


def _mistake(random: Random, rows: list[dict], noise: float) -> None:
    for number in random.sample(range(len(rows)), round(noise * len(rows))):
        others = [label for label in LABELS if label != rows[number]["label"]]
        rows[number]["label"] = random.choice(others)


def _check(documents: int, length: int, depth: tuple[float, float], noise: float) -> None:
    for named, value, fits, wanted in (
        ("documents", documents, documents >= SMALLEST, f"{SMALLEST} or more"),
        ("length", length, length >= SHORTEST, f"{SHORTEST} words or more"),
        ("depth", list(depth), len(depth) == 2 and 0 <= depth[0] <= depth[1] <= 1, "two shares from 0 to 1, rising"),
        ("noise", noise, 0 <= noise <= 1, "a share from 0 to 1"),
    ):
        if not fits:
            raise UserError(f"The generated notes cannot have {named}={value}: it must be {wanted}.")
