import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn

from ignite.engine import Engine, Events, create_supervised_trainer
from ignite.handlers import SWAHandler


def test_it_is_torchs_average():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = create_supervised_trainer(model, optimizer, nn.functional.mse_loss)
    swa, expected = SWAHandler(model), AveragedModel(model)
    swa.attach(trainer, Events.EPOCH_COMPLETED(after=2))
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED(after=2), lambda: expected.update_parameters(model)
    )
    data = [(torch.randn(8, 2), torch.randn(8, 1)) for _ in range(3)]
    trainer.run(data, max_epochs=6)
    assert swa.num_averaged == expected.n_averaged.item() == 4
    torch.testing.assert_close(
        dict(swa.swa_model.named_parameters()), dict(expected.module.named_parameters())
    )

    swa.update_bn(data)
    update_bn(data, expected)
    torch.testing.assert_close(swa.swa_model.state_dict(), expected.module.state_dict())
    assert not swa.swa_model.training


def test_a_saved_mean_continues():
    model = nn.Linear(1, 1, bias=False)
    step = lambda engine, batch: model.weight.data.fill_(batch)  # noqa: E731
    whole, first, second = SWAHandler(model), SWAHandler(model), SWAHandler(model)
    for handlers, batches in (((whole, first), [1.0, 2.0]), ((whole, second), [6.0])):
        trainer = Engine(step)
        for handler in handlers:
            handler.attach(trainer, Events.ITERATION_COMPLETED)
        if second in handlers:
            second.load_state_dict(first.state_dict())
        trainer.run(batches)
    assert whole.swa_model.weight.item() == second.swa_model.weight.item() == 3.0
    assert second.num_averaged == 3


def test_evaluating_the_mean():
    model, seen = nn.Linear(1, 1, bias=False), []
    swa = SWAHandler(model)
    evaluator = Engine(lambda engine, batch: seen.append(model.weight.item()))
    swa.swap_for(evaluator)
    before = model.weight.item()
    with torch.no_grad():
        model.weight.add_(1)
    evaluator.run([0])
    with swa.swapped():
        seen.append(model.weight.item())
    assert seen == [before, before]
