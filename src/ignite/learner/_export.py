"""Saves the weights of a model, and exports models to run without their Python code."""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor, nn

from ignite import storage
from ignite._core.optional import import_optional
from ignite._core.rng import capture_random_state, restore_random_state
from ignite._core.trees import map_leaves, moved
from ignite.data.arrays import as_tensors
from ignite.learner._data.inspection import tensors_in
from ignite.learner._data.schema import Facts, Learnt
from ignite.storage import formats, keys
from ignite.storage.keys import unwrap

__all__ = ["export_model", "load_weights", "save_weights"]

_RTOL, _ATOL = 1e-3, 1e-4  # other kernels sum in another order


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


def save_weights(model: nn.Module, path: Path, facts: Facts | None = None) -> None:
    """Saves weights and facts atomically."""
    learnt = Learnt() if facts is None else Learnt(facts)
    place = storage.open_place(path.parent)
    if path.suffix == ".safetensors":
        text = learnt.facts.to_text() if learnt.facts.is_learnt else None
        formats.save_weights(place, path.name, keys.unwrap(model).state_dict(), text=text)
    else:
        state = {"model": keys.state_of(model)}
        storage.save(
            place,
            path.name,
            state | ({"learnt": learnt.state_dict()} if learnt.facts.is_learnt else {}),
            None,
        )


def load_weights(
    restore: Callable[[Mapping[str, Any]], None],
    path: Path,
    check: Callable[[Facts], None] = lambda facts: None,
) -> Facts | None:
    """Loads a file, checks its facts with ``check``, passes the state to ``restore`` and returns the facts, if any."""
    if path.suffix == ".safetensors":
        state: dict[str, Any] = {"model": formats.load_weights(path)}
        text = formats.read_text(path)
    else:
        state = storage.load(path).state
        state = state if "model" in state else {"model": state}
        text = state.get("learnt", {}).get("facts")
    facts = None if text is None else Facts.from_text(text)
    if facts is not None:
        check(facts)
    restore(state)
    return facts
