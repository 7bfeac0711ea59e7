"""Determines which handlers are attached on all ranks, and lets these make collective decisions.

A collective hangs if a rank does not enter it, and programs often attach handlers on one rank only.
Before a handler decides for all ranks, it must therefore be known whether all ranks have it. At the
start of a run, each rank writes the names of its handlers to the store of the process group, which
needs no collective; see ``docs/decisions/0013-who-has-what-is-told-through-the-store.md``.
"""

from __future__ import annotations

import datetime
import json
import logging
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch.distributed as dist

from ignite._core.torch_private import default_store
from ignite.distributed._process_group import get_rank, get_world_size, has_group

__all__ = ["Roll", "call_roll"]

START_TIMEOUT_S = 10.0
"""Seconds to wait for a rank that has not started the run; then the others decide without it."""
VOTE_TIMEOUT_S = 60.0
"""Seconds to wait for the vote of a rank."""
_MIN_WAIT_S = 0.02
_KEPT_RUNS = 100
_IN_FAVOUR = 1 << 32  # the lower 32 bits count all votes, the higher bits those in favour
_LEFT = _LEAVES_STRETCH = -1
_LEAVES_RUN = -2

logger = logging.getLogger(__name__)


class _Group:
    """Counters of a process group."""

    num_made = 0

    def __init__(self) -> None:
        _Group.num_made += 1
        self.number = _Group.num_made
        self.num_runs: Counter[str] = Counter()
        self.absent: set[str] = set()
        """Runs that some ranks have not started."""


_groups: weakref.WeakKeyDictionary[Any, _Group] = weakref.WeakKeyDictionary()


def call_roll(run: str, names: Sequence[str]) -> Roll | None:
    """Publishes the handlers of this rank at the start of a run. Does not wait.

    Args:
        run: name of the run. Runs of the same name are matched across ranks by their order.
        names: names of the handlers that can decide together with those of other ranks.

    Returns:
        The roll of this run; None in a single process or without a store.
    """
    if not has_group() or get_world_size() == 1:
        return None
    store = default_store()
    if store is None:
        return None
    group = _groups.setdefault(dist.group.WORLD, _Group())
    group.num_runs[run] += 1
    number = group.num_runs[run]
    prefix = f"ignite/{group.number}/{run}"
    try:
        store.set(f"{prefix}/{number}/{get_rank()}", json.dumps(list(names)))
        if number > _KEPT_RUNS:
            store.delete_key(f"{prefix}/{number - _KEPT_RUNS}/{get_rank()}")
    except RuntimeError as error:  # a custom store, such as that of a simulated group
        logger.debug("Cannot write to the store %r: %s", store, error)
        return None
    return Roll(store, f"{prefix}/{number}", run, group.absent)


class Roll:
    """The handlers of each rank in a run, and the votes of those that all ranks have.

    Created by :func:`call_roll`.
    """

    def __init__(self, store: Any, place: str, run: str, absent: set[str]) -> None:
        self._store, self._prefix, self._run, self._absent = store, place, run, absent
        self._rank, self._size = get_rank(), get_world_size()
        self._names: dict[int, list[str]] | None = None
        self._is_alone = False
        self._num_votes: dict[tuple[str, int], int] = {}
        """Number of votes of this rank by name and stretch; _LEFT if it does not vote any more."""

    def is_everywhere(self, name: str) -> bool:
        """Whether all ranks have a handler.

        Waits up to ``START_TIMEOUT_S`` for ranks that have not started the run.
        """
        if self._names is None:
            self._names = self._read(0.0 if self._run in self._absent else START_TIMEOUT_S)
            if missing := self._missing:
                if self._run not in self._absent:
                    logger.warning(
                        "%s should be run on all ranks, but ranks %s have not started it within "
                        "%s s: rank %d decides alone",
                        self._run,
                        missing,
                        START_TIMEOUT_S,
                        self._rank,
                    )
                self._absent.add(self._run)  # later runs of this name do not wait again
                self._is_alone = True
                # Ranks that start later must not wait for the votes of this rank.
                self._store.set(f"{self._prefix}/{self._rank}", "[]")
        return not self._is_alone and all(name in names for names in self._names.values())

    def require(self, name: str, what: str) -> None:
        """Requires that all ranks have a handler; waits until all have started the run.

        Args:
            name: the name passed to :func:`call_roll`.
            what: name of the handler in the error message.

        Raises:
            RuntimeError: a rank does not have the handler, or does not start the run within the
                timeout of the store.
        """
        if self._names is None:
            self._names = self._read(START_TIMEOUT_S)
        if self._missing:
            logger.warning(
                "%s needs all ranks: waiting for ranks %s, which have not started %s",
                what,
                self._missing,
                self._run,
            )
            self._names = self._read(self._store.timeout.total_seconds())
        lacking = [rank for rank, names in self._names.items() if name not in names]
        if lacking or self._missing:
            problem = (
                f"rank {lacking[0]} does not have it"
                if lacking
                else f"rank {self._missing[0]} does not run the engine"
            )
            raise RuntimeError(
                f"{what} should be attached to the engine on all ranks, but {problem} "
                f"({self._run}). Attach it without checking the rank: only one rank writes"
            )

    def any(self, name: str, stretch: int, vote: bool) -> bool:
        """Whether any rank votes in favor. Returns the own vote if not all ranks have the handler.

        Args:
            name: name of the handler. If all ranks have it, all must vote equally often, or
                :meth:`leave`.
            stretch: the part of the run that the vote belongs to, such as an epoch.
            vote: the vote of this rank.
        """
        num_votes = self._num_votes.get((name, stretch), 0)
        if self._is_alone or num_votes == _LEFT:
            return vote
        if not self.is_everywhere(name):
            self.leave(name, stretch)
            return vote
        self._num_votes[name, stretch] = num_votes + 1
        ballot = self._ballot(name, stretch, num_votes)
        total = self._store.add(ballot, 1 + vote * _IN_FAVOUR)
        if total % _IN_FAVOUR == self._size:
            self._store.set(f"{ballot}/result", str(total // _IN_FAVOUR))
            if num_votes:  # all ranks have read the previous result
                before = self._ballot(name, stretch, num_votes - 1)
                self._store.delete_key(before)
                self._store.delete_key(f"{before}/result")
            return bool(total >= _IN_FAVOUR)
        result = self._wait_for_result(name, stretch, num_votes)
        if result == _LEAVES_STRETCH:
            self._num_votes[name, stretch] = _LEFT
        elif result == _LEAVES_RUN:
            self._is_alone = True
        return vote if result < 0 else result > 0

    def leave(self, name: str, stretch: int) -> None:
        """Stops voting in a stretch; all ranks then decide alone until its end."""
        num_votes = self._num_votes.get((name, stretch), 0)
        if num_votes != _LEFT:
            ballot = self._ballot(name, stretch, num_votes)
            self._store.set(f"{ballot}/result", str(_LEAVES_STRETCH))
            self._num_votes[name, stretch] = _LEFT

    def end(self, stretches: Mapping[str, int]) -> None:
        """Stops voting in this run.

        Args:
            stretches: the current stretch by name. The other ranks notice it in this stretch or the
                next one.
        """
        self._is_alone = True
        for name, stretch in stretches.items():
            num_votes = self._num_votes.get((name, stretch), 0)
            for ballot in (
                self._ballot(name, stretch, max(num_votes, 0)),
                self._ballot(name, stretch + 1, 0),
            ):
                try:
                    self._store.set(f"{ballot}/result", str(_LEAVES_RUN))
                except RuntimeError as error:
                    # The process that holds the store has already ended.
                    logger.debug(
                        "%s: rank %d cannot publish the end of its run: %s",
                        self._run,
                        self._rank,
                        error,
                    )
                    return

    def _wait_for_result(self, name: str, stretch: int, number: int) -> int:
        """Returns the number of votes in favor, or _LEAVES_STRETCH or _LEAVES_RUN."""
        key, following = (f"{self._ballot(name, stretch, number + i)}/result" for i in (0, 1))
        try:
            self._store.wait([key], datetime.timedelta(seconds=VOTE_TIMEOUT_S))
            return int(self._store.get(key))
        except RuntimeError:  # timeout
            logger.warning(
                "%s: not all ranks have voted within %s s: rank %d decides alone for the rest of "
                "this run",
                self._run,
                VOTE_TIMEOUT_S,
                self._rank,
            )
            for result in (key, following):  # for ranks that wait now, and for late ones
                self._store.set(result, str(_LEAVES_RUN))
            return _LEAVES_RUN

    def _read(self, timeout_s: float) -> dict[int, list[str]]:
        """Returns the names by rank, of the ranks that start the run in time."""
        keys = {rank: f"{self._prefix}/{rank}" for rank in range(self._size)}
        if not self._store.check(list(keys.values())):
            with suppress(RuntimeError):  # timeout
                self._store.wait(
                    list(keys.values()), datetime.timedelta(seconds=max(timeout_s, _MIN_WAIT_S))
                )
            keys = {rank: key for rank, key in keys.items() if self._store.check([key])}
        return {rank: json.loads(self._store.get(key)) for rank, key in keys.items()}

    @property
    def _missing(self) -> list[int]:
        """Ranks that have not started the run."""
        return [rank for rank in range(self._size) if rank not in (self._names or {})]

    def _ballot(self, name: str, stretch: int, number: int) -> str:
        return f"{self._prefix}/{name}/{stretch}/{number}"
