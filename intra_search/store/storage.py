"""Files of a study by URI: a local folder, NFS, `s3://`, `gs://`. A file appears completely or not at all."""

import errno
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pyarrow import fs

from intra_search.config.paths import absolute_path
from intra_search.errors import MissingFileError, NotJSONError, StorageError
from intra_search.store.inside import is_inside, link_on_the_way

COPIED_BYTES = 2**22
"""Copy buffer, in bytes."""


class Storage:
    """A folder, local or remote. Paths are relative to it and use `/`. Pickled as its URI.

    A path that leads outside, by `..` or by a symbolic link below the folder, raises `StorageError`.
    """

    def __init__(self, uri: str | Path) -> None:
        self.uri = str(uri)
        if "://" in self.uri:
            try:
                self._fs, self._root = fs.FileSystem.from_uri(self.uri)
            except (OSError, ValueError, NotImplementedError) as error:
                remedy = "use a folder, s3://bucket/path or gs://bucket/path"
                raise StorageError(self.uri, "must be a storage URI", str(error), remedy) from None
        else:
            # Absolute, because workers start in other folders.
            self.uri = absolute_path(self.uri)
            self._fs, self._root = fs.LocalFileSystem(), self.uri
        self._root = self._root.rstrip("/")

    def __reduce__(self) -> tuple[type["Storage"], tuple[str]]:
        return (Storage, (self.uri,))

    @property
    def is_local(self) -> bool:
        return isinstance(self._fs, fs.LocalFileSystem)

    def full_path(self, path: str = "") -> str:
        """Path that names the file in any process: absolute when local, else a URI with the storage's options."""
        at = self._at(path)
        if self.is_local:
            return at
        root, mark, options = self.uri.partition("?")
        return f"{root.rstrip('/')}/{path}".rstrip("/") + mark + options

    def exists(self, path: str) -> bool:
        with self._explained(path):
            return bool(self._fs.get_file_info(self._at(path)).type != fs.FileType.NotFound)

    def size(self, path: str) -> int | None:
        """Bytes of a file; None when there is none."""
        with self._explained(path):
            return self._fs.get_file_info(self._at(path)).size  # type: ignore[no-any-return]

    def names(self, path: str = "") -> list[str]:
        """Sorted names directly below a folder; empty when it does not exist. Temporary names are left out."""
        with self._explained(path):
            found = self._fs.get_file_info(fs.FileSelector(self._at(path), allow_not_found=True))
        return sorted(info.base_name for info in found if not info.base_name.startswith(".tmp-"))

    def sizes(self, path: str = "") -> dict[str, int]:
        """Bytes of each file directly below a folder, by name; empty when the folder does not exist. One request."""
        with self._explained(path):
            found = self._fs.get_file_info(fs.FileSelector(self._at(path), allow_not_found=True))
        files = [info for info in found if info.type == fs.FileType.File]
        return {info.base_name: info.size for info in files if not info.base_name.startswith(".tmp-")}

    def read_bytes(self, path: str) -> bytes:
        """Raises `MissingFileError`, or another `StorageError` when the file cannot be read."""
        with self._explained(path), self._fs.open_input_stream(self._at(path)) as stream:
            return stream.read()  # type: ignore[no-any-return]

    def fetch(self, path: str, to: "Storage", name: str) -> None:
        """Copies a file into another storage without holding it in memory."""
        with self._explained(path), self._fs.open_input_stream(self._at(path)) as stream, to.writing(name) as file:
            shutil.copyfileobj(stream, file, COPIED_BYTES)

    def read_json(self, path: str) -> Any:
        """The content of a JSON file. Raises `NotJSONError`, and what `read_bytes` raises."""
        try:
            return json.loads(self.read_bytes(path))
        except ValueError as error:
            raise NotJSONError(self.full_path(path), "must be JSON", str(error), "restore the file") from None

    def write_bytes(self, path: str, data: bytes) -> None:
        """Replaces a file in one step: readers see all old bytes or all new ones."""
        with self.writing(path) as file:
            file.write(data)

    @contextmanager
    def writing(self, path: str) -> Iterator[IO[bytes]]:
        """A file to write to. It replaces the one at `path` when the block ends without an error."""
        with self._explained(path):
            self._fs.create_dir(self._at(path).rpartition("/")[0], recursive=True)
            if not self.is_local:
                with tempfile.TemporaryFile() as spooled:
                    yield spooled
                    spooled.seek(0)
                    with self._fs.open_output_stream(self._at(path)) as stream:  # the object appears at closing
                        shutil.copyfileobj(spooled, stream, COPIED_BYTES)
                return
            temporary = self._at(self._temporary_name(path))
            try:
                with open(temporary, "wb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, self._at(path))
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise

    def write_json(self, path: str, value: Any) -> None:
        self.write_bytes(path, json.dumps(value, indent=1, sort_keys=True).encode())

    def write_folder(self, path: str, files: dict[str, bytes], last: str) -> None:
        """Publishes a folder of files. Readers must take the folder for complete only if the file `last` is there.

        Locally the folder is written under a temporary name and renamed. Object storage has no rename: there `last` is
        uploaded after all others.
        """
        target = self._temporary_name(path) if self.is_local else path
        try:
            for name in sorted(files, key=lambda name: name == last):
                self.write_bytes(f"{target}/{name}", files[name])
            if self.is_local:
                self.delete(path)
                with self._explained(path):
                    os.rename(self._at(target), self._at(path))
        except BaseException:
            if self.is_local:
                self.delete(target)
            raise

    def delete(self, path: str) -> None:
        """Removes a file or a whole folder; nothing happens when there is none."""
        with self._explained(path):
            kind = self._fs.get_file_info(self._at(path)).type
            if kind == fs.FileType.Directory:
                self._fs.delete_dir(self._at(path))
            elif kind == fs.FileType.File:
                self._fs.delete_file(self._at(path))

    def delete_leftovers(self) -> int:
        """Removes temporary files and folders of killed writers, anywhere below; returns how many there were.

        Only for the driver that holds the study, before it starts any writer. Writers of an earlier generation may
        still be alive, but their files are not wanted. Object storage has no temporary names.
        """
        if not self.is_local:
            return 0
        found = []
        for folder, folders, files in os.walk(self._root):
            # Another driver may be writing the study's lease at this moment.
            left = [
                name for name in (*folders, *files) if name.startswith(".tmp-") and not name.startswith(".tmp-lock-")
            ]
            folders[:] = [name for name in folders if not name.startswith(".tmp-")]
            found += [os.path.relpath(os.path.join(folder, name), self._root) for name in left]
        for path in found:
            self.delete(path)
        return len(found)

    def _at(self, path: str) -> str:
        # The path is empty for a bundle in the storage's own folder; object storage refuses "//" and a final "/".
        path = path.lstrip("/")
        if not is_inside(path):
            rule, remedy = "must be used by relative paths without '..'", "restore the file that holds this path"
            raise StorageError(self.uri, rule, repr(path), remedy)
        link = link_on_the_way(self._root, path) if self.is_local else None
        if link is not None:
            remedy = "put the file or folder itself there"
            raise StorageError(link, "must not be a symbolic link", f"one to {os.readlink(link)!r}", remedy)
        return f"{self._root}/{path}" if path else self._root

    def _temporary_name(self, path: str) -> str:
        folder, _, name = path.rpartition("/")
        temporary = f".tmp-{name}-{uuid.uuid4().hex[:8]}"
        return f"{folder}/{temporary}" if folder else temporary

    @contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = self.full_path(path)
            if error.errno == errno.ENOSPC:
                raise StorageError(
                    where, "needs space", "none left on the device", "free some and run again"
                ) from error
            if isinstance(error, FileNotFoundError):
                raise MissingFileError(where, "must exist", "no such file", "check the path") from error
            reason = error.strerror or str(error)
            raise StorageError(where, "must be readable and writable", reason, "check path and permissions") from error
