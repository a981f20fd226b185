"""The benchmark of attention maps: what it measures, and that it would notice."""

import pytest

from manyheads.attention.exact import Exact
from manyheads.errors import UserError
from manyheads.measure.maps import CONTESTANTS, maps, markdown


def found(*names: str):
    return maps(list(names), 18, 8, "float32", "cpu")


def test_rows_and_kernels_are_as_true_as_fp32():
    cases = [case for case in found("gqa", "linear")["cases"] if "refused" not in case]
    assert {case["mask"] for case in cases} == {"full", "causal", "lengths", "documents", "cross", "cached", "alibi"}
    assert all(case["recomputed"] < 2e-6 and case["weighed"] < 2e-6 and case["outside"] == 0 for case in cases)
    assert all(0.1 < case["largest"] <= 1 for case in cases)


def test_a_wrong_map_is_noticed(monkeypatch):
    true = Exact.weights
    monkeypatch.setattr(Exact, "weights", lambda *given: true(*given).roll(1, dims=-1))
    cases = found("gqa")["cases"]
    assert all(case["recomputed"] > 0.1 for case in cases)
    assert all(case["weighed"] < 2e-6 for case in cases)


def test_the_table_says_what_was_measured_and_what_was_refused():
    table = markdown(found("gqa", "linear"), "the command")
    assert "| gqa | sdpa | " in table
    assert "| linear | chunked | " in table
    assert "- linear, chunked: attention=linear has no scores" in table


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match="attentions=dens: choose from dense, "):
        found("dens")
    assert ("dense", "flash") in CONTESTANTS
