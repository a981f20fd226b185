"""Samplers that Optuna has in another form. Imported only where one is used."""

from typing import Any

import optuna


class Grid(optuna.samplers.GridSampler):
    """Every combination once. The sweep counts them; stopping belongs to Optuna's own loop, which is not used."""

    def after_trial(self, *args: Any, **kwargs: Any) -> None:
        pass
