import errno

import pytest

from manyheads import atomic
from manyheads.errors import UserError


def fails_after_writing(problem):
    def fill(path):
        path.write_text("half")
        raise problem

    return fill


def test_written_whole(tmp_path):
    atomic.write_text(tmp_path / "new" / "file.json", "ü")
    assert (tmp_path / "new" / "file.json").read_text(encoding="utf-8") == "ü"


@pytest.mark.parametrize(
    ("problem", "raised", "word"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), UserError, "disk is full"),
        (OSError(errno.EACCES, "Permission denied"), UserError, "Permission denied"),
        (ValueError("a bug"), ValueError, "a bug"),
        (KeyboardInterrupt("stopped"), KeyboardInterrupt, "stopped"),
    ],
)
def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path, problem, raised, word):
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(raised, match=word):
        atomic.write(path, fails_after_writing(problem))
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
