"""Rows, lengths, what is cut off, what is there twice, and how labels are shared out."""

import numpy as np
from lightning import LightningDataModule
from omegaconf import DictConfig

from manyheads.doctor.checks import Findings, Light
from manyheads.doctor.facts import Facts, facts

SECTION = "data"

LEAK = 0.01
"""Share of a split's rows that may be in training too: below, scores move by less than seeds do."""

CUT = 0.5
"""Share of the tokens that may be cut off before most of what was given is never read."""

ONE_SIDED, RARE = 0.95, 10
"""Share of the most frequent label from which a model may know that one alone; rows below which none is learnt."""

GAPS = 0.5
"""Share of a channel's values that may be missing."""

SLOW = 30.0
"""Seconds to a first batch after which one wonders whether anything happens."""


def data_checks(data: LightningDataModule, cfg: DictConfig, found: Findings) -> None:
    known = facts(data)
    _rows(known, found)
    _lengths(known, found)
    _cut(known, cfg, found)
    _twice(known, found)
    _across(known, cfg, found)
    _alike(known, found)
    if known.labels is not None:
        _labels(known, found)
    if known.values is not None:
        _values(known, found)


def first_batch(seconds: float, found: Findings) -> None:
    light = "green" if seconds < SLOW else "yellow"
    found.add(SECTION, "first batch", light, f"The first batch comes {seconds:.1f} s after the reading begins.",
              seconds=seconds)  # fmt: skip


def _rows(known: Facts, found: Findings) -> None:
    shown = ", ".join(f"{name} {count:,}" for name, count in known.rows.items())
    few = [name for name, count in known.rows.items() if count < 2 * RARE]
    words = f" {' and '.join(few)} can tell little apart." if few else ""
    light = "yellow" if few else "green"
    found.add(SECTION, "rows", light, f"{known.what.capitalize()}: {shown}.{words}", rows=known.rows)


def _lengths(known: Facts, found: Findings) -> None:
    if known.lengths is None or not len(known.lengths):
        return
    at = {place: int(np.percentile(known.lengths, place)) for place in (5, 50, 95, 99, 100)}
    words = f"Training {known.what} have {known.unit}: median {at[50]:,}, 95 % up to {at[95]:,}, longest {at[100]:,}."
    if known.values is not None:
        words = f"Training parts have {at[50]:,} steps in the median of {len(known.lengths):,} series."
    found.add(SECTION, "lengths", "green", words, percentiles={f"p{place}": n for place, n in at.items()})


def _cut(known: Facts, cfg: DictConfig, found: Findings) -> None:
    if known.cut is None:
        return
    rows, tokens = known.cut
    if not tokens:
        found.add(SECTION, "truncation", "green", "Nothing is cut off.", tokens=0.0)
        return
    words = (
        f"{rows:.0%} of the documents lose their end: {tokens:.1%} of all tokens are never read. Raise data.longest."
    )
    found.add(SECTION, "truncation", "red" if tokens > CUT else "yellow", words, rows=rows, tokens=tokens)


def _twice(known: Facts, found: Findings) -> None:
    train = known.keys.get("train")
    if not train:
        return
    copies = len(train) - len(set(train))
    share = copies / len(train)
    light = "yellow" if share > LEAK else "green"
    words = f"{copies:,} of {len(train):,} training {known.what} repeat an earlier one." if copies else "None repeats."
    found.add(SECTION, "duplicates", light, words, copies=copies)


def _across(known: Facts, cfg: DictConfig, found: Findings) -> None:
    """What is scored and was trained on too."""
    train = set(known.keys.get("train") or ())
    if not train:
        return
    shared = {name: sum(row in train for row in rows) for name, rows in known.keys.items() if name != "train"}
    for name, count in shared.items():
        if count:
            share = count / len(known.keys[name])
            light, then = _verdict(share, cfg.data.get("on_duplicate"))
            words = (
                f"{count:,} of {len(known.keys[name]):,} {known.what} of {name} are in train too ({share:.1%}): {then}"
            )
            found.add(SECTION, "duplicates across splits", light, words, split=name, shared=count)
    if not any(shared.values()):
        words = f"No {known.what} of another split are in train."
        found.add(SECTION, "duplicates across splits", "green", words)


def _alike(known: Facts, found: Findings) -> None:
    """Rows that no rule of a run's leaves out, since they are not quite the same."""
    keys, alike = (set(of.get("train") or ()) for of in (known.keys, known.alike))
    for name in known.alike:
        rows = list(zip(known.keys[name], known.alike[name], strict=True))
        near = sum(key not in keys and row in alike for key, row in rows)
        if name != "train" and near:
            light = "red" if near / len(rows) > LEAK else "yellow"
            words = (
                f"{near:,} of {len(rows):,} {known.what} of {name} are in train too but for case and white space "
                f"({near / len(rows):.1%}): scores on it are too good; leave them out of one of both."
            )
            found.add(SECTION, "near duplicates", light, words, split=name, shared=near)


def _verdict(share: float, rule: str | None) -> tuple[Light, str]:
    """rule: data.on_duplicate, where the data has it."""
    if rule == "drop":
        return "yellow", "the run leaves them out of train (data.on_duplicate=drop)."
    if rule == "refuse":
        return "red", "the run refuses them (data.on_duplicate=refuse)."
    return "red" if share > LEAK else "yellow", "scores on it are too good; leave them out of one of both."


def _labels(known: Facts, found: Findings) -> None:
    """A training label that is nearly all there is, labels of a handful of rows, and splits that lack some."""
    counts = {name: _counted(of, len(known.names)) for name, of in known.labels.items()}
    train = counts["train"]
    shares = train / max(1, len(known.labels["train"]))
    most, least = int(shares.argmax()), int(shares.argmin())
    words = f"{len(known.names)} labels, each on {shares[most]:.1%} of the training documents."
    if train[most] != train[least]:
        words = (
            f"{len(known.names)} labels; {known.names[most]} is on {shares[most]:.1%} of the training documents, "
            f"{known.names[least]} on {shares[least]:.1%} ({train[least]:,})."
        )
    light = "green"
    if shares[most] > ONE_SIDED or train[least] < RARE:
        light = "yellow"
        words += " Accuracy says little here: look at balanced scores, or bring more of the rare ones."
    for name, of in counts.items():
        if (of > 0).sum() < 2:
            light = "red"
            words += f" All documents of {name} have one label, so nothing can be told apart there."
    facts = {name: dict(zip(known.names, map(int, of), strict=True)) for name, of in counts.items()}
    found.add(SECTION, "labels", light, words, documents=facts)


def _counted(targets: np.ndarray, classes: int) -> np.ndarray:
    return np.bincount(targets, minlength=classes) if targets.ndim == 1 else targets.sum(0)


def _values(known: Facts, found: Findings) -> None:
    """Missing values, and channels that never move."""
    values = np.concatenate(known.values)
    gaps = np.isnan(values).mean(0)
    worst = int(gaps.argmax())
    words = f"{np.isnan(values).mean():.1%} of the training values are missing"
    words += f", of {known.channels[worst]} {gaps[worst]:.1%}." if gaps.any() else "."
    light = "red" if gaps.max() == 1 else "yellow" if gaps.any() else "green"
    if gaps.max() > GAPS:
        words += " That channel is hardly there: leave it out by naming the others in data.target."
    found.add(SECTION, "missing values", light, words, share=dict(zip(known.channels, map(float, gaps), strict=True)))
    still = [name for name, column in zip(known.channels, values.T, strict=True) if _constant(column)]
    words = f"{', '.join(still)} never changes in training." if still else "Every channel moves."
    found.add(SECTION, "constant channels", "yellow" if still else "green", words, channels=still)


def _constant(column: np.ndarray) -> bool:
    seen = column[~np.isnan(column)]
    return len(seen) > 0 and bool(np.all(seen == seen[0]))
