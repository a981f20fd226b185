import pytest

from manyheads.config.compose import compose
from manyheads.config.objects import instantiate
from manyheads.errors import UserError


@pytest.mark.parametrize("setting", ["width=0", "ratio=-1", "temperature=0", "top_k=0", "top_p=0", "top_p=1.5"])
def test_settings_that_mean_nothing_are_refused_by_name(setting):
    with pytest.raises(UserError, match=setting.replace(".", r"\.")):
        instantiate(compose([f"task.search.{setting}"]).task.search)


def test_the_defaults_are_settings():
    assert instantiate(compose([]).task.search).method == "beam"
