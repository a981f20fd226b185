"""The guide's own example of a new attention is one that works."""

import math
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
    return made["Cosine"], yaml.safe_load(blocks["yaml"])


def test_it_is_a_softmax_over_cosines(example):
    cosine, config = example
    attention = cosine(heads=4, head_dim=8, layer=0, kv_heads=2, g=config["g"])
    q, (k, v) = torch.randn(3, 4, 5, 8).double(), torch.randn(2, 3, 2, 5, 8).double()
    out = attention.attend(q, k, v, Mask(5, 5, causal=True, lengths=torch.tensor([5, 2, 0])))
    for b, h, i in ((b, h, i) for b in range(2) for h in range(4) for i in range(5)):
        keys = range(min(i + 1, 5 if b == 0 else 2))
        cosines = [float(q[b, h, i] @ k[b, h // 2, j] / (q[b, h, i].norm() * k[b, h // 2, j].norm())) for j in keys]
        weights = [math.exp(10 * c) for c in cosines]
        wanted = sum(w * v[b, h // 2, j] for w, j in zip(weights, keys, strict=True)) / sum(weights)
        torch.testing.assert_close(out[b, h, i], wanted)
    assert out[2].eq(0).all()


def test_its_yaml_says_what_its_constructor_asks(example):
    cosine, config = example
    assert set(config) - {"_target_", "_partial_"} == {"kv_heads", "g"}
    assert config["_target_"].endswith(".Cosine")
    assert "position=rope" in cosine(4, 8, 0, 2, 10.0).why_not(None, None, None, bias=torch.zeros(1))
