"""What Ray needs of the machine before it starts a cluster here: a folder for its sockets and logs, a place for its
token, processes, address space, and shared memory for loader processes.

Without them Ray aborts, or waits for ever (seen on Ray 2.60 with `ulimit -v` at 5 to 12 GB, and with a full disk).
"""

import os
import resource
import secrets
import shutil
from pathlib import Path

from intra_search.errors import ClusterError

SOCKET_BYTES = 107
"""Longest path of a socket on Linux."""
RAYS_BYTES = len("/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
"""What Ray puts behind its folder for a socket."""
ROOM_BYTES = 64 * 2**20
"""What must be free in Ray's folder. A study of two trials writes 0.2 MB of logs and states there (measured)."""
THREADS = 150, 40
"""Threads of a cluster here, and of each of its cores: 197 were counted on two cores."""
ADDRESS_SPACE = 16 * 2**30
"""Bytes of a worker's address space, without Ray's object store: 13.4 GB were counted, most of it reserved only."""
CGROUP = Path("/sys/fs/cgroup")
SHARED_MEMORY = Path("/dev/shm")


def prepare() -> None:
    """Raises `ClusterError` where Ray cannot start a cluster on this machine as its environment is."""
    _check_folder()
    _check_threads()
    _place_token()


def check_address_space() -> None:
    """Raises `ClusterError` where `ulimit -v` leaves no room for torch and Ray.

    Call it before torch is imported, which fails without saying why.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    # Every worker maps the object store, for which Ray takes up to 30 % of the memory.
    needed = ADDRESS_SPACE + os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 10
    if soft != resource.RLIM_INFINITY and soft < needed:
        rule = f"must leave {needed / 2**30:.0f} GiB of address space, for torch and Ray reserve more than they use"
        raise ClusterError("ulimit -v", rule, f"{soft / 2**30:.1f} GiB", "run `ulimit -v unlimited` first")


def check_shared_memory(num_bytes: int) -> None:
    """Raises `ClusterError` where the batches that loader processes decode ahead, `num_bytes` in all, do not fit."""
    if num_bytes == 0 or not SHARED_MEMORY.is_dir():
        return
    free = shutil.disk_usage(SHARED_MEMORY).free
    if free < num_bytes:
        rule = f"needs {_megabytes(num_bytes)} of shared memory for the batches that are decoded ahead"
        remedy = "set it to 0, or give more: docker run --shm-size=2g"
        raise ClusterError("resources.loader_processes", rule, f"{_megabytes(free)} in {SHARED_MEMORY}", remedy)


def rays_folder() -> tuple[str | None, str]:
    """The variable that names Ray's folder, if any does, and the folder."""
    name = next((name for name in ("RAY_TMPDIR", "TMPDIR") if name in os.environ), None)
    return name, os.path.abspath(os.environ[name]) if name else "/tmp"


def _check_folder() -> None:
    name, folder = rays_folder()
    where, remedy = (
        f"{name or 'RAY_TMPDIR'} = {folder}",
        "set RAY_TMPDIR to a short path on this machine, as /tmp/ray-me",
    )
    most, found = SOCKET_BYTES - RAYS_BYTES, len(os.fsencode(folder))
    if found > most:
        raise ClusterError(where, f"must have at most {most} bytes, since Ray's sockets lie below", found, remedy)
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise ClusterError(where, "must be a folder that can be written", error.strerror, remedy) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ClusterError(where, "must be a folder that can be written", "no permission", remedy)
    free = shutil.disk_usage(folder).free
    if free < ROOM_BYTES:
        rule = f"must have {_megabytes(ROOM_BYTES)} free, for Ray's logs and states"
        raise ClusterError(where, rule, _megabytes(free), "free some, or set RAY_TMPDIR to a folder with more")
    if name:
        os.environ[name] = folder  # Ray starts from another folder


def _check_threads() -> None:
    """Checks the user's processes and threads (`ulimit -u`, which does not bind root) and those of the container."""
    base, per_core = THREADS
    needed = base + per_core * (os.cpu_count() or 1)
    rule = f"must leave Ray {needed} processes and threads"
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if os.getuid() != 0 and soft != resource.RLIM_INFINITY and (free := soft - _threads_of(os.getuid())) < needed:
        raise ClusterError(
            "ulimit -u", rule, f"{max(free, 0)} left of {soft}", f"run `ulimit -u {soft + needed}` first"
        )
    most, used = _number(CGROUP / "pids.max"), _number(CGROUP / "pids.current")
    if most is not None and used is not None and most - used < needed:
        remedy = f"raise it: docker run --pids-limit={used + needed}"
        raise ClusterError("the container's limit of processes", rule, f"{max(most - used, 0)} left of {most}", remedy)


def _threads_of(user: int) -> int:
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid == user:
                count += len(os.listdir(process / "task"))
        except OSError:  # it has ended
            continue
    return count


def _number(file: Path) -> int | None:
    """The number in a file of the kernel; None where there is no such file, or no limit ("max")."""
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.1f} MiB"


def _place_token() -> None:
    """Ray keeps the token of its clusters in the home folder. Where that is unknown or cannot be written, the token is
    in the environment, which the cluster of this run inherits."""
    given = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    if given or os.environ.get("RAY_AUTH_MODE", "token") != "token" or _can_write_home():
        return
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _can_write_home() -> bool:
    try:
        folder = Path.home() / ".ray"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # no such user, no permission, a file
        return False
    return os.access(folder, os.W_OK)
