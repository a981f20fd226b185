import logging

import pytest

from manyheads.config.logs import LogFile


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
