"""The guide's own example of a new attention is one that works."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from manyheads.attention import Mask

GUIDE = (Path(__file__).parents[2] / "docs" / "add_an_attention.md").read_text(encoding="utf-8")


@pytest.fixture
def example():
    """The class that it adds, and the yaml beside it."""
    blocks = dict(re.findall(r"```(python|yaml)\n(.*?)```", GUIDE, re.S))
    made: dict[str, type] = {}
    exec(blocks["python"], made)
    return made["Uniform"], yaml.safe_load(blocks["yaml"])


def test_every_allowed_key_weighs_the_same(example):
    uniform, config = example
    attention = uniform(heads=4, head_dim=8, layer=0, kv_heads=2, scale=config["scale"])
    q, (k, v) = torch.randn(3, 4, 5, 8), torch.randn(2, 3, 2, 5, 8)
    out = attention.attend(q, k, v, Mask(5, 5, causal=True, lengths=torch.tensor([5, 2, 0])))
    for h in range(4):
        for i in range(5):
            torch.testing.assert_close(out[0, h, i], v[0, h // 2, : i + 1].mean(0))
            torch.testing.assert_close(out[1, h, i], v[1, h // 2, : min(i + 1, 2)].mean(0))
    assert out[2].eq(0).all()


def test_its_yaml_says_what_its_constructor_asks(example):
    uniform, config = example
    assert set(config) - {"_target_", "_partial_"} == {"kv_heads", "scale"}
    assert config["_target_"].endswith(".Uniform")
    assert "position=rope" in uniform(4, 8, 0, 2, 1.0).why_not(None, None, None, bias=torch.zeros(1))
