"""Hydra's sweep syntax as a search space."""

import optuna
import pytest

from manyheads.errors import UserError
from manyheads.sweep.space import Axis, fingerprint, read_space


def axis(text):
    return read_space({}, [f"x={text}"], None)[0]["x"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("interval(0,1)", Axis(low=0.0, high=1.0)),
        ("tag(log,interval(1e-4,1e-2))", Axis(low=1e-4, high=1e-2, log=True)),
        ("int(interval(1,8))", Axis(low=1, high=8)),
        ("range(1,5)", Axis(low=1, high=4, step=1)),
        ("range(2,9,3)", Axis(low=2, high=8, step=3)),
        ("range(5,1,-2)", Axis(low=3, high=5, step=2)),
        ("tag(log,range(1,100))", Axis(low=1, high=99, log=True)),
        ("choice(a,b)", Axis(choices=("a", "b"))),
        ("a,b,a", Axis(choices=("a", "b"))),
        ("[1,2],[3]", Axis(choices=("[1,2]", "[3]"))),
        ("true,null", Axis(choices=("True", "null"))),
    ],
)
def test_syntax(text, expected):
    assert axis(text) == expected


def test_an_order_drawn_at_random_is_none_of_a_search():
    assert {axis("shuffle(a,b,c,d,e,f,g)") for _ in range(5)} == {Axis(choices=tuple("abcdefg"))}
    assert {axis("shuffle(range(1,9))") for _ in range(5)} == {Axis(low=1, high=8, step=1)}


def test_floats_of_a_range_are_those_that_hydra_has():
    found = axis("range(0.0,0.3,0.1)")
    assert found.values("x") == pytest.approx([0.0, 0.1, 0.2])
    assert found.high == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("interval(1,0)", "x: 1.0 is more than 0.0"),
        ("tag(log,interval(0,1))", "starts above 0"),
        ("tag(ln,interval(1,2))", "no tag ln"),
        ("tag(log,choice(1,2))", "choices have no scale"),
        ("tag(log,range(1,9,2))", "takes no step"),
        ("range(3,3)", "empty"),
    ],
)
def test_what_cannot_be_searched_is_refused(text, words):
    with pytest.raises(UserError, match="x: ") as told:
        axis(text)
    assert words in str(told.value)


def test_a_grid_needs_values():
    assert axis("a,b").values("x") == ["a", "b"]
    assert axis("range(2,9,3)").values("x") == [2, 5, 8]
    with pytest.raises(UserError, match=r"x: a grid has no values for interval"):
        axis("interval(0,1)").values("x")


def test_the_command_line_wins_over_yaml():
    params = {"a": "interval(0, 1)", "b": [1, 2], "c": "range(3)", "d": 5}
    axes, fixed = read_space(params, ["a=choice(7,8)", "c=1", "e='x y'"], None)
    assert axes == {"a": Axis(choices=("7", "8")), "b": Axis(choices=("1", "2"))}
    assert fixed == ["c=1", "d=5", "e='x y'"]


@pytest.mark.parametrize("text", ["interval(0,1)", "range(1,5)", "int(interval(1,8))", "tag(log,range(1,100))", "a,b"])
def test_what_is_suggested_lies_within_and_stays(text):
    study, axes = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1)), axis(text)
    for _ in range(20):
        trial = study.ask()
        value = axes.suggest(trial, "x")
        assert value in axes.choices if axes.choices else axes.low <= value <= axes.high
        assert axes.suggest(trial, "x") == value


def test_a_space_is_known_again():
    first, _ = read_space({}, ["a=1,2", "b=interval(0,1)"], None)
    same, _ = read_space({}, ["b=interval(0,1)", "a=1,2"], None)
    other, _ = read_space({}, ["a=1,2", "b=interval(0,2)"], None)
    assert fingerprint(first) == fingerprint(same) != fingerprint(other)
