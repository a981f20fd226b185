"""Compares a composed config with the classes that it builds, before anything is imported or written.

The signatures in the source are the schema: a second list of names and types would only go stale.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

from omegaconf import Container, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from manyheads.config.kinds import complaint
from manyheads.config.names import did_you_mean, listed
from manyheads.config.schema import Schema
from manyheads.config.signature import NotThere, Signature, signature
from manyheads.errors import UserError

RESERVED = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_")


def check(cfg: DictConfig) -> None:
    """Raises UserError with every mistake of the config, one a line."""
    refuse(mistakes(cfg))


def refuse(sentences: list[str]) -> None:
    """Raises UserError where there is a sentence."""
    if sentences:
        raise UserError("\n".join(sentences))


def mistakes(cfg: DictConfig) -> list[str]:
    """A sentence for each value that is missing, misspelt or of the wrong type. Hydra's own node is left alone."""
    return [*unset(cfg), *wrong(cfg)]


def unset(cfg: DictConfig) -> list[str]:
    """A sentence for each `???`; a config that is only shown may have some."""
    return [f"{path} is not set: give {path}=..." for up, key, path in _walk(cfg) if OmegaConf.is_missing(up, key)]


def wrong(cfg: DictConfig) -> list[str]:
    """A sentence for each value that is there and should not be as it is, and for each that a class lacks."""
    return [*_strangers(cfg), *_values(_walk(cfg))]


def wrong_within(node: DictConfig, path: str) -> list[str]:
    """The same for an object's node of Hydra's own, such as hydra.launcher."""
    return [*_object(node, path), *_values(_walk(node, path))]


def _values(walked: Iterable[tuple[Container, Any, str]]) -> list[str]:
    found = []
    for parent, key, path in walked:
        if OmegaConf.is_missing(parent, key):
            continue
        if OmegaConf.is_interpolation(parent, key):
            found += _dangling(parent, key, path)
        elif isinstance(parent[key], DictConfig):
            found += _object(parent[key], path)
    return found


def _walk(parent: Container, above: str = "") -> Iterator[tuple[Container, Any, str]]:
    """Every value with its parent, key and dotted path; what an interpolation points at stands elsewhere."""
    for key in range(len(parent)) if isinstance(parent, ListConfig) else list(parent):
        if above or key != "hydra":
            path = f"{above}.{key}" if above else str(key)
            yield parent, key, path
            own = not OmegaConf.is_missing(parent, key) and not OmegaConf.is_interpolation(parent, key)
            if own and isinstance(parent[key], Container):
                yield from _walk(parent[key], path)


def _strangers(cfg: DictConfig) -> list[str]:
    """Keys that +key=value put at the top, where nothing reads them."""
    known = [field.name for field in fields(Schema)]
    keys = [key for key in cfg if key not in (*known, "hydra")] if OmegaConf.get_type(cfg) is Schema else []
    return [f"{key} is no key of a run.{did_you_mean(key, known)}{listed('valid', known)}" for key in keys]


def _dangling(parent: Container, key: Any, path: str) -> list[str]:
    written = OmegaConf.to_container(parent, resolve=False)[key]
    try:
        parent[key]
    except InterpolationKeyError as error:
        gone = re.search(r"'(.+?)' not found", str(error))
        # A key that is there and itself refers to nothing is told where it stands.
        if gone and gone[1] in written:
            return [f"{path} refers to {written}, and there is no {gone[1]}."]
    except OmegaConfBaseException:
        pass  # such as ${hydra:...}, which has no value before the run starts
    return []


def _object(node: DictConfig, path: str) -> list[str]:
    target = node.get("_target_")
    if not isinstance(target, str):
        return []
    try:
        known = signature(target)
    except NotThere as gone:
        near = did_you_mean(target.rpartition(".")[2], gone.names)
        return [f"{path}._target_ names {target}, and there is no such class or function.{near}"]
    if known is None:
        return []
    return _misspelt(node, path, known) + _absent(node, path, known) + _mistyped(node, path, known)


def _misspelt(node: DictConfig, path: str, known: Signature) -> list[str]:
    names = [] if known.open else [k for k in node if k not in known.parameters and k not in RESERVED]
    return [
        f"{path}.{name} is unknown to {node._target_}.{did_you_mean(str(name), known.parameters, path + '.')}"
        + listed("valid", known.parameters)
        for name in names
    ]


def _absent(node: DictConfig, path: str, known: Signature) -> list[str]:
    if node.get("_partial_") or "_args_" in node:  # the caller supplies the rest
        return []
    # Not `in node`, which says no to a key that is there and unset.
    needed = [p.name for p in known.parameters.values() if p.required and p.name not in node.keys()]  # noqa: SIM118
    return [f"{path}.{name} is missing: {node._target_} needs it." for name in needed]


def _mistyped(node: DictConfig, path: str, known: Signature) -> list[str]:
    given = [p for name, p in known.parameters.items() if name in node.keys()]  # noqa: SIM118
    told = ((p.name, complaint(_plain(node, p.name), p)) for p in given)
    return [f"{path}.{name} {complained}" for name, complained in told if complained]


def _plain(node: DictConfig, name: str) -> Any:
    """The value as plain Python; `???` where it is an interpolation that cannot be followed yet."""
    try:
        value = node[name]
    except OmegaConfBaseException:
        return "???"
    return OmegaConf.to_container(value, resolve=False) if isinstance(value, Container) else value
