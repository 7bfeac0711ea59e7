"""Train a network on handwritten digits and watch its losses in TensorBoard.

python examples/guide.py --log_dir runs/guide
tensorboard --logdir runs/guide
"""

import argparse

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset, random_split

import ignite.metrics
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer

try:
    from tensorboardX import SummaryWriter
except ImportError:
    from torch.utils.tensorboard import SummaryWriter


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3, padding=1)
        self.fc1 = nn.Linear(32 * 2 * 2, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return F.log_softmax(self.fc2(x), dim=1)


def get_data_loaders(train_batch_size, val_batch_size):
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    data = TensorDataset(images, torch.tensor(digits.target))
    train_set, val_set = random_split(data, [0.8, 0.2], generator=torch.Generator().manual_seed(0))
    train_loader = DataLoader(train_set, batch_size=train_batch_size, shuffle=True)
    return train_loader, DataLoader(val_set, batch_size=val_batch_size)


def create_summary_writer(model, data_loader, log_dir):
    writer = SummaryWriter(log_dir=log_dir)
    x, _ = next(iter(data_loader))
    device = next(model.parameters()).device
    writer.add_graph(model, x.to(device))
    return writer


def fit(model, loss, data_loaders, learning_rate, log_interval, log_dir, max_epochs=5):
    train_loader, val_loader = data_loaders
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    writer = create_summary_writer(model, train_loader, log_dir)
    optimizer = optim.SGD(model.parameters(), lr=learning_rate, momentum=0.9)

    trainer = create_supervised_trainer(model, optimizer, loss, device=device)
    evaluator = create_supervised_evaluator(
        model, metrics={"loss": ignite.metrics.Loss(loss)}, device=device
    )

    @trainer.on(Events.ITERATION_COMPLETED)
    def log_training_loss(engine):
        i = (engine.state.iteration - 1) % len(train_loader) + 1
        if i % log_interval == 0:
            print(
                f"Epoch[{engine.state.epoch}] Iteration[{i}/{len(train_loader)}] Loss: {engine.state.output:.4f}"
            )
            writer.add_scalar("training/loss", engine.state.output, engine.state.iteration)

    @trainer.on(Events.EPOCH_COMPLETED)
    def log_average_losses(engine):
        for name, loader in (("training", train_loader), ("validation", val_loader)):
            evaluator.run(loader)
            average = evaluator.state.metrics["loss"]
            print(
                f"{name.capitalize()} Results - Epoch: {engine.state.epoch}  Avg loss: {average:.4f}"
            )
            writer.add_scalar(f"{name}/avg_loss", average, engine.state.epoch)

    trainer.run(train_loader, max_epochs=max_epochs)
    writer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--val_batch_size", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--log_interval", type=int, default=10)
    parser.add_argument("--log_dir", default="runs/guide")
    args = parser.parse_args()

    torch.manual_seed(0)
    loaders = get_data_loaders(args.batch_size, args.val_batch_size)
    fit(Net(), F.nll_loss, loaders, args.lr, args.log_interval, args.log_dir, args.epochs)
