"""Tensors of torch: their storages travel as out-of-band buffers, and load on the CPU where their device is missing."""

from __future__ import annotations

import ctypes
import pickle
import sys

from .names import add_note, publish, same

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .pack import Buffer


def reduce_storage(obj: Any, seen: dict[int, Any]) -> Any:
    """Reduce a torch storage to its bytes, dtype and device; NotImplemented for all else.

    Parameters
    ----------
    obj : object
        Anything of torch.
    seen : dict
        Storages of this pickler by their address: several Python handles on one storage stay one storage.
    """
    torch = sys.modules["torch"]
    if isinstance(obj, torch.TypedStorage):
        untyped = obj._untyped_storage if hasattr(obj, "_untyped_storage") else obj._storage
        return make_typed, (untyped, str(obj.dtype)[6:])
    if not isinstance(obj, torch.UntypedStorage):
        return NotImplemented
    key = obj._cdata
    if key in seen and seen[key] is not obj:
        return same, (seen[key],)
    seen[key] = obj
    device, local = str(obj.device), obj.cpu() if obj.device.type != "cpu" else obj
    data: Any = b""
    if local.nbytes():
        data = (ctypes.c_ubyte * local.nbytes()).from_address(local.data_ptr())
        data.storage = local  # keeps the memory for as long as the buffer is in use
    return make_storage, (pickle.PickleBuffer(data), device)


def make_storage(data: Buffer, device: str) -> Any:
    """Make a storage on top of writable bytes, moved to its device if this machine has it."""
    import torch

    buffer = data if not memoryview(data).readonly else bytearray(data)
    if memoryview(buffer).nbytes:
        tensor = torch.frombuffer(buffer, dtype=torch.uint8)
        storage = tensor.untyped_storage() if _is_torch_2() else tensor.storage().untyped()
    else:
        storage = torch.UntypedStorage(0)
    kind = device.partition(":")[0]
    if kind == "cpu":
        return storage
    if kind == "cuda" and torch.cuda.is_available():
        index = int(device.partition(":")[2] or 0)
        return storage.cuda(index if index < torch.cuda.device_count() else 0)
    add_note(f"tensors of the device {device} are on the CPU here, which has no such device")
    return storage


def make_typed(untyped: Any, dtype: str) -> Any:
    """Give a storage its dtype."""
    import torch

    extra = {"_internal": True} if _is_torch_2() else {}  # else version 2 warns that such storages are going away
    return torch.TypedStorage(wrap_storage=untyped, dtype=getattr(torch, dtype), **extra)


def _is_torch_2() -> bool:
    return hasattr(sys.modules["torch"].Tensor, "untyped_storage")


publish(make_storage, make_typed)
