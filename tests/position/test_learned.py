import pytest
import torch

from manyheads.errors import UserError
from manyheads.position.learned import Learned

LIMIT = 10


@pytest.fixture
def scheme() -> Learned:
    return Learned(8, 2, 4, limit=LIMIT)


def test_adds_the_vector_of_each_position(scheme):
    x, starts = torch.randn(3, 4, 8), torch.tensor([0, 6, 2])
    found = scheme.embed(x, starts)
    for b in range(3):
        for t in range(4):
            torch.testing.assert_close(found[b, t], x[b, t] + scheme.table.weight[starts[b] + t])
    torch.testing.assert_close(scheme.embed(x, 6)[1], found[1])


def test_every_position_can_be_trained(scheme):
    scheme.embed(torch.zeros(1, LIMIT, 8), 0).sum().backward()
    assert (scheme.table.weight.grad != 0).all()


@pytest.mark.parametrize("start", [0, 3, torch.tensor([0, 3])], ids=str)
def test_beyond_the_limit_says_what_to_do(scheme, start):
    fitting = LIMIT - (start if isinstance(start, int) else 3)
    assert scheme.embed(torch.zeros(2, fitting, 8), start).shape == (2, fitting, 8)
    with pytest.raises(UserError, match=rf"{LIMIT + 1} tokens.*position\.limit={LIMIT}.*position=rope"):
        scheme.embed(torch.zeros(2, fitting + 1, 8), start)
