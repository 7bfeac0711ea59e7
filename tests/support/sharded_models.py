"""Process functions that save models sharded over a group."""

import os

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_module, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, ModelCheckpoint


def shard_rows(name, module, mesh):
    for key, parameter in module.named_parameters(recurse=False):
        setattr(module, key, nn.Parameter(distribute_tensor(parameter, mesh, [Shard(0)])))


def make(how):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    mesh = init_device_mesh("cpu", (2,))
    if how == "fully_shard":
        fully_shard(model)
    elif how == "tensor parallel":
        distribute_module(model, mesh, shard_rows)
    elif how == "replicated":
        distribute_module(model, mesh, lambda name, module, mesh: [
            setattr(module, key, nn.Parameter(distribute_tensor(parameter, mesh, [Replicate()])))
            for key, parameter in module.named_parameters(recurse=False)
        ])  # fmt: skip
    elif how == "flat":  # as FSDP's first version marks parts of its parameters
        for parameter in model.parameters():
            parameter._fsdp_flattened = True
    elif how == "ddp":
        model = DistributedDataParallel(model)
    return model


def try_to_save(rank, folder):
    """For each way of spreading a model and each handler: whether it was refused, or what was raised."""
    found = {}
    for how in ("fully_shard", "tensor parallel", "flat", "ddp", "plain"):
        for handler in ("of", "Checkpoint", "ModelCheckpoint", "optimizer", "optimizer of"):
            model = make(how)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
            trainer = Engine(
                lambda engine, batch, model=model, optimizer=optimizer: (
                    optimizer.zero_grad() if model.training else None
                )
            )
            place = os.path.join(folder, f"{how} {handler}".replace(" ", "_"))
            if handler == "of":
                Checkpoint.of(trainer, place, optimizer=None, background=False)
            elif handler == "optimizer of":
                Checkpoint.of(trainer, place, model=None, background=False)
            elif handler == "Checkpoint":
                trainer.add_event_handler(Events.EPOCH_COMPLETED, Checkpoint({"net": model}, place))
            elif handler == "optimizer":
                saved = Checkpoint({"net": nn.Linear(1, 1), "optimizer": optimizer}, place)
                trainer.add_event_handler(Events.EPOCH_COMPLETED, saved)
            else:
                trainer.add_event_handler(
                    Events.EPOCH_COMPLETED, ModelCheckpoint(place), {"net": model}
                )
            if how not in ("plain", "ddp", "flat"):
                model(torch.ones(2, 4)).sum().backward() if how == "fully_shard" else None
                optimizer.step()
            try:
                trainer.run([0, 0])
            except ValueError as error:
                found[f"{how} {handler}"] = (
                    "refused" if "sharded over processes" in str(error) else str(error)
                )
            else:
                found[f"{how} {handler}"] = "saved"
    return found
