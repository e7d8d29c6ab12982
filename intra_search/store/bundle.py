"""Bundles: folders of files that are published whole, with a manifest to prove it (checkpoints, shards)."""

import hashlib
import json
from typing import Any, NamedTuple

from intra_search.config.hashing import json_hash
from intra_search.errors import CheckpointError, MissingFileError, NotJSONError
from intra_search.store.storage import Storage

MANIFEST = "manifest.json"


class Bundle(NamedTuple):
    """What a bundle holds: its files' bytes by name, and what its writer said of them."""

    files: dict[str, bytes]
    about: dict[str, Any]


def write_bundle(storage: Storage, path: str, files: dict[str, bytes], about: dict[str, Any]) -> None:
    """Publishes `files` at `path` together with a manifest of their sizes and SHA-256 sums, and of its own."""
    sums = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    content = json.loads(json.dumps({"files": sums, "about": about}))  # as it will be read back
    manifest = json.dumps({**content, "sha256": json_hash(content)}, indent=1, sort_keys=True).encode()
    storage.write_folder(path, {**files, MANIFEST: manifest}, last=MANIFEST)


def read_about(storage: Storage, path: str) -> dict[str, Any]:
    """What the writer said, without reading the files. Raises `CheckpointError` when there is no manifest."""
    return dict(_read_manifest(storage, path)["about"])


def read_sums(storage: Storage, path: str) -> dict[str, str]:
    """SHA-256 sums of the files as their writer had them, without reading the files."""
    return {name: file["sha256"] for name, file in _read_manifest(storage, path)["files"].items()}


def read_bundle(storage: Storage, path: str) -> Bundle:
    """Reads and verifies every file. Raises `CheckpointError` for a missing, torn or altered one.

    A `StorageError` passes through: that the storage did not answer says nothing about the bundle.
    """
    manifest = _read_manifest(storage, path)
    files = {}
    for name, expected in manifest["files"].items():
        where = storage.full_path(f"{path}/{name}")
        try:
            data = storage.read_bytes(f"{path}/{name}")
        except MissingFileError as error:
            raise CheckpointError(where, "must be readable", error.found, "restore it or use another one") from None
        if hashlib.sha256(data).hexdigest() != expected["sha256"]:
            found = f"{len(data)} bytes with another checksum than its manifest's {expected['bytes']}"
            raise CheckpointError(where, "must be undamaged", found, "restore it or use another one")
        files[name] = data
    return Bundle(files, manifest["about"])


def _read_manifest(storage: Storage, path: str) -> dict[str, Any]:
    where = storage.full_path(path)
    try:
        manifest = storage.read_json(f"{path}/{MANIFEST}")
        content = {"files": dict(manifest["files"]), "about": dict(manifest["about"])}
        undamaged = manifest["sha256"] == json_hash(content)
    except (MissingFileError, NotJSONError) as error:
        found = "none" if isinstance(error, MissingFileError) else error.found
        raise CheckpointError(where, f"must hold a valid {MANIFEST}", found, "check the path") from None
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(where, f"must hold a valid {MANIFEST}", "another form", "use another one") from None
    if not undamaged:
        raise CheckpointError(
            where, f"must hold a valid {MANIFEST}", "another checksum", "restore it or use another one"
        )
    return content
