"""One file of stored answers: an Arrow file about a fixed group of scenes, mapped into memory without a copy.

Row (scene - first scene of the shard) * views + view holds the answers about one view. Each column is one answer, its
values flattened; its shape, type and scale stand in the schema. A second column holds a checksum of each row.
"""

import json
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from intra_search.distill.needs import StoredForm, belongs_to
from intra_search.errors import KnowledgeError

CHECKSUM = "#crc32"
"""Ends the name of a column of checksums."""


class Column(NamedTuple):
    """One answer about every view of a shard, in the file's own memory."""

    rows: Tensor
    """(rows, ...) in the stored type."""
    sums: NDArray[np.uint32]
    """(rows,) CRC-32 of each row's bytes."""
    scale: float
    is_bool: bool

    def row(self, number: int) -> Tensor:
        """One view's answer as float32 or bool. Raises `ValueError` when its bytes are not those that were written.

        A float32 answer is the mapped memory itself: do not write to it.
        """
        row = self.rows[number]
        if zlib.crc32(row.numpy().data) != self.sums[number]:
            raise ValueError(f"another checksum in row {number}")
        if self.is_bool:
            return row.bool()
        return row if row.dtype == torch.float32 else row.float() / self.scale


def shard_bytes(answers: Mapping[str, Tensor], forms: Mapping[str, StoredForm], about: Mapping[str, str]) -> bytes:
    """The file's bytes: a function of its arguments alone.

    Args:
        answers: (rows, ...) float32 or bool, in row order.
        forms: how the floats of each answer are stored.
        about: what the file must be recognised by when it is read.

    Raises `KnowledgeError` for an answer that is not finite in its stored form.
    """
    columns, fields = [], []
    for key, answer in sorted(answers.items()):
        values, scale = _stored(key, answer, forms[key])
        is_bool = json.dumps(answer.dtype == torch.bool)
        described = {"shape": json.dumps(values.shape[1:]), "scale": repr(scale), "bool": is_bool}
        flat = pa.array(values.reshape(-1))
        columns.append(pa.FixedSizeListArray.from_arrays(flat, int(np.prod(values.shape[1:]))))
        fields.append(pa.field(key, columns[-1].type, metadata=described))
        sums = np.array([zlib.crc32(row.tobytes()) for row in values], np.uint32)
        columns.append(pa.array(sums))
        fields.append(pa.field(f"{key}{CHECKSUM}", pa.uint32()))
    batch = pa.record_batch(columns, schema=pa.schema(fields, metadata=dict(about)))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def open_shard(path: str, keys: set[str], about: Mapping[str, str]) -> dict[str, Column]:
    """Maps a file and returns the columns of some needs, by their keys or below.

    Raises `KnowledgeError` when the file is damaged or was written about something else.
    """
    try:
        memory = _mapped(path)
        table = pa.ipc.open_file(pa.py_buffer(memory.numpy())).read_all()
        table.validate()
        found = {name.decode(): value.decode() for name, value in (table.schema.metadata or {}).items()}
        if found == dict(about):
            answers = [name for name in table.column_names if not name.endswith(CHECKSUM)]
            read = [name for name in answers if any(belongs_to(name, key) for key in keys)]
            return {name: _column(memory, table, name) for name in read}
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise damaged(path, str(error)) from None
    differing = next(name for name in {*found, *about} if found.get(name) != about.get(name))
    rule = f"must be of {differing} {about.get(differing)}"
    raise KnowledgeError(path, rule, found.get(differing), "delete it and repeat `intra-search run`")


def damaged(path: str, reason: str) -> KnowledgeError:
    """The error for a file whose content is not what was written; its size is."""
    remedy = "delete it and repeat `intra-search run`, which stores it anew"
    return KnowledgeError(path, "must be an undamaged shard", reason, remedy)


def _stored(key: str, answer: Tensor, form: StoredForm) -> tuple[NDArray[Any], float]:
    if answer.dtype == torch.bool:
        return answer.to(torch.uint8).contiguous().numpy(), 1.0
    stored = (answer * form.scale).to(form.dtype).contiguous()
    if not torch.isfinite(stored).all():
        largest = answer.abs().max().item()
        rule = f"must be finite as {str(form.dtype).removeprefix('torch.')}"
        raise KnowledgeError(f"the teacher's {key}", rule, f"{largest:.3g}", "use knowledge.mode = live")
    return stored.numpy(), form.scale


def _mapped(path: str) -> Tensor:
    """The file as (bytes,) uint8. The mapping is private: whoever writes to it changes neither the file nor others.

    It holds no file descriptor, of which a process may have a thousand.
    """
    with open(path, "rb") as file:
        size = file.seek(0, 2)
    return torch.from_file(path, shared=False, size=size, dtype=torch.uint8)


def _column(memory: Tensor, table: pa.Table, name: str) -> Column:
    about = table.schema.field(name).metadata
    shape = tuple(json.loads(about[b"shape"]))
    chunk = table.column(name).chunk(0)
    values = chunk.flatten()
    dtype = torch.from_numpy(np.empty(0, values.type.to_pandas_dtype())).dtype
    start = values.buffers()[1].address - memory.data_ptr() + values.offset * dtype.itemsize
    rows = memory[start : start + len(values) * dtype.itemsize].view(dtype).view(len(chunk), *shape)
    sums = table.column(f"{name}{CHECKSUM}").chunk(0).to_numpy(zero_copy_only=True)
    if len(sums) != len(rows):
        raise ValueError(f"{len(sums)} checksums of {len(rows)} rows")
    return Column(rows, sums, float(about[b"scale"]), json.loads(about[b"bool"]))
