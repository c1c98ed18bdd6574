"""Read the tensors of a legacy `torch.save` file without torch and without executing anything in it.

The format: five pickles (magic number, protocol version, system information, the object, the keys of the storages),
then for each storage its length (int64, little-endian) and its elements. The unpickler knows storages, the function
that makes tensors of them, and `OrderedDict`; any other name in the file is an error.
"""

import io
import pickle
import pickletools
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
ELEMENT_TYPES: dict[str, np.dtype[Any]] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
MAX_ELEMENTS = 2**28
MAX_OPCODES = 30_000
"""Most opcodes of a pickle. torchvision's file has 11,462; values nested this deep still fit Python's stack."""

Tensors = OrderedDict[str, npt.NDArray[np.generic]]


class TorchFileError(ValueError):
    """Not a legacy torch file of plain tensors."""


@dataclass
class _Storage:
    dtype: np.dtype[Any]
    elements: int
    data: npt.NDArray[np.generic] | None = None


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]

    def array(self) -> npt.NDArray[np.generic]:
        """Return the values in their shape, as a view of the storage.

        Raises:
            TorchFileError: the file lacks the storage.
        """
        if self.storage.data is None:
            raise TorchFileError("a tensor's storage is not in the file")
        count = int(np.prod(self.shape, dtype=np.int64))
        return self.storage.data[self.offset : self.offset + count].reshape(self.shape)


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> _Tensor:
    contiguous = tuple(int(np.prod(shape[axis + 1 :], dtype=np.int64)) for axis in range(len(shape)))
    if min(offset, *shape, 0) < 0:
        raise TorchFileError(f"a tensor of shape {shape} at offset {offset}")
    if stride != contiguous and 0 not in shape:
        raise TorchFileError(f"a tensor of shape {shape} is not contiguous")
    return _Tensor(storage, offset, shape)


class _RestrictedUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, storages: dict[str, _Storage]) -> None:
        super().__init__(file, encoding="utf-8")
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        """Return what a global of the pickle stands for: one of the three that plain tensors need, never an import."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in ELEMENT_TYPES:
            return name
        raise TorchFileError(f"the file asks for {module}.{name}, which plain tensors don't need")

    def persistent_load(self, reference: Any) -> _Storage:
        """Return the storage, still empty, of a reference `("storage", type, key, device, elements, view)`."""
        kind, storage_type, key, _, elements, _ = reference
        if kind != "storage" or storage_type not in ELEMENT_TYPES or not 0 <= elements <= MAX_ELEMENTS:
            raise TorchFileError(f"unexpected reference {kind!r}")
        return self._storages.setdefault(key, _Storage(ELEMENT_TYPES[storage_type], elements))


def _load(file: io.BytesIO, storages: dict[str, _Storage]) -> Any:
    """Load the next pickle after checking that it is short and numbers few values (a high number takes up memory)."""
    start = file.tell()
    for place, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if place > MAX_OPCODES or (opcode.name in ("PUT", "LONG_BINPUT") and int(argument or 0) > MAX_OPCODES):
            raise TorchFileError(f"a pickle of more than {MAX_OPCODES} opcodes or values: plain tensors need fewer")
    file.seek(start)
    return _RestrictedUnpickler(file, storages).load()


def read_tensors(data: bytes) -> Tensors:
    """Read a state dict.

    Args:
        data: the whole file.

    Returns:
        Tensor name → array, in the order of the file.

    Raises:
        TorchFileError: another format, truncated, or holding anything but tensors.
    """
    file = io.BytesIO(data)
    storages: dict[str, _Storage] = {}
    try:
        magic, _, _, state, keys = (_load(file, storages) for _ in range(5))
        if magic != MAGIC_NUMBER or not isinstance(state, OrderedDict):
            raise TorchFileError("not a legacy torch.save file of a state dict")
        for key in keys:
            storage = storages[key]
            elements = int.from_bytes(file.read(8), "little")
            content = file.read(elements * storage.dtype.itemsize)
            if elements != storage.elements or len(content) != elements * storage.dtype.itemsize:
                raise TorchFileError("the file is truncated")
            storage.data = np.frombuffer(content, storage.dtype)
        return OrderedDict((str(name), tensor.array()) for name, tensor in state.items())
    except TorchFileError:
        raise
    except Exception as error:  # a pickle is a program: there is no list of what a bad one may raise
        raise TorchFileError("not a legacy torch.save file of a state dict, or damaged") from error
