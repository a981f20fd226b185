"""The conf folder that users meet: it composes, agrees with the classes it names, and answers fast."""

import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from manyheads.config.check import wrong
from manyheads.config.launch import register
from manyheads.config.places import conf_folder
from manyheads.config.signature import signature

GROUPS = sorted(
    folder.relative_to(conf_folder()).as_posix()
    for folder in conf_folder().rglob("*")
    if folder.is_dir() and folder.name != "hydra"
)
HANDED_IN = {
    "spec": "by build, from the data",
    "model": "by build",
    "save_dir": "by build, the run's folder",
    "optimizer": "by build, and by the task to the schedule",
    "schedule": "by build",
    "total": "by the task, from the trainer",
    "dim": "by the stack",
    "heads": "by the stack",
    "head_dim": "by the stack",
    "layer": "by the stack",
    "hidden": "by the stack",
    "dropout": "by the stack",
    "cross": "by the stack",
    "attention": "by the stack",
}


def chosen(group, option):
    """The command line that takes the option; parts of a sweeper, or of pruning, need what they are part of."""
    owners = {"hydra/sweeper/": "hydra/sweeper=optuna", "pruning/": "pruning=magnitude"}
    return [*(owner for start, owner in owners.items() if group.startswith(start)), f"{group}={option}"]


def options(group):
    return sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))


@pytest.fixture(scope="module")
def composed():
    register()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        yield lambda *overrides: compose("train", list(overrides), return_hydra_config=True)


def test_default_command_is_right(composed):
    assert wrong(composed()) == []


@pytest.mark.parametrize(("group", "option"), [(group, o) for group in GROUPS for o in options(group)])
def test_every_option_is_right(composed, group, option):
    cfg = composed(*chosen(group, option))
    assert wrong(cfg) == []


def test_a_recipe_may_set_the_keys_at_the_top(composed):
    assert composed().test is True
    assert composed("debug=overfit").test is False


def test_loggers_can_be_had_together(composed):
    assert set(composed("logger=[tensorboard,csv]").logger) == {"tensorboard", "csv"}


def test_folders_follow_the_outputs(composed):
    cfg = composed("paths.outputs=elsewhere")
    assert cfg.paths.cache.startswith("elsewhere/")
    assert cfg.hydra.sweep.dir.startswith("elsewhere/multirun/")


def test_names_are_unique_and_stay_so_within_a_config(composed):
    first, second = composed(), composed()
    assert first.hydra.sweep.dir == first.hydra.sweep.dir
    assert first.hydra.sweep.dir != second.hydra.sweep.dir


def test_schema_is_registered_without_values():
    register()
    stored = ConfigStore.instance().load("schema.yaml").node
    assert [key for key in ("seed", "train", "test") if key in stored] == []


def test_help_and_typos_import_nothing_heavy():
    code = """
import sys
from manyheads.config.launch import launch
def task(cfg): raise AssertionError
assert launch(task, ["--help"]) == 0
assert launch(task, ["--cfg", "job"]) == 0
assert launch(task, ["trainer.precisionn=16"]) == 1
heavy = {"torch", "lightning", "datasets", "tokenizers", "numpy", "pandas", "optuna", "ray", "submitit"}
heavy &= set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "attention: " in done.stdout
    assert "Did you mean trainer.precision?" in done.stderr


def nodes(cfg):
    """Every node that describes a class of this package."""
    if isinstance(cfg, DictConfig):
        if str(cfg.get("_target_", "")).startswith("manyheads."):
            yield cfg
        for key in cfg:
            yield from nodes(cfg[key])


@pytest.mark.parametrize(("group", "option"), [(group, o) for group in GROUPS for o in options(group)])
def test_values_live_in_yaml_alone_and_all_of_them_do(composed, group, option):
    """Both ways: no key that a constructor lacks (above), no parameter that no yaml sets, no second copy of a value."""
    cfg = composed(*chosen(group, option))
    for node in (node for key in cfg if key != "hydra" for node in nodes(cfg[key])):
        for name, parameter in signature(node._target_).parameters.items():
            assert parameter.required, f"{node._target_} has a default for {name}: it belongs into conf/"
            assert name in node or (node.get("_partial_") and name in HANDED_IN), f"{node._target_} gets no {name}"
