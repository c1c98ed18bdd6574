"""Reading torch's tensors without torch, and without trusting the file."""

import collections
import io
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chestxray.torch_file import MAGIC_NUMBER, TorchFileError, read_tensors


class Name:
    """Pickles as the global `module.name`."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Call:
    """Pickles as a call of a global."""

    def __init__(self, function: Name, arguments: tuple[Any, ...]) -> None:
        self.function, self.arguments = function, arguments


class Storage:
    """Pickles as a persistent reference to a storage."""

    def __init__(self, kind: str, key: str, elements: int) -> None:
        self.kind, self.key, self.elements = kind, key, elements


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
    [("os", "system"), ("builtins", "eval"), ("numpy", "load"), ("torch", "load"), ("subprocess", "Popen")],
)
def test_a_file_that_wants_to_call_something_is_refused(module: str, name: str, tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    state = collections.OrderedDict(a=Call(Name(module, name), (f"touch {proof}",)))
    with pytest.raises(TorchFileError):
        read_tensors(torch_file(state, {}))
    assert not proof.exists()


def test_damage_and_lies_are_refused() -> None:
    state = collections.OrderedDict(a=tensor("0", 12, (4, 3)))
    whole = torch_file(state, {"0": VALUES})
    for data in (b"", whole[:40], whole[:-1], b"PK\x03\x04" + whole, torch_file(state, {"0": VALUES}, magic=1)):
        with pytest.raises(TorchFileError):
            read_tensors(data)
    for lie in (tensor("0", 2**40, (4, 3)), tensor("0", 12, (40, 30)), tensor("0", 12, (4, 3), kind="HalfStorage")):
        with pytest.raises(TorchFileError):
            read_tensors(torch_file(collections.OrderedDict(a=lie), {"0": VALUES}))
