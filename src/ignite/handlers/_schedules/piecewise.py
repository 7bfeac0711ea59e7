"""A schedule along straight lines between given points."""

from torch.optim import Optimizer

from ignite.handlers._schedules import checks, curves
from ignite.handlers._schedules.optimizer_param import ParamScheduler


class PiecewiseLinear(ParamScheduler):
    """Goes in straight lines from one milestone to the next; constant before the first and after the last.

    Args:
        optimizer: whose groups are written.
        param_name: the name of the parameter in the groups.
        milestones_values: ``[(event index, value), ...]``, with indices that do not decrease; at one that is there
            twice, the value jumps.
        save_history: whether to append the values to ``engine.state.param_history[param_name]``.
        param_group_index: the only group to write to.

    Raises:
        TypeError: ``milestones_values`` is not a list of pairs of an integer and a number.
        ValueError: it is empty, or a milestone is smaller than the one before.

    Example:
        >>> points = [(1, 1.0), (3, 0.0)]
        >>> PiecewiseLinear.simulate_values(5, param_name="lr", milestones_values=points)
        [[0, 1.0], [1, 1.0], [2, 0.5], [3, 0.0], [4, 0.0]]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        param_name: str,
        milestones_values: list[tuple[int, float]],
        save_history: bool = False,
        param_group_index: int | None = None,
    ) -> None:
        super().__init__(optimizer, param_name, save_history, param_group_index)
        self.milestones, self.values = checks.milestones_and_values(milestones_values)
        self._state_attrs += ["values", "milestones"]

    def get_param(self) -> float:
        """The value at ``event_index``."""
        return curves.piecewise_linear(self.milestones, self.values, self.event_index)
