"""Finds the variables that a function reads, from its bytecode, without calling it."""

from __future__ import annotations

import dis
import functools
from collections.abc import Iterator
from types import CodeType
from typing import NamedTuple

__all__ = ["Read", "global_names", "reads_of"]

_GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME")
_LOCAL = (
    "LOAD_FAST", "LOAD_FAST_BORROW", "LOAD_FAST_CHECK", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF",
    "LOAD_FAST_LOAD_FAST", "LOAD_FAST_BORROW_LOAD_FAST_BORROW", "STORE_FAST_LOAD_FAST",
)  # fmt: skip
_ATTRIBUTE = ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM")
_NOTHING = ("CACHE", "EXTENDED_ARG", "NOP", "PUSH_NULL", "NOT_TAKEN")
_STORES = ("STORE_GLOBAL", "STORE_NAME", "DELETE_GLOBAL")


class Read(NamedTuple):
    """A variable, and the attributes and constant keys of it that are looked up at once: ``cfg.parts["model"]``."""

    root: str
    kind: str
    """"global", "local" (a parameter, or a variable of a function around it) or "import"."""
    path: tuple[tuple[str, object], ...] = ()
    """``("attribute", name)`` or ``("item", key)``, one after the other."""


@functools.lru_cache(maxsize=4096)
def reads_of(code: CodeType) -> tuple[Read, ...]:
    """What a function, and the functions that are defined in it, read; each as far as it is looked into.

    A variable that something was put into is followed to there. What is only stored is not read.

    Example:
        >>> def step(engine, batch):
        ...     net = parts["model"]
        ...     return net.forward(batch), engine.state.scheduler
        >>> [(read.root, [key for _, key in read.path]) for read in reads_of(step.__code__)]
        [('parts', ['model', 'forward']), ('batch', []), ('engine', ['state', 'scheduler'])]
    """
    return tuple(dict.fromkeys(_Reader(code).run()))


def global_names(code: CodeType) -> Iterator[str]:
    """Returns the names of global variables that a function, or a function within it, reads or sets."""
    for one in dis.get_instructions(code):
        if one.opname in _GLOBAL or one.opname in _STORES:
            yield one.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from global_names(constant)


class _Reader:
    def __init__(self, code: CodeType) -> None:
        self._code = code
        self._open: list[Read] = []
        self._held: dict[str, list[Read]] = {}
        """What was assigned to a local variable."""
        self._key: list[object] = []

    def run(self) -> Iterator[Read]:
        for one in dis.get_instructions(self._code):
            if one.opname in _NOTHING:
                continue
            if not self._goes_on(one):
                yield from self._close()
                yield from self._begin(one)
        yield from self._close()

    def _goes_on(self, one: dis.Instruction) -> bool:
        """Whether an instruction looks further into what was read last."""
        if not self._open:
            return False
        if one.opname in _ATTRIBUTE:
            self._extend(("attribute", one.argval))
            return True
        if one.opname in ("LOAD_CONST", "LOAD_SMALL_INT") and isinstance(one.argval, str | int):
            if self._key:
                return False
            self._key = [one.argval]
            return True
        if self._key and (one.opname == "BINARY_SUBSCR" or one.argrepr == "[]"):
            self._extend(("item", self._key.pop()))
            return True
        if one.opname in ("STORE_FAST", "STORE_DEREF") and not self._key:
            self._held.setdefault(one.argval, []).extend(self._open)
            self._open = []
            return True
        return False

    def _extend(self, step: tuple[str, object]) -> None:
        self._open = [
            read._replace(path=(*read.path, step)) for read in self._open if len(read.path) < 16
        ]
        self._key = []

    def _close(self) -> Iterator[Read]:
        yield from self._open
        self._open, self._key = [], []

    def _begin(self, one: dis.Instruction) -> Iterator[Read]:
        if one.opname in _GLOBAL:
            self._open = [Read(one.argval, "global")]
        elif one.opname == "IMPORT_NAME":
            self._open = [Read(one.argval, "import")]
        elif one.opname in _LOCAL:
            names = one.argval if isinstance(one.argval, tuple) else (one.argval,)
            if one.opname.startswith("STORE"):
                names = names[1:]
            is_deref = (
                "DEREF" in one.opname
            )  # else, of cells, a variable is only handed on to a function in this one
            for name in names:
                if not is_deref and name in (*self._code.co_cellvars, *self._code.co_freevars):
                    continue
                yield from self._open
                self._open = self._local(name)
        elif one.opname == "LOAD_CONST" and isinstance(one.argval, CodeType):
            for read in reads_of(one.argval):
                is_outside = read.kind == "local" and read.root in one.argval.co_freevars
                if read.kind != "local":
                    yield read
                elif is_outside:
                    yield from (
                        found._replace(path=(*found.path, *read.path))
                        for found in self._local(read.root)
                    )

    def _local(self, name: str) -> list[Read]:
        is_around = (
            name in self._code.co_freevars
            or name in self._code.co_varnames[: _num_parameters(self._code)]
        )
        return [*([Read(name, "local")] if is_around else []), *self._held.get(name, [])]


def _num_parameters(code: CodeType) -> int:
    has_rest = bool(code.co_flags & 0x04) + bool(code.co_flags & 0x08)  # *args, **kwargs
    return code.co_argcount + code.co_kwonlyargcount + has_rest
