"""Train a small convolutional network on handwritten digits: a complete training in one file.

Has a progress bar, a learning-rate schedule with warm-up, validation after every epoch, TensorBoard
files, and the best and the last checkpoint. Stop it anywhere with Ctrl-C or kill -9 and run it
again: it continues as if it had not been stopped.

    python examples/digits.py --epochs 12 --output runs/digits
"""

import argparse
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ignite import storage
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import (
    Checkpoint,
    CosineAnnealingScheduler,
    Preemption,
    ProgressBar,
    TensorboardLogger,
    create_lr_scheduler_with_warmup,
    global_step_from_engine,
)
from ignite.metrics import Accuracy, Loss
from ignite.utils import manual_seed


def get_loaders(batch_size, seed):
    """Four fifths for training, one fifth held out, with the same share of each digit."""
    digits = load_digits()
    # (N, 1, 8, 8), from 0 to 1
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    targets = torch.tensor(digits.target)
    train, val = train_test_split(
        range(len(targets)), test_size=0.2, stratify=digits.target, random_state=seed
    )
    train_set, val_set = (TensorDataset(images[part], targets[part]) for part in (train, val))
    return DataLoader(train_set, batch_size, shuffle=True), DataLoader(val_set, 512)


def make_model():
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.2), nn.Linear(64 * 2 * 2, 10)),
    )


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

    trainer = create_supervised_trainer(
        model, optimizer, loss_fn, device=device, clip_grad_norm=5.0
    )
    metrics = {"accuracy": Accuracy(), "loss": Loss(loss_fn)}
    evaluator = create_supervised_evaluator(model, metrics=metrics, device=device)

    # Saves the whole run in the background after each epoch, and at Ctrl-C or a scheduler's signal.
    checkpoint = Checkpoint.of(
        trainer, args.output / "checkpoints", score="accuracy", model=model, optimizer=optimizer
    )
    preemption = Preemption(raise_exit=False)
    preemption.attach(trainer)
    num_steps = args.epochs * len(train_loader)
    cosine = CosineAnnealingScheduler(optimizer, "lr", args.lr, args.lr / 100, cycle_size=num_steps)
    schedule = create_lr_scheduler_with_warmup(
        cosine, args.lr / 10, warmup_duration=len(train_loader)
    )
    trainer.add_event_handler(Events.ITERATION_STARTED, schedule)

    progress = ProgressBar(desc="digits")
    progress.attach(trainer, output_transform=lambda loss: {"loss": loss})
    logger = TensorboardLogger(args.output)
    logger.attach_output_handler(
        trainer,
        Events.ITERATION_COMPLETED(every=5, last=True),
        tag="training",
        output_transform=lambda loss: {"loss": loss},
    )
    logger.attach_opt_params_handler(
        trainer, Events.ITERATION_COMPLETED(every=5, last=True), optimizer
    )
    logger.attach_output_handler(
        evaluator,
        Events.COMPLETED,
        tag="validation",
        metric_names="all",
        global_step_transform=global_step_from_engine(trainer),
    )

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine):
        values = evaluator.run(val_loader).metrics
        progress.log_message(
            f"epoch {engine.state.epoch:>2}  accuracy {values['accuracy']:.4f}  loss {values['loss']:.4f}"
        )

    trainer.run(train_loader, max_epochs=args.epochs, resume="latest")
    logger.close()

    if preemption.received:
        state = trainer.state
        print(
            f"Stopped in epoch {state.epoch}, after {state.iteration} iterations. Run it again to continue."
        )
    best = checkpoint.best_checkpoint
    if best is None:
        print("No epoch was completed: there is no best model yet.")
        return 130
    loaded = storage.load(best)
    model.load_state_dict(loaded.state["model"])
    accuracy = evaluator.run(val_loader).metrics["accuracy"]
    print(
        f"\nBest accuracy on {len(val_loader.dataset)} held-out digits: {accuracy:.4f} (epoch {loaded.note.epoch})"
    )
    print(f"  the best model   {args.output / 'checkpoints' / 'best.pt'}")
    print(f"  all checkpoints  ignite doctor {args.output}")
    print(f"  the curves       tensorboard --logdir {args.output}")
    print("  all handlers     print(trainer.describe()) in examples/digits.py")
    print("  a first program  examples/guide.py; all examples: examples/README.md")
    return 128 + preemption.received if preemption.received else 0


if __name__ == "__main__":
    raise SystemExit(main())
