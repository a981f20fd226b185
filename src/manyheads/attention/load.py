"""An attention by the name of its yaml, outside a run."""

from typing import Any

from manyheads.attention.base import Attention


def load(name: str, heads: int, head_dim: int, layer: int = 0, **overrides: Any) -> Attention:
    """The module of conf/attention/<name>.yaml for `heads` heads of size `head_dim`; `overrides` replace its values.

    `layer` numbers the block that it is for; mappings among the overrides, as pattern={"width": 64}, replace
    single keys.

    Raises UserError for a name or a key that is not there and for values that do not go together.
    """
    # Imported here: who builds models from plain values needs no configs.
    from omegaconf import OmegaConf

    from manyheads.config.check import check
    from manyheads.config.compose import compose
    from manyheads.config.objects import instantiate

    cfg = compose([f"attention={name}"])
    OmegaConf.set_struct(cfg, False)
    cfg.attention = OmegaConf.merge(cfg.attention, overrides)
    check(cfg)
    return instantiate(cfg.attention)(heads=heads, head_dim=head_dim, layer=layer)
