"""Arguments of scripts: values become what the dataclass says, mistakes become sentences."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from manyheads.config.arguments import guarded, parse
from manyheads.errors import UserError


@dataclass
class Arguments:
    """Translates a file."""

    run: Path = field(metadata={"help": "a run's folder"})
    input: str = "-"
    beam: int = 5
    penalty: float = 1.0
    format: Literal["text", "json"] = "text"
    limit: int | None = None
    names: list[str] = field(default_factory=list)
    quiet: bool = False


@dataclass
class Free:
    """Needs nothing."""

    size: int = 1


def test_values_become_their_types():
    given = ["run=a=b", "input=12", "beam=3", "penalty=1e-3", "format=json", "limit=null", "names=[x,y]", "quiet=true"]
    assert parse(Arguments, given) == Arguments(Path("a=b"), "12", 3, 0.001, "json", None, ["x", "y"], True)
    assert parse(Arguments, ["run=x"]) == Arguments(Path("x"))


@pytest.mark.parametrize("text", ["[a", "${b}", "null", "a: b", "", "1e3", "-"])
def test_text_is_taken_as_it_stands(text):
    assert parse(Arguments, ["run=x", f"input={text}"]).input == text


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["rn=x"], "rn= is no argument here. Did you mean run?"),
        (["x"], "x is no argument: write KEY=VALUE."),
        (["beam=2"], "run= is missing"),
        (["run=x", "beam=two"], "beam must be a whole number, not 'two'."),
        (["run=x", "beam=2.5"], "beam must be a whole number, not 2.5."),
        (["run=x", "format=jsn"], "format must be one of text, json, not 'jsn'. Did you mean json?"),
        (["run=x", "quiet=1"], "quiet must be true or false, not 1."),
    ],
)
def test_mistakes(argv, words):
    with pytest.raises(UserError) as error:
        parse(Arguments, argv)
    assert words in str(error.value)


@pytest.mark.parametrize("argv", [[], ["--help"], ["run=x", "-h"]])
def test_usage(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(Arguments, argv)
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "Translates a file." in shown
    assert "a run's folder" in shown
    assert "beam=5" in shown
    assert "one of text, json" in shown


def test_no_argument_is_fine_where_none_is_needed():
    assert parse(Free, []) == Free(1)


def test_guarded(capsys):
    def refuse():
        raise UserError("the file is empty.")

    def fail():
        raise KeyError("bug")

    assert guarded(lambda: None) == 0
    assert guarded(refuse) == 1
    assert capsys.readouterr().err == "error: the file is empty.\n"
    assert guarded(fail) == 1
    assert "Traceback" in capsys.readouterr().err
