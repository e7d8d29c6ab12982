"""One driver per study: `flock` on local disks, a lease on shared file systems and object storage.

A lease is best effort: nothing stops two drivers that write it at the same moment. But whether other machines see a
`flock` on a shared file system depends on how that was mounted (NFS before version 4, `nolock`, Lustre without
`-o flock`), and there is no way to ask; a lease works on all of them.
"""

import fcntl
import getpass
import json
import logging
import os
import socket
import threading
import time
import uuid
from types import TracebackType
from typing import IO, Any, Protocol

from intra_search.errors import MissingFileError, NotJSONError, StorageError, StudyError
from intra_search.store.mounts import shared_file_system
from intra_search.store.storage import Storage

logger = logging.getLogger(__name__)

FLOCK_SECONDS = 1.0
"""How long a driver tries to get a local lock: `lock_owner` in another process may hold it for a moment."""
LEASE_SECONDS = 60.0
"""A lease that was not renewed for this long is free. Its owner renews it every quarter of this time."""


class StudyLock(Protocol):
    """Held from `__enter__` to `__exit__`; raises `StudyError` naming the owner when another driver holds it."""

    def __enter__(self) -> "StudyLock": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def study_lock(storage: Storage, *, takeover: bool = False) -> StudyLock:
    """The lock for this kind of storage. `takeover` ignores another driver's lease.

    Raises `StudyError` for `takeover` with a local lock: that is free as soon as its owner has ended.
    """
    if _has_lease(storage):
        return _Lease(storage, takeover)
    if takeover:
        rule = "--takeover is for studies on shared or object storage"
        remedy = "leave it out: the lock of a local study is free as soon as its driver has ended"
        raise StudyError(storage.full_path(), rule, "a local folder", remedy)
    return _FileLock(storage)


def _has_lease(storage: Storage) -> bool:
    return not storage.is_local or shared_file_system(storage.full_path()) is not None


def lock_owner(storage: Storage) -> dict[str, Any] | None:
    """Who holds the study now; None when nobody does."""
    if not storage.exists("lock"):
        return None
    if _has_lease(storage):
        owner = _read_lease(storage)
        return owner if owner is not None and time.time() - owner["renewed"] < LEASE_SECONDS else None
    try:
        file = open(storage.full_path("lock"))
    except OSError as error:
        where, remedy = storage.full_path("lock"), "mend its permissions"
        raise StorageError(where, "must be a file that can be read", error.strerror, remedy) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _owner_in(file)
    return None


class _FileLock:
    def __init__(self, storage: Storage) -> None:
        self._path = storage.full_path("lock")
        self._study = storage.full_path()
        self._file: IO[str] | None = None

    def __enter__(self) -> "_FileLock":
        try:
            os.makedirs(self._study, exist_ok=True)
            file = open(self._path, "a+")
        except OSError as error:
            remedy = "choose another folder or mend its permissions"
            raise StorageError(self._study, "must be a writable folder", error.strerror, remedy) from None
        try:
            locked = _flocked(file)
        except OSError as error:
            file.close()
            remedy = "mount it with locks, or use object storage"
            raise StorageError(self._study, "must be a folder with file locks", error.strerror, remedy) from None
        if not locked:
            owner = _owner_in(file)
            file.close()
            raise _held(self._study, owner, "wait for it or stop it")
        file.truncate(0)
        try:
            file.write(json.dumps(_this_process()))
            file.flush()
        except OSError as error:
            raise StorageError(self._path, "must be writable", error.strerror, "free some space") from None
        self._file = file
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()  # the system releases the lock, also when the process is killed


def _flocked(file: IO[str]) -> bool:
    deadline = time.monotonic() + FLOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(FLOCK_SECONDS / 20)


class _Lease:
    def __init__(self, storage: Storage, takeover: bool) -> None:
        self._storage = storage
        self._takeover = takeover
        self._token = uuid.uuid4().hex
        self._stop = threading.Event()
        self._renewer = threading.Thread(target=self._renew, daemon=True, name="study-lease")

    def __enter__(self) -> "_Lease":
        owner = _read_lease(self._storage)
        if owner is not None and not self._takeover and time.time() - owner["renewed"] < LEASE_SECONDS:
            remedy = f"wait {LEASE_SECONDS:.0f} s after its end, or add --takeover if it is gone"
            raise _held(self._storage.full_path(), owner, remedy)
        self._write()
        # Object storage cannot "write only if absent": of two drivers that start at once, the last writer goes on.
        time.sleep(1.0)
        owner = _read_lease(self._storage)
        if owner is None or owner["token"] != self._token:
            raise _held(self._storage.full_path(), owner or {}, "another driver started at the same moment")
        logger.info(
            "The study is held by a lease, which is best effort on shared storage: free %.0f s after this driver's end",
            LEASE_SECONDS,
        )
        self._renewer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._renewer.join()
        owner = _read_lease(self._storage)
        if owner is not None and owner["token"] == self._token:
            self._storage.delete("lock")

    def _write(self) -> None:
        self._storage.write_json("lock", {**_this_process(), "token": self._token, "renewed": time.time()})

    def _renew(self) -> None:
        while not self._stop.wait(LEASE_SECONDS / 4):
            try:
                owner = _read_lease(self._storage)
                if owner is not None and owner["token"] != self._token:
                    return  # taken over: the conductor sees the new generation before it writes again
                self._write()
            except StorageError as error:
                logger.warning("The lease of the study could not be renewed, trying again: %s", error)


def _this_process() -> dict[str, Any]:
    started = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"user": _user(), "host": socket.gethostname(), "pid": os.getpid(), "since": started}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        return f"uid {os.getuid()}"


def _owner_in(file: IO[str]) -> dict[str, Any]:
    file.seek(0)
    try:
        return dict(json.loads(file.read()))
    except ValueError:
        return {}  # its owner has the lock but has not written its name yet


def _read_lease(storage: Storage) -> dict[str, Any] | None:
    """The lease; None when there is none, or the file is not a lease."""
    try:
        lease = storage.read_json("lock")
    except (MissingFileError, NotJSONError):
        return None
    known = isinstance(lease, dict) and "token" in lease and isinstance(lease.get("renewed"), float)
    return lease if known else None


def _held(study: str, owner: dict[str, Any], remedy: str) -> StudyError:
    user, host, pid, since = (owner.get(key, "?") for key in ("user", "host", "pid", "since"))
    name = f"{user}@{host} (pid {pid}, since {since})"
    return StudyError(study, "a study has one driver at a time", name, remedy)
