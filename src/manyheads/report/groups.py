"""Runs that differ by their seed alone are one group; groups of the same data are a section."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from manyheads.report.runs import Run

NO_DIFFERENCE = (
    "seed",
    "data.seed",
    "hydra",
    "paths",
    "logger",
    "sweep",
    "resume",
    "force",
    "estimate",
    "preflight",
    "optimized_metric",
    "hparams_search",
    "debug",
    "prunes",
    "ckpt_path",
    "trainer.enable_progress_bar",
    "trainer.log_every_n_steps",
    "data.cache",
    "data.workers",
    "data.evaluation_batch_tokens",
)
"""Keys, and beginnings of keys, that say nothing about what was trained."""

IN_THE_NAME = ("data", "model", "attention", "position")

UNKNOWN = "unknown"
BELOW = "…"
"""The value of what has values below itself."""
COPIES = ("model.attention", "model.position", "model.cross_attention", "attentions", "callbacks.")
"""Where other keys' values are repeated."""

SAME_TESTS = {
    "_target_",
    "seed",
    "cache",
    "workers",
    "batch_tokens",
    "evaluation_batch_tokens",
    "bucket",
    "noise",
    "read",
    "longest",
    "chunk",
    "overlap",
    "boundaries",
    "train_chunks",
    "word_dropout",
    "pool",
    "aggregate",
    "layers",
    "bag_of_words",
}
"""Keys of data that leave the examples of its test sets, and what is asked of them, as they are."""

MAKES_TESTS = {"formal_language": {"longest"}}
"""Of a family, those that say which tests are made."""


@dataclass(frozen=True)
class Group:
    """label: what tells it from the others of its section. runs: all, finished or not."""

    label: str
    runs: tuple[Run, ...]

    @property
    def finished(self) -> list[Run]:
        return [run for run in self.runs if run.finished]

    def by_seed(self, metric: str) -> dict[Any, float]:
        """The value of each seed that was measured; a repeated one as it was measured last."""
        values = {run.seed: run.value(metric) for run in self.finished}
        return {seed: value for seed, value in values.items() if value is not None}


def sections(runs: Iterable[Run]) -> list[tuple[str, list[Group]]]:
    """Title and groups of each data set, in the order in which they come; runs that cannot be read have none."""
    kept: dict[str, list[Run]] = {}
    for run in runs:
        if run.unreadable is None:
            kept.setdefault(_data(run), []).append(run)
    apart = [members for alike in kept.values() for members in _by_contents(alike)]
    return [(title, grouped(members)) for title, members in zip(_titles(apart), apart, strict=True)]


def _by_contents(runs: list[Run]) -> list[list[Run]]:
    """Runs whose files had other contents under the same name; those that never came to read are with the first."""
    found: dict[str, list[Run]] = {one: [] for run in runs if (one := run.found.get("data_contents"))}
    for run in runs:
        found.setdefault(run.found.get("data_contents") or next(iter(found), ""), []).append(run)
    return list(found.values())


def grouped(runs: list[Run]) -> list[Group]:
    """Runs whose configs are alike in all that was said; a key that a version did not know yet makes no difference."""
    configs = [_flat(run.config) for run in runs]
    known: dict[str, list[int]] = {}
    for number, kept in enumerate(_comparable(configs)):
        names = {name: runs[number].found.get(name) for name in IN_THE_NAME}
        known.setdefault(json.dumps(kept | names, sort_keys=True, default=str), []).append(number)
    flat = [own | {name: run.found.get(name) for name in IN_THE_NAME} for own, run in zip(configs, runs, strict=True)]
    typed = dict.fromkeys(key for run in runs for override in run.overrides if (key := _key(override)))
    labels = _labels(runs, flat, list(known.values()), [*IN_THE_NAME, *typed])
    return [
        Group(label, tuple(runs[n] for n in members)) for label, members in zip(labels, known.values(), strict=True)
    ]


def _comparable(configs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each config without the keys that another one lacks although it has the same objects around them."""
    shapes = [
        frozenset((key, value if _kind(key) else value == BELOW) for key, value in own.items()) for own in configs
    ]
    kinds = dict(zip(shapes, configs, strict=True))
    lacked = {
        shape: {key for key in own for other in kinds.values() if key not in other and _lacks(other, key, own)}
        for shape, own in kinds.items()
    }
    return [
        {key: value for key, value in own.items() if key not in lacked[shape]}
        for own, shape in zip(configs, shapes, strict=True)
    ]


def _lacks(config: dict[str, Any], key: str, like: dict[str, Any]) -> bool:
    """Whether it is older than this key; false where it has null, or an object of another class, around it."""
    place = key
    while place and place not in config:
        place = place.rpartition(".")[0]
    if place and config[place] != BELOW:
        return False
    kind = f"{place}._target_".lstrip(".")
    return config.get(kind) == like.get(kind)


def _kind(key: str) -> bool:
    return key.rpartition(".")[2] == "_target_"


def _labels(runs: list[Run], flat: list[dict[str, Any]], known: list[list[int]], keys: list[str]) -> list[str]:
    """The attention, and what was typed and is not the same everywhere; where that is not enough, which classes differ,
    and at last what else does.
    """
    own = [{**flat[n], **{k: runs[n].setting(k) for k in keys if k not in IN_THE_NAME}} for n, *_ in known]
    said = [_differing(own, keys)] * len(own)
    for more in (_kind, lambda key: True):
        labels = [_label(one, differ) for one, differ in zip(own, said, strict=True)]
        for label in {label for label in labels if labels.count(label) > 1}:
            alike = [n for n, other in enumerate(labels) if other == label]
            among = [own[n] for n in alike]
            found = _differing(among, [key for key in among[0] if more(key) and not key.startswith(COPIES)])
            for n in alike:
                said[n] = [*dict.fromkeys([*said[n], *found])]
    return [_label(one, differ) for one, differ in zip(own, said, strict=True)]


def _differing(settings: list[dict[str, Any]], keys: list[str]) -> list[str]:
    return [key for key in dict.fromkeys(keys) if len({_text(one.get(key)) for one in settings}) > 1]


def _label(settings: dict[str, Any], differ: list[str]) -> str:
    said = [key for key in differ if key != "attention" and settings.get(key) is not None]
    return " ".join(
        [str(settings["attention"] or UNKNOWN), *(f"{_short(key, differ)}={_said(key, settings[key])}" for key in said)]
    )


def _flat(config: Any, place: str = "") -> dict[str, Any]:
    """Every value by its path; of what has values below itself, that it has."""
    if not isinstance(config, Mapping) or not config:
        return {place: config} if place else {}
    found: dict[str, Any] = {place: BELOW} if place else {}
    for key, value in config.items():
        path = f"{place}.{key}" if place else str(key)
        if not _ignored(path):
            found |= _flat(value, path)
    return found


def _short(key: str, among: list[str]) -> str:
    """attention.pattern.width is `width` where no other key ends so."""
    if _kind(key):
        return key.split(".")[-2]
    last = key.rpartition(".")[2]
    return last if [one.rpartition(".")[2] for one in among].count(last) == 1 else key


def _key(override: str) -> str | None:
    """The key of an override that may tell runs apart: the name of an attention and the like is known already."""
    key = override.partition("=")[0].lstrip("+~")
    return None if _ignored(key) or key in (*IN_THE_NAME, "layers_attention", "experiment", "") else key


def _ignored(key: str) -> bool:
    return any(key == one or key.startswith((f"{one}.", f"{one}/")) for one in NO_DIFFERENCE)


def _data(run: Run) -> str:
    """What two runs share whose scores may be compared."""
    return json.dumps([run.found.get("data"), _asked(run)], sort_keys=True, default=str)


def _asked(run: Run) -> dict[str, Any]:
    data = run.config.get("data")
    same = SAME_TESTS - MAKES_TESTS.get(str(run.found.get("data")), set())
    return {k: v for k, v in data.items() if k not in same} if isinstance(data, Mapping) else {}


def _titles(kept: list[list[Run]]) -> list[str]:
    """The data, where they are from, and of several sections what tells them apart."""
    names = [str(runs[0].found.get("data") or UNKNOWN) for runs in kept]
    asked = [_asked(runs[0]) for runs in kept]
    contents = [next((one for run in runs if (one := run.found.get("data_contents"))), None) for runs in kept]
    asked = [{**own, "contents": found} for own, found in zip(asked, contents, strict=True)]
    return [_title(n, names, asked) for n in range(len(kept))]


def _title(number: int, names: list[str], asked: list[dict[str, Any]]) -> str:
    own, alike = asked[number], [a for name, a in zip(names, asked, strict=True) if name == names[number]]
    source = own.get("path") or own.get("hub") or "embedded"
    same = [a for a in alike if (a.get("path"), a.get("hub")) == (own.get("path"), own.get("hub"))]
    among = {key: same if key == "contents" else alike for key in own if key not in ("path", "hub")}
    keys = [key for key, others in among.items() if len({_text(a.get(key)) for a in others}) > 1]
    return " · ".join([names[number], str(source), *(f"{key}={_text(own[key])}" for key in keys)])


def _said(key: str, value: Any) -> str:
    """Of a class its name."""
    return _text(value).rpartition(".")[2] if _kind(key) else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
