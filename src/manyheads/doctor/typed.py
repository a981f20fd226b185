"""Every mistake of a command line, not the first alone: what does not compose is left out, and the rest is tried on.

A name that is nearly right is read as the one that was meant, so that what is typed about it can be looked at too.
"""

from dataclasses import dataclass
from functools import cache

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, open_dict

from manyheads.config.check import mistakes
from manyheads.config.errors import explain
from manyheads.config.launch import register
from manyheads.config.loader import LenientLoader, composing_by
from manyheads.config.names import nearest
from manyheads.config.places import conf_folder
from manyheads.errors import UserError


@dataclass
class Typed:
    """cfg: composed from those `overrides` that make sense. choices: which yaml each group is from. wrong: mistakes, a
    sentence each; what stands beside it is the override that made it, where that is known.
    """

    cfg: DictConfig
    choices: dict[str, str]
    overrides: list[str]
    wrong: list[tuple[str, str | None]]


def read(typed: list[str]) -> Typed:
    """Raises UserError where not even conf/ alone composes."""
    wrong: list[tuple[str, str | None]] = []
    kept = list(typed) if _problem(typed) is None else _composing(typed, wrong)
    kept = _valued(kept, wrong)
    cfg, choices = composed(kept)
    return Typed(cfg, choices, kept, wrong)


def composed(overrides: list[str]) -> tuple[DictConfig, dict[str, str]]:
    """conf/train.yaml with `overrides`, and the option of each group. Raises UserError with the reason."""
    register()
    under_way = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with composing_by(LenientLoader), initialize_config_dir(str(conf_folder()), version_base="1.3"):
            cfg = hydra_compose("train", overrides, return_hydra_config=True)
    except UserError:
        raise
    except Exception as problem:
        sentence = explain(problem)
        if sentence is None:
            raise
        raise UserError(sentence) from problem
    finally:
        GlobalHydra.instance().hydra = under_way
    choices = {group: str(option) for group, option in cfg.hydra.runtime.choices.items()}
    with open_dict(cfg):
        del cfg.hydra
    return cfg, choices


def key_of(override: str) -> str:
    return override.lstrip("+~").partition("=")[0].partition("@")[0]


@cache
def _look(overrides: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """Why they do not compose, or else what is wrong with the values of what they compose to."""
    try:
        return None, tuple(mistakes(composed(list(overrides))[0]))
    except UserError as problem:
        return str(problem), ()


def _problem(overrides: list[str]) -> str | None:
    return _look(tuple(overrides))[0]


def _composing(typed: list[str], wrong: list[tuple[str, str | None]]) -> list[str]:
    """One after the other, choices of groups first: what does not go with those before it is a mistake."""
    kept: list[str] = []
    guessed: set[str] = set()
    for override in sorted(typed, key=lambda o: not _group(key_of(o))):
        sentence = _problem([*kept, override])
        if key_of(override).partition(".")[0] in guessed:
            continue
        if sentence is None:
            kept.append(override)
        else:
            wrong.append((sentence, override))
            kept += _meant(override, kept, guessed)
    return kept


def _meant(override: str, kept: list[str], guessed: set[str]) -> list[str]:
    """The choice of a group that was probably meant; where none is near, what is said of that group is not judged."""
    group, _, option = override.partition("=")
    if not _group(group):
        return []
    options = [file.stem for file in (conf_folder() / group).glob("*.yaml")]
    found = next((f"{group}={name}" for name in nearest(option, options)), None)
    if found is not None and _problem([*kept, found]) is None:
        return [found]
    guessed.add(group)
    return []


def _group(key: str) -> bool:
    return "." not in key and (conf_folder() / key).is_dir()


def _valued(kept: list[str], wrong: list[tuple[str, str | None]]) -> list[str]:
    """What composes and has values that no class takes; the overrides that gave them are left out."""
    found = _look(tuple(kept))[1]
    for sentence in found:
        wrong.append((sentence, _culprit(sentence, kept)))
    culprits = {culprit for _, culprit in wrong}
    return [override for override in kept if override not in culprits] if found else kept


def _culprit(sentence: str, overrides: list[str]) -> str | None:
    """The override without which it would not be said."""
    for override in reversed(overrides):
        problem, others = _look(tuple(other for other in overrides if other != override))
        if problem is None and sentence not in others:
            return override
    return None
