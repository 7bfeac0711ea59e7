import logging
import math

import pytest
import torch

from ignite.engine import (
    BackpropEvents,
    Engine,
    Events,
    create_supervised_trainer,
    supervised_training_step,
)
from ignite.handlers.spike_guard import SpikeGuard
from support import guarded_processes, harness

NAN = math.nan
mse = torch.nn.functional.mse_loss


def make_batches(number, bad=(), value=NAN):
    """``bad`` are the numbers, from 0, of the batches in which an input is ``value``."""
    generator = torch.Generator().manual_seed(1)
    batches = [
        (torch.randn(4, 2, generator=generator), torch.randn(4, 1, generator=generator))
        for _ in range(number)
    ]
    for i in bad:
        batches[i][0][0, 0] = value
    return batches


def make_model(dropout=0.0):
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(2, 8), torch.nn.Dropout(dropout), torch.nn.Linear(8, 1)
    )


def weights_of(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()]).tolist()


class Run:
    """A small training, guarded or not."""

    def __init__(
        self, batches, guard_options=None, *, attach=None, dropout=0.0, epochs=1, **options
    ):
        self.model = make_model(dropout)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.trainer = create_supervised_trainer(
            self.model, self.optimizer, options.pop("loss_fn", mse), **options
        )
        self.batches, self.epochs, self.guard = batches, epochs, None
        self.seen = []
        self.trainer.add_event_handler(
            Events.ITERATION_COMPLETED, lambda engine: self.seen.append(engine.state.iteration)
        )
        if guard_options is not None:
            self.guard = SpikeGuard(
                {"model": self.model, "optimizer": self.optimizer}, **guard_options
            )
            self.guard.attach(self.trainer, **(attach or {}))

    def __call__(self):
        torch.manual_seed(5)
        self.trainer.run(self.batches, max_epochs=self.epochs)
        return weights_of(self.model)


def left_out(batches, *indices):
    return [batch for i, batch in enumerate(batches) if i not in indices]


class TestSkip:
    @pytest.mark.parametrize("value", [NAN, math.inf, 1e4])
    def test_the_weights_are_those_of_a_run_without_the_bad_batches(self, value, caplog):
        batches = make_batches(30, bad=[24, 26], value=value)
        run = Run(batches, {"policy": "skip"})
        assert run() == Run(left_out(batches, 24, 26))()
        assert run.guard.num_skipped == 2
        assert run.seen == [i for i in range(1, 31) if i not in (25, 27)]
        assert "iteration 25: the loss is" in caplog.text
        assert "The batch is skipped (1 in a row, at most 10)" in caplog.text

    def test_nothing_is_done_to_a_run_that_is_well(self, caplog):
        batches = make_batches(40)
        run = Run(batches, {"policy": "skip", "threshold": 20.0})
        assert run() == Run(batches)()
        assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []
        assert run.guard.num_skipped == 0

    def test_without_the_guard_the_weights_would_be_lost(self):
        assert all(math.isnan(weight) for weight in Run(make_batches(10, bad=[3]))())

    @pytest.mark.parametrize("bad", [4, 5])
    def test_under_accumulation_the_batch_adds_nothing_to_its_window(self, bad):
        batches = make_batches(8, bad=[bad])
        run = Run(batches, {"policy": "skip"}, gradient_accumulation_steps=2)
        weights = run()
        assert all(map(math.isfinite, weights))
        expected = Run(left_out(batches, bad), gradient_accumulation_steps=2)
        assert weights == expected()

    def test_gradients_that_are_not_finite_are_kept_from_the_weights(self, caplog):
        def loss_with_bad_gradient(y_pred, y):
            loss = mse(y_pred, y)
            # The square root has an infinite slope at 0, which is multiplied by 0.
            return loss + (y_pred * 0).abs().sqrt().sum() if y.sum() > 100 else loss

        batches = make_batches(6)
        batches[3][1][0] = 200.0
        run = Run(
            batches, {"policy": "skip", "threshold": math.inf}, loss_fn=loss_with_bad_gradient
        )
        weights = run()
        assert weights == Run(left_out(batches, 3))()
        assert "iteration 4: the largest gradient is nan" in caplog.text
        assert run.guard.num_skipped == 1

    def test_with_a_scaler_infinite_gradients_are_the_scalers_business(self):
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
        run = Run(
            make_batches(12), {"policy": "skip"}, amp_mode="amp", scaler=scaler, amp_dtype="float16"
        )
        run()
        assert scaler.get_scale() < 2.0**127  # it has found infinite gradients
        assert run.guard.num_skipped == 0
        assert run.seen == [*range(1, 13)]

    def test_with_a_scaler_the_loss_is_looked_at_unscaled(self):
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        run = Run(
            make_batches(3, bad=[1]),
            {"policy": "skip"},
            amp_mode="amp",
            scaler=scaler,
            amp_dtype="bfloat16",
        )
        assert all(map(math.isfinite, run()))
        assert run.guard.num_skipped == 1
        assert run.guard.state_dict()["losses"][0] < 100

    def test_too_many_in_a_row_are_an_error(self):
        run = Run(make_batches(10, bad=[1, 3, 4, 6, 7, 8]), {"policy": "skip", "max_in_a_row": 2})
        with pytest.raises(
            FloatingPointError,
            match="iteration 9: the loss is nan. These are 3 consecutive incidents",
        ):
            run()
        assert run.guard.num_skipped == 5
        assert all(map(math.isfinite, weights_of(run.model)))

    def test_sparse_gradients_are_looked_at_too(self):
        torch.manual_seed(0)
        model = torch.nn.Embedding(4, 1, sparse=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        trainer = create_supervised_trainer(model, optimizer, lambda y_pred, y: (y_pred * y).sum())
        SpikeGuard().attach(trainer)
        trainer.run([(torch.tensor([1, 2]), torch.ones(2, 1))] * 3)
        assert trainer.state.iteration == 3

    def test_a_plain_engine_around_a_supervised_step_can_be_guarded(self):
        model = make_model()
        trainer = Engine(
            supervised_training_step(model, torch.optim.SGD(model.parameters(), lr=0.1), mse)
        )
        guard = SpikeGuard()
        guard.attach(trainer)
        trainer.run(make_batches(5, bad=[2]))
        assert guard.num_skipped == 1

    def test_every_other_check_leaves_the_rest_unlooked_at(self):
        run = Run(make_batches(9, bad=[3]), {"policy": "skip"}, attach={"check_every": 2})
        run()
        assert run.guard.num_skipped == 1
        assert len(run.guard.state_dict()["losses"]) == 3


class TestRollback:
    @pytest.mark.parametrize("dropout", [0.0, 0.5])
    def test_the_run_is_what_it_would_have_been_without_the_batches_in_between(
        self, dropout, caplog
    ):
        batches = make_batches(20, bad=[13])
        run = Run(batches, {"policy": "rollback", "every": 5}, dropout=dropout)
        # The copy is that after iteration 10: 11 to 13 are lost, 14 was bad.
        assert run() == Run(left_out(batches, 10, 11, 12, 13), dropout=dropout)()
        assert (run.guard.num_rollbacks, run.trainer.state.iteration) == (1, 20)
        assert (
            "iteration 14: the loss is nan; rolled back to iteration 10. The batch is skipped (1 in a row"
            in caplog.text
        )

    def test_before_the_first_copy_it_goes_back_to_the_beginning(self):
        batches = make_batches(6, bad=[2])
        run = Run(batches, {"policy": "rollback", "every": 100})
        assert run() == Run(left_out(batches, 0, 1, 2))()

    def test_the_next_copy_comes_so_many_iterations_after_a_rollback(self):
        batches = make_batches(24, bad=[13, 17])
        run = Run(batches, {"policy": "rollback", "every": 5})
        # Back from 14 to 10; the next copy would be that of 19, so 18 goes back to 10 again.
        assert run() == Run(left_out(batches, *range(10, 18)))()
        assert run.guard.num_rollbacks == 2

    def test_losses_that_are_undone_are_not_compared_with(self):
        run = Run(make_batches(20, bad=[13]), {"policy": "rollback", "every": 5})
        run()
        assert len(run.guard.state_dict()["losses"]) == 10 + 6

    def test_a_copy_that_no_good_loss_has_followed_is_not_gone_back_to(self):
        batches = make_batches(12)
        run = Run(batches, {"policy": "rollback", "every": 4})

        @run.trainer.on(Events.ITERATION_COMPLETED(once=8))
        def spoil():  # as a step does whose gradients were far too large; the copy after iteration 8 has it
            with torch.no_grad():
                run.model[0].weight.fill_(NAN)

        assert run() == Run(left_out(batches, 4, 5, 6, 7, 8))()
        assert run.guard.num_rollbacks == 1

    def test_spikes_go_back_too(self):
        batches = make_batches(60, bad=[52], value=1e4)
        run = Run(batches, {"policy": "rollback", "every": 10, "threshold": 20.0})
        assert run() == Run(left_out(batches, 50, 51, 52))()

    def test_what_reached_the_weights_between_two_checks_is_undone(self):
        batches = make_batches(16, bad=[9])
        run = Run(batches, {"policy": "rollback", "every": 4}, attach={"check_every": 3})
        # Iteration 10 is not looked at, 11 neither; 12 is bad. The copy of iteration 8 was confirmed by 9.
        assert run() == Run(left_out(batches, 8, 9, 10, 11))()

    def test_a_window_of_accumulation_starts_again(self):
        batches = make_batches(10, bad=[5])
        run = Run(batches, {"policy": "rollback", "every": 4}, gradient_accumulation_steps=2)
        weights = run()
        expected = Run(left_out(batches, 4, 5), gradient_accumulation_steps=2)
        assert weights == expected()

    def test_it_is_bounded(self):
        run = Run(
            make_batches(20, bad=range(6, 20)),
            {"policy": "rollback", "every": 4, "max_in_a_row": 3},
        )
        with pytest.raises(
            FloatingPointError,
            match="iteration 10: .* back to iteration 4. These are 4 consecutive incidents",
        ):
            run()
        assert run.guard.num_rollbacks == 4
        assert weights_of(run.model) == Run(make_batches(4))()

    def test_a_row_ends_with_a_new_copy_and_not_with_a_good_loss(self):
        bad = {"policy": "rollback", "every": 6, "max_in_a_row": 2}
        with pytest.raises(FloatingPointError, match="iteration 13"):
            Run(make_batches(30, bad=[8, 10, 12]), bad)()
        run = Run(make_batches(40, bad=[8, 10, 19, 21]), bad)
        run()
        assert run.guard.num_rollbacks == 4

    def test_a_new_run_begins_with_a_new_copy(self):
        run = Run(make_batches(6), {"policy": "rollback", "every": 2})
        run()
        run.trainer.state.max_epochs = None
        with torch.no_grad():
            for parameter in run.model.parameters():
                parameter.zero_()
        run.batches = make_batches(1, bad=[0])
        assert run() == [0.0] * len(weights_of(run.model))

    def test_the_next_epoch_is_shuffled_in_another_order(self):
        orders = []

        class Shuffled:
            def __len__(self):
                return 8

            def __iter__(self):
                orders.append(torch.randperm(1000).tolist())
                batches = make_batches(8)
                if len(orders) == 2:
                    batches[0][0][0, 0] = NAN
                return iter(batches)

        run = Run(Shuffled(), {"policy": "rollback", "every": 8}, epochs=3)
        run()
        assert run.guard.num_rollbacks == 1
        assert orders[1] != orders[2]

    def test_epochs_that_begin_between_copy_and_rollback_keep_the_random_numbers_going(self):
        run = Run(
            make_batches(3, bad=[0]),
            {"policy": "rollback", "every": 100, "max_in_a_row": 9},
            epochs=3,
        )
        run()
        assert run.guard.num_rollbacks == 3


class TestRaise:
    def test_nothing_is_changed(self):
        run = Run(make_batches(6, bad=[3]), {"policy": "raise"}, epochs=2)
        with pytest.raises(FloatingPointError, match="iteration 4: the loss is nan"):
            run()
        assert weights_of(run.model) == Run(make_batches(3))()
        with pytest.raises(
            FloatingPointError, match="iteration 10: the loss is nan"
        ):  # of the second epoch
            run()  # goes on with the next iteration of the same epoch
        assert run.seen == [1, 2, 3, 5, 6, 7, 8, 9]


def make_custom(batches, guard_options, check=None):
    """A step function of one's own, which may ask the guard."""
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    guard = SpikeGuard({"model": model, "optimizer": optimizer}, **guard_options)

    def step(engine, batch):
        x, y = batch
        optimizer.zero_grad()
        loss = mse(model(x), y)
        if check and guard.check(engine, loss):
            return None
        loss.backward()
        optimizer.step()
        return {"loss": loss.item()}

    return model, guard, Engine(step)


class TestStepsOfOnesOwn:
    def test_the_step_cannot_be_left_out_from_outside(self):
        _, guard, engine = make_custom([], {"policy": "skip"})
        with pytest.raises(
            ValueError,
            match="policy should be 'rollback' or 'raise' .* but given 'skip'.*guard.check",
        ):
            guard.attach(engine)

    def test_what_the_step_has_done_is_undone(self):
        batches = make_batches(12, bad=[9])
        options = {
            "policy": "rollback",
            "every": 4,
            "output_transform": lambda output: output["loss"],
        }
        model, guard, engine = make_custom(batches, options)
        guard.attach(engine)
        engine.run(batches)
        assert weights_of(model) == Run(left_out(batches, 8, 9))()
        assert (guard.num_rollbacks, guard.num_skipped) == (1, 0)

    def test_it_can_be_raised(self):
        _, guard, engine = make_custom(
            [], {"policy": "raise", "output_transform": lambda output: output["loss"]}
        )
        guard.attach(engine)
        with pytest.raises(FloatingPointError, match="iteration 3: the loss is nan"):
            engine.run(make_batches(5, bad=[2]))

    def test_the_step_may_ask_and_return(self):
        batches = make_batches(12, bad=[9])
        model, guard, engine = make_custom(batches, {"policy": "skip"}, check=True)
        completed = []
        engine.add_event_handler(
            Events.ITERATION_COMPLETED, lambda engine: completed.append(engine.state.iteration)
        )
        engine.run(batches)
        assert weights_of(model) == Run(left_out(batches, 9))()
        assert guard.num_skipped == 1
        assert completed == [i for i in range(1, 13) if i != 10]


class TestBatches:
    def test_the_offending_batch_is_saved(self, tmp_path):
        batches = make_batches(6, bad=[3])
        run = Run(batches, {"policy": "skip", "folder": tmp_path / "bad"}, epochs=2)
        run()
        assert sorted(path.name for path in (tmp_path / "bad").glob("*.pt")) == [
            "batch_10.pt",
            "batch_4.pt",
        ]
        saved = torch.load(tmp_path / "bad" / "batch_10.pt", weights_only=True)
        assert (saved["iteration"], saved["epoch"]) == (10, 2)
        assert math.isnan(saved["loss"])
        torch.testing.assert_close(saved["batch"], batches[3], equal_nan=True)

    def test_one_that_cannot_be_saved_does_not_end_the_run(self, tmp_path, caplog):
        class Own:
            def __init__(self, batch):
                self.batch = batch

        batches = [Own(batch) for batch in make_batches(6, bad=[3])]
        run = Run(batches, {"folder": tmp_path}, prepare_batch=lambda own, **kwargs: own.batch)
        run()
        assert run.guard.num_skipped == 1
        assert "Cannot save the batch of iteration 4: " in caplog.text

    def test_a_folder_that_cannot_be_made_does_not_end_the_run(self, tmp_path, caplog):
        (tmp_path / "file").write_text("")
        run = Run(make_batches(6, bad=[3]), {"folder": tmp_path / "file" / "bad"})
        run()
        assert run.guard.num_skipped == 1
        assert "Cannot save the batch of iteration 4: " in caplog.text


class TestState:
    def test_a_resumed_guard_decides_as_if_never_stopped(self):
        first = Run(make_batches(30, bad=[2]), {})
        first()
        second = Run(make_batches(3, bad=[1], value=1e4), {})
        second.guard.load_state_dict(first.guard.state_dict())
        second()
        assert second.guard.num_skipped == 2

    def test_it_loads_safely(self, tmp_path):
        run = Run(make_batches(5, bad=[2]), {})
        run()
        torch.save(run.guard.state_dict(), tmp_path / "guard.pt")
        state = torch.load(tmp_path / "guard.pt", weights_only=True)
        assert {name: state[name] for name in ("num_in_a_row", "num_skipped", "num_rollbacks")} == {
            "num_in_a_row": 0,
            "num_skipped": 1,
            "num_rollbacks": 0,
        }
        assert len(state["losses"]) == 4

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"num_skipped": -1}, "num_skipped should be an integer, at least 0, but given -1"),
            ({"losses": [NAN]}, "losses should be a list of finite numbers"),
        ],
    )
    def test_a_state_that_is_impossible_changes_nothing(self, change, message):
        guard = SpikeGuard()
        before = guard.state_dict()
        with pytest.raises(ValueError, match=message):
            guard.load_state_dict({**before, "num_in_a_row": 1, **change})
        assert guard.state_dict() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "x"}, "policy should be 'skip', 'rollback' or 'raise', but given 'x'"),
        (
            {"policy": "rollback"},
            "objects should be the objects to restore, such as model and optimizer, but given None",
        ),
        ({"every": 0}, "every should be at least 1, but given 0"),
        ({"max_in_a_row": 0}, "max_in_a_row should be at least 1, but given 0"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SpikeGuard(**options)


def test_the_loss_is_there_for_handlers_and_gone_afterwards():
    run, found = Run(make_batches(3)), []
    step = run.trainer._process_function
    run.trainer.add_event_handler(
        BackpropEvents.BACKWARD_STARTED, lambda: found.append(step.loss.item())
    )
    outputs = []
    run.trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: outputs.append(engine.state.output)
    )
    run()
    assert found == outputs
    assert step.loss is None
    run.trainer.add_event_handler(BackpropEvents.BACKWARD_STARTED, lambda: 1 / 0)
    run.trainer.state.max_epochs = None
    with pytest.raises(ZeroDivisionError):
        run()
    assert step.loss is None


def test_one_bad_loss_counts_for_all_processes():
    first, second = harness.run(guarded_processes.one_process_has_nans, 2)
    assert first == second  # the weights, too
    for policy, (iteration, num_skipped, num_rollbacks, weights) in first.items():
        assert (iteration, num_skipped, num_rollbacks) == (10, 1, policy == "rollback")
        assert all(map(math.isfinite, weights))
    assert first["skip"] != first["rollback"]
