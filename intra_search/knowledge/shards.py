"""Shards: Arrow files of stored answers, each about consecutive scenes, memory-mapped without a copy.

Row (scene - first scene of the shard) * views + view holds the answers about one view. Each column is one answer, its
values flattened; shape, type and scale are in the schema. A second column holds a checksum of each row. A record batch
holds what the teacher answered in one pass, so that a whole file is never in memory.
"""

import json
import math
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Annotated, Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from torch import Tensor

from intra_search.distill.needs import StoredForm, belongs_to
from intra_search.errors import KnowledgeError
from intra_search.knowledge.records import Count, Record, first_fault

CHECKSUM = "#crc32"
"""End of the name of a column of checksums."""
_TYPES = {
    pa.float32(): torch.float32,
    pa.float16(): torch.float16,
    pa.int16(): torch.int16,
    pa.uint8(): torch.uint8,
}
"""Of the values of a column of answers."""


class _Form(Record):
    """What the schema says of a column of answers."""

    shape: tuple[Count, ...]
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    is_bool: Annotated[bool, Field(alias="bool")]

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Column(NamedTuple):
    """One answer about every view of a shard, in the mapped file."""

    memory: Tensor
    """(bytes,): the whole file."""
    starts: NDArray[np.int64]
    """First byte of each record batch."""
    batch_rows: int
    """Rows of each record batch except the last."""
    shape: tuple[int, ...]
    dtype: torch.dtype
    sums: NDArray[np.uint32]
    """(rows,) CRC-32 of each row's bytes."""
    scale: float
    is_bool: bool

    def row(self, number: int) -> Tensor:
        """One view's answer as float32 or bool. Raises `ValueError` when its bytes have another checksum.

        A float32 answer is the mapped file itself: do not write to it.
        """
        batch, within = divmod(number, self.batch_rows)
        size = math.prod(self.shape) * self.dtype.itemsize
        start = int(self.starts[batch]) + within * size
        row = self.memory[start : start + size]
        if zlib.crc32(row.numpy().data) != self.sums[number]:
            raise ValueError(f"another checksum in row {number}")
        values = row.view(self.dtype).view(self.shape)
        if self.is_bool:
            return values.bool()
        return values if self.dtype == torch.float32 else values.float() / self.scale


def write_shard(
    file: IO[bytes],
    batches: Iterable[Mapping[str, Tensor]],
    forms: Callable[[Mapping[str, Tensor]], Mapping[str, StoredForm]],
    about: Mapping[str, str],
) -> None:
    """Writes a shard. The same arguments always give the same bytes.

    Args:
        batches: answers (rows, ...), float32 or bool, in row order; all batches but the last have equally many rows.
        forms: how the floats of each answer in a batch are stored.
        about: a description that must match when the file is read.

    Raises `KnowledgeError` for an answer that is not finite in its stored form.
    """
    writer = None
    for answers in batches:
        batch = _record_batch(answers, forms(answers), about)
        writer = writer or pa.ipc.new_file(file, batch.schema)
        writer.write_batch(batch)
    if writer is not None:
        writer.close()


def open_shard(path: str, keys: set[str], about: Mapping[str, str]) -> dict[str, Column]:
    """Maps a file and returns the columns that belong to some keys, by name.

    Raises `KnowledgeError` when the file is damaged or its description is not `about`.
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
    except ValidationError as error:
        raise damaged(path, first_fault(error)) from None
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise damaged(path, str(error)) from None
    differing = next(name for name in {*found, *about} if found.get(name) != about.get(name))
    rule = f"must be of {differing} {about.get(differing)}"
    raise KnowledgeError(path, rule, found.get(differing), "delete it and repeat `intra-search run`")


def damaged(path: str, reason: str) -> KnowledgeError:
    """The error for a file that has its right size but not its right content."""
    remedy = "delete it and repeat `intra-search run`, which stores it anew"
    return KnowledgeError(path, "must be an undamaged shard", reason, remedy)


def _record_batch(
    answers: Mapping[str, Tensor], forms: Mapping[str, StoredForm], about: Mapping[str, str]
) -> pa.RecordBatch:
    columns, fields = [], []
    for key, answer in sorted(answers.items()):
        values, scale = _stored(key, answer, forms[key])
        is_bool = json.dumps(answer.dtype == torch.bool)
        described = {"shape": json.dumps(values.shape[1:]), "scale": repr(scale), "bool": is_bool}
        flat = pa.array(values.reshape(-1))
        columns.append(pa.FixedSizeListArray.from_arrays(flat, math.prod(values.shape[1:])))
        fields.append(pa.field(key, columns[-1].type, metadata=described))
        sums = np.array([zlib.crc32(row.data) for row in values.reshape(len(values), -1)], np.uint32)
        columns.append(pa.array(sums))
        fields.append(pa.field(f"{key}{CHECKSUM}", pa.uint32()))
    return pa.record_batch(columns, schema=pa.schema(fields, metadata=dict(about)))


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
    """The file as (bytes,) uint8. The mapping is private: writing to it changes neither the file nor other processes.

    It keeps no file descriptor: a process may have about a thousand of them.
    """
    with open(path, "rb") as file:
        size = file.seek(0, 2)
    return torch.from_file(path, shared=False, size=size, dtype=torch.uint8)


def _column(memory: Tensor, table: pa.Table, name: str) -> Column:
    form, dtype = _checked_form(table, name)
    chunks = table.column(name).chunks
    starts = np.array([_start(chunk.flatten()) - memory.data_ptr() for chunk in chunks], np.int64)
    ends = starts + [len(chunk) * form.size * dtype.itemsize for chunk in chunks]
    if starts.min() < 0 or ends.max() > len(memory) or (starts % dtype.itemsize).any():
        raise ValueError(f"{name} lies outside the file or between its values")
    sums = table.column(f"{name}{CHECKSUM}").to_numpy()
    return Column(memory, starts, len(chunks[0]), form.shape, dtype, sums, form.scale, form.is_bool)


def _checked_form(table: pa.Table, name: str) -> tuple[_Form, torch.dtype]:
    """The form of a column and the type of its values. Raises `ValueError` unless the column and that of its checksums
    are as `write_shard` writes them."""
    column, sums = table.column(name), table.column(f"{name}{CHECKSUM}")
    told = {key.decode(): json.loads(value) for key, value in (table.schema.field(name).metadata or {}).items()}
    form = _Form.model_validate_json(json.dumps(told))
    kind = column.type
    if not pa.types.is_fixed_size_list(kind) or kind.value_type not in _TYPES or sums.type != pa.uint32():
        raise ValueError(f"{name} of type {kind}, its checksums of type {sums.type}")
    if kind.list_size != form.size:
        raise ValueError(f"{name} with {kind.list_size} values in the shape {list(form.shape)}")
    if column.null_count or sums.null_count:
        raise ValueError(f"{name} with rows that are empty")
    *all_but_last, last = [len(chunk) for chunk in column.chunks] or [0]
    if last < 1 or any(length != all_but_last[0] or length < last for length in all_but_last):
        raise ValueError(f"{name} in batches of {[*all_but_last, last]} rows")
    return form, _TYPES[kind.value_type]


def _start(values: pa.Array) -> int:
    """Memory address of the first value."""
    return int(values.buffers()[1].address + values.offset * values.type.bit_width // 8)
