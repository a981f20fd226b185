"""What pruning has left, written and read again: a model is built from it, and nothing is guessed."""

import json
from copy import deepcopy

import pytest
import torch
from families import attention, build, grown
from gated import draw

from manyheads.errors import UserError
from manyheads.model.layers import Constant
from manyheads.pruning.architecture import FORMAT, Architecture, narrow, parse, read
from manyheads.pruning.compact import compact
from manyheads.pruning.gates import Gates, put
from manyheads.pruning.sites import residuals, sites


def model(kind="translation", shape="encoder_decoder", block="vaswani2017", kv_heads="2", **changes):
    return build(kind, shape, attention("dense", f"attention.kv_heads={kv_heads}"), "rope", block, **changes)


def pruned(turn=0, **parts):
    made = grown(model(**parts))
    put(made, draw(made, turn))
    compact(made)
    return made


@pytest.mark.parametrize("turn", range(6))
@pytest.mark.parametrize("block", ["modern", "vaswani2017"])
def test_what_is_written_of_a_model_makes_one_like_it(block, turn, tmp_path):
    """The same names and shapes, so that weights load strictly; and what is said of it is said of the other."""
    small = pruned(turn, block=block)
    found = Architecture.of(small)
    found.write(tmp_path / "arch.json")
    again = model(block=block)
    narrow(again, read(tmp_path / "arch.json"))
    shapes = [{name: x.shape for name, x in one.state_dict().items()} for one in (small, again)]
    assert shapes[0] == shapes[1]
    assert Architecture.of(again) == found == read(tmp_path / "arch.json")
    assert [type(one.inner) for one in residuals(again).values()] == [
        type(one.inner) for one in residuals(small).values()
    ]


def test_it_is_written_in_plain_words(tmp_path):
    made = model(encoder_layers=1, decoder_layers=1, hidden=3)
    gates = {site.name: torch.ones(site.part.units) for site in sites(made)}
    gates["encoder.blocks.0.read_own"][[0, 1]] = 0.0
    gates["encoder.blocks.0.think"][[0, 2]] = 0.0
    gates["decoder.blocks.0.read_context"][:] = 0.0
    put(made, Gates(gates, {"decoder.blocks.0.think": torch.tensor(0.0)}))
    compact(made)
    Architecture.of(made).write(tmp_path / "arch.json")
    assert json.loads((tmp_path / "arch.json").read_text()) == {
        "format": FORMAT,
        "sublayers": {
            "encoder.blocks.0.read_own": {"kind": "heads", "of": 4, "kept": [2, 3]},
            "encoder.blocks.0.think": {"kind": "neurons", "of": 3, "kept": [1]},
            "decoder.blocks.0.read_own": {"kind": "heads", "of": 4, "kept": [0, 1, 2, 3]},
            "decoder.blocks.0.read_context": {"kind": "heads", "of": 4, "kept": []},
            "decoder.blocks.0.think": {"kind": "neurons", "of": 3, "kept": None},
        },
    }


def test_of_a_whole_model_it_says_so_and_changes_nothing():
    made = model()
    found = Architecture.of(made)
    assert found.whole
    before = dict(made.named_parameters())
    narrow(made, found)
    assert all(before[name] is weight for name, weight in made.named_parameters())
    assert not Architecture.of(pruned()).whole


def test_a_model_without_weights_is_narrowed_too():
    """As estimates imagine it."""
    small = pruned()
    with torch.device("meta"):
        imagined = model()
        narrow(imagined, Architecture.of(small))
    shapes = [{name: x.shape for name, x in one.state_dict().items()} for one in (small, imagined)]
    assert shapes[0] == shapes[1]


def test_the_tower_over_chunks_is_part_of_it():
    made = model("clinical_long", "encoder_only")
    assert "aggregate.tower.blocks.0.read_own" in Architecture.of(made).sublayers


# --- what is wrong --------------------------------------------------------------------------------------------------

NAME = "encoder.blocks.0.read_own"


def content(**entry):
    """Of the model above, with something else of one of its sublayers."""
    made = deepcopy(Architecture.of(model()).content())
    made["sublayers"][NAME] |= entry
    return made


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "lacks the format"),
        ({"sublayers": {}}, "lacks the format"),
        ({"format": "manyheads architecture 2", "sublayers": {}}, "lacks the format"),
        ({"format": FORMAT}, "names no sublayers"),
        ({"format": FORMAT, "sublayers": [1, 2]}, "names no sublayers"),
        ({"format": FORMAT, "sublayers": {NAME: 3}}, f"{NAME} is neither of heads nor of neurons"),
        (content(kind="layers"), f"{NAME} is neither of heads nor of neurons"),
        (content(kind=[]), f"{NAME} is neither of heads nor of neurons"),
        (content(of="4"), f"{NAME} has no whole number of units: 4"),
        (content(of=True), f"{NAME} has no whole number of units: True"),
        (content(kept=[0, 4]), f"{NAME} keeps no ascending units below 4"),
        (content(kept=[1, 0]), f"{NAME} keeps no ascending units below 4"),
        (content(kept=[1, 1]), f"{NAME} keeps no ascending units below 4"),
        (content(kept=[-1]), f"{NAME} keeps no ascending units below 4"),
        (content(kept=[0.0]), f"{NAME} keeps no ascending units below 4"),
        (content(kept={"0": 1}), f"{NAME} keeps no ascending units below 4"),
        (content(kept="all"), f"{NAME} keeps no ascending units below 4"),
    ],
)
def test_what_is_none_is_refused(given, words, tmp_path):
    """In one sentence that says where it stands, whether it comes from a file or from a checkpoint."""
    with pytest.raises(UserError, match="the checkpoint") as refused:
        parse(given, "the checkpoint")
    assert words in str(refused.value)
    (tmp_path / "arch.json").write_text(json.dumps(given))
    with pytest.raises(UserError, match=r"arch\.json"):
        read(tmp_path / "arch.json")


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"is not there; name the arch\.json"):
        read(tmp_path / "arch.json")
    for damaged in (b"{", b"\xff\xfe", b'{"format": NaN', b"[" * 100_000):
        (tmp_path / "arch.json").write_bytes(damaged)
        with pytest.raises(UserError, match="cannot be read as an architecture"):
            read(tmp_path / "arch.json")
    with pytest.raises(UserError, match="cannot be read as an architecture"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"encoder_layers": 3}, "encoder.blocks.2.read_own is in one of both alone"),
        ({"heads": 8, "head_dim": 4}, "has 4 heads there and 8 heads here"),
        ({"hidden": 13}, "has 12 neurons there and 13 neurons here"),
        ({"shape": "decoder_only"}, "is in one of both alone"),
    ],
)
def test_an_architecture_of_another_model_is_refused(other, words):
    with pytest.raises(UserError, match=words) as refused:
        narrow(model(**other), Architecture.of(pruned()), "arch.json")
    assert str(refused.value).startswith("arch.json is of another model")


def test_heads_that_key_value_heads_cannot_share_evenly_are_refused():
    with pytest.raises(UserError, match=f"arch.json: {NAME} cannot be built, since key-value heads would be read"):
        narrow(model(), parse(content(kept=[0, 1, 2]), "arch.json"), "arch.json")


def test_units_without_a_bias_leave_nothing_and_with_one_the_bias():
    for block, kind in (("modern", type(None)), ("vaswani2017", Constant)):
        made = model(block=block)
        narrow(made, parse(content(kept=[]), "here"))
        assert isinstance(made.get_submodule("encoder.blocks.0").read_own.inner, kind)
