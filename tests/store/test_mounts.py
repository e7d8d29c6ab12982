"""Which folders lie on a file system that other machines mount, too, told from a made-up table of mounts."""

from pathlib import Path

import pytest

from intra_search.store import mounts
from intra_search.store.mounts import shared_file_system

TABLE = """\
/dev/vda / ext4 rw,relatime 0 0
proc /proc proc rw 0 0
server:/export /data nfs4 rw,vers=4.2 0 0
tmpfs /data/scratch tmpfs rw 0 0
//server/share /mnt/road\\040scenes cifs rw 0 0
mds@tcp:/fs /lustre lustre rw,flock 0 0
/dev/vdb /over ext4 rw 0 0
server:/over /over nfs rw 0 0
me@host:/home /home/me/remote fuse.sshfs rw 0 0
overlay /var/lib/box fuse.fuse-overlayfs rw 0 0
"""


@pytest.fixture(autouse=True)
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "mounts"
    path.write_text(TABLE)
    monkeypatch.setattr(mounts, "TABLE", path)
    return path


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me/study", None),
        ("/data/study", "nfs4"),
        ("/data", "nfs4"),
        ("/data/scratch/study", None),  # the deeper mount holds it
        ("/database/study", None),  # no part of /data
        ("/mnt/road scenes/study", "cifs"),
        ("/lustre/a/b/c", "lustre"),
        ("/over/study", "nfs"),  # mounted over the disk
        ("/home/me/remote/study", "fuse.sshfs"),
        ("/var/lib/box/study", None),
    ],
)
def test_the_deepest_and_last_mount_decides(folder: str, kind: str | None) -> None:
    assert shared_file_system(folder) == kind


def test_links_are_followed(tmp_path: Path, table: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    table.write_text(TABLE + f"server:/a {tmp_path / 'disk'} nfs rw 0 0\n")
    assert shared_file_system(tmp_path / "link" / "study") == "nfs"


def test_a_system_without_a_table_is_local(table: Path) -> None:
    table.unlink()
    assert shared_file_system("/data/study") is None


def test_a_line_that_is_cut_short_is_passed_over(table: Path) -> None:
    table.write_text("server:/export /data\n" + TABLE)
    assert shared_file_system("/data/study") == "nfs4"
