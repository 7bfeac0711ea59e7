"""Copies of a run's objects in the memory of the host, to go back to."""

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

from ignite._core.seeding import RandomState, capture_random_state, restore_random_state
from ignite.base import Stateful
from ignite.storage.snapshot import Snapshot


class Moment(NamedTuple):
    """The states of objects between two iterations."""

    iteration: int
    """The last one that was done."""
    epoch: int
    states: Mapping[str, Any]
    random: RandomState


class LastGood:
    """Two copies at most: the last one that is known to be good, and a newer one of which that is not known yet.

    A copy that is taken after an iteration holds weights that no loss has been computed with. So it is kept beside the
    one before it until somebody confirms it.

    Args:
        objects: what is copied, and put back.
    """

    def __init__(self, objects: Mapping[str, Stateful]) -> None:
        self._objects = dict(objects)
        self._snapshot = Snapshot()
        self.good: Moment | None = None
        self.newest: Moment | None = None

    def take(self, iteration: int, epoch: int) -> None:
        """Copies all objects, and where the random number generators stand. The first copy is good by itself.

        Raises:
            TypeError: the state of an object cannot be copied; the text says where in it.
        """
        self.newest = None  # its memory is for the next one
        states = self._snapshot.take({name: one.state_dict() for name, one in self._objects.items()})
        moment = Moment(iteration, epoch, states, capture_random_state())
        if self.good is None:
            self.good = moment
        else:
            self.newest = moment

    def confirm(self) -> bool:
        """The newest copy is good. Returns whether there is one that was not known to be."""
        if self.newest is None:
            return False
        self.good, self.newest = self.newest, None
        return True

    def put_back(self, epoch: int) -> Moment:
        """Puts all objects back to where they were in the good copy, and drops a newer one.

        Random number generators go back, too, unless another epoch has begun since: the order of its samples may have
        been drawn from them, and would be drawn again.
        """
        if self.good is None:
            raise RuntimeError(
                "There should be a copy to go back to, but none was taken: attach the guard to the engine"
            )
        self.newest = None
        for name, one in self._objects.items():
            # Optimizers keep the very tensors that they are given: they would go on to change the copy.
            one.load_state_dict(copy.deepcopy(self.good.states[name]))
        if self.good.epoch == epoch:
            restore_random_state(self.good.random)
        return self.good

    def forget(self) -> None:
        """Drops all copies."""
        self.good = self.newest = None
