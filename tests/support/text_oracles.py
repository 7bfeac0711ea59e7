"""Slow definitions for texts, and hard inputs: dynamic programming tables, cell by cell."""

from hypothesis import strategies as st

FEW = st.sampled_from(["a", "b", "c"])
"""So few that they are often repeated."""
MANY = st.sampled_from([f"w{i}" for i in range(20)])


def sequences(min_size=0, max_size=12):
    return st.one_of(
        *(st.lists(each, min_size=min_size, max_size=max_size) for each in (FEW, MANY))
    )


def corpora(min_size=0, max_references=3):
    """Candidates and lists of references."""
    references = st.lists(sequences(), min_size=1, max_size=max_references)
    pairs = st.lists(st.tuples(sequences(min_size), references), min_size=1, max_size=5)
    return pairs.map(lambda pairs: tuple(list(each) for each in zip(*pairs, strict=True)))


def levenshtein(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (x != y)))
    return row[-1]


def common_length(a, b):
    row = [0] * (len(b) + 1)
    for x in a:
        before, row = row, [0]
        for j, y in enumerate(b, 1):
            row.append(before[j - 1] + 1 if x == y else max(before[j], row[-1]))
    return row[-1]
