import numpy as np
import pytest

from ignite.handlers._checkpoints.tracked_files import FileNames, score_text, setup_filename_pattern


@pytest.mark.parametrize(
    ("parts", "pattern"),
    [
        (
            (True, True, True, True),
            "{filename_prefix}_{name}_{global_step}_{score_name}={score}.{ext}",
        ),
        ((False, True, True, True), "{name}_{global_step}_{score_name}={score}.{ext}"),
        ((True, False, False, True), "{filename_prefix}_{name}_{global_step}.{ext}"),
        ((True, True, False, True), "{filename_prefix}_{name}_{global_step}_{score}.{ext}"),
        ((True, True, False, False), "{filename_prefix}_{name}_{score}.{ext}"),
        ((True, True, True, False), "{filename_prefix}_{name}_{score_name}={score}.{ext}"),
        ((False, False, False, True), "{name}_{global_step}.{ext}"),
    ],
)
def test_the_pattern_has_the_parts_that_are_asked_for(parts, pattern):
    assert setup_filename_pattern(*parts) == pattern


def test_a_pattern_distinguishes_files():
    with pytest.raises(
        ValueError, match="At least one of with_score and with_global_step should be True"
    ):
        setup_filename_pattern(False, False, False, False)
    with pytest.raises(
        ValueError, match="If with_score_name is True, with_score should be also True"
    ):
        setup_filename_pattern(True, False, True, True)


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (1, "1"), (1.0, "1.0000"), (0.123456, "0.1235"), (True, "True"), (np.float32(0.5), "0.5000"),
        (np.int64(3), "3"), (-0.5, "-0.5000"), (1e10, "10000000000.0000"), (float("inf"), "inf"),
        (float("nan"), "nan"), ("as given", "as given"), (1e-9, "0.0000"),
    ],
)  # fmt: skip
def test_scores_have_four_digits_unless_they_are_whole(score, text):
    assert score_text(score) == text


# keys, prefix, has_score, score_name, pattern; step, score; name
NAMES = [
    (["m"], "", False, None, None, 3, None, "m_3.pt"),
    (["m", "o"], "", False, None, None, 3, None, "checkpoint_3.pt"),
    (["m"], "best", False, None, None, 3, None, "best_m_3.pt"),
    (["m"], "", True, None, None, None, 0.5, "m_0.5000.pt"),
    (["m"], "", True, None, None, 7, 0.5, "m_7_0.5000.pt"),
    (["m"], "", True, "acc", None, None, 0.5, "m_acc=0.5000.pt"),
    (["m"], "", True, "acc", None, 7, 0.5, "m_7_acc=0.5000.pt"),
    (["m"], "best", True, "acc", None, 7, 1, "best_m_7_acc=1.pt"),
    (["m"], "", False, None, "{filename_prefix}|{name}|{score_name}|{score}|{global_step}.{ext}", 3, None,
     "|m|None|None|3.pt"),
    (["m"], "", True, None, "{name}.{ext}", 3, 0.5, "m.pt"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "prefix", "has_score", "score_name", "pattern", "step", "score", "expected"), NAMES
)
def test_files_are_called_as_ignite_calls_them(
    keys, prefix, has_score, score_name, pattern, step, score, expected
):
    assert FileNames(keys, prefix, has_score, score_name, pattern).fill(step, score) == expected


def test_a_pattern_may_not_ask_for_what_there_is_not():
    with pytest.raises(KeyError, match="random_key"):
        FileNames(["m"], "", False, None, "{random_key}.{ext}").check()


@pytest.mark.parametrize(
    ("prefix", "score_name", "pattern"),
    [
        ("../evil", None, None),
        ("/abs", None, None),
        ("a/b", None, None),
        ("~", None, None),
        (".hidden", None, None),
        ("a\nb", None, None),
        ("a\0b", None, None),
        ("x" * 300, None, None),
        ("é" * 130, None, None),
        ("", "../acc", None),
        ("", "val/acc", None),
        ("", None, "../{name}.{ext}"),
        ("", None, "/tmp/{name}.{ext}"),
        ("", None, "..\\{name}.{ext}"),
    ],
)
def test_names_that_are_not_plain_are_refused(prefix, score_name, pattern):
    with pytest.raises(ValueError, match="plain name of a file"):
        FileNames(["m"], prefix, score_name is not None, score_name, pattern).check()


def test_formats_for_values_that_are_not_there_yet_are_left_to_the_first_save():
    FileNames(["m"], "", False, None, "{global_step:s}.{ext}").check()
    assert FileNames(["m"], "", False, None, "{global_step:05d}.{ext}").fill(7, None) == "00007.pt"


def test_a_family_is_identified_by_the_parts_of_its_names():
    base = (["m"], "", False, None, None)
    others = [(["o"], "", False, None, None), (["m"], "p", False, None, None), (["m"], "", True, None, None),
              (["m"], "", True, "acc", None), (["m"], "", False, None, "{name}.{ext}")]  # fmt: skip
    assert len({FileNames(*parts).family for parts in [base, *others]}) == 6
    assert len(FileNames(["m"], "x" * 2000, False, None, None).family) == 1000


@pytest.mark.parametrize(
    ("wrong", "meant"), [("nam", "name"), ("global_stp", "global_step"), ("extt", "ext")]
)
def test_a_misspelled_field_of_a_pattern_is_reported_with_a_suggestion(wrong, meant):
    with pytest.raises(KeyError, match=f"given '{wrong}'. Did you mean '{meant}'"):
        FileNames(["m"], "", False, None, "{" + wrong + "}.pt").check()
