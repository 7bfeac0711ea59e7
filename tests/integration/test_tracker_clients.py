"""Trackers whose server is down, and programs that use the client of a tracker themselves."""

import json

import pytest

from support import servers, tracked_checks, tracker_files

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore"),  # of the clients and of what they are made of
]

OUTPUTS = [(step, (step - 1) / 4) for step in range(1, tracked_checks.NUM_ITERATIONS + 1)]


@pytest.fixture(params=tracker_files.READERS)
def name(request):
    servers.skip_without(request.param)
    return request.param


def test_a_server_that_is_down_stops_nothing_and_all_values_are_in_local_files(name, tmp_path):
    found, values = tracked_checks.result_of("without_server", name, tmp_path)
    assert found["iterations"] == len(OUTPUTS)
    (text,) = found["warnings"]
    assert text.startswith("Cannot reach the ")
    assert " the run is offline" in text
    assert f"{found['url']}: [Errno 111] Connection refused" in text
    assert "\n" not in text
    # The clients alone try for a minute or more, or raise.
    assert sum(found["seconds"]) < 30
    assert values == [("t/x", *one) for one in OUTPUTS]


def test_a_server_of_wandb_gets_all_values(tmp_path):
    servers.skip_without("wandb")
    found, values = tracked_checks.result_of("online", "wandb", tmp_path)
    assert found["served"] == [list(one) for one in OUTPUTS]
    assert values == [("t/x", *one) for one in OUTPUTS]


def test_an_outage_of_the_server_of_wandb_stops_nothing_and_a_local_file_has_all_values(tmp_path):
    servers.skip_without("wandb")
    found, values = tracked_checks.result_of("outage", "wandb", tmp_path)
    assert found["iterations"] == len(OUTPUTS)
    assert len(found["served"]) < len(OUTPUTS)
    assert values == [("t/x", *one) for one in OUTPUTS]
    assert found["seconds"] < 30  # W&B alone waits for the server without end


def test_a_run_continues_if_the_background_process_of_wandb_dies_and_a_journal_has_all_values(
    tmp_path,
):
    servers.skip_without("wandb")
    found, _ = tracked_checks.result_of("with_dead_service", "wandb", tmp_path)
    assert found["iterations"] == len(OUTPUTS)
    (journal,) = tmp_path.glob("wandb/offline-run-*/.ignite/*.jsonl")
    rows = [json.loads(line) for line in journal.read_text().splitlines() if line]
    assert rows == [[step, {"t/x": value}] for step, value in OUTPUTS]


def test_values_that_the_program_logs_with_the_client_are_in_order(name, tmp_path):
    found, values = tracked_checks.result_of("directly", name, tmp_path)
    expected = [(key, *one) for one in OUTPUTS for key in ("t/first", "own", "t/last")]
    if name == "polyaxon":  # has a file for each name
        values, expected = sorted(values), sorted(expected)
    if name == "wandb":  # has a dictionary, without an order, for each step
        values.sort(key=lambda one: (one[1], ["t/first", "own", "t/last"].index(one[0])))
    assert values == expected
    place = tmp_path if name == "neptune" else tmp_path / "setup"
    check_recipe(name, tracker_files.READERS[name](place, found["setup"]))


def check_recipe(name, values):
    """What ``setup_..._logging`` logs of a model w with the loss (w - 1)² and 2 epochs of 4 batches."""
    weights = [1 - 0.5**i for i in range(1, 10)]  # lr 0.25 halves the distance to 1
    losses = [(weight - 1) ** 2 for weight in weights]
    sums = [sum(losses[:4]), sum(losses[4:8])]
    # The sum of an epoch is known from its end on.
    expected = [("training/sum", 6, sums[0]), ("training/sum", 8, sums[0])]
    expected += [("lr/group_0", step, 0.25) for step in (2, 4, 6, 8)]
    steps = (4, 8) if name == "wandb" else (1, 2)
    expected += [("test/sum", step, 1.5) for step in steps]
    if name == "neptune":
        expected += [("m/weights_norm/weight", 1, weights[1]), ("m/grads_norm/weight", 1, 1.0)]
    assert sorted(one[:2] for one in values) == sorted(one[:2] for one in expected)
    assert {one[:2]: one[2] for one in values} == pytest.approx(
        {one[:2]: one[2] for one in expected}
    )
