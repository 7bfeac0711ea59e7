"""Who takes part in what: told through the store of the process group, where nobody waits for one who is not there.

A collective waits for ever for a process that does not enter it. Programs attach handlers on one
process only, and so what decides for all processes has to know first whether all have it. Each
process writes into the store what it has when a run begins; see
``docs/decisions/0013-who-has-what-is-told-through-the-store.md``.
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

ROLL_PATIENCE_S = 10.0
"""How long a process may be late for a run until the others decide without it."""
VOTE_PATIENCE_S = 60.0
"""How long a process may be late for a decision of a run that it takes part in."""
_MOMENT_S = 0.02
_KEPT_RUNS = 100
_IN_FAVOUR = 1 << 32  # votes are counted below it, and those in favour above
_LEFT = _LEAVES_STRETCH = -1
_LEAVES_RUN = -2

logger = logging.getLogger(__name__)


class _Group:
    """What is counted for as long as a process group lives."""

    num_made = 0

    def __init__(self) -> None:
        _Group.num_made += 1
        self.number = _Group.num_made
        self.num_runs: Counter[str] = Counter()
        self.absent: set[str] = set()
        """Runs that some processes have not begun."""


_groups: weakref.WeakKeyDictionary[Any, _Group] = weakref.WeakKeyDictionary()


def call_roll(run: str, names: Sequence[str]) -> Roll | None:
    """Tells the other processes what this one has in a run that begins. Waits for nobody.

    Args:
        run: what is run. The first run of it in one process belongs to the first in each other, and
            so on.
        names: what could act together with the same in the other processes.

    Returns:
        What the others have said; None in a single process, or if there is no store.
    """
    if not has_group() or get_world_size() == 1:
        return None
    store = default_store()
    if store is None:
        return None
    group = _groups.setdefault(dist.group.WORLD, _Group())
    group.num_runs[run] += 1
    number = group.num_runs[run]
    place = f"ignite/{group.number}/{run}"
    try:
        store.set(f"{place}/{number}/{get_rank()}", json.dumps(list(names)))
        if number > _KEPT_RUNS:
            store.delete_key(f"{place}/{number - _KEPT_RUNS}/{get_rank()}")
    except RuntimeError as error:  # a store of somebody's own, such as that of a simulated group
        logger.debug("Nothing can be told through %r: %s", store, error)
        return None
    return Roll(store, f"{place}/{number}", run, group.absent)


class Roll:
    """What each process has in a run, and decisions of those things that all of them have.

    Made by :func:`call_roll`.
    """

    def __init__(self, store: Any, place: str, run: str, absent: set[str]) -> None:
        self._store, self._place, self._run, self._absent = store, place, run, absent
        self._rank, self._size = get_rank(), get_world_size()
        self._has: dict[int, list[str]] | None = None
        self._is_alone = False
        self._cast: dict[tuple[str, int], int] = {}
        """Name and stretch of the run -> how often this process has voted, or that it votes no more."""

    def is_everywhere(self, name: str) -> bool:
        """Whether all processes have this.

        Waits some seconds for one that has not begun the run.
        """
        if self._has is None:
            self._has = self._read(0.0 if self._run in self._absent else ROLL_PATIENCE_S)
            if silent := self._silent:
                if self._run not in self._absent:
                    logger.warning(
                        "%s should be run by all processes, but ranks %s have not begun it within %s s: what decides "
                        "for all does so by itself on rank %d", self._run, silent, ROLL_PATIENCE_S, self._rank,
                    )  # fmt: skip
                self._absent.add(self._run)  # what was run here alone once is not waited for again
                self._is_alone = True
                self._store.set(
                    f"{self._place}/{self._rank}", "[]"
                )  # who comes later should not count on this process
        return not self._is_alone and all(name in names for names in self._has.values())

    def require(self, name: str, what: str) -> None:
        """Waits until all processes have begun the run, as they will act together.

        Args:
            name: under which this was told.
            what: what it is called in the error.

        Raises:
            RuntimeError: a process does not have this, or does not come for as long as the store
                waits.
        """
        if self._has is None:
            self._has = self._read(ROLL_PATIENCE_S)
        if self._silent:
            logger.warning(
                "%s needs all processes: waiting for ranks %s, which have not begun to run %s",
                what, self._silent, self._run,
            )  # fmt: skip
            self._has = self._read(self._store.timeout.total_seconds())
        lacking = [rank for rank, names in self._has.items() if name not in names]
        if lacking or self._silent:
            missing = (
                f"rank {lacking[0]} has none"
                if lacking
                else f"rank {self._silent[0]} does not run it"
            )
            raise RuntimeError(
                f"{what} should be attached to the engine on all processes, because they act together, but "
                f"{missing} ({self._run}). Attach it without asking for the rank: one process writes"
            )

    def any(self, name: str, stretch: int, vote: bool) -> bool:
        """Whether one process votes for something: this one alone if not all have it.

        Args:
            name: of what decides. Where all have it, all have to vote equally often, or to
                :meth:`leave`.
            stretch: the part of the run to which the vote belongs, such as an epoch.
            vote: of this process.
        """
        cast = self._cast.get((name, stretch), 0)
        if self._is_alone or cast == _LEFT:
            return vote
        if not self.is_everywhere(name):
            self.leave(name, stretch)
            return vote
        self._cast[name, stretch] = cast + 1
        ballot = self._ballot(name, stretch, cast)
        total = self._store.add(ballot, 1 + vote * _IN_FAVOUR)
        if total % _IN_FAVOUR == self._size:
            self._store.set(f"{ballot}/result", str(total // _IN_FAVOUR))
            if cast:  # all have read the result before
                before = self._ballot(name, stretch, cast - 1)
                self._store.delete_key(before)
                self._store.delete_key(f"{before}/result")
            return bool(total >= _IN_FAVOUR)
        result = self._hear(name, stretch, cast)
        if result == _LEAVES_STRETCH:
            self._cast[name, stretch] = _LEFT
        elif result == _LEAVES_RUN:
            self._is_alone = True
        return vote if result < 0 else result > 0

    def leave(self, name: str, stretch: int) -> None:
        """Votes no more in a stretch; the others go on without this process."""
        cast = self._cast.get((name, stretch), 0)
        if cast != _LEFT:
            self._store.set(f"{self._ballot(name, stretch, cast)}/result", str(_LEAVES_STRETCH))
            self._cast[name, stretch] = _LEFT

    def end(self, stretches: Mapping[str, int]) -> None:
        """Votes no more in this run.

        Args:
            stretches: for each name the one at hand: in this one or the next, the others come to
                know it.
        """
        self._is_alone = True
        for name, stretch in stretches.items():
            cast = self._cast.get((name, stretch), 0)
            for ballot in (
                self._ballot(name, stretch, max(cast, 0)),
                self._ballot(name, stretch + 1, 0),
            ):
                try:
                    self._store.set(f"{ballot}/result", str(_LEAVES_RUN))
                except RuntimeError as error:
                    # The process that keeps the store has ended before this one, and there is
                    # nobody left to tell.
                    logger.debug(
                        "%s: rank %d could not say that it has ended: %s",
                        self._run,
                        self._rank,
                        error,
                    )
                    return

    def _hear(self, name: str, stretch: int, number: int) -> int:
        """How many were in favour, or that a process votes no more."""
        key, following = (f"{self._ballot(name, stretch, number + i)}/result" for i in (0, 1))
        try:
            self._store.wait([key], datetime.timedelta(seconds=VOTE_PATIENCE_S))
            return int(self._store.get(key))
        except RuntimeError:  # time is over
            logger.warning(
                "%s: not all processes have come to the same decision within %s s: rank %d decides by itself from now "
                "on in this run", self._run, VOTE_PATIENCE_S, self._rank,
            )  # fmt: skip
            for result in (key, following):  # for those who wait, and for who comes late
                self._store.set(result, str(_LEAVES_RUN))
            return _LEAVES_RUN

    def _read(self, patience_s: float) -> dict[int, list[str]]:
        """What the processes have that have begun the run; waits for the others."""
        keys = {rank: f"{self._place}/{rank}" for rank in range(self._size)}
        if not self._store.check(list(keys.values())):
            with suppress(RuntimeError):  # time is over
                self._store.wait(
                    list(keys.values()), datetime.timedelta(seconds=max(patience_s, _MOMENT_S))
                )
            keys = {rank: key for rank, key in keys.items() if self._store.check([key])}
        return {rank: json.loads(self._store.get(key)) for rank, key in keys.items()}

    @property
    def _silent(self) -> list[int]:
        return [rank for rank in range(self._size) if rank not in (self._has or {})]

    def _ballot(self, name: str, stretch: int, number: int) -> str:
        return f"{self._place}/{name}/{stretch}/{number}"
