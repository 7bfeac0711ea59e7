import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.metrics.statistics._statistic import Copies

sizes = st.lists(st.sampled_from([0, 1, 3, 3, 600]), min_size=1, max_size=6)


def pair_of(size, kind):
    x = torch.arange(2.0 * size).view(size, 2)
    return {"alike": (x, -x), "one": (x, x), "other": (x, -x[:, 0].long())}[kind]


@given(sizes, st.sampled_from(["alike", "one", "other"]))
def test_joined_copies_keep_the_order_of_rows(sizes, kind):
    pairs = [pair_of(size, kind) for size in sizes]
    x, y = Copies.joined([Copies(*pair) for pair in pairs]).tensors
    assert torch.equal(x, torch.cat([pair[0] for pair in pairs]))
    assert torch.equal(y, torch.cat([pair[1] for pair in pairs]))
    assert (x is y) == (kind == "one")


@given(st.sampled_from([2, 2000]), st.sampled_from(["alike", "one", "other"]))
def test_copies_are_detached_and_share_no_memory(size, kind):
    x, y = pair_of(size, kind)
    before = x.clone(), y.clone()
    copies = Copies(x.requires_grad_(), y)
    with torch.no_grad():
        x.fill_(7)
        y.fill_(7)
    for found, expected in zip(copies.tensors, before, strict=True):
        assert torch.equal(found, expected)
        assert not found.requires_grad


def test_batches_that_can_be_joined_have_equal_rows():
    first = Copies(torch.ones(3, 2), torch.zeros(3, 2))
    assert Copies(torch.ones(5, 2), torch.zeros(5, 2)).row == first.row
    assert first.like != Copies(torch.ones(5, 2), torch.zeros(5, 2)).like
    for other in (
        Copies(torch.ones(3, 4), torch.zeros(3, 4)),
        Copies(torch.ones(3, 2).double(), torch.zeros(3, 2).double()),
        Copies(torch.ones(3, 2), torch.zeros(3, 2).double()),
    ):
        assert other.row != first.row
