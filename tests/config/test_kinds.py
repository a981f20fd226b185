"""What annotations accept: each value that yaml can write is taken or refused as the type says."""

import ast
from pathlib import Path

import pytest

from manyheads.config.kinds import complaint
from manyheads.config.signature import Parameter, read_file

SCOPE = """
from enum import Enum
from typing import Literal, Optional, Union
from torch import Tensor

class Layer: ...
class Colour(Enum): ...
Size = Union[int, list[int]]
Mode = Literal["min", "max"]
"""
NODE = {"_target_": "torch.nn.Linear"}


@pytest.fixture
def refusal(tmp_path: Path):
    (tmp_path / "scope.py").write_text(SCOPE)
    module = read_file(tmp_path / "scope.py", "scope")

    def ask(annotation, value, default="..."):
        node = ast.parse(annotation, mode="eval").body
        return complaint(value, Parameter("x", node, ast.parse(default, mode="eval").body, module))

    return ask


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        ("int", [1, -1], [1.0, True, "1", None, NODE, [1]]),
        ("float", [1, 0.5], [True, "1", None]),
        ("bool", [True, False], [0, 1, "true", None]),
        ("str", ["a", ""], [1, True, None, ["a"], NODE]),
        ("int | None", [1, None], ["a", 1.5]),
        ("Optional[float]", [1, None], ["a"]),
        ("Union[int, str]", [1, "a"], [1.5, None]),
        ("'int | None'", [1, None], ["a"]),
        ("Literal['min', 'max', 1]", ["min", 1], ["mn", True, None, 2]),
        ("Mode", ["min"], ["mean"]),
        ("list[int]", [[], [1]], [["a"], 1, "12", None]),
        ("tuple[float, float]", [[0.1, 1]], [[0.1], [0.1, "a"], 0.1]),
        ("tuple[int, ...]", [[], [1, 2, 3]], [["a"]]),
        ("Sequence[str]", [["a"]], ["a"]),
        ("dict[str, int]", [{"a": 1}, {}], [{"a": "b"}, NODE, 1]),
        ("Path | None", ["a/b", None], [1]),
        ("pathlib.Path", ["a/b"], [1]),
        ("Union[float, Tensor]", [0.1], ["a", NODE]),
        ("Float[Tensor, 'b n']", [], [0.1, "a"]),
        ("Layer", [NODE], ["relu", 1, {"dim": 1}, None]),
        ("Callable[[int], Layer]", [NODE], ["relu", 1]),
        ("list[Layer]", [[NODE]], [["relu"], NODE]),
        ("Size", [1, [1, 2]], ["a", None]),
        ("Any", [1, "a", None, NODE], []),
        ("Colour", ["red", 1], []),
        ("Unheard", [1, "a", None, NODE], []),
        ("Unheard | int", ["a"], []),
        ("int", ["???", "${data.size}"], []),
        ("list[int]", [["${data.size}"]], []),
    ],
)
def test_accepts(refusal, annotation, good, bad):
    assert [value for value in good if refusal(annotation, value)] == []
    assert [value for value in bad if not refusal(annotation, value)] == []


def test_null_where_it_is_the_default(refusal):
    assert refusal("int", None, default="None") is None


def test_sentences(refusal):
    assert refusal("int", "abc") == "must be a whole number, not 'abc'."
    assert refusal("int | float | None", NODE) == "must be a number or null, not an object (torch.nn.Linear)."
    assert refusal("Mode | None", "mx") == "must be one of min, max or null, not 'mx'. Did you mean max?"
    assert refusal("Layer", "relu") == "must be an object (Layer, by its _target_), not 'relu'."
