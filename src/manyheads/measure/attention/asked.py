"""What `scripts/benchmark.py attention` can be asked. Light: --help reads it without torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


def _help(text: str) -> dict[str, str]:
    return {"help": text}


@dataclass(frozen=True)
class Attention:
    """All attentions and kernels against each other and against installed peers, each length in a process of its own.

    NAME.KEY=VALUE sets a key of conf/attention/NAME.yaml: sliding_window.pattern.dilation=2. Lists are written a,b,c;
    `all` takes what there is and `none` nothing. The same command goes on where it stopped.
    """

    attentions: str = field(default="all", metadata=_help("names of conf/attention"))
    kernels: str = field(
        default="all", metadata=_help("for the attentions that have a choice; any: the one that they take themselves")
    )
    peers: str = field(default="all", metadata=_help("other people's; sdpa, the yardstick, is always there"))
    lengths: str = field(default="512,1024,2048,4096,8192,16384", metadata=_help("tokens, as many queries as keys"))
    causal: Literal["both", "true", "false"] = "both"
    passes: str = field(default="forward,both", metadata=_help("both: forward + backward"))
    dtype: str = field(default="float32", metadata=_help("of float32, bfloat16, float16"))
    batch: int = 1
    heads: int = 8
    kv_heads: int | None = field(default=None, metadata=_help("null: as each yaml says"))
    head_dim: int = 64
    window: int = field(
        default=512, metadata=_help("of every pattern with a width: causal so far back, else half of it to each side")
    )
    error_length: int = field(default=1024, metadata=_help("tokens at which the error against float64 is taken"))
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seconds: float | None = field(default=None, metadata=_help("stops in time and goes on with the next call"))
    limit: float = field(default=120.0, metadata=_help("seconds for one process; longer cases are skipped"))
    memory: float | None = field(default=None, metadata=_help("GiB for one case; null: half of what is free"))
    duel: Literal["false", "true", "lengths"] = field(
        default="false",
        metadata=_help("true: in turns in one process, ratios to the first; lengths: each against its own shortest"),
    )
    rounds: int = field(default=9, metadata=_help("turns of a duel"))
    retry: bool = field(default=False, metadata=_help("run cases again that failed"))
    output: Path = field(default=Path("outputs/attention_benchmark"), metadata=_help("a folder"))
