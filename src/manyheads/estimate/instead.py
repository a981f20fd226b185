"""What would have fit, when a run that was thought to fit did not."""

from lightning.pytorch import LightningDataModule
from omegaconf import DictConfig

from manyheads.estimate.estimate import Estimator, device_of
from manyheads.estimate.fit import fits

CLOSER = 0.9
"""Of the memory that was reached: what is estimated to need so much is likely to fit."""


def roomier(cfg: DictConfig, data: LightningDataModule, reached: int | None) -> str:
    """The setting that an estimate says will fit. reached: bytes that were had before there were no more."""
    estimator = Estimator(cfg, data, device_of(cfg))
    found = estimator.estimate()
    room = int(CLOSER * min(n for n in (reached, found.peak, found.available) if n))
    fit = fits(cfg, estimator.imagination, found.batch, room - found.averaged + found.saved)
    return fit.batch or fit.longest or "a smaller model"
