"""What is in the files of a data set: the same for the same, another for anything else."""

import pytest

from manyheads.data import contents as module
from manyheads.data.contents import contents


def test_a_file_is_known_by_its_bytes_wherever_it_is(tmp_path):
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_text("text,label\na,b\n")
    other.write_text("text,label\na,b\n")
    assert contents(str(one)) == contents(str(other))
    other.write_text("text,label\na,c\n")
    assert contents(str(one)) != contents(str(other))


def test_a_folder_is_known_by_its_names_and_files(tmp_path):
    folder = tmp_path / "notes"
    (folder / "below").mkdir(parents=True)
    (folder / "a.txt").write_text("one")
    (folder / "below" / "b.txt").write_text("two")
    found = [contents(str(folder))]
    (folder / ".hidden").write_text("is not read")
    assert contents(str(folder)) == found[0]
    (folder / "below" / "b.txt").write_text("too")
    found.append(contents(str(folder)))
    (folder / "a.txt").rename(folder / "c.txt")
    found.append(contents(str(folder)))
    assert len(set(found)) == 3


@pytest.mark.parametrize("place", [0, 40, 99])
def test_of_a_long_file_both_ends_and_the_size_count(place, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WHOLE", 4 << 20)
    long, size = bytearray(12 << 20), 12 << 20
    file = tmp_path / "long.txt"
    file.write_bytes(long)
    before = contents(str(file))
    file.write_bytes(long + b"0")
    assert contents(str(file)) != before
    long[min(size - 1, size * place // 99)] = 1
    file.write_bytes(long)
    assert (contents(str(file)) == before) == (place == 40)


def test_what_is_not_there_has_none(tmp_path):
    assert contents(None) is None
    assert contents(str(tmp_path / "nowhere")) is None
