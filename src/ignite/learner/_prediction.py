"""Results of a trained learner: predictions, reports, a summary, an exported model."""

from __future__ import annotations

import contextlib
import copy
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import RandomSampler, SubsetRandomSampler, WeightedRandomSampler

from ignite import storage
from ignite._core.markup import Text, join, table, tag
from ignite._core.optional import import_optional
from ignite._core.rng import capture_random_state, restore_random_state
from ignite._core.trees import map_leaves, moved
from ignite.data.arrays import as_tensors, named_tensors
from ignite.learner._data.columns import Known
from ignite.learner._data.inspection import call_model, kept, num_samples_in, tensors_in
from ignite.learner._data.schema import Task
from ignite.learner._data.sources import Loader
from ignite.learner._data.targets import hard_labels, one_row, same_shape
from ignite.learner._heads import HeadsLoss, part_of
from ignite.learner._losses import TrainingLoss
from ignite.learner._model_outputs import NextToken, class_scores, logits_of
from ignite.learner._preparation import LearnerState
from ignite.storage.keys import unwrap

__all__ = [
    "Form",
    "classes_in",
    "export_model",
    "joined",
    "named_classes",
    "predictions",
    "summary",
]

_RANDOM = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)


@contextlib.contextmanager
def _applied(learner: LearnerState) -> Iterator[None]:
    """Context with evaluation mode, averaged weights, and no gradients."""
    modes = [(module, module.training) for module in learner.model.modules()]
    try:
        with learner._engines.averaged(), torch.no_grad():
            learner.model.eval()
            yield
    finally:
        for module, mode in modes:
            module.training = mode


class Form(NamedTuple):
    """The form of predictions: scores, classes or probabilities."""

    decide: bool = False
    proba: bool = False
    threshold: Any = None

    @property
    def is_raw(self) -> bool:
        """Whether scores are returned as they are."""
        return not (self.decide or self.proba)

    @property
    def name(self) -> str:
        """The argument that asks for this form."""
        return "decide=True" if self.decide else "proba=True"

    @classmethod
    def of(cls, decide: bool, proba: bool, threshold: Any) -> Form:
        """Checks the arguments of ``predict``.

        Raises:
            ValueError: they contradict each other, or a threshold is not between 0 and 1.
        """
        if proba and (decide or threshold is not None):
            raise ValueError(
                "proba=True should be given without decide and threshold, which ask for classes"
            )
        if threshold is not None:
            values = torch.as_tensor(threshold, dtype=torch.float64)
            if values.ndim > 1 or not bool(((values >= 0) & (values <= 1)).all()):
                raise ValueError(
                    "threshold should be a probability from 0 to 1, or one for each label, but given "
                    f"{threshold!r}"
                )
        return cls(decide or threshold is not None, proba, threshold)


def predictions(learner: LearnerState, loader: Loader, form: Form) -> Iterator[Any]:
    """Yields the outputs of the model on the CPU, batch by batch."""
    given = getattr(loader.batches, "batch_sampler", None)
    if given is None:
        given = loader.batches
    if isinstance(getattr(given, "sampler", None), _RANDOM):
        learner.logger.warning(
            "The loader shuffles, so predictions come in the order of its batches, not in that of its "
            "dataset: pass a loader with shuffle=False"
        )
    for batch in loader.batches:
        yield _predicted(learner, loader.parts(batch).x, form)


def _predicted(learner: LearnerState, x: Any, form: Form) -> Any:
    with _applied(learner):
        out = call_model(learner.model, moved(x, learner.device))
    out = _read(learner, out, form)
    out = one_row(moved(out, torch.device("cpu")), num_samples_in(x) or 0)
    if isinstance(x, Tensor) and x.ndim == 1 and isinstance(out, Tensor) and len(out) != len(x):
        raise ValueError(
            f"x should have shape (N, ...), but given {tuple(x.shape)}, with an output of shape "
            f"{tuple(out.shape)}: for a single sample, pass x[None]"
        )
    return out if form.is_raw else _in_form(learner.task, learner.loss, out, form)


def _read(learner: LearnerState, out: Any, form: Form) -> Any:
    """Returns the logits of an output, if the loss takes them; not raw, with classes in dimension 1."""
    loss = learner.loss
    if loss.name is None:
        return out
    is_of_tokens = isinstance(loss.loss, NextToken)
    return logits_of(out) if form.is_raw else class_scores(out, is_of_tokens)


def _in_form(task: Task | None, loss: TrainingLoss, out: Any, form: Form) -> Any:
    """Converts scores to probabilities, or to classes: shape (N, L) for multilabel tasks, (N,) for others.

    Of several heads, those that are no classification stay as they are.
    """
    if isinstance(loss, HeadsLoss) and task is not None:
        return loss.like(
            {
                head: _in_form(its, loss.heads[head], part_of(out, head), form)
                for head, its in task.heads
                if its.kind not in ("regression", "unknown")
            },
            out,
        )
    kind = "regression" if task is None else task.kind
    if kind in ("regression", "unknown") or not isinstance(out, Tensor):
        raise ValueError(
            f"{form.name} needs a classification task, but this one is {task or 'not known yet'}"
        )
    if form.threshold is not None and kind == "multiclass":
        raise ValueError(
            "threshold should be left out for several classes, of which the most likely one is "
            f"chosen, but given {form.threshold!r}"
        )
    if kind == "multiclass":
        return _distribution(loss, out) if form.proba else out.argmax(1)
    if form.threshold is None and not form.proba:
        chosen = (out > (0.5 if loss.name == "bce" else 0)).long()
    else:
        probability = out if loss.name == "bce" else out.float().sigmoid()
        if form.proba:
            return probability
        chosen = (probability > torch.as_tensor(form.threshold)).long()
    return chosen.reshape(len(out)) if kind == "binary" else chosen


def _distribution(loss: TrainingLoss, out: Tensor) -> Tensor:
    """Returns the probabilities of classes, in dimension 1."""
    return out.float().exp() if loss.name == "nll" else out.float().softmax(1)


def named_classes(found: Any, known: Known, path: str = "y") -> Any:
    """Converts class indices to the names of the classes, a list, if they have any."""
    if isinstance(found, dict):
        return {key: named_classes(one, known, f"{path}[{key!r}]") for key, one in found.items()}
    if isinstance(found, tuple):
        parts = (named_classes(one, known, f"{path}[{i}]") for i, one in enumerate(found))
        return tuple(parts)
    names = known.classes_of(path)
    return [names[int(number)] for number in found] if names else found


def joined(parts: list[Any]) -> Any:
    """Concatenates the outputs of batches: tensors, or tuples or dictionaries of tensors."""
    first = parts[0]
    if isinstance(first, Tensor):
        shapes = {tuple(part.shape[1:]) for part in parts}
        if len(shapes) > 1:
            raise ValueError(
                "The outputs of all batches should have the same shape to be joined, but have "
                f"(N, {', '.join(map(str, min(shapes)))}) to (N, {', '.join(map(str, max(shapes)))}): "
                "use predict_batches, or pad all batches to one length"
            )
        return torch.cat(parts)
    if isinstance(first, dict):
        return {name: joined([part[name] for part in parts]) for name in first}
    return tuple(joined([part[i] for part in parts]) for i in range(len(first)))


def classes_in(
    learner: LearnerState, loader: Loader, form: Form, head: Any = None
) -> tuple[Tensor, Tensor, tuple[Any, ...]]:
    """Returns true and predicted classes, both of shape (M,) or (N, L), and the names of all classes."""
    task, names = _classification(learner, head)
    true, found = [], []
    for batch in loader.batches:
        x, y, _ = loader.parts(batch)
        decided = _predicted(learner, x, form)
        if head is not None:
            y, decided = part_of(y, head, "y"), part_of(decided, head)
        labels, decided = _labels_and_decisions(learner, task, y, decided)
        true.append(labels)
        found.append(decided)
    if not true:
        raise ValueError("data should have at least one sample, but given none")
    y_true, y_pred = torch.cat(true), torch.cat(found)
    if task.kind == "multilabel":
        return y_true, y_pred, learner._learnt.facts.known.labels or tuple(range(y_true.shape[1]))
    largest = [int(one.max()) for one in (y_true, y_pred) if one.numel()]
    num_classes = max([*largest, (task.num_classes or 0) - 1], default=-1) + 1
    return y_true.flatten(), y_pred.flatten(), names or tuple(range(num_classes))


def _classification(learner: LearnerState, head: Any) -> tuple[Task, tuple[Any, ...]]:
    """Returns the task, of the head if there are several, and the names of its classes.

    Raises:
        ValueError: there are several heads and no such one; or the task is no classification.
    """
    task, path = learner.task, "y"
    heads = [] if task is None else [one for one, _ in task.heads]
    if (head is not None or heads) and head not in heads:
        raise ValueError(f"head should be one of {heads}, but given {head!r}")
    if head is not None and task is not None:
        task, path = dict(task.heads)[head], f"y[{head!r}]"
    if task is None or task.kind in ("regression", "unknown"):
        raise ValueError(
            f"decide=True needs a classification task, but this one is {task or 'not known yet'}"
        )
    return task, learner._learnt.facts.known.classes_of(path)


def _labels_and_decisions(
    learner: LearnerState, task: Task, y: Any, found: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns the classes in targets and in decisions, without those that the loss ignores."""
    if isinstance(learner.loss.loss, NextToken):
        y, found = learner._engines.batches.targets(torch.as_tensor(y)), found[:, :-1]
    labels = _labels_of(y, found)
    if task.kind == "multilabel" or task.ignored is None:
        return labels, found
    counts = labels != task.ignored
    return labels[counts], found[counts]


def _labels_of(y: Any, found: Tensor) -> Tensor:
    """Converts targets to classes, shape (N,) or (N, L).

    Of probabilities, the most likely class.
    """
    y = torch.as_tensor(y).cpu()
    if y.is_floating_point():
        y = y.argmax(1) if y.ndim > found.ndim and y.shape[1] > 1 else hard_labels(y)
    return same_shape(found, y)[1].long()


def summary(model: nn.Module, example: Any = None) -> str:
    """Formats a table of the layers of a model, with output shapes if an example is given.

    Args:
        model: the model; it is not modified.
        example: inputs, shape (N, ...), on the device of the model.

    Example:
        >>> print(summary(nn.Sequential(nn.Linear(4, 2), nn.ReLU()), torch.zeros(1, 4)))
        layer  kind        output  parameters  trained
        0      Linear      (1, 2)          10       10
        1      ReLU        (1, 2)           0        0
               Sequential  (1, 2)          10       10
        parameters and buffers: 40 bytes
    """
    shapes = {} if example is None else _shapes(model, example)
    layers = [
        (name, part) for name, part in model.named_modules() if name and not list(part.children())
    ]
    rows = [["layer", "kind", "output", "parameters", "trained"]]
    for name, part in [*layers, ("", model)]:
        parameters = list(part.parameters())
        trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
        total = sum(parameter.numel() for parameter in parameters)
        rows.append(
            [name, type(part).__name__, shapes.get(name, "-"), f"{total:,}", f"{trained:,}"]
        )
    if example is None:
        rows = [row[:2] + row[3:] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    num_texts = len(rows[0]) - 2
    lines = [
        "  ".join(
            cell.ljust(width) if i < num_texts else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    tensors: list[Tensor] = [*model.parameters(), *model.buffers()]
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    footer = f"parameters and buffers: {size:,} bytes"
    page = table(rows[0], rows[1:], num_texts=num_texts)
    return Text("\n".join([*lines, footer]), join([page, tag("p", footer)]))


def _shapes(model: nn.Module, example: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    hooks = [
        part.register_forward_hook(
            lambda module, inputs, output, name=name: found.update({name: _shape_of(output)})
        )
        for name, part in model.named_modules()
    ]
    try:
        with kept(model), torch.no_grad():
            model.eval()
            call_model(model, example)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _shape_of(output: Any) -> str:
    if isinstance(output, Tensor):
        return str(tuple(output.shape))
    return ", ".join(
        str(tuple(leaf.shape))
        for _, leaf in named_tensors(output)
        if isinstance(leaf, torch.Tensor)
    )


_RTOL, _ATOL = 1e-3, 1e-4  # other kernels sum in a different order


class _Call(NamedTuple):
    """The arguments for calling the model with an example."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def dynamic(self) -> Any:
        """The dynamic dimensions of the inputs: the first one, of samples."""
        first = {0: torch.export.Dim.DYNAMIC}
        shapes = [map_leaves(one, Tensor, lambda _: first) for one in (self.args, self.kwargs)]
        return shapes[1] if self.kwargs else shapes[0]


def export_model(model: nn.Module, path: Path, example: Any) -> None:
    """Exports a model in evaluation mode, for the CPU.

    See :meth:`ignite.learner.Learner.export`.
    """
    if path.suffix not in _FORMATS:
        raise ValueError(f"path should end with {' or '.join(_FORMATS)}, but given {path.name!r}")
    make, try_out = _FORMATS[path.suffix]
    call = _call_of(example)
    plain = copy.deepcopy(unwrap(model)).cpu().eval()  # the original is not modified
    random = capture_random_state()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # raised within torch.export itself
            # Up to torch 2.9, also within torch.export.load.
            warnings.filterwarnings("ignore", "The given buffer is not writable", UserWarning)
            expected = plain(*call.args, **call.kwargs)
            write = make(plain, call)
            check = functools.partial(try_out, call=call, expected=expected)
            path.parent.mkdir(parents=True, exist_ok=True)
            storage.commit(path.parent, path.name, write, check=check)
    finally:
        restore_random_state(random)


def _call_of(example: Any) -> _Call:
    """Returns the arguments, with at least two samples: torch specializes programs for batch size 1."""
    x = moved(as_tensors(example), torch.device("cpu"))
    if not tensors_in(x):
        raise TypeError(
            "example should be a tensor, or a tuple or dictionary of them, but given "
            f"{type(x).__name__}"
        )
    x = map_leaves(x, Tensor, lambda one: torch.cat([one, one]) if len(one) == 1 else one)
    if isinstance(x, Mapping):
        return _Call((), dict(x))
    return _Call(tuple(x) if isinstance(x, tuple | list) else (x,), {})


def _traced(model: nn.Module, call: _Call) -> torch.export.ExportedProgram:
    try:
        return torch.export.export(model, call.args, call.kwargs, dynamic_shapes=call.dynamic)
    except Exception as error:
        error.add_note(
            "The model should be traceable by torch.export: its control flow may depend neither on "
            "values of tensors nor on the batch size"
        )
        raise


def _write_pt2(model: nn.Module, call: _Call) -> Callable[[IO[bytes]], Any]:
    return functools.partial(torch.export.save, _traced(model, call))


def _write_onnx(model: nn.Module, call: _Call) -> Callable[[IO[bytes]], Any]:
    for name in ("onnx", "onnxscript"):
        import_optional(name, extra="onnx")
    program = torch.onnx.export(_traced(model, call), dynamo=True, verbose=False)
    assert program is not None
    content = program.model_proto.SerializeToString()
    return lambda file: file.write(content)


def _check_pt2(path: Path, call: _Call, expected: Any) -> None:
    _check(torch.export.load(path).module()(*call.args, **call.kwargs), expected)


def _check_onnx(path: Path, call: _Call, expected: Any) -> None:
    import_optional("onnx", extra="onnx").checker.check_model(str(path))
    try:
        runtime = import_optional("onnxruntime", extra="onnx")
    except ModuleNotFoundError:
        return
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = [one.numpy() for one in tensors_in(call.kwargs or call.args)]
    names = [one.name for one in session.get_inputs()]
    found = session.run(None, dict(zip(names, inputs, strict=True)))
    _check([torch.from_numpy(one) for one in found], tensors_in(expected))


def _check(found: Any, expected: Any) -> None:
    try:
        torch.testing.assert_close(found, expected, rtol=_RTOL, atol=_ATOL)
    except AssertionError as error:
        raise RuntimeError(
            f"The exported model should have the same outputs as the model, but: {error}"
        ) from error


# By suffix: the function that writes a file, and the one that checks it.
_FORMATS: Mapping[
    str, tuple[Callable[[nn.Module, _Call], Callable[[IO[bytes]], Any]], Callable[..., None]]
] = {
    ".pt2": (_write_pt2, _check_pt2),
    ".onnx": (_write_onnx, _check_onnx),
}
