"""What an annotation accepts from yaml, and the words for it. An annotation that cannot be told accepts anything."""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from manyheads.config.names import did_you_mean, shown
from manyheads.config.signature import Module, Parameter, dotted_name, resolve


@dataclass(frozen=True)
class Kind:
    """words: how a sentence names it; fits: whether a plain value of yaml is one; names: the choices, if few."""

    words: str
    fits: Callable[[Any], bool]
    names: tuple[str, ...] = ()


Kinds = list[Kind] | None  # None: anything goes; an empty list: nothing that yaml can write

NULL = Kind("null", lambda v: v is None)
WHOLE = Kind("a whole number", lambda v: isinstance(v, int) and not isinstance(v, bool))
NUMBER = Kind("a number", lambda v: isinstance(v, int | float) and not isinstance(v, bool))
SWITCH = Kind("true or false", lambda v: isinstance(v, bool))
TEXT = Kind("text", lambda v: isinstance(v, str))
PATH = Kind("a path", lambda v: isinstance(v, str))

SIMPLE = {
    "None": [NULL], "int": [WHOLE], "float": [NUMBER], "bool": [SWITCH], "str": [TEXT],
    "Path": [PATH], "PathLike": [PATH], "Tensor": [], "Any": None, "object": None,
}  # fmt: skip
LISTS = ("list", "List", "tuple", "Tuple", "Sequence", "Iterable", "Collection", "set", "Set", "frozenset")
DICTS = ("dict", "Dict", "Mapping", "MutableMapping")
# Classes of these bases can be written in yaml in ways that only the class knows.
WRITABLE = {"Enum", "IntEnum", "StrEnum", "TypedDict", "NamedTuple", "Protocol", *LISTS, *DICTS, "str", "int", "float"}


def complaint(value: Any, parameter: Parameter) -> str | None:
    """What is wrong with a value for a parameter, to follow the key in a sentence; None where nothing is."""
    if getattr(parameter.default, "value", ...) is None and value is None:
        return None
    kinds = kinds_of(parameter.annotation, parameter.module)
    if kinds is None or unknown(value) or any(kind.fits(value) for kind in kinds):
        return None
    choices = [name for kind in kinds for name in kind.names]
    return f"must be {words(kinds)}, not {shown(value)}.{did_you_mean(str(value), choices)}"


def words(kinds: list[Kind]) -> str:
    """`a whole number or null`, each thing named once and all choices together."""
    choices = dict.fromkeys(name for kind in kinds for name in kind.names)
    names = list(dict.fromkeys(kind.words for kind in kinds if not kind.names))
    if NUMBER.words in names and WHOLE.words in names:
        names.remove(WHOLE.words)
    return " or ".join([*([f"one of {', '.join(choices)}"] if choices else []), *names]) or "what yaml cannot write"


def unknown(value: Any) -> bool:
    """Text that stands for a value which is not there yet."""
    return isinstance(value, str) and (value == "???" or "${" in value)


def kinds_of(node: ast.expr | None, module: Module, depth: int = 0) -> Kinds:
    """The kinds an annotation stands for, read as the code of `module` means it."""
    if node is None or depth > 12:
        return None
    if isinstance(node, ast.Constant):
        return _quoted(node.value, module, depth)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union([node.left, node.right], module, depth)
    if isinstance(node, ast.Subscript):
        return _subscript(node, module, depth)
    return _named(node, module, depth)


def _quoted(value: object, module: Module, depth: int) -> Kinds:
    if value is None:
        return [NULL]
    if not isinstance(value, str):
        return None
    try:
        return kinds_of(ast.parse(value, mode="eval").body, module, depth + 1)
    except SyntaxError:
        return None


def _union(arms: list[ast.expr], module: Module, depth: int) -> Kinds:
    each = [kinds_of(arm, module, depth + 1) for arm in arms]
    return None if any(kinds is None for kinds in each) else [kind for kinds in each for kind in kinds]


def _subscript(node: ast.Subscript, module: Module, depth: int) -> Kinds:
    name = (dotted_name(node.value) or "").rpartition(".")[2]
    inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if name == "Literal":
        return _literal(inner)
    if name in ("Optional", "Union"):
        return _union([*inner, *([ast.Constant(None)] if name == "Optional" else [])], module, depth)
    if name in ("Annotated", "Float", "Int", "Bool", "Shaped", "Num", "Integer", "Inexact"):
        return kinds_of(inner[0], module, depth + 1)
    if name in LISTS:
        return [_list(name, inner, module, depth)]
    if name in DICTS:
        return [_dict(kinds_of(inner[-1], module, depth + 1))]
    return _named(node.value, module, depth)


def _literal(inner: list[ast.expr]) -> Kinds:
    values = [getattr(item, "value", ...) for item in inner]
    if ... in values:
        return None
    names = tuple(dict.fromkeys(map(str, values)))
    # true is not 1 here, although Python thinks them equal
    return [Kind(", ".join(names), lambda v: any(v == w and type(v) is type(w) for w in values), names)]


def _fits(kinds: Kinds, value: Any) -> bool:
    return kinds is None or unknown(value) or any(kind.fits(value) for kind in kinds)


def _list(name: str, inner: list[ast.expr], module: Module, depth: int) -> Kind:
    each = [kinds_of(item, module, depth + 1) for item in inner]
    endless = getattr(inner[-1], "value", None) is ...
    what = f" (each {words(each[0])})" if each[0] else ""
    if name.lower() == "tuple" and not endless:
        return Kind(
            f"a list of {len(each)}{what}",
            lambda v: isinstance(v, list) and len(v) == len(each) and all(map(_fits, each, v)),
        )
    return Kind(f"a list{what}", lambda v: isinstance(v, list) and all(_fits(each[0], item) for item in v))


def _dict(values: Kinds) -> Kind:
    return Kind("a set of keys", lambda v: _is_plain(v) and all(_fits(values, item) for item in v.values()))


def _is_plain(value: Any) -> bool:
    return isinstance(value, dict) and "_target_" not in value


def _built(name: str) -> Kind:
    return Kind(f"an object ({name}, by its _target_)", lambda v: isinstance(v, dict) and "_target_" in v)


def _named(node: ast.expr, module: Module, depth: int) -> Kinds:
    dotted = dotted_name(node)
    name = (dotted or "").rpartition(".")[2]
    if name in SIMPLE:
        return SIMPLE[name]
    if name in LISTS:
        return [Kind("a list", lambda v: isinstance(v, list))]
    if name in DICTS:
        return [_dict(None)]
    if name == "Callable":
        return [_built("a function")]
    found = resolve(module, dotted)
    if found is None:
        return None
    if isinstance(found.node, ast.ClassDef):
        bases = {(dotted_name(base) or "?").rpartition(".")[2] for base in found.node.bases}
        return None if bases & WRITABLE else [_built(name)]
    return kinds_of(found.node, found.module, depth + 1) if isinstance(found.node, ast.expr) else None
