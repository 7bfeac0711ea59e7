import sys

import pytest

from ignite._core.optional import import_optional


def test_a_missing_package_is_named_with_the_extra_that_installs_it():
    with pytest.raises(
        ModuleNotFoundError,
        match=r'nothing_here should be installed .*pip install "reignition\[all\]"',
    ):
        import_optional("nothing_here", extra="all")


def test_an_error_inside_of_a_package_is_raised_unchanged(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import something_else_missing")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="No module named 'something_else_missing'"):
        import_optional("broken_package", extra="all")
    assert "broken_package" not in sys.modules
