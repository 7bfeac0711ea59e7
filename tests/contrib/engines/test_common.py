import re
import weakref

import pytest
import torch
from torch.optim.lr_scheduler import ExponentialLR, ReduceLROnPlateau
from torch.utils.data.distributed import DistributedSampler

from ignite.contrib.engines import common
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, DiskSaver, EarlyStopping
from ignite.handlers.param_scheduler import PiecewiseLinear
from support import (
    common_processes,  # processes that are spawned import these, too
    harness,
)
from support.garbage import no_garbage_collection

setup = common.setup_common_training_handlers


def make_trainer(output=0.0):
    return Engine(lambda engine, batch: output)


def make_optimizer():
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)


def names_of(engine):
    """``(event, class or function)`` of what is attached, without the parts of averages and bars."""
    found = []
    for event, entries in engine._event_handlers.items():
        for handler, *_ in entries:
            owner = getattr(handler, "__self__", handler)
            found.append((event.name, getattr(owner, "__name__", type(owner).__name__)))
    return found


def test_a_bare_set_up_stops_at_nan_and_nothing_else():
    trainer = make_trainer()
    setup(trainer, with_pbars=False)
    assert names_of(trainer) == [("ITERATION_COMPLETED", "TerminateOnNan")]
    off = make_trainer()
    setup(off, with_pbars=False, stop_on_nan=False)
    assert names_of(off) == []


def test_nan_stops_the_run():
    trainer = Engine(lambda engine, batch: batch)
    setup(trainer, with_pbars=False)
    assert trainer.run([1.0, float("nan"), 2.0], max_epochs=2).iteration == 2


def test_handlers_of_an_iteration_come_in_ignites_order():
    # Recorded from pytorch-ignite 0.5.5: NaN, scheduler, checkpoint, averages, bar.
    trainer, scheduler = make_trainer(), ExponentialLR(make_optimizer(), 0.5)
    setup(
        trainer,
        to_save={"m": torch.nn.Linear(1, 1)},
        save_handler=print,
        output_names=["a"],
        lr_scheduler=scheduler,
    )
    found = [name for event, name in names_of(trainer) if event == "ITERATION_COMPLETED"]
    expected = ["TerminateOnNan", "_step", "Checkpoint", "RunningAverage", "_Display"]
    assert list(dict.fromkeys(found)) == expected


def test_a_scheduler_of_torch_steps_after_each_iteration():
    optimizer, rates = make_optimizer(), []
    trainer = Engine(
        lambda engine, batch: (
            rates.append(optimizer.param_groups[0]["lr"]),
            optimizer.step(),
            0.0,
        )[2]
    )
    setup(trainer, lr_scheduler=ExponentialLR(optimizer, 0.5), with_pbars=False)
    trainer.run([0, 0], max_epochs=2)
    assert rates == [1.0, 0.5, 0.25, 0.125]
    assert optimizer.param_groups[0]["lr"] == 0.0625


def test_a_scheduler_of_ignite_is_called_before_each_iteration():
    optimizer, rates = make_optimizer(), []
    trainer = Engine(lambda engine, batch: rates.append(optimizer.param_groups[0]["lr"]) or 0.0)
    setup(
        trainer,
        lr_scheduler=PiecewiseLinear(optimizer, "lr", [(0, 3.0), (2, 7.0)]),
        with_pbars=False,
    )
    trainer.run([0] * 3)
    assert rates == [3.0, 5.0, 7.0]


def test_a_function_does_for_a_scheduler():
    calls, trainer = [], make_trainer()
    setup(
        trainer, lr_scheduler=lambda engine: calls.append(engine.state.iteration), with_pbars=False
    )
    trainer.run([0, 0])
    assert calls == [1, 2]


def test_checkpoints_have_ignites_names_and_the_stepped_scheduler(tmp_path):
    trainer, optimizer = make_trainer(), make_optimizer()
    scheduler = ExponentialLR(optimizer, 0.5)
    to_save = {"optimizer": optimizer, "scheduler": scheduler}
    optimizer.step()
    setup(trainer, None, to_save, 3, str(tmp_path), scheduler, with_pbars=False)
    trainer.run([0] * 4, max_epochs=4)
    (path,) = tmp_path.glob("*.pt")
    assert path.name == "training_checkpoint_15.pt"  # as pytorch-ignite 0.5.5 names it
    saved = torch.load(path, weights_only=True)
    assert saved["scheduler"]["last_epoch"] == 15
    assert saved["optimizer"]["param_groups"][0]["lr"] == 0.5**15


def test_checkpoints_take_arguments_and_handlers():
    names, trainer = [], make_trainer()
    model = torch.nn.Linear(1, 1)
    setup(
        trainer, None, {"model": model}, 1, with_pbars=False, save_handler=lambda state, name: names.append(name),
        filename_prefix="mine", global_step_transform=lambda engine, event: 10 * engine.state.iteration,
    )  # fmt: skip
    trainer.run([0, 0])
    assert names == ["mine_model_10.pt", "mine_model_20.pt"]


def test_a_folder_may_hold_files(tmp_path):
    (tmp_path / "old.pt").touch()
    trainer = make_trainer()
    setup(
        trainer,
        None,
        {"model": torch.nn.Linear(1, 1)},
        1,
        str(tmp_path),
        with_pbars=False,
        n_saved=None,
    )
    trainer.run([0, 0])
    found = {path.name for path in tmp_path.glob("*.pt")}
    assert found == {"old.pt", "training_model_1.pt", "training_model_2.pt"}


def test_schedulers_and_averages_are_saved_with_the_run(tmp_path):
    def run(max_epochs):
        optimizer = make_optimizer()
        trainer = Engine(lambda engine, batch: optimizer.step() or batch)
        setup(
            trainer,
            lr_scheduler=ExponentialLR(optimizer, 0.5),
            output_names=["loss"],
            with_pbars=False,
        )
        Checkpoint.of(trainer, tmp_path)
        trainer.run([1.0, 2.0], max_epochs=max_epochs, resume="latest")
        return trainer.state.metrics["loss"], optimizer.param_groups[0]["lr"]

    run(1)
    expected = 1.0
    for value in (2.0, 1.0, 2.0):
        expected = 0.98 * expected + 0.02 * value
    assert run(2) == (pytest.approx(expected), 0.5**4)


def test_bars_show_epochs_and_every_so_many_iterations(capsys):
    trainer = make_trainer({"loss": 2.0})
    setup(trainer, output_names=["loss"], log_every_iters=2)
    trainer.run([0] * 4, max_epochs=2)
    printed = capsys.readouterr().err
    assert re.search(r"Epoch \[1/2\]: \[2/4\] +50%, loss=2", printed)
    assert re.search(r"Epoch \[2/2\]: \[4/4\] 100%, loss=2", printed)
    assert re.search(r"^Epoch: \[2/2\] 100%", printed, re.MULTILINE)
    assert "[1/4]" not in printed
    assert "[3/4]" not in printed


def test_bars_of_iterations_can_be_left_out(capsys):
    trainer = make_trainer()
    setup(trainer, with_pbar_on_iters=False, log_every_iters=1)
    trainer.run([0] * 4, max_epochs=2)
    printed = capsys.readouterr().err
    assert "[2/2]" in printed
    assert "/4]" not in printed


def test_gpus_are_looked_at_as_often_as_is_logged(monkeypatch):
    looks = []

    class Gpus:
        def attach(self, engine, name, event_name):
            engine.add_event_handler(
                event_name, lambda: looks.append((name, engine.state.iteration))
            )

    monkeypatch.setattr(common, "GpuInfo", Gpus)
    trainer = make_trainer()
    setup(trainer, with_gpu_stats=True, with_pbars=False, log_every_iters=2)
    trainer.run([0] * 5)
    assert looks == [("gpu", 2), ("gpu", 4)]


@pytest.mark.parametrize(
    ("has_gpu", "expected"), [(True, [2, 4]), (False, [])], ids=["gpu", "none"]
)
def test_memory_of_gpus_is_given_back_after_each_epoch(monkeypatch, has_gpu, expected):
    calls, trainer = [], make_trainer()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: calls.append(trainer.state.iteration))
    setup(trainer, with_pbars=False)
    trainer.run([0] * 2, max_epochs=2)
    assert calls == expected
    calls.clear()
    off = make_trainer()
    setup(off, with_pbars=False, clear_cuda_cache=False)
    off.run([0])
    assert calls == []


def test_memory_is_collected_before_it_is_given_back(monkeypatch):
    class Node:
        pass

    node, left = Node(), []
    node.itself = node
    reference = weakref.ref(node)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: left.append(reference()))
    with no_garbage_collection():
        del node
        common.empty_cuda_cache(make_trainer())
    assert left == [None]


MODEL = {"model": torch.nn.Linear(1, 1)}
BAD = {
    "nowhere to save": (
        {"to_save": MODEL},
        ValueError,
        "output_path or save_handler arguments should be also defined",
    ),
    "two places": (
        {"output_path": "x", "save_handler": print},
        ValueError,
        "mutually exclusive, but given both",
    ),
    "not to be saved": ({"to_save": {"a": 1}, "save_handler": print}, TypeError, "state_dict"),
    "unknown": ({"to_save": MODEL, "save_handler": print, "with_pbar": 1}, TypeError, "with_pbar"),
    "save every": ({"save_every_iters": 0}, ValueError, "every"),
    "log every": ({"log_every_iters": 0}, ValueError, "every"),
    "scheduler": ({"lr_scheduler": 3}, TypeError, "scheduler of torch or Ignite, but given 3"),
    "plateau": (
        {"lr_scheduler": ReduceLROnPlateau(make_optimizer())},
        TypeError,
        "ReduceLROnPlateauScheduler",
    ),
    "names": ({"output_names": 3}, TypeError, "not iterable"),
}


@pytest.mark.parametrize(("arguments", "error", "match"), BAD.values(), ids=BAD.keys())
def test_bad_arguments_are_refused_before_anything_is_attached(arguments, error, match):
    trainer = make_trainer()
    with pytest.raises(error, match=match):
        setup(trainer, **arguments)
    assert names_of(trainer) == []


def test_without_gpus_their_use_is_refused_before_anything_is_attached(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    trainer = make_trainer()
    with pytest.raises((ModuleNotFoundError, RuntimeError), match="pynvml|requires available GPU"):
        setup(trainer, with_gpu_stats=True)
    assert names_of(trainer) == []


def test_arguments_without_effect_are_warned_of():
    with pytest.warns(UserWarning, match="no effect without to_save: with_pbar, n_saved") as caught:
        setup(make_trainer(), with_pbars=False, with_pbar=False, n_saved=2)
    assert caught[0].filename == __file__


def test_a_sampler_for_several_processes_is_ignored_in_one():
    sampler, trainer = DistributedSampler(range(4), num_replicas=2, rank=0), make_trainer()
    with pytest.warns(UserWarning, match="train_sampler is a distributed sampler, but") as caught:
        setup(trainer, train_sampler=sampler, with_pbars=False, stop_on_nan=False)
    assert caught[0].filename == __file__
    assert names_of(trainer) == []


def test_over_processes_set_epoch_of_the_sampler_is_called_and_rank_0_has_bars():
    for rank, (told, has_bars, error, attached) in enumerate(harness.run(common_processes.train)):
        assert told == [0, 1, 2]
        assert has_bars == (rank == 0)
        assert "have `set_epoch` method, but given SequentialSampler" in error
        assert attached == []


def make_evaluator(scores):
    evaluator, values = Engine(lambda engine, batch: None), iter(scores)
    evaluator.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: evaluator.state.metrics.update(Acc=next(values))
    )
    return evaluator


def validate(trainer, evaluator, num_epochs):
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run([0]))
    return trainer.run([0], max_epochs=num_epochs)


def test_the_best_models_are_kept_under_ignites_names(tmp_path):
    # Recorded from pytorch-ignite 0.5.5.
    trainer, evaluator, model = (
        make_trainer(),
        make_evaluator([0.3, 0.1, 0.5, 0.2]),
        torch.nn.Linear(1, 1),
    )
    best = common.save_best_model_by_val_score(
        str(tmp_path), evaluator, model, "Acc", n_saved=2, trainer=trainer
    )
    validate(trainer, evaluator, 4)
    assert {path.name for path in tmp_path.glob("*.pt")} == {
        "best_model_1_val_acc=0.3000.pt",
        "best_model_3_val_acc=0.5000.pt",
    }
    assert best.last_checkpoint == tmp_path / "best_model_3_val_acc=0.5000.pt"
    assert torch.load(best.last_checkpoint, weights_only=True)["weight"].equal(model.weight)


def test_several_models_are_saved_by_a_handler_of_ones_own():
    # Recorded from pytorch-ignite 0.5.5.
    evaluator, saved = make_evaluator([0.3, 0.1, 0.5]), []
    best = common.gen_save_best_models_by_val_score(
        lambda state, name, metadata: saved.append((name, sorted(state), metadata["priority"])), evaluator,
        {"b": torch.nn.Linear(1, 1), "a": torch.nn.Linear(1, 1)}, "Acc", 1, None, "test", -1.0,
    )  # fmt: skip
    for _ in range(3):
        evaluator.run([0])
    assert saved == [
        ("best_checkpoint_test_acc=-0.3000.pt", ["a", "b"], -0.3),
        ("best_checkpoint_test_acc=-0.1000.pt", ["a", "b"], -0.1),
    ]
    assert best.last_checkpoint == "best_checkpoint_test_acc=-0.1000.pt"


def test_three_models_are_kept_unless_said_otherwise():
    best = common.gen_save_best_models_by_val_score(
        print, make_trainer(), torch.nn.Linear(1, 1), "Acc"
    )
    assert (best.n_saved, best.filename_prefix, best.score_name, list(best.to_save)) == (
        3,
        "best",
        "val_acc",
        ["model"],
    )
    again = common.gen_save_best_models_by_val_score(
        print,
        make_trainer(),
        torch.nn.Linear(1, 1),
        "Acc",
        filename_prefix="top",
        greater_or_equal=True,
    )
    assert (again.filename_prefix, again.greater_or_equal) == ("top", True)


def test_the_process_that_writes_is_chosen_for_folders_too(tmp_path):
    model = torch.nn.Linear(1, 1)
    best = common.save_best_model_by_val_score(
        str(tmp_path), make_trainer(), model, "Acc", save_on_rank=0
    )
    assert isinstance(best.save_handler, DiskSaver)
    assert best.save_handler.save_on_rank == best.save_on_rank == 0
    other = common.save_best_model_by_val_score(
        str(tmp_path), make_trainer(), model, "Acc", save_on_rank=1
    )
    assert other.save_handler.save_on_rank == other.save_on_rank == 1


@pytest.mark.parametrize(("sign", "num_epochs"), [(1.0, 3), (-1.0, 4)], ids=["higher", "lower"])
def test_training_stops_early(sign, num_epochs):
    # Higher is better: 0.3, then two that are worse. Lower is better: 0.1 in epoch 2, then two.
    trainer, evaluator = make_trainer(), make_evaluator([0.3, 0.1, 0.2, 0.2, 0.9])
    stopper = common.add_early_stopping_by_val_score(2, evaluator, trainer, "Acc", sign)
    assert isinstance(stopper, EarlyStopping)
    assert validate(trainer, evaluator, 5).epoch == num_epochs
    assert stopper.best_score == {1.0: 0.3, -1.0: -0.1}[sign]


@pytest.mark.parametrize(
    "function",
    [
        lambda engine: common.gen_save_best_models_by_val_score(
            print, engine, torch.nn.Linear(1, 1), "Acc", score_sign=2.0
        ),
        lambda engine: common.add_early_stopping_by_val_score(
            2, engine, make_trainer(), "Acc", score_sign=2.0
        ),
    ],
    ids=["save", "stop"],
)
def test_a_sign_is_one_or_minus_one(function):
    evaluator = make_trainer()
    with pytest.raises(ValueError, match="score_sign should be 1 or -1"):
        function(evaluator)
    assert names_of(evaluator) == []


def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match="state_dict"):
        common.gen_save_best_models_by_val_score(print, make_trainer(), 3, "Acc")


def test_setup_any_logging_says_what_to_use():
    with pytest.raises(DeprecationWarning, match="since version 0.4.0: use setup_tb_logging"):
        common.setup_any_logging(None, None, make_trainer(), None, None, 1)


def test_a_trainer_that_is_set_up_is_freed_at_once():
    trainer = make_trainer()
    setup(trainer, output_names=["loss"], lr_scheduler=ExponentialLR(make_optimizer(), 0.5))
    reference = weakref.ref(trainer)
    with no_garbage_collection():
        del trainer
        assert reference() is None
