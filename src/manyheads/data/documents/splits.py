"""Which documents are for training: by files, by a column, or by a hash of the patient or of the text.

The hash decides for a document alone, so that nothing else in the data moves it, on any machine; copies of a text, and
all documents of one group, get the same.
"""

import hashlib
import logging
from collections.abc import Callable
from itertools import combinations

from manyheads.data.documents.documents import Documents
from manyheads.data.sources import VALIDATION
from manyheads.errors import UserError

log = logging.getLogger(__name__)

BUCKETS = 10
SHARES = {"test": 0, "val": 1}  # buckets; the rest is for training


def bucket(group: str | None, digest: bytes) -> int:
    """sha256 of the group, or else of the text, modulo 10."""
    if group is not None:
        digest = hashlib.sha256(group.encode()).digest()
    return int.from_bytes(digest) % BUCKETS


def by_column(documents: Documents) -> dict[str, Documents]:
    """Splits as the documents name their own."""
    places: dict[str, list[int]] = {}
    for number, name in enumerate(documents.splits):
        split = _named(name)
        if split is None:
            raise UserError(
                f"{documents.where(number)}: the split is {name!r}; train, val (or {', '.join(VALIDATION[1:])}) and "
                "names that begin with test are known."
            )
        places.setdefault(split, []).append(number)
    return {name: documents.take(rows) for name, rows in places.items()}


def share_out(found: dict[str, Documents], place: str) -> dict[str, Documents]:
    """Takes a missing val or test split out of train by hash, and puts the splits in order."""
    if "train" not in found:
        raise UserError(f"{place} holds no training documents, only {', '.join(found)}; name the rest with data.path.")
    missing = [share for share in SHARES if not _has(found, share)]
    train = found["train"]
    buckets = [bucket(group, digest) for group, digest in zip(train.groups, train.digests, strict=True)]
    taken = {SHARES[share]: share for share in missing}
    sides = {
        name: [row for row, b in enumerate(buckets) if taken.get(b, "train") == name] for name in ("train", *missing)
    }
    splits = found | {name: train.take(rows) for name, rows in sides.items()}
    return {name: splits[name] for name in ("train", "val", *sorted(splits.keys() - {"train", "val"}))}


def keep_apart(splits: dict[str, Documents], on_duplicate: str) -> dict[str, Documents]:
    """Leaves out of train and val what a later split holds too: the same text, or a document of the same group.

    Test sets may share documents: nothing is learnt or chosen on any of them, and each is scored whole.
    on_duplicate: drop, keep (both warn), or refuse (a UserError).
    """
    kept = dict(splits)
    for earlier, later in combinations(splits, 2):
        if earlier not in ("train", "val"):
            continue
        for what, of in (("text", _texts), ("group", _groups)):
            kept[earlier] = _without(kept, (earlier, later), what, of, on_duplicate)
    return kept


def check_filled(given: dict[str, Documents], kept: dict[str, Documents], group: str | None) -> None:
    """Raises UserError where a split of `kept` has no document; `given` are the splits before `keep_apart`.

    group: the column of the groups, which are the likely reason: one that is large takes all to its side.
    """
    empty = next((name for name, documents in kept.items() if not len(documents)), None)
    if empty is None:
        return
    found = f"None of the {sum(map(len, given.values())):,} documents is left for {empty}"
    if group is None:
        raise UserError(f"{found}; bring more of them, or a file for each split.")
    groups = len({name for documents in given.values() for name in documents.groups} - {None})
    raise UserError(
        f"{found}: they are of {groups:,} group{'s' * (groups != 1)} (data.group={group}), and one is never divided; "
        "bring documents of more groups, or name another column."
    )


def _without(
    splits: dict[str, Documents], pair: tuple[str, str], what: str, of: Callable, on_duplicate: str
) -> Documents:
    """The first of two splits without what the second holds too."""
    mine, others = (splits[name] for name in pair)
    theirs = {key: number for number, key in enumerate(of(others)) if key is not None}
    shared = [number for number, key in enumerate(of(mine)) if key in theirs]
    if not shared:
        return mine
    first = shared[0]
    found = (
        f"{len(shared):,} of {len(mine):,} documents of {pair[0]} have a {what} that {pair[1]} has too, such as "
        f"{mine.where(first)} and {others.where(theirs[of(mine)[first]])}"
    )
    if on_duplicate == "refuse":
        raise UserError(f"{found}; mend it, or leave them out of {pair[0]} with data.on_duplicate=drop.")
    if on_duplicate == "keep":
        log.warning("%s; they stay (data.on_duplicate=keep), and scores on %s are too good", found, pair[1])
        return mine
    log.warning("%s; they are left out of %s (data.on_duplicate=drop)", found, pair[0])
    return mine.take(sorted(set(range(len(mine))) - set(shared)))


def _texts(documents: Documents) -> list[bytes]:
    return documents.digests


def _groups(documents: Documents) -> list[str | None]:
    return documents.groups


def _named(name: str | None) -> str | None:
    if name in VALIDATION:
        return "val"
    if name in ("train", "training"):
        return "train"
    return name if name is not None and name.startswith("test") else None


def _has(splits: dict[str, Documents], share: str) -> bool:
    return any(name.startswith("test") if share == "test" else name == share for name in splits)
