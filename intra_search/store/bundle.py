"""Bundles: folders whose files appear all at once, with a manifest of their checksums. Checkpoints are bundles."""

import hashlib
import json
from typing import Any, NamedTuple

from intra_search.config.hashing import json_hash
from intra_search.errors import CheckpointError, MissingFileError, NotJSONError
from intra_search.store.inside import is_name
from intra_search.store.storage import Storage

MANIFEST = "manifest.json"


class Bundle(NamedTuple):
    """A bundle's files by name, and `about`: the writer's description of them."""

    files: dict[str, bytes]
    about: dict[str, Any]


def write_bundle(storage: Storage, path: str, files: dict[str, bytes], about: dict[str, Any]) -> None:
    """Publishes `files` at `path`, with a manifest of their sizes and SHA-256 sums that holds its own sum, too."""
    sums = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    content = json.loads(json.dumps({"files": sums, "about": about}))  # as it will be read back
    manifest = json.dumps({**content, "sha256": json_hash(content)}, indent=1, sort_keys=True).encode()
    storage.write_folder(path, {**files, MANIFEST: manifest}, last=MANIFEST)


def read_about(storage: Storage, path: str) -> dict[str, Any]:
    """The writer's description, without reading the files. Raises `CheckpointError` when there is no manifest."""
    return dict(_read_manifest(storage, path)["about"])


def read_sums(storage: Storage, path: str) -> dict[str, str]:
    """SHA-256 sums of the files as they were written, taken from the manifest."""
    return {name: file["sha256"] for name, file in _read_manifest(storage, path)["files"].items()}


def read_bundle(storage: Storage, path: str) -> Bundle:
    """Reads and verifies every file. Raises `CheckpointError` for a missing, truncated or altered one.

    A storage that does not answer raises its own `StorageError`: it does not mean that the bundle is damaged.
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
    for name in content["files"]:
        if not is_name(name):
            rule = f"must have a {MANIFEST} of files that lie beside it"
            raise CheckpointError(where, rule, repr(name), "use another one")
    return content
