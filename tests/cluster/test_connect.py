"""Errors of Ray itself that a user can mend are one line."""

import errno

import pytest

from intra_search.cluster.connect import full_disk_in_one_line
from intra_search.errors import ClusterError, StorageError


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_on_which_ray_cannot_write(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    with pytest.raises(ClusterError, match="RAY_TMPDIR = /tmp: needs space, found none left"), full_disk_in_one_line():
        raise OSError(code, "")


@pytest.mark.parametrize("error", [OSError(errno.EIO, ""), StorageError("trials", "needs space", "none", "free some")])
def test_other_errors_stay(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, full_disk_in_one_line():
        raise error
    assert caught.value is error
