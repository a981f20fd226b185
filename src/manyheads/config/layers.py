"""Attentions by name beyond `attention` itself: one per layer, and another between sequences.

Names become configs before anything is built or written, so that a run's folder holds every value that made it.
"""

from collections.abc import Sequence

from omegaconf import DictConfig, ListConfig, OmegaConf

from manyheads.config.check import check
from manyheads.config.compose import compose
from manyheads.config.joined import joined
from manyheads.config.names import did_you_mean, listed
from manyheads.config.places import conf_folder
from manyheads.config.sweeps import key_of
from manyheads.errors import UserError


def name_layers(cfg: DictConfig, chosen: str | None = None, overrides: Sequence[str] = ()) -> None:
    """Puts the config of each attention that `layers_attention` and `cross_attention` name under `attentions`.

    `chosen` is the name of `attention`, which takes what stands under its name there, too, as a recipe puts it, and
    keeps what the command line set in it. Single values of the others stand under `attentions` before
    (+attentions.sliding_window.pattern.width=64), and a resumed run has all of them there.
    Raises UserError for names that are not there and for what no layer would use.
    """
    _refuse_unknown(cfg)
    _refuse(cfg, chosen, overrides)
    known = dict(cfg.attentions or {})
    if chosen in known:
        cfg.attention = OmegaConf.merge(cfg.attention, known[chosen], _typed(cfg, overrides))
    for name in named(cfg):
        if "_target_" not in known.get(name, {}):
            whole = OmegaConf.to_container(cfg.attention if name == chosen else _composed(name))
            known[name] = OmegaConf.merge(whole, known.get(name, {}))
    if known:
        OmegaConf.set_struct(cfg, False)
        cfg.attentions = {name: OmegaConf.to_container(node) for name, node in known.items()}
        OmegaConf.set_struct(cfg, True)
        check(cfg)


def _typed(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """What the command line said of `attention` itself: that counts more than what a recipe has under `attentions`."""
    found = OmegaConf.create()
    for key in (key_of(override) for override in overrides):
        if key.startswith("attention."):
            OmegaConf.update(found, key.removeprefix("attention."), OmegaConf.select(cfg, key), force_add=True)
    return found


def _refuse(cfg: DictConfig, chosen: str | None, overrides: Sequence[str]) -> None:
    if cfg.layers_attention is None:
        return
    if not cfg.layers_attention:
        raise UserError("layers_attention names no attention: give it one or more, or null.")
    mine = [override for override in overrides if override.lstrip("+").startswith(("attention=", "attention."))]
    if mine and chosen not in named(cfg):
        raise UserError(
            f"{mine[0]} would change nothing, since no layer takes {chosen}: name it in layers_attention, "
            "or set a value of one that is named there by +attentions.NAME.KEY=..."
        )


def _refuse_unknown(cfg: DictConfig) -> None:
    there = [file.stem for file in (conf_folder() / "attention").glob("*.yaml")]
    for key in ("layers_attention", "cross_attention"):
        names = cfg[key] if isinstance(cfg[key], ListConfig) else [cfg[key]]
        wrong = [
            str(n)
            for n in names
            if n is not None and n not in there and "_target_" not in (cfg.attentions or {}).get(n, {})
        ]
        if wrong:
            raise UserError(
                f"{key} names {wrong[0]}, and there is no attention named so.{did_you_mean(wrong[0], there)}"
                + listed("attention", there)
            )


def title(cfg: DictConfig, chosen: str) -> str:
    """How a record names the attention: the layers' names in order, and the one between sequences."""
    return joined(cfg.layers_attention, cfg.cross_attention, chosen)


def named(cfg: DictConfig) -> list[str]:
    """The names asked for, each once."""
    across = [] if cfg.cross_attention is None else [cfg.cross_attention]
    return list(dict.fromkeys([*(cfg.layers_attention or []), *across]))


def _composed(name: str) -> DictConfig:
    cfg = compose([f"attention={name}"])
    if "@package _global_" in (conf_folder() / "attention" / f"{name}.yaml").read_text(encoding="utf-8"):
        raise UserError(f"attention={name} sets more than the attention, which layers share: name dense instead.")
    return cfg.attention
