"""Finds the variables and attributes that functions read in their bytecode, without running it."""

from __future__ import annotations

import dis
import functools
from collections.abc import Iterator
from types import CodeType
from typing import NamedTuple

__all__ = ["Read", "global_names", "reads_of"]

# Instructions of Python's bytecode.
_GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME")
_LOCAL = (
    "LOAD_FAST", "LOAD_FAST_BORROW", "LOAD_FAST_CHECK", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF",
    "LOAD_FAST_LOAD_FAST", "LOAD_FAST_BORROW_LOAD_FAST_BORROW", "STORE_FAST_LOAD_FAST",
)  # fmt: skip
_ATTRIBUTE = ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM")
_IGNORED = ("CACHE", "EXTENDED_ARG", "NOP", "PUSH_NULL", "NOT_TAKEN")
_STORES = ("STORE_GLOBAL", "STORE_NAME", "DELETE_GLOBAL")


class Read(NamedTuple):
    """A variable and a chain of attributes and constant keys that is read from it: ``cfg.parts["model"]``."""

    root: str
    """Name of the variable."""
    kind: str
    """Kind of the variable: "global", "local" (a parameter, or a variable of an enclosing function) or "import"."""
    path: tuple[tuple[str, object], ...] = ()
    """The chain, with ``("attribute", name)`` or ``("item", key)`` for each step."""


@functools.lru_cache(maxsize=4096)
def reads_of(code: CodeType) -> tuple[Read, ...]:
    """Returns the reads of a function, and of the functions defined in it, each with its longest chain.

    A local variable is replaced with the values that were assigned to it. A value that is only
    stored does not count as read.

    Example:
        >>> def step(engine, batch):
        ...     net = parts["model"]
        ...     return net.forward(batch), engine.state.scheduler
        >>> [(read.root, [key for _, key in read.path]) for read in reads_of(step.__code__)]
        [('parts', ['model', 'forward']), ('batch', []), ('engine', ['state', 'scheduler'])]
    """
    return tuple(dict.fromkeys(_Reader(code).run()))


def global_names(code: CodeType) -> Iterator[str]:
    """Yields the names of the global variables that a function, or a function defined in it, reads or sets."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in _GLOBAL or instruction.opname in _STORES:
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from global_names(constant)


class _Reader:
    """Follows the instructions of a function, and yields its reads."""

    def __init__(self, code: CodeType) -> None:
        self._code = code
        self._current: list[Read] = []
        """The value on top of the stack, as the reads that it may come from."""
        self._assigned: dict[str, list[Read]] = {}
        """The reads that were assigned to each local variable."""
        self._key: list[object] = []
        """A constant that was loaded on top of the value."""

    def run(self) -> Iterator[Read]:
        for instruction in dis.get_instructions(self._code):
            if instruction.opname in _IGNORED:
                continue
            if not self._continues(instruction):
                yield from self._finish()
                yield from self._start(instruction)
        yield from self._finish()

    def _continues(self, instruction: dis.Instruction) -> bool:
        """Applies an instruction to the current value; returns False if it does not use the value."""
        opname, argument = instruction.opname, instruction.argval
        if not self._current:
            return False
        if opname in _ATTRIBUTE:
            self._extend(("attribute", argument))
            return True
        if opname in ("LOAD_CONST", "LOAD_SMALL_INT") and isinstance(argument, str | int):
            if self._key:
                return False
            self._key = [argument]
            return True
        if self._key and (opname == "BINARY_SUBSCR" or instruction.argrepr == "[]"):
            self._extend(("item", self._key.pop()))
            return True
        if opname in ("STORE_FAST", "STORE_DEREF") and not self._key:
            self._assigned.setdefault(argument, []).extend(self._current)
            self._current = []
            return True
        return False

    def _extend(self, step: tuple[str, object]) -> None:
        self._current = [
            read._replace(path=(*read.path, step)) for read in self._current if len(read.path) < 16
        ]
        self._key = []

    def _finish(self) -> Iterator[Read]:
        yield from self._current
        self._current, self._key = [], []

    def _start(self, instruction: dis.Instruction) -> Iterator[Read]:
        opname, argument = instruction.opname, instruction.argval
        if opname in _GLOBAL:
            self._current = [Read(argument, "global")]
        elif opname == "IMPORT_NAME":
            self._current = [Read(argument, "import")]
        elif opname in _LOCAL:
            names = argument if isinstance(argument, tuple) else (argument,)
            if opname.startswith("STORE"):
                names = names[1:]
            # Other instructions load a cell only to pass it to a function that is defined here.
            is_deref = "DEREF" in opname
            for name in names:
                if not is_deref and name in (*self._code.co_cellvars, *self._code.co_freevars):
                    continue
                yield from self._current
                self._current = self._reads_of_local(name)
        elif opname == "LOAD_CONST" and isinstance(argument, CodeType):
            for read in reads_of(argument):
                if read.kind != "local":
                    yield read
                elif read.root in argument.co_freevars:
                    yield from (
                        found._replace(path=(*found.path, *read.path))
                        for found in self._reads_of_local(read.root)
                    )

    def _reads_of_local(self, name: str) -> list[Read]:
        is_input = (
            name in self._code.co_freevars
            or name in self._code.co_varnames[: _num_parameters(self._code)]
        )
        return [*([Read(name, "local")] if is_input else []), *self._assigned.get(name, [])]


def _num_parameters(code: CodeType) -> int:
    num_variadic = bool(code.co_flags & 0x04) + bool(code.co_flags & 0x08)  # *args, **kwargs
    return code.co_argcount + code.co_kwonlyargcount + num_variadic
