"""The benchmarks of theory: their grids, what goes on where it was cut off, what they say, and refusals."""

import json
import math
from pathlib import Path

import pytest
import torch

from manyheads.errors import UserError
from manyheads.measure.command import measure
from manyheads.measure.theory import extrapolation_report, formal_report
from manyheads.measure.theory.asked import Extrapolation, Formal
from manyheads.measure.theory.extrapolation import perplexities
from manyheads.measure.theory.formal import grid
from manyheads.measure.theory.store import Cell, filled

PARTS = ("0.5x", "1x", "2x", "4x")


def asked(**changes) -> Formal:
    return Formal(folder=Path("nowhere"), **changes)


def cell(position: str, curve: tuple[float, ...], layers: int = 2, seed: int = 1) -> dict:
    scores = {
        f"{kind}_{part}": value for kind in ("recognised", "accuracy") for part, value in zip(PARTS, curve, strict=True)
    }
    traits = {"language": "dyck", "attention": "dense", "position": position, "layers": layers, "seed": seed}
    return {**traits, "scores": scores, "baseline": {"5-gram": dict.fromkeys(scores, 0.7)}}


def test_one_choice_is_changed_at_a_time_or_all_of_them():
    few = grid(asked(languages="parity", attentions="dense,linear", positions="rope,none"), [])
    assert [c.name for c in few] == [
        "parity-dense-rope-2-1", "parity-dense-none-2-1", "parity-dense-rope-1-1", "parity-dense-none-1-1",
        "parity-linear-rope-2-1",
    ]  # fmt: skip
    every = grid(
        asked(languages="parity", attentions="dense,linear", positions="rope,none", full=True, seeds="1,2"), []
    )
    assert len(every) == len({c.name for c in every}) == 16
    assert all("data.language=parity" in c.overrides and c.overrides[0] == "data=formal_language" for c in every)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"languages": "party"}, "languages=party: party is not known.*parity"),
        ({"positions": "rop"}, "positions=rop: rop is not known.*rope"),
        ({"layers": "two"}, "layers=two are no whole numbers"),
    ],
)
def test_names_that_are_not_there_are_refused(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        grid(asked(**changes), [])


def test_what_is_measured_is_kept_unless_something_else_is_asked(tmp_path):
    cells, made = [Cell("one", {"n": 1}, ("a=1",)), Cell("two", {"n": 2}, ())], []

    def once(cell: Cell) -> dict:
        made.append(cell.name)
        if cell.name == "two":
            raise UserError("It is too long.")
        return {"score": 1.0}

    assert filled(tmp_path, cells, {}, None) == []
    expected = [{"n": 1, "score": 1.0}, {"n": 2, "refused": "It is too long."}]
    assert filled(tmp_path, cells, {}, once) == filled(tmp_path, cells, {}, once) == expected
    assert made == ["one", "two"]
    filled(tmp_path, [Cell("one", {"n": 1}, ("a=2",))], {}, once)
    filled(tmp_path, [Cell("one", {"n": 1}, ("a=2",))], {"steps": 9}, once)
    assert made == ["one", "two", "one", "one"]


def test_sentences_say_who_learns_how_far_and_who_guesses(tmp_path, capsys):
    found = [
        cell("rope", (1.0, 0.99, 0.97, 0.7)),
        cell("alibi", (1.0, 1.0, 0.98, 0.96)),
        cell("alibi", (1.0, 1.0, 1.0, 1.0), seed=2),
        cell("none", (0.9, 0.6, 0.55, 0.5)),
        {
            "language": "dyck",
            "attention": "dense",
            "position": "learned",
            "layers": 2,
            "seed": 1,
            "refused": "Too long.",
        },
    ]
    formal_report.publish(found, asked(), [], tmp_path / "formal.json")
    lines = capsys.readouterr().out.split("\n")
    assert lines[0] == "Dyck-2: 2 of 3 models recognise the words of trained lengths that they had not seen."
    assert lines[1] == "  Not so: dense with none, 2 layers (0.60)."
    assert lines[2] == "  dense with alibi, 2 layers: holds up to 4x the trained length, ends at 0.98."
    assert lines[3] == "  dense with rope, 2 layers: holds up to 2x the trained length, ends at 0.70."
    assert lines[4] == "  dense with none, 2 layers: does not learn it, guesses from 1x on."
    assert (
        lines[5] == "  At 4x the best is dense with alibi, 2 layers with 0.98; the last five symbols alone give 0.70."
    )
    text = (tmp_path / "formal.md").read_text()
    assert "| dense | rope | 2 | 1.00 | 0.99 | 0.97 | 0.70 | 0.70 |" in text
    assert "| dense | learned | 2 | Too long. |" in text
    assert "`python scripts/benchmark.py formal folder=nowhere`" in text
    assert json.loads((tmp_path / "formal.json").read_text())["cells"] == found
    assert (tmp_path / "formal.png").read_bytes().startswith(b"\x89PNG")


def test_a_language_is_named_by_its_brackets_and_one_that_recovers_does_not_guess_from_there_on(tmp_path, capsys):
    formal_report.publish([cell("rope", (0.5, 0.97, 0.6, 0.7))], asked(), ["data.kinds=3"], tmp_path / "formal.json")
    lines = capsys.readouterr().out.split("\n")
    assert lines[0].startswith("Dyck-3: all of 1 models")
    assert lines[1].endswith("does not learn it, ends at 0.70.")
    assert "## Dyck-3" in (tmp_path / "formal.md").read_text()


def test_reading_on_is_held_against_forgetting(tmp_path, capsys):
    short, far, worse = [2.0] * 4, [2.0] * 4 + [1.5] * 4, [2.0] * 4 + [8.0] * 4
    refusal = {"refused": "Too long."}
    found = [
        {"position": position, "seed": 1, "read": {way: {"1x": {"curve": short}, "2x": last}}, "forgetting": short * 2}
        for position, way, last in (
            ("alibi", "none", {"curve": far}), ("rope", "yarn", {"curve": worse}), ("learned", "none", refusal)
        )
    ]  # fmt: skip
    extrapolation_report.publish(found, Extrapolation(folder=tmp_path, length=16), [], tmp_path / "found.json")
    lines = capsys.readouterr().out.split("\n")
    assert lines[0].endswith(
        "2.0 at 1x, 1.5 at 2x; there 25% better than forgetting all at every trained length (2.0)."
    )
    assert lines[1].startswith("rope, yarn: perplexity 2.0 at 1x, 8.0 at 2x; there 300% worse")
    assert lines[2] == "learned: perplexity 2.0 at 1x; at 2x it is refused: Too long."
    text = (tmp_path / "found.md").read_text()
    assert "| learned | 2.0 | refused | 2.0 |" in text
    assert (tmp_path / "found.png").is_file()


def test_perplexity_is_of_a_quarter_of_the_trained_length():
    nats = torch.tensor([[0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0, 3.0]]).log1p().repeat(3, 1)
    expected = [round(math.exp(math.log1p(n)), 3) for n in (0, 1, 2, 3, 0, 1, 2, 3)]
    assert perplexities(nats, 4) == expected


@pytest.mark.slow
def test_both_run_end_to_end(tmp_path):
    tiny = ("steps=3", "model.dim=16", "model.heads=2", "model.hidden=16")
    more = ("languages=anbn", "attentions=dense", "positions=rope", "layers=1", "data.words=100", "data.tests=20")
    measure(["formal", f"folder={tmp_path / 'formal'}", *tiny, *more])
    found = json.loads((tmp_path / "formal" / "formal.json").read_text())["cells"]
    assert 0 <= found[0]["scores"]["recognised_4x"] <= 1
    more = ("length=16", "positions=rope,learned", "scalings=none,yarn", "data.stories=100", "model.layers=1")
    measure(["extrapolation", f"folder={tmp_path / 'lengths'}", *tiny, *more, f"paths.cache={tmp_path}"])
    ways = json.loads((tmp_path / "lengths" / "extrapolation.json").read_text())["ways"]
    assert [way["name"] for way in ways] == ["rope", "rope, yarn", "learned"]
    assert "position.limit=16" in ways[2]["refused"]["2x"]
    assert len(ways[1]["curves"]["4x"]) == 16
