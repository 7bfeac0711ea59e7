"""``Learner``, which builds ordinary engines with handlers and metrics, and exposes them."""

from ignite.learner._data.splitting import Holdout
from ignite.learner._demo import demo
from ignite.learner._runs import environment
from ignite.learner.class_reports import ClassReport, ConfusionTable
from ignite.learner.history import History
from ignite.learner.learner import Learner

__all__ = ["ClassReport", "ConfusionTable", "History", "Holdout", "Learner", "demo", "environment"]
