"""One process of a distributed run speaks; none keeps an error to itself, but for a disk that is full."""

import logging

import pytest

from manyheads.config.logs import RANKS, FirstProcess, LogFile


@pytest.mark.parametrize(
    ("ranks", "heard"),
    [({}, True), ({"LOCAL_RANK": "0"}, True), ({"LOCAL_RANK": "1"}, False), ({"RANK": "4", "LOCAL_RANK": "0"}, False)],
)
def test_first_process_speaks(monkeypatch, ranks, heard):
    for name in RANKS:
        monkeypatch.delenv(name, raising=False)
    for name, value in ranks.items():
        monkeypatch.setenv(name, value)
    speaks = FirstProcess().filter
    assert speaks(logging.makeLogRecord({"levelno": logging.INFO})) == heard
    assert speaks(logging.makeLogRecord({"levelno": logging.ERROR}))


@pytest.fixture
def log():
    made = logging.Logger("test")
    yield made
    for handler in made.handlers:
        handler.close()


def test_a_log_on_a_full_disk_loses_lines_without_a_traceback(small_disk, log, capsys):
    disk = small_disk(4)
    log.addHandler(LogFile(disk / "train.log"))
    for _ in range(100):
        log.info("x" * 100)
    assert (disk / "train.log").stat().st_size == 4096
    assert capsys.readouterr().err == ""
    small_disk(64)
    log.info("there is room again")
    assert "there is room again" in (disk / "train.log").read_text()


def test_another_mistake_in_logging_is_shown(tmp_path, log, capsys):
    log.addHandler(LogFile(tmp_path / "train.log"))
    log.info("%d words", "many")
    assert "TypeError" in capsys.readouterr().err
