import pytest

from ignite.data._passes import Position, check_fingerprint, from_state, to_state

FINGERPRINT = {"kind": "map", "length": 10, "batch_size": 2, "drop_last": False, "world_size": 1}


@pytest.mark.parametrize(
    "position", [Position(), Position(3, 4, 8), Position(3, 5, 10, is_complete=True)]
)
def test_a_position_comes_back_from_its_state(position):
    state = to_state(position, 7, FINGERPRINT)
    assert from_state(state) == (position, 7, FINGERPRINT)
    assert "inner" not in state


def test_the_data_s_own_state_is_kept():
    position, _, _ = from_state(to_state(Position(inner={"a": 1}), 7, FINGERPRINT))
    assert position.inner == {"a": 1}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"version": 2}, "version of the position in the data should be from 1 to 1, but given 2"),
        ({"version": None}, "but given None"),
        (
            {"num_batches": -1},
            "num_batches of the position in the data should be .* at least 0, but given -1",
        ),
        (
            {"num_samples": "3"},
            "num_samples of the position in the data should be .* but given '3'",
        ),
        ({"epoch": None}, "epoch and seed .* should be integers, .* but given None, 7"),
        ({"seed": 1.5}, "but given 0, 1.5"),
        ({"fingerprint": 3}, "and fingerprint a dictionary, but given 0, 7, 3"),
    ],
)
def test_nonsense_is_refused(change, text):
    with pytest.raises(ValueError, match=text):
        from_state(to_state(Position(), 7, FINGERPRINT) | change)


def test_another_number_of_processes_is_no_other_data():
    check_fingerprint(FINGERPRINT, FINGERPRINT | {"world_size": 4})


def test_a_batch_of_all_processes_may_be_made_up_otherwise():
    check_fingerprint(FINGERPRINT | {"world_size": 2}, FINGERPRINT | {"batch_size": 4})
    with pytest.raises(ValueError, match="batch_size was 2 and is 4"):
        check_fingerprint(FINGERPRINT, FINGERPRINT | {"batch_size": 4, "world_size": 2})


def test_all_differences_are_named():
    with pytest.raises(
        ValueError, match="length of the dataset was 10 and is 11, drop_last was False and is True"
    ):
        check_fingerprint(FINGERPRINT, FINGERPRINT | {"length": 11, "drop_last": True})


def test_keys_that_only_one_side_has_are_not_compared():
    check_fingerprint(FINGERPRINT | {"num_workers": 3}, FINGERPRINT)
