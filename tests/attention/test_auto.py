"""attention=auto: the fastest exact kernel by a clock that tests hold, remembered; no other rule unless asked for."""

import json
import logging
from copy import deepcopy
from functools import partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from manyheads.attention import race, timings
from manyheads.attention.auto import SMALL, Auto
from manyheads.attention.base import Attention
from manyheads.attention.kernels import reference
from manyheads.attention.kernels.registry import find, names
from manyheads.attention.linear import Linear
from manyheads.attention.mask import Mask
from manyheads.attention.patterns.window import Window
from manyheads.errors import UserError

HEADS, HEAD_DIM, N = 4, 8, 100
SPECIFIED = reference.attend


class Bench:
    """A clock that only kernels move, and what each of them costs."""

    def __init__(self) -> None:
        self.now, self.calls = 0.0, []
        self.cost = {name: 5e-3 for name in names()} | {"sdpa": 2e-3, "blocked": 1e-3}

    def kernel(self, name: str):
        def attend(*given):
            self.calls.append(name)
            self.now += self.cost[name]
            return SPECIFIED(*given)

        return attend


@pytest.fixture
def bench(monkeypatch):
    made = Bench()
    monkeypatch.setattr(race, "clock", lambda: made.now)
    for name in names():
        monkeypatch.setattr(find(name), "attend", made.kernel(name))
    forget()
    return made


def forget() -> None:
    """As a new process would."""
    timings._timings.cache_clear()


@pytest.fixture
def make(tmp_path):
    size = {"heads": HEADS, "head_dim": HEAD_DIM, "layer": 0, "kv_heads": 2}
    yaml = {"dropout": 0.0, "pattern": None, "cache": str(tmp_path), "allow_approximate": False, "length": 64}
    return lambda **changes: Auto(**(size | yaml | {"approximations": {}} | changes))


def ask(attention: Attention, n: int = N, grad: bool = False, **mask) -> torch.Tensor:
    q = torch.randn(2, HEADS, n, HEAD_DIM, requires_grad=grad)
    k, v = torch.randn(2, 2, 2, n, HEAD_DIM)
    given = Mask(n, n, **mask)
    out = attention.attend(q, k, v, given)
    torch.testing.assert_close(out, SPECIFIED(q, k, v, given.within(attention.pattern), None, 0.0, None))
    return out


def measured(folder) -> dict[str, dict]:
    """All that the files of the cache hold."""
    found = [json.loads(file.read_text()) for file in (folder / "attention").glob("*.json")]
    return {case: row for content in found for case, row in content["seconds"].items()}


# --- the choice ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fastest", ["blocked", "sdpa", "reference"])
def test_the_fastest_kernel_computes(bench, make, fastest):
    bench.cost[fastest] = 1e-4
    attention = make()
    ask(attention)
    assert bench.calls[-1] == attention.used == fastest


def test_kernels_that_cannot_run_are_listed_with_their_reason(bench, make, monkeypatch, tmp_path, caplog):
    bench.cost["sdpa"] = 1e-6
    monkeypatch.setattr(find("sdpa"), "why_not", lambda *given: "not on a Sunday")
    with caplog.at_level(logging.INFO):
        attention = make()
        ask(attention)
    assert attention.used == "blocked"
    assert next(iter(measured(tmp_path).values()))["sdpa"] == "not on a Sunday"
    assert "takes blocked" in caplog.text
    assert "not on a Sunday" in caplog.text


def breaks(*given):
    """A kernel on a bad day."""
    raise RuntimeError("no code for this device\nand three pages of assembly")


def refuses(*given):
    raise UserError("it cannot drop weights.")


@pytest.mark.parametrize("how", [breaks, refuses])
@pytest.mark.parametrize("heat", [1 << 22, 128 * 128])
def test_a_kernel_that_fails_is_out_and_the_others_run_on(bench, make, monkeypatch, tmp_path, how, heat):
    monkeypatch.setattr(race, "HEAT", heat)
    monkeypatch.setattr(find("blocked"), "attend", how)
    attention = make()
    ask(attention)
    assert attention.used == "sdpa"
    reason = next(iter(measured(tmp_path).values()))["blocked"]
    assert reason in ("it failed with RuntimeError: no code for this device", "it cannot drop weights.")


def test_where_every_kernel_fails_the_ordinary_choice_serves_and_nothing_is_kept(bench, make, monkeypatch, tmp_path):
    monkeypatch.setattr(race, "HEAT", 128 * 128)
    monkeypatch.setattr(race, "attempt", lambda time: "not today")
    attention = make()
    ask(attention)
    ask(attention)
    assert attention.used == "sdpa"
    assert measured(tmp_path) == {}


def test_an_interrupted_race_is_over(bench, make, monkeypatch):
    def stop(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(find("blocked"), "attend", stop)
    with pytest.raises(KeyboardInterrupt):
        ask(make())


def test_the_table_is_told_once_a_case(bench, make, caplog):
    with caplog.at_level(logging.INFO):
        for attention in (make(), make()):
            ask(attention)
            ask(attention, n=N - 3)
    assert caplog.text.count("attention=auto takes") == 1
    assert "1.000 ms" in caplog.text


def test_each_kind_of_input_has_a_choice_of_its_own(bench, make, tmp_path):
    attention = make()
    ask(attention)
    bench.cost["sdpa"] = 1e-4
    ask(attention, n=2 * N)
    ask(attention, causal=True)
    ask(attention, lengths=torch.tensor([N, 7]))
    ask(attention, documents=torch.arange(N).expand(2, -1) // 30)
    ask(attention, grad=True)
    cases = list(measured(tmp_path))
    assert len(cases) == 6
    assert attention.used == "blocked+sdpa"
    assert [case.endswith("forward + backward") for case in cases] == [False] * 5 + [True]


def test_lengths_of_one_power_of_two_share_a_measurement(bench, make, tmp_path):
    attention = make()
    for n in (N, 65, 128):
        ask(attention, n=n)
    assert len(measured(tmp_path)) == 1


def test_a_pattern_is_part_of_the_case_and_layers_share_it(bench, make, tmp_path):
    for layer in (0, 1):
        ask(make(pattern=Window(3, 1, 0), layer=layer))
    ask(make(pattern=Window(5, 1, 0)))
    assert len(measured(tmp_path)) == 2


def test_nothing_is_measured_for_a_few_scores(bench, make, tmp_path):
    attention = make()
    n = int((SMALL / 2 / HEADS) ** 0.5)
    ask(attention, n=n)
    assert measured(tmp_path) == {}
    assert attention.used in names()


def test_slow_kernels_drop_out_at_a_quarter_of_the_length(bench, make, monkeypatch, tmp_path):
    monkeypatch.setattr(race, "HEAT", 128 * 128)
    ask(make())
    assert "slower" in next(iter(measured(tmp_path).values()))["reference"]


def test_the_specification_is_not_trusted_with_scores_beyond_memory(bench, make, monkeypatch, tmp_path):
    monkeypatch.setattr(race, "WRITTEN_OUT", 1000)
    ask(make())
    assert "scores" in next(iter(measured(tmp_path).values()))["reference"]


# --- the memory ----------------------------------------------------------------------------------------------------


def test_the_next_process_does_not_measure(bench, make):
    ask(make())
    forget()
    bench.calls.clear()
    bench.cost["sdpa"] = 1e-6
    attention = make()
    ask(attention)
    assert bench.calls == ["blocked"]
    assert attention.used == "blocked"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"seconds": {"case": {"sdpa": []}}}', '{"seconds": {"case": {}}}'])
def test_a_damaged_file_is_ignored_with_a_warning(bench, make, tmp_path, caplog, text):
    ask(make())
    (file,) = (tmp_path / "attention").glob("*.json")
    file.write_text(text)
    forget()
    bench.cost["sdpa"] = 1e-6
    attention = make()
    ask(attention)
    assert attention.used == "sdpa"
    assert caplog.text.count(str(file)) == 1
    assert len(measured(tmp_path)) == 1


def test_a_folder_that_cannot_be_written_is_no_error(bench, make, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    attention = make(cache=str(tmp_path / "file"))
    ask(attention)
    assert attention.used == "blocked"
    assert "cannot remember" in caplog.text


def test_two_processes_keep_what_both_measured(tmp_path):
    first, second = (timings.Timings(tmp_path / "one.json", {}) for _ in range(2))
    first.add("a", {"sdpa": 1.0})
    second.add("b", {"sdpa": 2.0, "flash": "no"})
    assert timings.Timings(tmp_path / "one.json", {}).known == {"a": {"sdpa": 1.0}, "b": {"sdpa": 2.0, "flash": "no"}}


def test_another_number_of_threads_is_another_file(bench, make, tmp_path, monkeypatch):
    ask(make())
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    ask(make())
    contents = [json.loads(file.read_text()) for file in (tmp_path / "attention").glob("*.json")]
    assert {content["environment"]["threads"] for content in contents} >= {99}
    assert len(contents) == 2
    assert all({"device", "torch", "triton", "manyheads"} <= set(content["environment"]) for content in contents)


# --- nobody notices ------------------------------------------------------------------------------------------------


def test_measuring_leaves_random_numbers_alone(make):
    forget()
    attention = make(dropout=0.5)
    q, k, v = (torch.randn(2, h, N, HEAD_DIM, requires_grad=True) for h in (HEADS, 2, 2))
    outs = []
    for _ in range(2):
        torch.manual_seed(7)
        outs.append(attention.attend(q, k, v, Mask(N, N)))
    assert torch.equal(*outs)
    assert outs[0].requires_grad


def test_measuring_is_not_counted_as_work(make):
    forget()
    attention, counts = make(), []
    for _ in range(2):
        with FlopCounterMode(display=False) as counter:
            ask(attention, grad=True)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1]


def test_real_clocks_measure_every_kernel_that_can_run(make, tmp_path):
    forget()
    ask(make(), grad=True, causal=True)
    (row,) = measured(tmp_path).values()
    assert set(row) == set(race.candidates()) == set(names()) - {"flex"}
    assert all(isinstance(value, str) or 0 < value < 60 for value in row.values())


def test_nothing_is_measured_while_a_graph_is_traced(bench, make, monkeypatch, tmp_path):
    bench.cost["reference"] = 1e-6
    attention = make()
    ask(attention)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    ask(attention, n=3 * N)
    assert len(measured(tmp_path)) == 1
    assert attention.choice.first == "reference", "what was measured last stands first"


@pytest.mark.slow
def test_it_compiles_into_one_graph(make, tmp_path):
    forget()
    attention = make()
    ask(attention)
    attention.choice.put_first("sdpa")  # on a busy machine another may have won that is not traced, such as blocked
    q, k, v = (torch.randn(2, h, N, HEAD_DIM) for h in (HEADS, 2, 2))
    compiled = torch.compile(lambda q, k, v: attention.attend(q, k, v, Mask(N, N)), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(q, k, v), attention.attend(q, k, v, Mask(N, N)))


def test_a_copy_goes_on(bench, make):
    attention = make()
    ask(attention)
    copied = deepcopy(attention)
    ask(copied)
    assert copied.used == "blocked"
    assert attention.state_dict() == {}


# --- other rules ---------------------------------------------------------------------------------------------------


class Mean(Attention):
    """A rule that costs what the bench says."""

    exact = False

    def __init__(self, heads: int, head_dim: int, layer: int, kv_heads: int | None, bench: Bench) -> None:
        super().__init__(heads, head_dim, layer, kv_heads)
        self.bench = [bench]

    def __deepcopy__(self, memo):
        return self

    def attend(self, q, k, v, mask, bias=None):
        self.bench[0].now += self.bench[0].cost["mean"]
        weights = mask.dense(1, q.device).to(v.dtype).expand(1, 1, mask.queries, mask.keys)
        mean = weights @ v.repeat_interleave(q.size(1) // v.size(1), 1) / weights.sum(-1, keepdim=True)
        return mean.expand_as(q)

    def why_not(self, q, k, mask, bias=None):
        return None if bias is None else "it reads no bias"


@pytest.fixture
def mean(bench):
    bench.cost["mean"] = 1e-6
    return {"mean": partial(Mean, bench=bench)}


def test_no_other_rule_unless_asked_for(bench, make, mean):
    attention = make(approximations=mean)
    ask(attention, grad=True)
    assert attention.used == "blocked"
    assert attention.exact
    assert not list(attention.children())
    assert attention.state_dict() == {}


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_the_fastest_rule_is_taken_when_it_is_first_asked_for(bench, make, mean, caplog, mode):
    attention = make(allow_approximate=True, approximations=mean)
    assert not bench.calls
    with mode():
        assert attention.used == "mean"
    assert not attention.exact
    assert caplog.text.count("takes mean at 64 tokens") == 1
    assert "gives up" in caplog.text
    q, k, v = (torch.randn(1, h, 5, HEAD_DIM) for h in (HEADS, 2, 2))
    torch.testing.assert_close(attention.attend(q, k, v, Mask(5, 5))[0, 0, 0], v[0, 0].mean(0))
    assert attention.why_not(q, k, Mask(5, 5), torch.zeros(1)) == "it reads no bias"


def test_softmax_stays_where_it_is_faster(bench, make, mean):
    bench.cost["mean"] = 1.0
    attention = make(allow_approximate=True, approximations=mean)
    ask(attention)
    assert attention.used == "blocked"
    assert attention.exact


def test_weights_bring_the_rule_they_were_trained_with(bench, make, mean, tmp_path, caplog):
    trained = make(allow_approximate=True, approximations=mean)
    state = {f"inner.{name}": value for name, value in trained.state_dict().items()}
    forget()
    bench.cost["mean"] = 1.0
    caplog.clear()
    for asked in (False, True):
        elsewhere = make(allow_approximate=True, approximations=mean, cache=str(tmp_path / f"elsewhere {asked}"))
        if asked:
            assert elsewhere.used != "mean"
        torch.nn.ModuleDict({"inner": elsewhere}).load_state_dict(state)
        assert elsewhere.used == "mean"
        assert not elsewhere.exact
        # Who only loads does not measure, and tells of no choice.
        assert (tmp_path / f"elsewhere {asked}").exists() == asked == ("takes softmax" in caplog.text)


def test_a_rule_that_fails_is_out(bench, make, mean, monkeypatch, caplog):
    monkeypatch.setattr(Mean, "attend", breaks)
    attention = make(allow_approximate=True, approximations=mean)
    assert attention.exact
    assert "mean is out: it failed with RuntimeError" in caplog.text


def test_a_rule_of_other_settings_is_measured_anew(bench, make, tmp_path):
    size = {"kernel": "any", "strict": False, "eps": 1e-6}
    for chunk in (16, 16, 32):
        make(allow_approximate=True, approximations={"linear": partial(Linear, **size, chunk=chunk)}).rule  # noqa: B018
    assert [case.count("chunk=16") for case in measured(tmp_path)] == [1, 0]


def test_several_processes_take_only_what_is_remembered(bench, make, mean, monkeypatch, tmp_path):
    one = make(allow_approximate=True, approximations=mean)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"cannot choose in 2 processes .*attention=mean"):
        ask(one)
    assert measured(tmp_path) == {}
    monkeypatch.delenv("WORLD_SIZE")
    assert one.rule == "mean"
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert make(allow_approximate=True, approximations=mean).rule == "mean"


def test_rules_that_know_no_patterns_do_not_compete_with_one(bench, make, mean, caplog):
    attention = make(allow_approximate=True, approximations=mean, pattern=Window(3, 1, 0))
    assert attention.exact
    assert "mean is out: it knows no patterns" in caplog.text
