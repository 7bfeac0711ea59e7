"""Process functions for the tests of the learning-rate finder."""

import torch

from ignite.engine import Engine
from ignite.handlers import FastaiLRFinder


def find_with_other_losses(rank):
    """Alone, the first process would end its test after four iterations, and the second after three."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    losses = iter([[1.0, 2.0, 3.0, 40.0, 5.0], [1.0, 4.0, 5.0, 40.0, 5.0]][rank])
    trainer, finder = Engine(lambda engine, batch: next(losses)), FastaiLRFinder()
    options = {"num_iter": 5, "smooth_f": 0.5, "diverge_th": 2.5, "end_lr": 1.0}
    with finder.attach(trainer, {"optimizer": optimizer}, **options) as training:
        training.run(range(5))
    return finder.get_results()["loss"], len(finder.get_results()["lr"])
