"""What Ray needs of the machine before it starts a cluster here: a folder for its sockets, a place for its token."""

import os
import secrets
from pathlib import Path

from intra_search.errors import ClusterError

SOCKET_BYTES = 107
"""Longest path of a socket on Linux."""
RAYS_BYTES = len("/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
"""What Ray puts behind its folder for a socket."""


def prepare() -> None:
    """Raises `ClusterError` where Ray's files cannot lie where the environment says."""
    _check_folder()
    _place_token()


def _check_folder() -> None:
    name = next((name for name in ("RAY_TMPDIR", "TMPDIR") if name in os.environ), None)
    folder = os.path.abspath(os.environ[name]) if name else "/tmp"
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
    if name:
        os.environ[name] = folder  # Ray starts from another folder


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
