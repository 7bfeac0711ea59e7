import pytest

from ignite._core.calls import deprecated


def make(**kwargs):
    @deprecated("0.4.2", removed_in="0.6.0", reasons=("Use `new`.", "It is faster."), **kwargs)
    def old(x):
        """Doubles."""
        return 2 * x

    return old


def test_each_call_warns_and_works():
    old = make()
    for _ in range(2):
        with pytest.warns(
            DeprecationWarning,
            match=r"since version 0.4.2 and will be removed in version 0.6.0.*`new`",
        ):
            assert old(3) == 6
    assert old.__name__ == "old"


def test_the_warning_can_be_raised():
    with pytest.raises(DeprecationWarning, match="since version 0.4.2"):
        make(raise_exception=True)(3)


def test_the_docstring_begins_with_the_deprecation():
    doc = make().__doc__
    assert doc.startswith("**Deprecated function**.")
    assert "Doubles." in doc
    assert "Use `new`." in doc
