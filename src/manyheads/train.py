"""One run, from a config to a folder of results."""

import sys
from typing import TYPE_CHECKING, Any

from manyheads.config.launch import launch

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main() -> None:
    """The command line: `python train.py …` and `manyheads-train …`."""
    sys.exit(launch(train, share=share))


def share(names: tuple[str, ...]) -> None:
    """How processes that something else started together agree (config.ranks)."""
    # Imported here, for those alone that something else started together.
    from manyheads import meeting

    meeting.share(names)


def train(cfg: "DictConfig") -> Any:
    """Builds, checks, fits, tests and writes; returns the metric that a sweep optimises."""
    # Imported here: `--help` and a typo are answered without waiting for torch.
    if cfg.estimate:
        from manyheads.estimate.foresee import tell

        return tell(cfg)
    from manyheads.run import Run

    with Run(cfg) as run:
        run.build()
        if cfg.train:
            run.check()
            run.fit()
            run.choose_weights()
            run.compact()
        if cfg.test:
            run.test()
        return run.finish()
