"""What the JSON files of a store hold, each a typed model that is checked before it is used."""

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from intra_search.errors import KnowledgeError
from intra_search.store.storage import Storage

AGAIN = "repeat `intra-search run`"
HASHED = ("teacher", "scenes", "views")
"""What a store's hashes name, at least."""

ShardName = Annotated[str, Field(pattern=r"^shard-\d{5,}-[0-9a-f]{12}\.arrow$")]
Count = Annotated[int, Field(ge=1)]
Bytes = Annotated[int, Field(ge=0)]


class Record(BaseModel):
    """Base of all: frozen, no value converted to another type, unknown keys refused."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
    RULE: ClassVar[str]
    """What a file with another content breaks."""


class Spec(Record):
    """Keys of the needs that a part answers."""

    RULE = "must name the keys of a part"
    keys: tuple[str, ...]


class Making(NamedTuple):
    """How every shard of a store is made, so that its bytes do not depend on the machine that makes it."""

    threads: int
    """Threads of torch: the order of additions, and so the last bit of an answer, may depend on their number."""
    amp: Literal["bf16", "off"]
    """The teacher's precision; its setting may be `auto`, which depends on the machine."""


class _OfASource(Record):
    hashes: dict[str, str]
    """By name: those of teacher, scenes and views, the format's version, and a manifest's spec."""

    @field_validator("hashes")
    @classmethod
    def _complete(cls, hashes: dict[str, str]) -> dict[str, str]:
        lacking = [name for name in HASHED if name not in hashes]
        if lacking:
            raise ValueError(f"no hash of {lacking[0]}")
        return hashes


class SourceRecord(_OfASource):
    """What a store is about, and how its shards are made."""

    RULE = "must describe a store"
    threads: Count
    amp: Literal["bf16", "off"]
    torch: str
    """The version that made the first shard."""
    num_scenes: Count
    num_views: Count

    @property
    def making(self) -> Making:
        return Making(self.threads, self.amp)


class Manifest(_OfASource):
    """The files that answer one spec."""

    RULE = "must be a manifest"
    version: int
    """Of the format."""
    keys: tuple[str, ...]
    """Keys of the needs that are answered."""
    num_views: Count
    shards: tuple[dict[ShardName, Bytes], ...]
    """For each shard: the sizes of its files in bytes, by name."""


Model = TypeVar("Model", bound=Record)


def read_record(storage: Storage, name: str, model: type[Model], *, delete: str | None = None) -> Model:
    """A file of a store. Raises `KnowledgeError` for one of another form; the remedy is to delete it, or `delete`."""
    try:
        return model.model_validate_json(storage.read_bytes(name))
    except ValidationError as error:
        remedy = delete_and_repeat(storage.full_path(name if delete is None else delete))
        raise KnowledgeError(storage.full_path(name), model.RULE, first_fault(error), remedy) from None


def first_fault(error: ValidationError) -> str:
    """The first field of a model that has another form, and why."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return f"{field}: {first['msg']}" if field else first["msg"]


def delete_and_repeat(where: str) -> str:
    return f"delete {where} and {AGAIN}"


def sizes_of(shards: Iterable[dict[str, int]]) -> dict[str, int]:
    """Bytes of all files of some shards, by name."""
    return {name: size for shard in shards for name, size in shard.items()}
