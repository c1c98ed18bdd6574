"""Torch's tensors are read without torch and without trusting the file."""

import collections
import io
import pickle
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chestxray.models.torch_checkpoint import MAGIC_NUMBER, TorchFileError, read_tensors


class Name:
    """Pickles as the global `module.name`."""

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name


class Call:
    """Pickles as a call of a global."""

    def __init__(self, function: Name, arguments: tuple[Any, ...]) -> None:
        self.function = function
        self.arguments = arguments


class Storage:
    """Pickles as a persistent reference to a storage."""

    def __init__(self, kind: str, key: str, elements: int) -> None:
        self.kind = kind
        self.key = key
        self.elements = elements


class Writer(pickle._Pickler):
    """Python's own pickler, taught to write globals of modules that aren't there."""

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, Storage):
            return ("storage", Name("torch", obj.kind), obj.key, "cpu", obj.elements, None)
        return None

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Name):
            self.write(b"c" + obj.module.encode() + b"\n" + obj.name.encode() + b"\n")
        elif isinstance(obj, Call):
            self.save(obj.function)
            self.save(obj.arguments)
            self.write(b"R")
        else:
            super().save(obj, save_persistent_id)


def torch_file(state: Any, storages: dict[str, np.ndarray], magic: int = MAGIC_NUMBER) -> bytes:
    stream = io.BytesIO()
    for value in (magic, 1001, {"little_endian": True}):
        pickle.dump(value, stream, protocol=2)
    Writer(stream, protocol=2).dump(state)
    pickle.dump(sorted(storages), stream, protocol=2)
    for key in sorted(storages):
        stream.write(struct.pack("<q", storages[key].size) + storages[key].tobytes())
    return stream.getvalue()


def tensor(key: str, elements: int, shape: tuple[int, ...], offset: int = 0, kind: str = "FloatStorage") -> Call:
    stride = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
    rebuild = Name("torch._utils", "_rebuild_tensor_v2")
    return Call(rebuild, (Storage(kind, key, elements), offset, shape, stride, False, collections.OrderedDict()))


VALUES = np.arange(12, dtype="<f4")


def test_tensors_come_back_in_order_with_shape_and_offset() -> None:
    state = collections.OrderedDict(b=tensor("0", 12, (2, 3), offset=6), a=tensor("0", 12, (4,)))
    read = read_tensors(torch_file(state, {"0": VALUES}))
    assert list(read) == ["b", "a"]
    assert np.array_equal(read["b"], VALUES[6:].reshape(2, 3)) and np.array_equal(read["a"], VALUES[:4])


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("numpy", "load"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_parameter"),
        ("subprocess", "Popen"),
        ("chestxray.models.torch_checkpoint", "read_tensors"),
        ("nowhere", "Nothing"),
    ],
)
def test_a_file_that_wants_to_call_something_is_refused(module: str, name: str, tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    state = collections.OrderedDict(a=Call(Name(module, name), (f"touch {proof}",)))
    with pytest.raises(TorchFileError, match=f"asks for {module}.{name}"):
        read_tensors(torch_file(state, {}))
    assert not proof.exists()


WHOLE = torch_file(collections.OrderedDict(a=tensor("0", 12, (4, 3))), {"0": VALUES})


def test_a_file_cut_anywhere_is_refused() -> None:
    assert read_tensors(WHOLE)["a"].shape == (4, 3)
    for length in range(len(WHOLE)):
        with pytest.raises(TorchFileError):
            read_tensors(WHOLE[:length])


def test_a_file_of_another_format_is_refused() -> None:
    for data in (b"PK\x03\x04" + WHOLE, b"<html>", torch_file({}, {}, magic=1), torch_file([1], {})):
        with pytest.raises(TorchFileError, match=r"not a legacy torch\.save file"):
            read_tensors(data)


@pytest.mark.parametrize(
    "lie",
    [
        tensor("0", 2**40, (4, 3)),
        tensor("0", -1, (4, 3)),
        tensor("0", 11, (4, 3)),
        tensor("0", 12, (40, 30)),
        tensor("0", 12, (4, 3), offset=1),
        tensor("0", 12, (3,), offset=-3),
        tensor("0", 12, (-1,)),
        tensor("0", 12, (2**62, 4)),
        tensor("0", 12, (2**80,)),
        tensor("0", 12, (4, 3), kind="HalfStorage"),
        tensor("1", 12, (4, 3)),
        Call(Name("torch._utils", "_rebuild_tensor_v2"), (Storage("FloatStorage", "0", 12), 0, (4, 3), (1, 4))),
        Call(Name("torch._utils", "_rebuild_tensor_v2"), ("storage", 0, (4, 3), (3, 1))),
        Name("torch._utils", "_rebuild_tensor_v2"),
        12,
    ],
    ids=lambda lie: None,
)
def test_what_is_not_a_plain_tensor_of_the_file_is_refused(lie: Any) -> None:
    with pytest.raises(TorchFileError):
        read_tensors(torch_file(collections.OrderedDict(a=lie), {"0": VALUES}))


def test_integers_and_scalars_are_tensors_too() -> None:
    state = collections.OrderedDict(count=tensor("0", 1, (), kind="LongStorage"))
    read = read_tensors(torch_file(state, {"0": np.array([7], "<i8")}))
    assert read["count"].shape == () and read["count"].dtype == np.int64 and read["count"] == 7


def test_a_small_file_takes_up_little_memory() -> None:
    """Ten bytes that have Python's unpickler remember a value at a place far off, for which it makes room."""
    tracemalloc.start()
    places = (2**24, 2**31 - 1)
    for place in places:
        with pytest.raises(TorchFileError, match="opcodes"):
            read_tensors(b"\x80\x02K\x01r" + struct.pack("<I", place) + b".")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * min(places) / 100  # bytes: a hundredth of the room for the smaller one


def test_deep_nesting_is_refused_before_it_fills_the_stack() -> None:
    """A tuple in a tuple in a tuple … as the key of a dict: Python's hash of it ends the process."""
    with pytest.raises(TorchFileError, match="opcodes"):
        read_tensors(b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x01s.")
