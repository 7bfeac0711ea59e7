import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.engine import Engine, Events
from ignite.handlers._trackers.journal import ClientRun, Journal, journaled
from ignite.handlers.trackers import TrackerLogger


class Client:
    """A client that writes from time to time what it has in memory."""

    def __init__(self, files):
        self.files = files
        self.memory = []

    def write(self, count):
        self.files += self.memory[:count]
        del self.memory[:count]


class Run(ClientRun):
    """A run of such a client.

    Args:
        files: what all clients have written, by run.
        folder: where the journal is, or None for none.
        run_id: as if the user gave it.
    """

    def __init__(self, files, folder, run_id=None):
        self.all_files = files
        self.folder = folder
        self.run_id = run_id
        super().__init__({"id": run_id})

    def _start(self, run_id):
        run_id = run_id or self.run_id or f"run/{len(self.all_files)}"
        self.client = Client(self.all_files.setdefault(run_id, []))
        return run_id

    def _log(self, values, step):
        self.client.memory += [(name, step, value) for name, value in values.items()]

    def _end(self):
        self.client.write(None)

    def _folder(self):
        return self.folder

    def _stored(self):
        return [(name, step) for name, step, _ in self.client.files]

    def histogram(self, name, values, step):
        self._log_new({name: values.tolist()}, step)


def once_each(last_step):
    return sorted(
        [("loss", step, step / 2) for step in range(1, last_step + 1)]
        + [("score", step, step / 4) for step in range(3, last_step + 1, 3)]
    )


@given(
    processes=st.lists(
        st.tuples(
            st.integers(1, 12),  # steps until it is killed or rolled back
            st.lists(st.integers(0, 12), max_size=3),  # steps after which it saves
            st.lists(st.integers(0, 40), max_size=3),  # how much the client writes, and when
            st.sampled_from(["kill", "close", "roll back"]),
        ),
        max_size=4,
    ),
    id_is_given=st.booleans(),
)
def test_each_step_is_logged_once_whenever_processes_save_write_and_die(
    processes, id_is_given, tmp_path_factory
):
    folder, files = tmp_path_factory.mktemp("journal"), {}

    def start():
        return Run(files, folder, "given" if id_is_given else None)

    def log(run, step):
        run.scalars({"loss": step / 2}, step)
        if step % 3 == 0:
            run.scalars({"score": step / 4}, step)

    run = start()
    saved = {"step": 0, "run": run.state_dict()}
    for num_steps, saves, writes, end in processes:
        for i, step in enumerate(range(saved["step"] + 1, saved["step"] + num_steps + 1)):
            log(run, step)
            if i in writes:
                run.client.write(writes[0])
            if i in saves:
                saved = json.loads(json.dumps({"step": step, "run": run.state_dict()}))
        if end == "close":
            run.close()
        if end != "roll back":
            run._journal.close()
            run = start()
        run.load_state_dict(saved["run"])
    for step in range(saved["step"] + 1, 61):  # past all that was logged before
        log(run, step)
    run.close()
    (found,) = (rows for name, rows in files.items() if name == saved["run"]["id"])
    assert sorted(found) == once_each(60)


def log_losses(run, steps):
    for step in steps:
        run.scalars({"loss": step / 2}, step)


def test_what_a_killed_process_logged_after_the_checkpoint_is_not_logged_for_it(tmp_path):
    files = {}
    first = Run(files, tmp_path)
    log_losses(first, range(1, 6))
    state = first.state_dict()
    log_losses(first, range(6, 21))
    first._journal.close()  # killed: the client has written nothing
    second = Run(files, tmp_path)
    second.load_state_dict(state)
    log_losses(second, range(6, 8))
    second.close()
    assert files["run/0"] == [("loss", step, step / 2) for step in range(1, 8)]


def test_what_a_process_logs_before_it_is_resumed_outlives_a_kill(tmp_path):
    files = {}
    first = Run(files, tmp_path, "given")
    state = first.state_dict()
    log_losses(first, range(1, 4))
    first._journal.close()
    second = Run(files, tmp_path, "given")
    second.scalars({"own": 1}, 0)
    second.load_state_dict(state)
    state = second.state_dict()
    second._journal.close()
    third = Run(files, tmp_path, "given")
    third.load_state_dict(state)
    third.close()
    assert files["given"] == [("own", 0, 1)]


def test_a_roll_back_within_a_process_leaves_the_journal_alone(tmp_path):
    run = Run({}, tmp_path)
    log_losses(run, range(1, 4))
    state = run.state_dict()
    log_losses(run, range(4, 9))
    size_bytes = run.state_dict()["journal_bytes"]
    run.load_state_dict(state)
    log_losses(run, range(4, 9))
    assert run.state_dict()["journal_bytes"] == size_bytes
    assert len(run.client.memory) == 8
    run.close()


def test_steps_of_another_run_are_not_taken_for_those_of_this_one(tmp_path):
    files = {}
    states = []
    for _ in range(2):
        run = Run(files, tmp_path)
        log_losses(run, range(1, 10 - 8 * len(states)))
        states.append(run.state_dict())
        run.close()
    run = Run(files, tmp_path)
    for state in states:
        run.load_state_dict(state)
    log_losses(run, range(1, 4))
    run.close()
    assert files["run/1"] == [("loss", step, step / 2) for step in range(1, 4)]


def test_a_line_that_a_killed_process_left_incomplete_is_skipped(tmp_path):
    journal = Journal(tmp_path, "a/b")
    journal.add({"x": 1}, 1)
    (path,) = tmp_path.glob(".ignite/*")
    assert path.name == "a%2Fb.jsonl"
    path.write_bytes(path.read_bytes() + b'\n[2, {"x": ')
    later = Journal(tmp_path, "a/b")
    later.add({"x": 3}, 3)
    assert list(later.rows()) == [(1, {"x": 1}), (3, {"x": 3})]
    journal.close()
    later.close()


def test_what_is_no_scalar_is_not_in_the_journal(tmp_path):
    journal = Journal(tmp_path, "run")
    journal.add({"image": object()}, 1)
    assert journal.size_bytes == 0
    journal.add({"image": object(), "text": "a", "number": float("nan")}, 2)
    ((step, values),) = journal.rows()
    assert (step, values["text"], len(values)) == (2, "a", 2)
    journal.close()


def test_numbers_of_other_libraries_arrive_as_those_of_python(tmp_path):
    numpy = pytest.importorskip("numpy")
    run = Run({}, tmp_path)
    run.scalars({"a": numpy.float32(0.5), "b": numpy.int64(3)}, 1)
    values = [(name, type(value), value) for name, _, value in run.client.memory]
    assert values == [("a", float, 0.5), ("b", int, 3)]
    run.close()


def test_a_run_without_files_keeps_what_was_logged_after_the_checkpoint(tmp_path):
    files = {}
    first = Run(files, None)
    state = first.state_dict()
    first.scalars({"x": 1}, 1)
    first.close()
    second = Run(files, None)
    second.load_state_dict(state)
    second.scalars({"x": 1}, 1)
    second.scalars({"x": 2}, 2)
    second.close()
    assert files["run/0"] == [("x", 1, 1), ("x", 2, 2)]


def test_a_closed_run_is_closed_once_and_continued_by_the_next_value(tmp_path):
    files = {}
    logger = TrackerLogger(Run(files, tmp_path))
    logger.log({"x": 1.0}, 1)
    logger.close()
    logger.close()
    logger.log({"x": torch.tensor(2.0), "y": 3}, 2)
    logger.histogram("h", torch.tensor([1.0]), 2)
    logger.close()
    assert files == {"run/0": [("x", 1, 1.0), ("x", 2, 2.0), ("y", 2, 3), ("h", 2, [1.0])]}


def test_values_that_a_program_logs_by_name_are_in_order_with_those_of_handlers(tmp_path):
    files = {}
    trainer = Engine(lambda engine, batch: batch)
    with TrackerLogger(Run(files, tmp_path)) as logger:
        event = Events.ITERATION_COMPLETED
        logger.attach_output_handler(trainer, event, tag="t", output_transform=lambda x: x)
        trainer.add_event_handler(
            event, lambda: logger.log({"own": torch.tensor(2.0)}, trainer.state.iteration)
        )
        trainer.run([0.5, 1.5])
    assert files["run/0"] == [
        *(("t/output", 1, 0.5), ("own", 1, 2.0)),
        *(("t/output", 2, 1.5), ("own", 2, 2.0)),
    ]


def test_a_disk_that_is_full_does_not_keep_values_from_the_client(tmp_path, caplog):
    class Full(Run):
        def _open(self, run_id):
            super()._open(run_id)
            self._journal.close()
            self._journal._file = open("/dev/full", "ab", buffering=0)  # noqa: SIM115

    files = {}
    trainer = Engine(lambda engine, batch: batch)
    logger = TrackerLogger(Full(files, tmp_path))
    logger.attach_output_handler(
        trainer, Events.ITERATION_COMPLETED, tag="t", output_transform=lambda x: x
    )
    trainer.run([0.5, 1.5])
    logger.tracker.client.write(None)
    assert files["run/0"] == [("t/output", 1, 0.5), ("t/output", 2, 1.5)]
    assert "training continues: OSError: [Errno 28] No space left on device" in caplog.text
    logger.close()


def test_a_run_that_the_program_names_otherwise_than_the_checkpoint_is_not_left(tmp_path):
    files = {}
    first = Run(files, tmp_path, "first")
    first.scalars({"x": 1}, 1)
    first.close()
    second = Run(files, tmp_path, "second")
    second.load_state_dict(first.state_dict())
    second.scalars({"x": 1}, 1)
    second.close()
    assert files == {"first": [("x", 1, 1)], "second": [("x", 1, 1)]}


def test_a_dry_run_leaves_the_run_alone(tmp_path):
    files = {}
    trainer = Engine(lambda engine, batch: batch)
    with TrackerLogger(Run(files, tmp_path)) as logger:
        logger.attach_output_handler(
            trainer, Events.ITERATION_COMPLETED, tag="t", output_transform=lambda x: x
        )
        trainer.dry_run([0.5, 1.5])
    assert files == {"run/0": []}


def test_the_journal_of_an_earlier_process_is_read_without_being_created(tmp_path):
    assert list(journaled(tmp_path, "a/run")) == []
    assert list(tmp_path.iterdir()) == []
    journal = Journal(tmp_path, "a/run")
    journal.add({"loss": 0.5, "image": object()}, step=1)
    journal.close()
    assert list(journaled(tmp_path, "a/run")) == [(1, {"loss": 0.5})]
