"""Converts the output of a model to the input of a PyTorch loss: a tensor with the classes in dimension 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ignite.learner._data.inspection import call_model, described
from ignite.learner._data.schema import known_loss

__all__ = ["NextToken", "call_for", "class_scores", "logits_of", "next_tokens"]


class NextToken(nn.CrossEntropyLoss):
    """Cross entropy of the logits at each position and the token at the next one.

    The learner shifts targets and logits, see :func:`call_for` and :func:`next_tokens`.
    """


def call_for(loss: Any) -> Callable[[Any, Any], Any]:
    """Returns ``call(model, x)``, which computes the input of ``loss``.

    For losses of PyTorch, it is the attribute ``logits`` if the model returns an object that has
    it, such as models of transformers. For custom losses, it is the output of the model.

    Args:
        loss: the loss as a module or function.
    """
    if known_loss(loss) is None:
        return call_model
    return _call_for_next_tokens if isinstance(loss, NextToken) else _call_for_scores


def _call_for_scores(model: Any, x: Any) -> Any:
    output = model(x) if type(x) is Tensor else call_model(model, x)  # the usual case first
    return output if type(output) is Tensor else class_scores(output)


def _call_for_next_tokens(model: Any, x: Any) -> Any:
    output = class_scores(call_model(model, x), are_tokens=True)
    return output[..., :-1] if isinstance(output, Tensor) else output


def logits_of(output: Any) -> Any:
    """Returns the attribute ``logits`` of an output, else the output itself.

    Example:
        >>> from types import SimpleNamespace
        >>> import torch
        >>> logits_of(SimpleNamespace(logits=torch.zeros(2, 3))).shape, logits_of([1])
        (torch.Size([2, 3]), [1])
    """
    logits = getattr(output, "logits", None)
    return logits if isinstance(logits, Tensor) else output


def class_scores(output: Any, are_tokens: bool = False) -> Any:
    """Returns the logits of an output with the classes in dimension 1.

    Args:
        output: the output of a model. In the attribute ``logits``, the classes of each token are
            the last of three dimensions, (N, T, C); a plain tensor is returned unchanged.
        are_tokens: whether classes are the last dimension of plain tensors, too.

    Example:
        >>> from types import SimpleNamespace
        >>> import torch
        >>> class_scores(SimpleNamespace(logits=torch.zeros(2, 7, 3))).shape
        torch.Size([2, 3, 7])
    """
    logits = logits_of(output)
    if not isinstance(logits, Tensor) or logits.ndim != 3:
        return logits
    return logits.transpose(1, 2) if are_tokens or logits is not output else logits


def next_tokens(y: Any) -> Tensor:
    """Returns the next token of each position except the last one, shape (N, T - 1).

    Raises:
        ValueError: ``y`` has another shape than (N, T).
    """
    if not isinstance(y, Tensor) or y.ndim != 2 or y.shape[1] < 2:
        raise ValueError(
            "y should hold the tokens of each sequence, shape (N, T) with T of at least 2, for "
            f"next_token, but given {described(y)}"
        )
    return y[:, 1:]
