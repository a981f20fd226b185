"""Attentions by name beyond `attention` itself: one per layer, and another between sequences.

Names become configs before anything is built or written, so that a run's folder holds every value that made it.
"""

from omegaconf import DictConfig, OmegaConf

from manyheads.config.check import check
from manyheads.config.compose import compose


def name_layers(cfg: DictConfig, chosen: str) -> None:
    """Puts the config of each attention that `layers_attention` and `cross_attention` name under `attentions`.

    `chosen` is the name of `attention`, which keeps what the command line set in it; a name of a resumed run stays as it
    was. Raises UserError for a name that is not there.
    """
    known = dict(cfg.attentions or {})
    for name in named(cfg):
        if name not in known:
            known[name] = cfg.attention if name == chosen else _composed(name)
    if known:
        OmegaConf.set_struct(cfg, False)
        cfg.attentions = {name: OmegaConf.to_container(node) for name, node in known.items()}
        OmegaConf.set_struct(cfg, True)


def title(cfg: DictConfig, chosen: str) -> str:
    """How a record names the attention: the layers' names in order, and the one between sequences."""
    within = "+".join(cfg.layers_attention or [chosen])
    return within if cfg.cross_attention is None else f"{within} across {cfg.cross_attention}"


def named(cfg: DictConfig) -> list[str]:
    """The names asked for, each once."""
    across = [] if cfg.cross_attention is None else [cfg.cross_attention]
    return list(dict.fromkeys([*(cfg.layers_attention or []), *across]))


def _composed(name: str) -> DictConfig:
    cfg = compose([f"attention={name}"])
    check(cfg)
    return cfg.attention
