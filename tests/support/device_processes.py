"""Process functions with tensors on a device, for tests/gpu."""

import torch

from ignite import distributed as idist
from ignite.engine import Engine
from ignite.metrics import ROC_AUC, Accuracy, Average, ConfusionMatrix


def values_on_device(rank):
    """Metrics of tensors on one device, in two processes that have different numbers of examples."""
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    generator = torch.Generator().manual_seed(0)
    scores, y = torch.rand(30, 4, generator=generator), torch.randint(4, (30,), generator=generator)
    parts = {-1: slice(None), 0: slice(0, 21), 1: slice(21, 30)}[rank]
    engine = Engine(lambda engine, batch: batch)
    metrics = {
        "accuracy": Accuracy(),
        "matrix": ConfusionMatrix(4),
        "average": Average(output_transform=lambda output: output[0]),
        "auc": ROC_AUC(output_transform=lambda output: (output[0][:, 0], (output[1] == 0).long())),
    }
    for name, metric in metrics.items():
        metric.attach(engine, name)
    batches = [
        tuple(each[parts][i : i + 5].to(device) for each in (scores, y)) for i in range(0, 30, 5)
    ]
    found = engine.run([batch for batch in batches if len(batch[0])]).metrics
    total = idist.all_reduce(torch.ones(2, device=device))
    return {
        **{name: torch.as_tensor(value).double().cpu() for name, value in found.items()},
        "device": total.device.type,
        "total": total.cpu(),
    }
