"""Train a small convolutional network on handwritten digits: the whole job, in one file.

A progress bar, validation after every epoch, TensorBoard files, the best checkpoint kept, Ctrl-C that ends cleanly.

    python examples/digits.py --epochs 12 --output runs/digits
"""

import argparse
import os
import signal
import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import Accuracy, Loss
from ignite.utils import manual_seed


def get_loaders(batch_size, seed):
    """Four fifths to train on, one fifth held out, with the same share of each digit."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16  # (N, 1, 8, 8), from 0 to 1
    targets = torch.tensor(digits.target)
    train, val = train_test_split(range(len(targets)), test_size=0.2, stratify=digits.target, random_state=seed)
    train_set, val_set = (TensorDataset(images[part], targets[part]) for part in (train, val))
    return DataLoader(train_set, batch_size, shuffle=True), DataLoader(val_set, 512)


def make_model():
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.2), nn.Linear(64 * 2 * 2, 10)),
    )


def save(state, path):
    """Writes a checkpoint that is whole or not there, whenever the machine stops."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("runs/digits"))
    args = parser.parse_args()

    manual_seed(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    train_loader, val_loader = get_loaders(args.batch_size, args.seed)
    model = make_model().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    loss_fn = nn.CrossEntropyLoss()

    trainer = create_supervised_trainer(model, optimizer, loss_fn, device=device, clip_grad_norm=5.0)
    metrics = {"accuracy": Accuracy(), "loss": Loss(loss_fn)}
    evaluator = create_supervised_evaluator(model, metrics=metrics, device=device)

    args.output.mkdir(parents=True, exist_ok=True)
    checkpoint = args.output / "best.pt"
    writer = SummaryWriter(args.output)
    bar = tqdm(total=args.epochs * len(train_loader), unit="batch", disable=None)
    best = {"accuracy": 0.0, "epoch": 0}

    @trainer.on(Events.ITERATION_COMPLETED(every=5, last=True))
    def show_progress(engine):
        bar.update(engine.state.iteration - bar.n)
        bar.set_postfix(epoch=engine.state.epoch, loss=f"{engine.state.output:.3f}")
        writer.add_scalar("training/loss", engine.state.output, engine.state.iteration)

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine):
        found = evaluator.run(val_loader).metrics
        tqdm.write(f"epoch {engine.state.epoch:>2}  accuracy {found['accuracy']:.4f}  loss {found['loss']:.4f}")
        sys.stdout.flush()
        for name, value in found.items():
            writer.add_scalar(f"validation/{name}", value, engine.state.epoch)

    @trainer.on(Events.EPOCH_COMPLETED)
    def keep_the_best(engine):
        accuracy = evaluator.state.metrics["accuracy"]
        if accuracy > best["accuracy"]:
            best.update(accuracy=accuracy, epoch=engine.state.epoch)
            save({"model": model.state_dict(), **best}, checkpoint)

    def end_on_ctrl_c(signum, frame):
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second one ends the program at once
        trainer.terminate()  # after the event at hand, so that nothing is left half done

    signal.signal(signal.SIGINT, end_on_ctrl_c)
    trainer.run(train_loader, max_epochs=args.epochs)
    bar.close()
    writer.close()

    is_complete = trainer.state.iteration == args.epochs * len(train_loader)
    if not is_complete:
        print(f"Stopped in epoch {trainer.state.epoch}, after {trainer.state.iteration} iterations.")
    if best["epoch"] == 0:
        print("No epoch was completed: there is no checkpoint.")
        return 130
    model.load_state_dict(torch.load(checkpoint, weights_only=True)["model"])
    accuracy = evaluator.run(val_loader).metrics["accuracy"]
    print(f"\nBest accuracy on {len(val_loader.dataset)} held-out digits: {accuracy:.4f} (epoch {best['epoch']})")
    print(f"  the best model   {checkpoint}")
    print(f"  the curves       tensorboard --logdir {args.output}")
    print("  what was run     print(trainer.describe()) in examples/digits.py")
    print("  a shorter start  examples/guide.py; all examples: examples/README.md")
    return 0 if is_complete else 130


if __name__ == "__main__":
    raise SystemExit(main())
