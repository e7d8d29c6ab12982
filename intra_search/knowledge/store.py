"""A folder of stored answers about one source. What a wider space asks is added beside what is there.

    <hash of the source>/
        source.json               the source's hashes, and how its shards are made
        spec-<part>.json          keys of the needs that the shards of one part answer
        shard-00012-<part>.arrow  their answers about 64 consecutive scenes
        manifest-<spec>.json      the files that together answer one spec: written last, so that spec is complete

A part is what one extraction found missing; its name is the hash of its keys.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

import torch

from intra_search.config.hashing import json_hash
from intra_search.errors import KnowledgeError, NotJSONError
from intra_search.knowledge.source import FORMAT_VERSION, Source, check_hashes
from intra_search.store.storage import Storage

SOURCE_FILE = "source.json"
AGAIN = "repeat `intra-search run`"


class Manifest(NamedTuple):
    """What answers one spec."""

    hashes: dict[str, str]
    """Of teacher, scenes, views, spec and the format's version."""
    keys: tuple[str, ...]
    """Of the needs that are answered."""
    num_views: int
    shards: tuple[dict[str, int], ...]
    """For each shard its files, by name, with their bytes."""

    def about(self, name: str) -> dict[str, str]:
        """What a file of this store is recognised by."""
        return shard_about(self.hashes, name)


class Making(NamedTuple):
    """How every shard of a store is made, so that its bytes do not depend on the machine that makes it."""

    threads: int
    """Of torch: the order of sums, and so the last bit, may depend on their number."""
    amp: Literal["bf16", "off"]
    """The teacher's precision, where its setting may be `auto`."""


class KnowledgeStore:
    """A store that is being filled. `storage` is its own folder."""

    def __init__(self, storage: Storage, source: Source) -> None:
        self.storage = storage
        self.source = source

    def begin(self, making: Callable[[], Making]) -> Making:
        """Writes what the store is about, or compares it. Returns how its shards are made: as the first start said.

        Args:
            making: asked where the store is new.

        Raises `KnowledgeError` for a folder that holds something else.
        """
        if not self.storage.exists(SOURCE_FILE):
            about = {"hashes": self.source.hashes, **making()._asdict(), "torch": torch.__version__}
            sizes = {"num_scenes": self.source.num_scenes, "num_views": self.source.num_views}
            self.storage.write_json(SOURCE_FILE, {**about, **sizes})
        # Also what was written just now: of two studies that begin one store at once, the later one's word counts.
        where, stored = self.storage.full_path(), self.storage.read_json(SOURCE_FILE)
        described = {"hashes", *Making._fields}
        if not isinstance(stored, dict) or not described <= set(stored) or not isinstance(stored["hashes"], dict):
            raise KnowledgeError(f"{where}/{SOURCE_FILE}", "must describe a store", "another form", _delete(where))
        check_hashes(where, stored["hashes"], self.source.hashes)
        return Making(int(stored["threads"]), stored["amp"])

    def missing(self, keys: Iterable[str]) -> dict[int, tuple[str, ...]]:
        """Keys that are still to be answered, by shard; shards that hold all of them are left out."""
        wanted = set(keys)
        contents = self._contents()
        found: dict[int, tuple[str, ...]] = {}
        for shard in range(self.source.num_shards):
            left = wanted - contents.keys_of(shard)
            if left:
                found[shard] = tuple(sorted(left))
        return found

    def announce(self, keys: Iterable[str]) -> str:
        """Names the part that answers these keys; says in the store what it is."""
        named = sorted(keys)
        part = part_of(named)
        self.storage.write_json(f"spec-{part}.json", {"keys": named})
        return part

    def finish(self, keys: Iterable[str]) -> Manifest:
        """Publishes the manifest of a spec whose shards are all there."""
        wanted = set(keys)
        contents = self._contents()
        shards = tuple(self._answering(shard, wanted, contents) for shard in range(self.source.num_shards))
        hashes = {**self.source.hashes, "spec": json_hash(sorted(wanted))}
        manifest = Manifest(hashes, tuple(sorted(wanted)), self.source.num_views, shards)
        text = {**manifest._asdict(), "version": FORMAT_VERSION}
        name = f"manifest-{part_of(wanted)}.json"
        if not self.storage.exists(name) or self.storage.read_json(name) != as_json(text):
            self.storage.write_json(name, text)
        return manifest

    def _contents(self) -> "_Contents":
        """What the folder holds now; raises `KnowledgeError` for a file that was cut after it was written."""
        files = self.storage.sizes()
        for manifest in _manifests(self.storage, files):
            check_files(self.storage, manifest, files, may_lack=True)
        return _Contents(files, _parts(self.storage, files))

    def _answering(self, shard: int, wanted: set[str], contents: "_Contents") -> dict[str, int]:
        left, files = set(wanted), {}
        for part, keys in contents.parts.items():
            name = shard_name(shard, part)
            if name in contents.files and keys & left:
                files[name] = contents.files[name]
                left -= keys
        if left:
            raise _lacks(self.storage, f"{min(left)} of shard {shard}")
        return files


class _Contents(NamedTuple):
    files: dict[str, int]
    """Bytes by name."""
    parts: dict[str, set[str]]
    """Keys by part."""

    def keys_of(self, shard: int) -> set[str]:
        held = [keys for part, keys in self.parts.items() if shard_name(shard, part) in self.files]
        return set().union(*held)


def shard_name(shard: int, part: str) -> str:
    return f"shard-{shard:05d}-{part}.arrow"


def part_of(keys: Iterable[str]) -> str:
    """Name of the part, or the spec, of these keys."""
    return json_hash(sorted(keys))[:12]


def shard_about(hashes: Mapping[str, str], name: str) -> dict[str, str]:
    """What the schema of a shard says, so that a file cannot stand in for another."""
    return {"teacher": hashes["teacher"], "scenes": hashes["scenes"], "views": hashes["views"], "file": name}


def part_in(name: str) -> str:
    """The part of a shard of this name."""
    return name.rpartition("-")[2].removesuffix(".arrow")


def read_manifest(storage: Storage, keys: Iterable[str]) -> Manifest:
    """The smallest manifest of a store that answers all keys, and of it the files that do; they are whole.

    Raises `KnowledgeError` that names what is missing and the command that mends it.
    """
    wanted = set(keys)
    files = storage.sizes()
    manifests = list(_manifests(storage, files))
    fitting = [manifest for manifest in manifests if wanted <= set(manifest.keys)]
    if not manifests:
        raise KnowledgeError(storage.full_path(), "must be complete", "no manifest", f"{AGAIN}: it stores the rest")
    if not fitting:
        fullest = max(manifests, key=lambda manifest: len(wanted & set(manifest.keys)))
        raise _lacks(storage, min(wanted - set(fullest.keys)))
    parts = _parts(storage, files)
    smallest = min((_narrowed(manifest, wanted, parts) for manifest in fitting), key=_num_bytes)
    check_files(storage, smallest, files)
    return smallest


def _narrowed(manifest: Manifest, wanted: set[str], parts: Mapping[str, set[str]]) -> Manifest:
    """Without the files that answer nothing wanted: those of other studies on a shared store may be far larger."""
    shards = tuple(
        {name: size for name, size in shard.items() if wanted & parts.get(part_in(name), wanted)}
        for shard in manifest.shards
    )
    return manifest._replace(shards=shards)


def _num_bytes(manifest: Manifest) -> int:
    return sum(size for shard in manifest.shards for size in shard.values())


def _parts(storage: Storage, files: Iterable[str]) -> dict[str, set[str]]:
    """Keys by part."""
    names = sorted(name for name in files if name.startswith("spec-"))
    return {name[len("spec-") : -len(".json")]: set(storage.read_json(name)["keys"]) for name in names}


def check_files(storage: Storage, manifest: Manifest, files: Mapping[str, int], *, may_lack: bool = False) -> None:
    """Raises `KnowledgeError` for a file that is shorter or longer than when it was written, or not there."""
    for name, size in (pair for shard in manifest.shards for pair in shard.items()):
        found = files.get(name, 0)
        if found != size and not (may_lack and name not in files):
            rule = f"must have {size} bytes"
            raise KnowledgeError(storage.full_path(name), rule, f"{found} bytes", _delete(storage.full_path(name)))


def as_json(value: Any) -> Any:
    """A value as JSON gives it back: tuples are lists."""
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    return [as_json(item) for item in value] if isinstance(value, list | tuple) else value


def _manifests(storage: Storage, files: Iterable[str]) -> Iterable[Manifest]:
    for name in sorted(name for name in files if name.startswith("manifest-")):
        where = storage.full_path(name)
        try:
            text = dict(storage.read_json(name))
            version = text.pop("version")
            manifest = Manifest(**text)
            whole = isinstance(manifest.hashes, dict) and all(isinstance(shard, dict) for shard in manifest.shards)
        except NotJSONError as error:
            raise KnowledgeError(where, "must be a manifest", error.found, _delete(where)) from None
        except (KeyError, TypeError, ValueError):
            raise KnowledgeError(where, "must be a manifest", "another form", _delete(where)) from None
        if version != FORMAT_VERSION or not whole:
            raise KnowledgeError(where, f"must be of version {FORMAT_VERSION}", f"version {version}", _delete(where))
        yield manifest


def _lacks(storage: Storage, key: str) -> KnowledgeError:
    rule = "must hold what the trial's losses read"
    remedy = f"{AGAIN}: it stores what its space may ask for"
    return KnowledgeError(storage.full_path(), rule, f"no {key}", remedy)


def _delete(where: str) -> str:
    return f"delete {where} and {AGAIN}"
