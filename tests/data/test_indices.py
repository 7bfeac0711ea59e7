import pickle

import torch

from ignite.data._indices import Indices, Key, tag


def test_a_list_stays_a_list_and_knows_its_pass_and_its_seed():
    indices = tag([3, 1], 5, 2**63)
    assert isinstance(indices, Indices)
    assert indices == [3, 1]
    assert (indices.epoch, indices.seed) == (5, 2**63)


def test_it_knows_them_on_the_other_side_of_a_pipe_too():
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        copy = pickle.loads(pickle.dumps(tag([3, 1], 5, 7), protocol))
        assert copy == [3, 1]
        assert (type(copy), copy.epoch, copy.seed) == (Indices, 5, 7)


def test_anything_else_becomes_a_key_that_holds_it():
    tensor = torch.arange(3)
    assert tag("a", 1, 2) == Key("a", 1, 2)
    assert tag(tensor, 1, 2).value is tensor
    assert pickle.loads(pickle.dumps(tag((1, 2), 3, 4))) == Key((1, 2), 3, 4)
