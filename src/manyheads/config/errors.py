"""Exceptions of Hydra, OmegaConf, yaml and the disk as one sentence for the user, naming what was typed."""

import errno
import os
import re
import sys
import traceback
from typing import Protocol

from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    InterpolationKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)
from yaml import MarkedYAMLError

from manyheads.config.kinds import complaint
from manyheads.config.names import did_you_mean, listed, nearest
from manyheads.config.signature import signature
from manyheads.errors import UserError

DISK = ("ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS", "ENOENT", "ENOTDIR", "EISDIR", "EEXIST")


class Composition(Protocol):
    """What explaining may ask about the command that failed."""

    overrides: list[str]

    def groups(self) -> list[str]: ...
    def options(self, group: str) -> list[str]: ...
    def has(self, group: str, option: str, key: str) -> bool: ...
    def without(self, key: str) -> DictConfig: ...


def report(error: BaseException, traces: bool) -> int:
    """Prints the sentence, or the traceback where there is none (or `traces` asks for it); the exit code."""
    sentence = None if traces else explain(error)
    if sentence is None:
        traceback.print_exception(error)
    else:
        print(f"error: {sentence}", file=sys.stderr)
    return 1


def explain(error: BaseException) -> str | None:
    """The sentence for an exception outside of composition; None for one that is not the user's doing."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name}, line {mark.line + 1}, is not yaml: {error.problem}."
    if isinstance(error, OSError) and errno.errorcode.get(error.errno) in DISK:
        return f"cannot write or read {error.filename or 'a file'}: {os.strerror(error.errno)}."
    if isinstance(error, InstantiationException):
        return _not_built(error)
    if isinstance(error, ValueError) and re.match(r"Only one of --run|The --resolve flag", str(error)):
        return f"{error}."
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _first_lines(error)
    return None


def explain_composition(error: Exception, at: Composition) -> str | None:
    """The sentence for an exception raised while a command's config was put together."""
    if isinstance(error, OverrideParseException):
        return _unreadable(error)
    if isinstance(error, MissingConfigException):
        return _no_such_option(error, at)
    text = str(error)
    for pattern, sentence in PATTERNS:
        match = re.search(pattern, text)
        if match:
            return sentence(match, at)
    return _mistyped(error, at) or explain(error)


# --- one kind of mistake each ------------------------------------------------------------------------------------


def _unreadable(error: OverrideParseException) -> str:
    key, equals, value = error.override.partition("=")
    if not equals:
        return f"{key} is no setting: write KEY=VALUE, such as attention=dense."
    quoted = value.replace('"', '\\"')
    return f"""{error.override} cannot be read: put its value in quotes, '{key}="{quoted}"'."""


def _no_such_option(error: MissingConfigException, at: Composition) -> str:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    if not group:
        return f"there is no config named {option}: {_line(str(error))}"
    typed = next((o for o in at.overrides if o.lstrip("+").startswith((f"{group}=", f"{group}@"))), None)
    parent = re.match(r"In '(.+?)'", str(error))
    where = typed or f"{group}: {option}" + (f" (in {parent[1]}.yaml)" if parent else "")
    options = error.options or at.options(group)
    return f"{where}: there is no {group} named {option or 'that'}.{did_you_mean(option, options)}" + listed(
        group, options
    )


def _no_such_key(match: re.Match, at: Composition) -> str:
    key = match[1].partition("@")[0]
    typed = next((o for o in at.overrides if o.startswith((f"{match[1]}=", f"{key}="))), key)
    if "/" in key or (key in at.groups()):
        groups = at.groups()
        if key in groups:
            return f"{typed}: this config makes no choice of {key} to be changed; +{typed} adds one."
        return f"{typed}: there is no group {key}.{did_you_mean(key, groups)}" + listed("groups", groups)
    return _unknown_key(key, typed, at)


def _unknown_key(key: str, typed: str, at: Composition) -> str:
    cfg = at.without(key)
    parent, _, name = key.rpartition(".")
    known = _keys(cfg, parent)
    if not parent:
        names = {*known, *(group for group in at.groups() if "/" not in group)}
        hint = did_you_mean(name, names) or _path_hint(key, cfg)
        return f"{typed}: there is no {key}.{hint}" + listed("valid", names)
    if known is None:
        return f"{typed}: there is no {parent}.{_path_hint(key, cfg)}"
    others = _other_options(parent, name, at)
    hint = others or did_you_mean(name, known, parent + ".") or _path_hint(key, cfg)
    choice = cfg.hydra.runtime.choices.get(parent)
    return f"{typed}: {f'{parent}={choice}' if choice else parent} has no {name}.{hint}" + listed("valid", known)


def _other_options(group: str, name: str, at: Composition) -> str:
    if group not in at.groups():
        return ""
    having = [option for option in at.options(group) if at.has(group, option, name)]
    return f" It belongs to {' and '.join(f'{group}={option}' for option in having)}." if having else ""


def _path_hint(key: str, cfg: DictConfig) -> str:
    """Paths that end in the same name; the likeliest of them where one is near."""
    same = [path for path in _paths(cfg) if path.rpartition(".")[2] == key.rpartition(".")[2]]
    near = nearest(key, same) or same[:3]
    return f" Did you mean {' or '.join(near)}?" if near else ""


def _keys(cfg: DictConfig, path: str) -> list[str] | None:
    node = OmegaConf.select(cfg, path, throw_on_missing=False) if path else cfg
    hidden = ("_target_", "_partial_", "_recursive_", "_convert_", "hydra")
    return [str(k) for k in node if k not in hidden] if isinstance(node, DictConfig) else None


def _paths(cfg: DictConfig, prefix: str = "") -> list[str]:
    """The dotted path of every key, hydra's own left out."""
    found = []
    for key in _keys(cfg, "") or []:
        found.append(prefix + key)
        inside = None if OmegaConf.is_missing(cfg, key) or OmegaConf.is_interpolation(cfg, key) else cfg[key]
        if isinstance(inside, DictConfig):
            found += _paths(inside, f"{prefix}{key}.")
    return found


def _sweep(match: re.Match, at: Composition) -> str:
    key, _, value = match[1].partition("=")
    return f"{match[1]} names several values: add -m to run each of them, or write {key}=[{value}] for a list."


def _there_already(match: re.Match, at: Composition) -> str:
    return f"{match[1]} is there already: leave out the + to change it."


def _nothing_to_delete(match: re.Match, at: Composition) -> str:
    return f"~{match[1]}: there is no {match[1]} to leave out."


def _no_option(match: re.Match, at: Composition) -> str | None:
    """Hydra refuses what reads as a number in the place of an option, and does not say where."""
    for override in at.overrides:
        group, _, value = override.partition("=")
        if group in at.groups() and not isinstance(OmegaConf.from_dotlist([f"value={value}"]).value, str):
            return f"{override}: there is no {group} named {value}." + listed(group, at.options(group))
    return None


def _not_chosen(match: re.Match, at: Composition) -> str:
    return f"{match[1]} is not chosen: give {match[1]}=OPTION." + listed(match[1], at.options(match[1]))


PATTERNS = (
    (r"Could not override '(.+?)'", _no_such_key),
    (r"Ambiguous value for argument '(.+)'", _sweep),
    (r"An item is already at '(.+?)'", _there_already),
    (r"Could not delete (?:from config\. )?'(.+?)'", _nothing_to_delete),
    (r"You must specify '(.+?)'", _not_chosen),
    (r"Config group override must be a string", _no_option),
)


def _mistyped(error: Exception, at: Composition) -> str | None:
    """A value that the types of the top-level keys refuse."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error.__context__
    if not isinstance(cause, ValidationError) or not cause.full_key:
        return None
    known = signature("manyheads.config.schema.Schema").parameters
    known |= {f"sweep.{name}": p for name, p in signature("manyheads.config.schema.SweepKeys").parameters.items()}
    place = re.match(r"In '(.+?)'", str(error))
    where = f" (in {place[1]}.yaml)" if place else ""
    value = getattr(cause, "value", None)
    typed = next((o.partition("=")[2] for o in at.overrides if o.startswith(f"{cause.full_key}=")), value)
    typed = OmegaConf.from_dotlist([f"value={typed}"]).value if isinstance(typed, str) else typed
    wrong = complaint(typed, known[cause.full_key]) if cause.full_key in known else None
    return f"{cause.full_key}{where} {wrong}" if wrong else f"{cause.full_key}{where}: {_line(str(cause))}."


def _not_built(error: InstantiationException) -> str:
    """A class that refused its values: its own sentence where it has one, its exception otherwise."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__cause__
    if cause is not None:
        return str(cause)
    key = re.search(r"full_key: (\S+)", str(error))
    reason = error.__cause__ or error
    return f"{key[1] if key else 'an object'} cannot be built: {_line(str(error))} {_line(str(reason))}"


def _first_lines(error: Exception) -> str:
    if isinstance(error, MissingMandatoryValue) and error.full_key:
        return f"{error.full_key} is not set: give {error.full_key}=..."
    if isinstance(error, InterpolationKeyError) and error.full_key:
        return f"{error.full_key} refers to a key that does not exist: {_line(str(error))}."
    lines = [_line(str(error)), _line(str(error.__cause__ or ""))]
    key = getattr(error, "full_key", None) or getattr(error.__cause__, "full_key", None)
    return ": ".join(dict.fromkeys(filter(None, lines))) + (f" (key {key})" if key else "")


def _line(text: str) -> str:
    return text.strip().partition("\n")[0].strip()
