import pytest

from manyheads.errors import UserError
from manyheads.pruning.schedule import Schedule


def schedule(**changes):
    return Schedule(**{"warmup": 0.1, "ramp": 0.4, "hold": 0.2, "shape": "cubic", "every": 5} | changes)


def test_cubic_grows_as_zhu_and_gupta_wrote_it():
    found = schedule()
    assert [found.progress(step, 100) for step in (0, 9, 10)] == [0, 0, 0]
    for step in range(10, 50):
        assert found.progress(step, 100) == pytest.approx(1 - (1 - (step - 10) / 40) ** 3)
    assert [found.progress(step, 100) for step in (50, 69, 99)] == [1, 1, 1]
    assert (found.begins(100), found.settles(100)) == (10, 70)


def test_linear_grows_evenly_and_one_shot_at_once():
    assert schedule(shape="linear").progress(30, 100) == pytest.approx(0.5)
    assert [schedule(shape="one_shot").progress(step, 100) for step in (9, 10)] == [0, 1]


def test_without_a_warm_up_the_first_step_may_prune():
    assert schedule(warmup=0.0, ramp=0.0, hold=0.0, shape="one_shot").progress(0, 100) == 1


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"warmup": -0.1}, "warmup=-0.1"),
        ({"ramp": 0.9}, "warmup + ramp + hold is 1.2"),
        ({"every": 0}, "every=0"),
        ({"shape": "square"}, "shape=square"),
    ],
)
def test_what_is_no_schedule_is_refused(wrong, word):
    with pytest.raises(UserError, match=word.replace("+", r"\+")):
        schedule(**wrong)
