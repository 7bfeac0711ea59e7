"""Text: is a line of a program prose or code? Lines have different lengths, which a function pads."""

import inspect
import statistics

from torch import manual_seed, nn, tensor
from torch.nn.utils.rnn import pad_sequence

from ignite import Learner

docs = "\n".join(inspect.getdoc(one) or "" for one in vars(statistics).values())
lines = [line.strip() for line in inspect.getsource(statistics).splitlines() if line.strip()]
data = [(tensor([*line.encode()]), int(line in docs)) for line in lines]


def collate(rows):
    return pad_sequence([x for x, _ in rows], True), tensor([y for _, y in rows])


manual_seed(0)
net = nn.Sequential(nn.EmbeddingBag(256, 64, padding_idx=0), nn.ReLU(), nn.Linear(64, 2))
learner = Learner(net, loss="cross_entropy", lr=0.02, metrics=["accuracy", "f1"])
learner.fit(data, valid=0.2, epochs=5, collate_fn=collate)
print(learner.report(data))
