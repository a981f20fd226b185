"""What a run may change when it goes on."""

import pytest

from manyheads.config.compose import compose
from manyheads.config.refusals import refuse
from manyheads.errors import UserError


@pytest.mark.parametrize(
    "override",
    [
        "trainer=cpu",
        "trainer.max_epochs=9",
        "trainer.devices=1",
        "callbacks.ranks.timeout=3600",
        "compile=true",
        "activation_checkpointing=true",
        "+logger.x=1",
        "hydra/launcher=ray",
    ],
)
def test_what_changes_no_weights_may_change(override):
    refuse(compose(["resume=folder"]), [override])


@pytest.mark.parametrize(
    "override",
    [
        "trainer.precision=bf16-true",
        "trainer.accumulate_grad_batches=2",
        "trainer.gradient_clip_val=0.1",
        "trainer.overfit_batches=1",
        "testing=1",
        "optimizer.lr=1",
        "callbacks=ema",
    ],
)
def test_what_would_be_another_training_may_not(override):
    with pytest.raises(UserError, match="cannot change in the middle of a run"):
        refuse(compose(["resume=folder"]), [override])
