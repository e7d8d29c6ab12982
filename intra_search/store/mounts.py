"""The kind of file system that a folder is on. Some are shared by several machines: their file locks are unreliable."""

import re
from pathlib import Path

TABLE = Path("/proc/mounts")
"""The kernel's table of mounts. A system without it counts as local."""

SHARED = frozenset(
    "9p afs beegfs ceph cifs coda fhgfs gfs2 glusterfs gpfs lustre mmfs ncpfs nfs nfs3 nfs4 ocfs2 orangefs panfs pvfs2 "
    "smb2 smb3 smbfs virtiofs wekafs".split()
)
"""Types that several machines may mount at once. All FUSE types count as shared, except those in `LOCAL_FUSE`."""
LOCAL_FUSE = frozenset(("fuseblk", "fuse.fuse-overlayfs", "fuse.ntfs-3g", "fuse.mergerfs", "fuse.lxcfs"))


def shared_file_system(folder: str | Path) -> str | None:
    """The type of a folder's file system, such as `nfs4`, if other machines may mount it, too; else None.

    The folder need not exist.
    """
    kind = _kind_of(Path(folder).resolve(), _mounts())
    of_fuse = kind.startswith("fuse") and kind not in LOCAL_FUSE
    return kind if kind in SHARED or of_fuse else None


def _kind_of(folder: Path, mounts: list[tuple[Path, str]]) -> str:
    holding = [(len(place.parts), kind) for place, kind in mounts if folder.is_relative_to(place)]
    # The deepest mount point above the folder holds it; of several mounts at one point, the last one counts.
    deepest = max((depth for depth, _ in holding), default=0)
    return next((kind for depth, kind in reversed(holding) if depth == deepest), "")


def _mounts() -> list[tuple[Path, str]]:
    """(mount point, type) in order of mounting."""
    try:
        lines = TABLE.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    rows = [line.split(" ") for line in lines]
    return [(Path(_unescaped(row[1])), row[2]) for row in rows if len(row) > 2]


def _unescaped(name: str) -> str:
    """A path as it is: the kernel writes blanks and backslashes in it as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), name)
