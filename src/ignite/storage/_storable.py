"""What ``torch.load(weights_only=True)`` reads back: checked before anything is written, and made so if it can be."""

import codecs
import io
import re
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

MAX_DEPTH = 100
"""Of containers in each other. Pickle and this walk recurse, and the stack they stand on is the user's."""

_LEAVES = frozenset({type(None), bool, float, complex, str, bytearray, torch.dtype, torch.device, torch.layout})
_CONTAINERS = (dict, list, tuple, set)
_MAX_INT_BITS = 8 * 254  # the restricted unpickler reads integers of at most 255 bytes, with their sign
_SUB_BYTE = re.compile(r"torch\.u?int[1-7]$")
_ADVICE = {
    "numpy.ndarray": "give a tensor, torch.from_numpy(x)",
    "builtins.frozenset": "give a set",
    "torch._C.Generator": "give its get_state()",
    "torch.nn.parameter.UninitializedParameter": "run a batch through lazy modules before saving them",
    "torch.nn.parameter.UninitializedBuffer": "run a batch through lazy modules before saving them",
}
_ADVICE_FOR_OTHERS = (
    "give tensors, plain numbers and strings; or, if loading it runs no code that you do not know, "
    "mark its class by torch.serialization.add_safe_globals"
)


class Step(NamedTuple):
    """How a value is reached: by a key, or a word if it is the first or has no ``form``; and the steps before it.

    Becomes text only for a message, because there is a step for each value of a state.
    """

    what: Any
    before: "Step | None" = None
    form: str = "[{}]"

    def __str__(self) -> str:
        texts: list[str] = []
        step: Step | None = self
        while step is not None:
            texts.append(step.form.format(_short(step.what)) if step.form and step.before else step.what)
            step = step.before
        return "".join(reversed(texts))


class _EmptyBytes(bytes):
    """Pickled as other bytes are. What python makes of empty ones, ``bytes()``, is no call that loading allows."""

    def __reduce__(self) -> tuple[Any, ...]:
        return codecs.encode, ("", "latin1")


class Walk:
    """Goes through a state once, checks everything in it, and builds a state of plain containers and values.

    What the state holds twice is visited once, and the same object in the result, too.

    Args:
        on_tensor: returns what takes a tensor's place.
        copies: take the copies of objects of other classes that are safe to load, instead of the objects.
    """

    def __init__(self, on_tensor: Callable[[Tensor], Tensor], *, copies: bool) -> None:
        self._on_tensor = on_tensor
        self._copies = copies
        self._done: dict[int, tuple[Any, Any]] = {}  # id -> the object, kept so that its id stays its own; the result
        self._open: set[int] = set()

    def visit(self, x: Any, at: Step, depth: int = 0) -> Any:
        """What takes the place of ``x``.

        Raises:
            TypeError: ``x``, or something in it, would not be loaded.
        """
        kind = type(x)
        if kind in _LEAVES:
            return x
        if kind is int:
            if x.bit_length() > _MAX_INT_BITS:
                raise TypeError(
                    f"{at} should be an integer of at most {_MAX_INT_BITS} bits, but given {x.bit_length()}"
                )
            return x
        if kind is bytes:
            return x or _EmptyBytes()
        if id(x) in self._done:
            return self._done[id(x)][1]
        if id(x) in self._open:
            raise TypeError(f"{at} should not contain itself, but given a {_name_of(kind)} that does")
        if depth > MAX_DEPTH:
            raise TypeError(f"{at} should be at most {MAX_DEPTH} containers deep, but given one that is deeper")
        self._open.add(id(x))
        result = self._build(x, kind, at, depth)
        self._open.remove(id(x))
        self._done[id(x)] = (x, result)
        return result

    def _build(self, x: Any, kind: type, at: Step, depth: int) -> Any:
        if isinstance(x, Tensor):
            _check_tensor(x, at)
            return self._on_tensor(x)
        if kind not in _CONTAINERS and _is_marked_safe(x):
            return self._copy_of(x, at)
        if isinstance(x, dict):
            return self._build_dict(x, kind, at, depth)
        if isinstance(x, list):
            if _are_leaves(x):
                return list(x)
            return [self.visit(value, Step(i, at), depth + 1) for i, value in enumerate(x)]
        if kind is tuple or kind is torch.Size:
            if _are_leaves(x):
                return x
            return kind(self.visit(value, Step(i, at), depth + 1) for i, value in enumerate(x))
        if kind is set:
            return {self._visit_key(value, at, depth) for value in x}
        plain = _plain_or_none(x)
        if plain is None:
            _refuse(x, at)
        return self.visit(plain, at, depth)

    def _build_dict(self, x: dict[Any, Any], kind: type, at: Step, depth: int) -> Any:
        # Loading fills these three only. All others, a defaultdict for example, become what they are underneath.
        result: Any = OrderedDict() if issubclass(kind, OrderedDict) else Counter() if kind is Counter else {}
        for key, value in x.items():
            new_key = key if type(key) is str else self._visit_key(key, at, depth)
            result[new_key] = self.visit(value, Step(key, at), depth + 1)
        if len(result) != len(x):
            raise TypeError(f"{at} should have keys that differ as plain values, too, but given {_short(list(x))}")
        if kind is OrderedDict and vars(x):  # modules keep the versions of their states there, as _metadata
            vars(result).update(
                {name: self.visit(value, Step(f".{name}", at, ""), depth + 1) for name, value in vars(x).items()}
            )
        return result

    def _visit_key(self, key: Any, at: Step, depth: int) -> Any:
        step = Step(key, at, "[the key {}]")
        if isinstance(key, Tensor):
            raise TypeError(f"{step} should be a number, a string or a tuple, but given a tensor: its identity is lost")
        return self.visit(key, step, depth + 1)

    def _copy_of(self, x: Any, at: Step) -> Any:
        """The way to a file and back, in memory: whether loading takes all that is inside, nobody else can tell."""
        buffer = io.BytesIO()
        try:
            torch.save(x, buffer)
            buffer.seek(0)
            copy = torch.load(buffer, map_location="cpu", weights_only=True)
        except Exception as error:
            # Before its reason, torch says how to load unsafe files.
            reason = str(error).partition("WeightsUnpickler error: ")[2] or str(error)
            raise TypeError(
                f"{at} should be loaded by torch.load(weights_only=True), but given a {_name_of(type(x))} that is not, "
                f"although it is marked as safe: {reason.splitlines()[0]}"
            ) from error
        return copy if self._copies else x


class _Aliases:
    """Tensors as they are, without what keeps them from being saved: gradients, hooks, attributes, mixed dtypes."""

    def __init__(self) -> None:
        self._dtypes: dict[int, torch.dtype] = {}

    def __call__(self, tensor: Tensor) -> Tensor:
        if tensor.requires_grad or vars(tensor) or type(tensor) is torch.nn.Parameter:
            tensor = tensor.detach()
        if type(tensor) is not Tensor or tensor.layout is not torch.strided or tensor.device.type == "meta":
            return tensor
        start = 0 if tensor.is_nested else tensor.untyped_storage().data_ptr()
        if start and self._dtypes.setdefault(start, tensor.dtype) != tensor.dtype:
            return tensor.clone()  # torch.save refuses memory that is seen as two dtypes
        return tensor


def check_storable(state: Any, path: str = "") -> None:
    """Checks that everything in ``state`` will be loaded by ``torch.load(weights_only=True)``.

    That is: None, numbers, strings, bytes, tensors, ``torch.Size``, dtypes, devices and layouts; lists, tuples, sets
    and dictionaries of them; numpy's numbers, and subclasses of numbers, strings, lists and dictionaries, which
    :func:`plain` and ``Snapshot`` turn into plain ones; and what ``torch.serialization.add_safe_globals`` has marked.

    Args:
        state: what is to be saved.
        path: where ``state`` itself stands, for the message, such as ``"['model']"``.

    Raises:
        TypeError: something would not be loaded. The message says where it is, and what to do.

    Example:
        >>> check_storable({"epoch": 3, "weight": torch.zeros(2)})
        >>> check_storable({"hooks": [print]})
        Traceback (most recent call last):
        TypeError: state['hooks'][0] should be something that torch.load(weights_only=True) reads, but given ...
    """
    Walk(lambda tensor: tensor, copies=False).visit(state, Step(f"state{path}"))


def plain(state: Any) -> Any:
    """Checks ``state`` and returns it as ``torch.save`` should get it: plain values, and the tensors without a copy.

    Raises:
        TypeError: as :func:`check_storable` does.

    Example:
        >>> from collections import defaultdict
        >>> plain({"counts": defaultdict(int, a=True), "rate": 0.5})
        {'counts': {'a': True}, 'rate': 0.5}
    """
    return Walk(_Aliases(), copies=False).visit(state, Step("state"))


def _check_tensor(tensor: Tensor, at: Step) -> None:
    if type(tensor) is not Tensor and type(tensor) is not torch.nn.Parameter and not _is_marked_safe(tensor):
        _refuse(tensor, at)
    if tensor.layout is torch._mkldnn:  # type: ignore[attr-defined]
        raise TypeError(f"{at} should be a tensor with a storage, but given one of mkldnn: give x.to_dense()")
    if _SUB_BYTE.match(str(tensor.dtype)):
        raise TypeError(f"{at} should have a dtype of whole bytes, but given {tensor.dtype}: view it as torch.uint8")


def _are_leaves(x: list[Any] | tuple[Any, ...]) -> bool:
    """Whether there is nothing to look into: much faster to see than to go through a million numbers."""
    kinds = set(map(type, x))
    if int in kinds:
        kinds.discard(int)
        return kinds <= _LEAVES and all(type(i) is not int or i.bit_length() <= _MAX_INT_BITS for i in x)
    return kinds <= _LEAVES


def _is_marked_safe(x: Any) -> bool:
    marked: Iterable[Any] = torch.serialization.get_safe_globals()
    for entry in marked:
        what = entry[0] if isinstance(entry, tuple) else entry
        if what is x or what is type(x):
            return True
    return False


def _plain_or_none(x: Any) -> Any:
    """Numbers and strings of numpy, and of subclasses such as enumerations, as python's own; None for others."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(x, numpy.generic):
        x = x.item()
    if isinstance(x, str):
        return str.__str__(x)
    if isinstance(x, bytes):
        return bytes(memoryview(x))
    if isinstance(x, bool | int):
        return x if isinstance(x, bool) else int.__int__(x)
    if isinstance(x, float):
        return float.__float__(x)
    return complex.__complex__(x) if isinstance(x, complex) else None


def _refuse(x: Any, at: Step) -> NoReturn:
    name = _name_of(type(x))
    advice = _ADVICE.get(name) or ("give tuple(x)" if isinstance(x, tuple) else _ADVICE_FOR_OTHERS)
    raise TypeError(f"{at} should be something that torch.load(weights_only=True) reads, but given a {name}: {advice}")


def _name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _short(key: Any) -> str:
    """The key's text; of other classes than python's own only the name, because their ``repr`` may do anything."""
    text = repr(key) if type(key).__module__ == "builtins" else f"<{_name_of(type(key))}>"
    return text if len(text) <= 60 else f"{text[:57]}..."
