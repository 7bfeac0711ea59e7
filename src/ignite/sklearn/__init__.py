"""scikit-learn estimators that train a PyTorch model with a :class:`~ignite.learner.Learner`; extra ``sklearn``."""

from typing import TYPE_CHECKING

from ignite._core.optional import names_when_used

if TYPE_CHECKING:
    from ignite.sklearn.classifier import Classifier
    from ignite.sklearn.regressor import Regressor

__all__ = ["Classifier", "Regressor"]

__getattr__, __dir__ = names_when_used(__name__)
