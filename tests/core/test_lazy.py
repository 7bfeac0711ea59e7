import sys

import pytest

from ignite._core.optional import LazyModule


def test_the_module_is_imported_when_an_attribute_is_used(monkeypatch, tmp_path):
    (tmp_path / "seldom_used.py").write_text("value = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = LazyModule("seldom_used")
    assert repr(module) == "LazyModule('seldom_used')"
    assert "seldom_used" not in sys.modules
    assert module.value == 7
    assert "seldom_used" in sys.modules
    with pytest.raises(AttributeError, match="nothing"):
        _ = module.nothing
    monkeypatch.delitem(sys.modules, "seldom_used")
