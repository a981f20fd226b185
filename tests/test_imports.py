"""Imports go one way. A new package of `manyheads` gets a line in ARROWS before it may import any other."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import manyheads

ROOT = Path(manyheads.__file__).parent

ARROWS = {
    "errors": set(),
    "atomic": {"errors"},
    "config": {"atomic", "errors"},
    "attention": {"atomic", "errors"},
    "attention.load": {"config"},
    "position": {"attention", "errors"},
    "data": {"atomic", "errors"},
    "model": {"attention", "position", "data.base", "errors"},
    "preflight": {"attention", "model", "errors"},
    "training": {"atomic", "attention", "errors"},
    "training.ranks": {"config.parent"},
    "task": {"atomic", "baseline", "model", "data", "training", "errors"},
    "pruning": {"atomic", "attention", "model", "position", "task", "training", "errors"},
    "analysis": {"atomic", "attention", "data", "model", "task", "training", "errors"},
    "report": {"atomic", "config", "errors"},
    "build": {"attention", "config", "data", "model", "task", "training", "pruning", "analysis", "errors"},
    "sweep": {"atomic", "config", "report", "errors"},
    "load": {"build", "config", "data", "model", "pruning", "task", "training", "errors"},
    "estimate": {"attention", "build", "config", "data", "model", "task", "training", "errors"},
    "baseline": {"errors"},
    "export": {"atomic", "attention", "config", "data", "load", "model", "pruning", "training", "errors"},
    "predictions": {"analysis", "load", "config", "data", "model", "task", "errors"},
    "doctor": {
        "attention",
        "build",
        "config",
        "data",
        "errors",
        "estimate",
        "model",
        "preflight",
        "task",
        "training",
    },
    "measure": {
        "analysis",
        "atomic",
        "attention",
        "build",
        "estimate",
        "load",
        "config",
        "data",
        "model",
        "pruning",
        "sweep",
        "task",
        "training",
        "errors",
    },
}
"""What each part may import of the others, and single modules beyond their part.

Files at the top that are not named here are programs: they may import everything but `train`, and nothing imports them
but other programs.
"""


def files() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def dotted(file: Path) -> str:
    """attention.kernels.sdpa; a package is its `__init__`."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"), file)


def imported(nodes: Iterator[ast.AST], inside: str) -> Iterator[str]:
    """Full names of everything that is imported, late imports included; `from a import b` names a.b."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = [] if not node.level else ["manyheads", *inside.split(".")][: -node.level]
            base = ".".join([*parent, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def everything(file: Path) -> list[str]:
    return list(imported(ast.walk(parsed(file)), dotted(file)))


def own(file: Path) -> list[str]:
    """What of manyheads is imported, without that name in front."""
    return [name.removeprefix("manyheads.") for name in everything(file) if name.startswith("manyheads.")]


def part(name: str) -> str:
    return name.split(".")[0]


def under(name: str, allowed: set[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in allowed)


def programs() -> set[str]:
    return {file.stem for file in ROOT.glob("*.py")} - set(ARROWS) - {"__init__"}


def test_the_arrows_have_no_circle():
    TopologicalSorter({name: {part(goal) for goal in goals} for name, goals in ARROWS.items()}).prepare()


def test_every_package_states_its_arrows():
    packages = {file.parent.name for file in ROOT.glob("*/*.py")}
    assert not packages - set(ARROWS), "give it a line in ARROWS"


@pytest.mark.parametrize("file", files(), ids=dotted)
def test_imports_follow_the_arrows(file):
    here = dotted(file)
    if here == "__init__":
        return
    stated = [goals for name, goals in ARROWS.items() if under(here, {name})]
    allowed = set().union({part(here)}, *stated) if stated else set(ARROWS) | programs()
    wrong = [name for name in own(file) if not under(name, allowed)]
    assert not wrong, f"{dotted(file)} must not import {', '.join(wrong)}"


def test_modules_have_no_circle():
    """While they are loaded; a late import inside a function cannot make one."""
    known = {dotted(file).removesuffix(".__init__"): file for file in files()}

    def goals(name: str, file: Path) -> set[str]:
        at_once = [name.removeprefix("manyheads.") for name in imported(_at_once(parsed(file)), dotted(file))]
        found = {goal if goal in known else goal.rpartition(".")[0] for goal in at_once}
        return {goal for goal in found if goal in known} - {name}

    TopologicalSorter({name: goals(name, file) for name, file in known.items()}).prepare()


def _at_once(node: ast.AST) -> Iterator[ast.AST]:
    """The statements that run when a module is loaded: those of functions do not, nor those for type checkers."""
    for child in ast.iter_child_nodes(node):
        typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not typing_only:
            yield child
            yield from _at_once(child)


def test_nothing_imports_the_entry():
    """But the program that trains on from a finished run."""
    assert [dotted(file) for file in files() if any(under(n, {"train"}) for n in own(file))] == ["prune"]


IN_A_JOB = {"sweep.trial", "sweep.samplers"}
LIGHT = [
    file
    for file in files()
    if part(dotted(file)) in {"config", "errors", "__init__", "train", "sweep"} and dotted(file) not in IN_A_JOB
]


@pytest.mark.parametrize("file", LIGHT, ids=dotted)
def test_the_command_line_waits_for_no_torch(file):
    """Tab completion and --help load these, and nothing heavy with them."""
    heavy = {
        "torch",
        "lightning",
        "datasets",
        "tokenizers",
        "torchmetrics",
        "tensorboard",
        "numpy",
        "einops",
        "jaxtyping",
        "optuna",
        "ray",
        "submitit",
    }
    at_once = set(imported(_at_once(parsed(file)), dotted(file)))
    found = at_once if part(dotted(file)) in {"train", "__init__", "sweep"} else set(everything(file))
    assert not {name for name in found if part(name) in heavy}


def test_errors_import_nothing():
    assert everything(ROOT / "errors.py") == []


def test_triton_sources_know_nothing_of_the_package():
    for file in (ROOT / "attention" / "kernels" / "triton").rglob("*.py"):
        assert not [
            n
            for n in everything(file)
            if part(n) == "manyheads" and not n.startswith("manyheads.attention.kernels.triton")
        ]


def test_objects_are_made_from_config_in_one_place():
    def touches(file: Path) -> bool:
        spoken = {ast.unparse(node) for node in ast.walk(parsed(file)) if isinstance(node, ast.Attribute)}
        makers = ("hydra.utils", "hydra._internal.instantiate")
        return any(name.startswith(makers) for name in [*spoken, *everything(file)])

    assert [dotted(file) for file in files() if touches(file)] == ["config.objects"]


@pytest.mark.parametrize("file", [f for f in files() if f.name == "__init__.py"], ids=dotted)
def test_packages_only_hand_on_names(file):
    for node in parsed(file).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        names = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        late = isinstance(node, ast.FunctionDef) and node.name == "__getattr__"
        assert docstring or names or late or isinstance(node, ast.Import | ast.ImportFrom), ast.unparse(node)
