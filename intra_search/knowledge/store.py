"""A store: a folder of the teacher's answers about one source. Later searches may add further answers.

    <hash of the source>/
        source.json               the source's hashes, and how its shards are made
        spec-<part>.json          keys of the needs that a part answers
        shard-00012-<part>.arrow  the part's answers about 64 consecutive scenes
        manifest-<spec>.json      all files that together answer the needs of one search (a spec); written last

A part is what one extraction found missing; its name is the hash of its keys. A spec is complete if it has a manifest.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch

from intra_search.config.hashing import json_hash
from intra_search.errors import KnowledgeError
from intra_search.knowledge.records import (
    AGAIN,
    Making,
    Manifest,
    SourceRecord,
    Spec,
    delete_and_repeat,
    read_record,
    sizes_of,
)
from intra_search.knowledge.source import FORMAT_VERSION, Source, check_hashes
from intra_search.store.storage import Storage

SOURCE_FILE = "source.json"


class KnowledgeStore:
    """A store that is being filled. `storage` is its own folder."""

    def __init__(self, storage: Storage, source: Source) -> None:
        self.storage = storage
        self.source = source

    def begin(self, making: Callable[[], Making]) -> Making:
        """Creates the store, or checks that it is about this source. Returns how its shards are made.

        Args:
            making: called for a new store; an existing one has it recorded.

        Raises `KnowledgeError` for a folder that holds something else.
        """
        if not self.storage.exists(SOURCE_FILE):
            made = making()
            record = SourceRecord(
                hashes=self.source.hashes,
                threads=made.threads,
                amp=made.amp,
                torch=str(torch.__version__),
                num_scenes=self.source.num_scenes,
                num_views=self.source.num_views,
            )
            self.storage.write_json(SOURCE_FILE, record.model_dump(mode="json"))
        # Read back even if just written: if two studies create one store at once, the later one's file counts.
        stored = read_record(self.storage, SOURCE_FILE, SourceRecord, delete="")
        check_hashes(self.storage.full_path(), stored.hashes, self.source.hashes)
        return stored.making

    def missing(self, keys: Iterable[str]) -> dict[int, tuple[str, ...]]:
        """Keys that are still to be answered, by shard; complete shards are left out."""
        wanted = set(keys)
        contents = self._contents()
        found: dict[int, tuple[str, ...]] = {}
        for shard in range(self.source.num_shards):
            left = wanted - contents.keys_of(shard)
            if left:
                found[shard] = tuple(sorted(left))
        return found

    def announce(self, keys: Iterable[str]) -> str:
        """Records in the store which keys a part will answer, and returns the part's name."""
        named = sorted(keys)
        part = part_of(named)
        self.storage.write_json(f"spec-{part}.json", {"keys": named})
        return part

    def finish(self, keys: Iterable[str]) -> Manifest:
        """Writes the manifest of a spec whose shards are all there."""
        wanted = set(keys)
        contents = self._contents()
        shards = tuple(self._answering(shard, wanted, contents) for shard in range(self.source.num_shards))
        hashes = {**self.source.hashes, "spec": json_hash(sorted(wanted))}
        manifest = Manifest(
            version=FORMAT_VERSION,
            hashes=hashes,
            keys=tuple(sorted(wanted)),
            num_views=self.source.num_views,
            shards=shards,
        )
        name = f"manifest-{part_of(wanted)}.json"
        if not self.storage.exists(name) or read_record(self.storage, name, Manifest) != manifest:
            self.storage.write_json(name, manifest.model_dump(mode="json"))
        return manifest

    def _contents(self) -> "_Contents":
        """What the folder holds now. Raises `KnowledgeError` for a file of another size than its manifest says."""
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
    """Size of each file in bytes, by name."""
    parts: dict[str, set[str]]
    """Keys of each part, by its name."""

    def keys_of(self, shard: int) -> set[str]:
        held = [keys for part, keys in self.parts.items() if shard_name(shard, part) in self.files]
        return set().union(*held)


def shard_name(shard: int, part: str) -> str:
    return f"shard-{shard:05d}-{part}.arrow"


def part_of(keys: Iterable[str]) -> str:
    """Name of the part or spec with these keys."""
    return json_hash(sorted(keys))[:12]


def shard_about(hashes: Mapping[str, str], name: str) -> dict[str, str]:
    """A shard's description of itself, so that no file can be taken for another."""
    return {"teacher": hashes["teacher"], "scenes": hashes["scenes"], "views": hashes["views"], "file": name}


def part_in(name: str) -> str:
    """The part that a shard's name ends with."""
    return name.rpartition("-")[2].removesuffix(".arrow")


def read_manifest(storage: Storage, keys: Iterable[str]) -> Manifest:
    """The manifest that answers all keys with the fewest bytes, without files that are not needed.

    The files have their right size. Raises `KnowledgeError` that names what is missing and the command to run.
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
    """Without the files that answer none of the wanted keys: other studies of a shared store may have large ones."""
    shards = tuple(
        {name: size for name, size in shard.items() if wanted & parts.get(part_in(name), wanted)}
        for shard in manifest.shards
    )
    return manifest.model_copy(update={"shards": shards})


def _num_bytes(manifest: Manifest) -> int:
    return sum(sizes_of(manifest.shards).values())


def _parts(storage: Storage, files: Iterable[str]) -> dict[str, set[str]]:
    """Keys of each part, by its name."""
    names = sorted(name for name in files if name.startswith("spec-"))
    return {name[len("spec-") : -len(".json")]: set(read_record(storage, name, Spec).keys) for name in names}


def check_files(storage: Storage, manifest: Manifest, files: Mapping[str, int], *, may_lack: bool = False) -> None:
    """Raises `KnowledgeError` for a file of another size than its manifest says, or (unless `may_lack`) none."""
    for name, size in sizes_of(manifest.shards).items():
        found = files.get(name, 0)
        if found != size and not (may_lack and name not in files):
            where = storage.full_path(name)
            raise KnowledgeError(where, f"must have {size} bytes", f"{found} bytes", delete_and_repeat(where))


def _manifests(storage: Storage, files: Iterable[str]) -> Iterable[Manifest]:
    for name in sorted(name for name in files if name.startswith("manifest-")):
        manifest = read_record(storage, name, Manifest)
        if manifest.version != FORMAT_VERSION:
            where, rule = storage.full_path(name), f"must be of version {FORMAT_VERSION}"
            raise KnowledgeError(where, rule, f"version {manifest.version}", delete_and_repeat(where))
        yield manifest


def _lacks(storage: Storage, key: str) -> KnowledgeError:
    rule = "must hold what the trial's losses read"
    remedy = f"{AGAIN}: it stores what its space may ask for"
    return KnowledgeError(storage.full_path(), rule, f"no {key}", remedy)
