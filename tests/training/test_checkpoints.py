import pytest
import torch

from manyheads.errors import UserError
from manyheads.training import checkpoints


def save(path, step):
    checkpoints.AtomicIO().save_checkpoint({"state_dict": {"w": torch.ones(200)}, "global_step": step}, str(path))


def test_newest_goes_by_step_not_by_name_or_time(tmp_path):
    for name, step in (("last", 5), ("previous", 9), ("best", 30)):
        save(tmp_path / f"{name}.ckpt", step)
    assert checkpoints.newest(tmp_path).name == "previous.ckpt"


def test_of_the_same_step_the_one_that_was_written_last_counts(tmp_path):
    for name in ("last", "previous"):
        save(tmp_path / f"{name}.ckpt", 9)
    assert checkpoints.newest(tmp_path).name == "last.ckpt"


def test_a_last_checkpoint_that_was_not_named_yet_gets_its_name(tmp_path):
    save(tmp_path / "newest.ckpt", 9)
    save(tmp_path / "previous.ckpt", 8)
    save(tmp_path / "best.ckpt", 9)
    assert checkpoints.load(checkpoints.settled_last(tmp_path))["global_step"] == 9
    assert {path.name for path in tmp_path.iterdir()} == {"last.ckpt", "previous.ckpt", "best.ckpt"}


def test_best_may_be_a_mean_of_weights_and_serves_only_where_nothing_else_does(tmp_path):
    save(tmp_path / "best.ckpt", 30)
    assert checkpoints.newest(tmp_path).name == "best.ckpt"
    save(tmp_path / "last.ckpt", 20)
    assert checkpoints.newest(tmp_path).name == "last.ckpt"


@pytest.mark.parametrize("kept", [0, 10, 1000])
def test_cut_short_is_named_and_passed_over(tmp_path, kept, caplog):
    save(tmp_path / "previous.ckpt", 5)
    save(tmp_path / "last.ckpt", 9)
    whole = (tmp_path / "last.ckpt").read_bytes()
    (tmp_path / "last.ckpt").write_bytes(whole[:kept])
    assert checkpoints.newest(tmp_path).name == "previous.ckpt"
    assert "last.ckpt is no whole checkpoint" in caplog.text


def test_no_checkpoint_at_all(tmp_path):
    assert checkpoints.newest(tmp_path) is None
    with pytest.raises(UserError, match="is not there"):
        checkpoints.load(tmp_path / "best.ckpt")


def test_what_is_half_written_has_another_name(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(checkpoints, "_save", lambda state, path: (path.write_bytes(b"x"), seen.append(path)))
    checkpoints.AtomicIO().save_checkpoint({}, str(tmp_path / "last.ckpt"))
    assert seen[0].parent == tmp_path
    assert seen[0].suffix != ".ckpt"
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
