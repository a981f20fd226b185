"""Signatures read from source are those that Python would find by importing."""

import inspect
import subprocess
import sys

import pytest

from manyheads.config import signature as reading
from manyheads.config.signature import NotThere, signature

PACKAGE = {
    "house/__init__.py": """
        from .rooms import Room as Chamber
        from .rooms import *
        from . import attic
        import house.rooms as inner
        """,
    "house/rooms.py": """
        from dataclasses import dataclass, field
        from typing import ClassVar, overload

        import torch.nn

        class Room:
            def __init__(self, width: int, /, height: float, *, door: str = "oak"): ...
            @classmethod
            def of(cls, name: str): ...
            @staticmethod
            def empty(size: int): ...

        class Kitchen(Room): ...

        class Cellar(Kitchen):
            def __init__(self, depth: int, **more): ...

        class Layer(torch.nn.Module): ...

        class Sized(torch.nn.Module):
            def __init__(self, dim: int, **more): ...

        @dataclass
        class Plan:
            rooms: int
            names: list[str] = field(default_factory=list)
            built: bool = field(init=False)
            count: ClassVar[int] = 0

        @dataclass(frozen=True)
        class Sketch(Plan):
            paper: str = "A4"

        @overload
        def build(plan: Plan): ...
        @overload
        def build(plan: str, fast: bool): ...
        def build(plan, fast=False, *rest): ...

        wall = Room
        """,
    "house/attic.py": "def __getattr__(name): ...",
    "house/twins.py": "from house.twin import a",
    "house/twin.py": "from house.twins import a",
}


@pytest.fixture
def house(tmp_path, planted, monkeypatch):
    planted(tmp_path, PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    reading.read.cache_clear()
    reading._root.cache_clear()
    yield
    reading.read.cache_clear()
    reading._root.cache_clear()
    assert "house" not in sys.modules


@pytest.mark.parametrize(
    ("target", "names", "required", "is_open"),
    [
        ("house.Chamber", ["height", "door"], ["height"], False),
        ("house.Kitchen", ["height", "door"], ["height"], False),
        ("house.inner.Kitchen", ["height", "door"], ["height"], False),
        ("house.rooms.Cellar", ["depth"], ["depth"], True),
        ("house.Plan", ["rooms", "names"], ["rooms"], False),
        ("house.Sketch", ["rooms", "names", "paper"], ["rooms"], False),
        ("house.build", ["plan", "fast"], ["plan"], False),
        ("house.Room.of", ["name"], ["name"], False),
        ("house.Room.empty", ["size"], ["size"], False),
        ("house.Layer", [], [], True),
    ],
)
def test_parameters(house, target, names, required, is_open):
    found = signature(target)
    assert list(found.parameters) == names
    assert [p.name for p in found.parameters.values() if p.required] == required
    assert found.open == is_open


def test_own_classes_hand_further_names_to_their_base_alone(house, monkeypatch):
    monkeypatch.setattr(reading, "OWN", "house")
    assert signature("house.rooms.Cellar") == reading.Signature(
        {**signature("house.Room").parameters, **signature("house.rooms.Cellar").parameters}
    )
    assert signature("house.Layer") == reading.Signature({})
    assert list(signature("house.Sized").parameters) == ["dim"]
    assert not signature("house.Sized").open


@pytest.mark.parametrize("target", ["house.attic.anything", "house.wall", "house", "house.twins.a", "math.sin"])
def test_what_source_cannot_tell_is_unknown(house, target):
    assert signature(target) is None


@pytest.mark.parametrize("target", ["house.Rom", "house.rooms.Kitchn", "hut.Room", "house..Room", ""])
def test_what_is_not_there(house, target):
    with pytest.raises(NotThere):
        signature(target)


TARGETS = {
    "torch.optim.AdamW": "lr betas weight_decay",
    "torch.nn.RMSNorm": "normalized_shape eps elementwise_affine",
    "torch.nn.LayerNorm": "normalized_shape bias",
    "lightning.pytorch.Trainer": "max_epochs precision devices",
    "lightning.pytorch.callbacks.ModelCheckpoint": "monitor mode dirpath",
    "lightning.pytorch.loggers.TensorBoardLogger": "save_dir name version",
}


def test_real_classes_are_read_without_importing_them():
    code = f"""
import sys
from manyheads.config.signature import signature
for target, names in {TARGETS!r}.items():
    missing = set(names.split()) - set(signature(target).parameters)
    assert not missing, (target, missing)
assert not {{"torch", "lightning"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("target", ["argparse.ArgumentParser", "logging.FileHandler", "omegaconf.OmegaConf.update"])
def test_agrees_with_inspect(target):
    module, _, name = target.partition(".")
    made = __import__(module)
    for part in name.split("."):
        made = getattr(made, part)
    assert list(signature(target).parameters) == list(inspect.signature(made).parameters)
