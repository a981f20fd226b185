"""Counters of energy, on files that look like the kernel's."""

import sys

import pytest
import torch

from manyheads.training import energy
from manyheads.training.energy import Energy

CPU = torch.device("cpu")


@pytest.fixture
def packages(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)

    def write(name: str, joules: float) -> None:
        place = tmp_path / name
        place.mkdir(exist_ok=True)
        (place / "energy_uj").write_text(f"{int(joules * 1e6)}\n")
        (place / "max_energy_range_uj").write_text("100000000\n")
        (place / "name").write_text(f"package-{name[-1]}\n")

    return write


def test_packages_add_up_and_their_parts_do_not(packages):
    for name, joules in (("intel-rapl:0", 5), ("intel-rapl:1", 90), ("intel-rapl:0:0", 3)):
        packages(name, joules)
    counted = Energy()
    counted.begin(CPU, speaks=True)
    for name, joules in (("intel-rapl:0", 7), ("intel-rapl:1", 10), ("intel-rapl:0:0", 99)):
        packages(name, joules)
    counted.read()
    counted.read()
    assert counted.joules == pytest.approx(2 + 20)  # the second one went round at 100 J
    assert counted.source == "RAPL: package-0, package-1, other programs included"


def test_without_a_counter_there_is_no_number(packages, tmp_path):
    counted = Energy()
    counted.begin(CPU, speaks=True)
    counted.read()
    assert counted.joules is None
    assert counted.source == f"none: {tmp_path} shows no RAPL counter here"


def test_a_counter_that_may_not_be_read_is_no_zero(packages, tmp_path):
    packages("intel-rapl:0", 5)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    counted = Energy()
    counted.begin(CPU, speaks=True)
    assert counted.joules is None
    assert counted.source.startswith("none: ")
    assert "energy_uj" in counted.source


def test_of_one_machine_one_process_counts(packages):
    packages("intel-rapl:0", 5)
    counted = Energy()
    counted.begin(CPU, speaks=False)
    assert counted.joules is None


def test_a_gpu_without_the_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    counted = Energy()
    counted.begin(torch.device("cuda"), speaks=True)
    assert counted.joules is None
    assert "pip install nvidia-ml-py" in counted.source


def test_a_training_that_goes_on_adds_to_what_it_had(packages):
    packages("intel-rapl:0", 5)
    counted = Energy()
    counted.joules = 40.0
    counted.begin(CPU, speaks=True)
    packages("intel-rapl:0", 6)
    counted.read()
    assert counted.joules == pytest.approx(41)
