"""One process of a distributed run speaks; none keeps an error to itself."""

import logging

import pytest

from manyheads.config.logs import RANKS, FirstProcess


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
