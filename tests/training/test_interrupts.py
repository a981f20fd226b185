import os
import signal

import pytest

from manyheads.training import interrupts
from manyheads.training.interrupts import Interrupted


def test_outside_of_training_sigterm_ends_at_once_and_only_there():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted) as stop, interrupts.raising():
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.value.code == 143
    assert str(stop.value) == "SIGTERM"
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_step_is_told_where_there_was_one():
    assert str(Interrupted(signal.SIGINT, 12)) == "SIGINT at step 12"


@pytest.mark.parametrize(("code", "number"), [(130, signal.SIGINT), (143, signal.SIGTERM), (137, None), (1, None)])
def test_exit_codes_of_signals(code, number):
    assert interrupts.number_of(code) == number


def test_what_waits_without_children_ends_itself():
    with pytest.raises(Interrupted), interrupts.forwarding():
        os.kill(os.getpid(), signal.SIGTERM)
