"""Arguments of the scripts: `key=value`, with names, types and help from one dataclass."""

import ast
import inspect
import sys
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from manyheads.config.errors import report
from manyheads.config.kinds import complaint, kinds_of, words
from manyheads.config.names import did_you_mean, listed
from manyheads.config.signature import Found, Parameter, read_file, signature_of
from manyheads.errors import UserError

T = TypeVar("T")


def parse(cls: type[T], argv: list[str]) -> T:
    """The dataclass filled from `key=value` arguments. Raises UserError.

    --help, or no argument where one is needed, prints the usage and exits with 0.
    """
    known = _parameters(cls)
    needed = [name for name, parameter in known.items() if parameter.required]
    if {"--help", "-h"} & set(argv) or (needed and not argv):
        print(usage(cls))
        raise SystemExit(0)
    given = dict(_pair(argument, known) for argument in argv)
    for name in needed:
        if name not in given:
            raise UserError(f"{name}= is missing: give {name}=... (--help shows all arguments).")
    hints = get_type_hints(cls)
    return cls(**{name: _path(value, hints[name]) for name, value in given.items()})


def usage(cls: type) -> str:
    """What a script is for and a line for each argument."""
    known = _parameters(cls)
    heads = {f.name: f"{f.name}={_default(f)}" for f in fields(cls)}
    width = max(len(head) for head in heads.values())
    lines = [
        f"  {heads[f.name]:<{width}}  {_words(known[f.name])}. {f.metadata.get('help', '')}".rstrip()
        for f in fields(cls)
    ]
    return "\n".join([inspect.getdoc(cls) or "", "", f"usage: python {sys.argv[0]} KEY=VALUE ...", *lines])


def guarded(function: Callable[[], Any]) -> int:
    """Runs a script's work; the exit code: 0, or 1 after `error: one sentence` or a traceback."""
    try:
        function()
    except Exception as error:
        return report(error, traces=False)
    return 0


def _parameters(cls: type) -> dict[str, Parameter]:
    module = read_file(Path(inspect.getsourcefile(cls)), cls.__module__)
    return signature_of(Found(module, module.bound[cls.__name__])).parameters


def _pair(argument: str, known: dict[str, Parameter]) -> tuple[str, Any]:
    name, equals, text = argument.partition("=")
    if not equals:
        raise UserError(f"{argument} is no argument: write KEY=VALUE." + listed("keys", known))
    if name not in known:
        raise UserError(f"{name}= is no argument here.{did_you_mean(name, known)}" + listed("keys", known))
    return name, _value(name, text, known[name])


def _value(name: str, text: str, parameter: Parameter) -> Any:
    """The text as yaml where the type is written so, as it stands where text is wanted."""
    for value in (_read(text), text):
        if complaint(value, parameter) is None:
            return value
    raise UserError(f"{name} {complaint(_read(text), parameter)}")


def _read(text: str) -> Any:
    try:
        return OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]), resolve=False)["value"]
    except (OmegaConfBaseException, YAMLError):
        return text


def _path(value: Any, hint: Any) -> Any:
    return Path(value) if isinstance(value, str) and Path in (hint, *get_args(hint)) else value


def _default(field: Any) -> str:
    if field.default is not MISSING:
        return (
            str(field.default).lower()
            if isinstance(field.default, bool) or field.default is None
            else str(field.default)
        )
    return "..." if field.default_factory is MISSING else str(field.default_factory())


def _words(parameter: Parameter) -> str:
    kinds = kinds_of(parameter.annotation, parameter.module)
    return words(kinds) if kinds is not None else ast.unparse(parameter.annotation)
