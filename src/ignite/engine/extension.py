"""Types of the extension surface: what handlers, metrics and profilers of one's own meet beside the engine itself.

An engine offers to those who extend it:

========================================  ==============================================================
``add_run_context``, ``run_contexts``     something around each run
``handlers_of``, ``registered_events``    which handlers an event has, and which events there are
``is_running``, ``iteration_in_epoch``    where the run is
``step_function``                         the function that is called for each batch
``state_kept``                            puts the state and the position in the data back
``measured``                              something around the step, the data and the handlers
``request_at_boundary``                   something to do between two iterations, from outside of the run
``run_saver``, ``will_resume``            how the run is saved, and whether it goes on later
``is_preemptible``, ``last_run_ended_at``  engines that run within handlers of another one
========================================  ==============================================================

What objects may offer to an engine stands in :mod:`ignite.base.protocols`. The library's own handlers and metrics use
nothing else.
"""

from ignite.engine._boundary import Unfinished
from ignite.engine._dispatch import Registration
from ignite.engine._handle import Added
from ignite.engine._running import outermost_engine
from ignite.engine._supervised.training_step import TrainingStep
from ignite.engine._trace import Meter, Step

__all__ = ["Added", "Meter", "Registration", "Step", "TrainingStep", "Unfinished", "outermost_engine"]
