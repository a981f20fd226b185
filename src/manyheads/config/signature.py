"""The parameters of a class or function, read from its source.

Importing torch to learn that AdamW has no `lrr` takes ten seconds; reading the file takes milliseconds. So a dotted
name is followed through files and re-exports with `ast`, and nothing is imported. Where source cannot tell
(compiled code, a module's `__getattr__`), the answer is None: unknown, to be accepted.
"""

import ast
import builtins
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

OWN = "manyheads"

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class NotThere(LookupError):
    """The name is certainly not defined; `names` are those that are."""

    def __init__(self, name: str, names: list[str]) -> None:
        super().__init__(name)
        self.names = names


@dataclass(frozen=True)
class Module:
    """A source file: what its top level binds, each name to the node that binds it (an import to a dotted name)."""

    name: str
    path: Path
    bound: dict[str, ast.AST | str] = field(hash=False)
    stars: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """A definition (or, for an alias, the expression assigned) and the module it stands in."""

    module: Module
    node: ast.AST
    static: bool = True

    @property
    def own(self) -> bool:
        return self.module.name.split(".")[0] == OWN


@dataclass(frozen=True)
class Parameter:
    name: str
    annotation: ast.expr | None
    default: ast.expr | None
    module: Module

    @property
    def required(self) -> bool:
        return self.default is None


@dataclass(frozen=True)
class Signature:
    """open: further names are accepted too (`**kwargs`)."""

    parameters: dict[str, Parameter]
    open: bool = False


def signature(target: str) -> Signature | None:
    """The parameters of a dotted target; None where source cannot tell. Raises NotThere."""
    found = find(target)
    return None if found is None else signature_of(found)


def signature_of(found: Found) -> Signature | None:
    if isinstance(found.node, ast.ClassDef):
        return _of_class(found)
    if isinstance(found.node, Definition):
        return _of_function(found, skip=0 if found.static else 1)
    return None


# --- finding -----------------------------------------------------------------------------------------------------


def find(dotted: str, seen: frozenset = frozenset()) -> Found | None:
    """The definition behind a dotted name; None where source cannot tell. Raises NotThere."""
    parts = dotted.split(".")
    if not all(parts) or _root(parts[0]) is None:
        raise NotThere(dotted, [])
    for cut in range(len(parts), 0, -1):
        module = read(".".join(parts[:cut]))
        if module is not None:
            return within(module, parts[cut:], seen) if parts[cut:] else None
    return None


def within(module: Module, names: list[str], seen: frozenset = frozenset()) -> Found | None:
    """What `a.b` means inside a module; None where source cannot tell. Raises NotThere."""
    name, rest = names[0], names[1:]
    if (module.name, name) in seen:
        return None
    seen = seen | {(module.name, name)}
    node = module.bound.get(name)
    if isinstance(node, str):
        return find(".".join([node, *rest]), seen)
    if node is None:
        return _elsewhere(module, names, seen)
    return _inside(Found(module, node), rest)


def _inside(found: Found, rest: list[str]) -> Found | None:
    if not rest:
        return found
    method = _method(found.node, rest[0]) if isinstance(found.node, ast.ClassDef) and len(rest) == 1 else None
    return None if method is None else Found(found.module, method, "staticmethod" in _decorators(method))


def _elsewhere(module: Module, names: list[str], seen: frozenset) -> Found | None:
    for star in module.stars:
        try:
            return find(".".join([star, *names]), seen)
        except NotThere:
            continue
    compiled = module.path.name == "__init__.py" and any(module.path.parent.glob(f"{names[0]}.*"))
    if "__getattr__" in module.bound or compiled:
        return None
    raise NotThere(f"{module.name}.{names[0]}", [*module.bound, *_submodules(module)])


def _submodules(module: Module) -> list[str]:
    if module.path.name != "__init__.py":
        return []
    return [path.stem for path in module.path.parent.iterdir() if path.suffix == ".py" or path.is_dir()]


@cache
def _root(top: str) -> Path | None:
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    return Path(next(iter(spec.submodule_search_locations or []), spec.origin or ""))


@cache
def read(dotted: str) -> Module | None:
    """The module of that dotted name, or None where there is no such source file."""
    top, *rest = dotted.split(".")
    root = _root(top)
    if root is None:
        return None
    path = root.joinpath(*rest)
    for candidate in (path / "__init__.py", path.with_suffix(".py") if rest else path):
        if candidate.suffix == ".py" and candidate.is_file():
            return read_file(candidate, dotted)
    return None


def read_file(path: Path, name: str) -> Module:
    """The module in a file; `name` is what its relative imports start from."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    bound: dict[str, ast.AST | str] = {}
    stars: list[str] = []
    for statement in _statements(ast.parse(path.read_bytes()).body):
        for key, value in _bindings(statement, package):
            if key == "*":
                stars.append(str(value))
            else:
                bound.setdefault(key, value)
    return Module(name, path, bound, tuple(stars))


def _statements(body: list[ast.stmt]):
    """The statements of a top level, those under if, try and with included."""
    for statement in body:
        yield statement
        if not isinstance(statement, Definition):
            for part in ("body", "handlers", "orelse", "finalbody"):
                yield from _statements(getattr(statement, part, []))


def _bindings(statement: ast.stmt, package: str):
    if isinstance(statement, Definition):
        if "overload" not in _decorators(statement):
            yield statement.name, statement
    elif isinstance(statement, ast.ImportFrom):
        origin = _origin(statement, package)
        for alias in statement.names:
            yield (alias.asname or alias.name), origin if alias.name == "*" else f"{origin}.{alias.name}"
    elif isinstance(statement, ast.Import):
        for alias in statement.names:
            yield (alias.asname, alias.name) if alias.asname else (alias.name.split(".")[0],) * 2
    elif isinstance(statement, ast.Assign):
        yield from ((t.id, statement.value) for t in statement.targets if isinstance(t, ast.Name))
    elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        yield statement.target.id, statement.value or statement.annotation


def _origin(statement: ast.ImportFrom, package: str) -> str:
    if not statement.level:
        return statement.module or ""
    parts = package.split(".")
    base = ".".join(parts[: len(parts) - statement.level + 1])
    return f"{base}.{statement.module}" if statement.module else base


# --- reading -----------------------------------------------------------------------------------------------------


def dotted_name(node: ast.AST) -> str | None:
    """`a.b.c` as text, or None for any other expression."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        left = dotted_name(node.value)
        return None if left is None else f"{left}.{node.attr}"
    return None


def _decorators(node: ast.AST) -> set[str]:
    called = (d.func if isinstance(d, ast.Call) else d for d in getattr(node, "decorator_list", []))
    return {(dotted_name(d) or "").rpartition(".")[2] for d in called}


def _method(node: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    made = (n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == name)
    return next((n for n in made if "overload" not in _decorators(n)), None)


def _of_function(found: Found, skip: int) -> Signature:
    arguments = found.node.args
    ordered = [*arguments.posonlyargs, *arguments.args]
    defaults = [*[None] * (len(ordered) - len(arguments.defaults)), *arguments.defaults]
    # A parameter that is positional only cannot be given by a key.
    pairs = list(zip(ordered, defaults, strict=True))[max(skip, len(arguments.posonlyargs)) :]
    pairs += list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
    parameters = {a.arg: Parameter(a.arg, a.annotation, default, found.module) for a, default in pairs}
    return Signature(parameters, open=arguments.kwarg is not None)


def _of_class(found: Found) -> Signature | None:
    made = _method(found.node, "__init__") or _method(found.node, "__new__")
    if made is None and {"dataclass"} & _decorators(found.node):
        return _of_dataclass(found)
    if made is None:
        return _closed(found, _inherited(found))
    mine = _of_function(Found(found.module, made), skip=1)
    if not (mine.open and found.own):
        return mine
    # Our own classes hand **kwargs to their base, so the base's names are theirs.
    base = _closed(found, _inherited(found))
    return None if base is None else Signature({**base.parameters, **mine.parameters}, base.open)


def _closed(found: Found, base: Signature | None) -> Signature | None:
    """torch's Module takes **kwargs only to refuse them; a class of ours that has no `__init__` takes none."""
    return Signature(base.parameters) if base is not None and found.own else base


def _bases(found: Found) -> list[Found | None]:
    names = (dotted_name(b.value if isinstance(b, ast.Subscript) else b) for b in found.node.bases)
    plain = [n for n in names if n is None or n.rpartition(".")[2] not in ("object", "Generic", "Protocol", "ABC")]
    return [resolve(found.module, name) for name in plain]


def resolve(module: Module, name: str | None) -> Found | None:
    """A name as a module's code means it; None where source cannot tell, and for built-ins."""
    if name is None or (name in vars(builtins) and name not in module.bound):
        return None
    try:
        return within(module, name.split("."))
    except NotThere:
        return None


def _inherited(found: Found) -> Signature | None:
    for base in _bases(found):
        known = signature_of(base) if base is not None else None
        if known is None or known.parameters or known.open:
            return known
    return Signature({})


def _of_dataclass(found: Found) -> Signature | None:
    parameters: dict[str, Parameter] = {}
    for base in reversed(_bases(found)):
        inherited = signature_of(base) if base is not None else None
        if inherited is None:
            return None
        parameters |= inherited.parameters
    for item in found.node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            parameters |= _field(found.module, item)
    return Signature(parameters)


def _field(module: Module, item: ast.AnnAssign) -> dict[str, Parameter]:
    called = item.value if isinstance(item.value, ast.Call) and dotted_name(item.value.func) else None
    is_field = called is not None and dotted_name(called.func).rpartition(".")[2] == "field"
    given = {k.arg: k.value for k in called.keywords} if is_field else {}
    if "ClassVar" in ast.dump(item.annotation) or getattr(given.get("init"), "value", True) is False:
        return {}
    default = given.get("default") or given.get("default_factory") if is_field else item.value
    return {item.target.id: Parameter(item.target.id, item.annotation, default, module)}
