"""Exported folders are there whole or not at all, and replace nothing but exports."""

import json

import pytest

from manyheads.errors import UserError
from manyheads.export.asked import Export, refuse_vain
from manyheads.export.content import CONFIG, FORMAT
from manyheads.export.folder import whole


def put(folder, text):
    with whole(folder) as partial:
        (partial / CONFIG).write_text(json.dumps({"format": FORMAT, "text": text}))


def test_a_folder_appears_when_it_is_whole_and_replaces_an_export(tmp_path):
    for text in ("first", "second"):
        put(tmp_path / "a" / "out", text)
        assert json.loads((tmp_path / "a" / "out" / CONFIG).read_text())["text"] == text
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["out"]


def test_a_failure_leaves_what_was_there(tmp_path):
    put(tmp_path / "out", "first")
    with pytest.raises(UserError, match="is untouched"), whole(tmp_path / "out") as partial:
        (partial / "half").write_text((partial / "none").read_text())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == [CONFIG]


@pytest.mark.parametrize("content", [None, "{", '{"format": "other"}'])
def test_other_folders_are_left_alone(content, tmp_path):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / (CONFIG if content else "mine.txt")).write_text(content or "")
    with pytest.raises(UserError, match="name another folder"), whole(taken):
        pass
    assert len(list(taken.iterdir())) == 1


def test_files_are_left_alone(tmp_path):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(UserError, match="is no folder"), whole(tmp_path / "taken"):
        pass
    assert (tmp_path / "taken").read_text() == "mine"


def test_int8_is_for_weights_alone(tmp_path):
    refuse_vain(Export(tmp_path, "safetensors", int8=True))
    with pytest.raises(UserError, match="int8=true goes with format=safetensors"):
        refuse_vain(Export(tmp_path, "torch_export", int8=True))


def test_packages_that_are_missing_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("manyheads.export.asked.find_spec", lambda name: None if name == "onnxscript" else name)
    refuse_vain(Export(tmp_path, "torch_export"))
    with pytest.raises(UserError, match="onnxscript: pip install"):
        refuse_vain(Export(tmp_path, "onnx"))
