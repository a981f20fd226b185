"""The check of a composed config: what it finds, and what it must let pass."""

import pytest
from omegaconf import OmegaConf

from manyheads.config.check import check, mistakes, unset, wrong
from manyheads.errors import UserError

STEP = "torch.optim.AdamW"


def node(beside=None, **keys):
    return OmegaConf.create({"optimizer": {"_target_": STEP, "_partial_": True, **keys}, **(beside or {})})


def test_a_right_config_passes():
    check(node({"base": 0.1}, lr="${base}", betas=[0.9, 0.98], foreach=None, weight_decay=1))


def test_mistakes_of_every_depth_are_found():
    cfg = OmegaConf.create({"a": [{"b": {"_target_": STEP, "_partial_": True, "lrr": 1}}], "c": {"d": "???"}})
    assert [line.split(" ")[0] for line in mistakes(cfg)] == ["c.d", "a.0.b.lrr"]


def test_required_parameters_are_asked_of_complete_objects_alone():
    cfg = node(lr=0.1)
    assert wrong(cfg) == []
    cfg.optimizer._partial_ = False
    assert wrong(cfg) == [f"optimizer.params is missing: {STEP} needs it."]


def test_what_an_interpolation_gives_is_checked_where_it_is_used():
    cfg = node({"base": "fast"}, lr="${base}")
    assert mistakes(cfg) == ["optimizer.lr must be a number, not 'fast'."]


def test_an_object_is_checked_once_however_often_it_is_used():
    cfg = node({"again": {"inner": "${optimizer}"}}, lrr=1)
    assert len(mistakes(cfg)) == 1


def test_an_interpolation_that_has_no_value_yet_passes():
    cfg = OmegaConf.create({"logger": {"_target_": "lightning.pytorch.loggers.CSVLogger"}})
    cfg.logger.save_dir = "${hydra:runtime.output_dir}"
    assert mistakes(cfg) == []


def test_hydras_own_node_is_left_alone():
    assert mistakes(OmegaConf.create({"hydra": {"launcher": {"_target_": "no.Such"}, "x": "???"}})) == []


def test_unset_keys_and_wrong_ones_are_told_apart():
    cfg = OmegaConf.create({"a": "???", "b": "${c}"})
    assert unset(cfg) == ["a is not set: give a=..."]
    assert wrong(cfg) == ["b refers to ${c}, and there is no c."]


def test_check_tells_all_mistakes():
    with pytest.raises(UserError, match=r"optimizer.lr must be a number(.|\n)*\noptimizer.fused must"):
        check(node(lr="fast", fused="yes"))
