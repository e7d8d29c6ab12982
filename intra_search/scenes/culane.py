"""CULane in its official layout:

    driver_23_30frame/05151640_0419.MP4/00000.jpg             and 00000.lines.txt beside it
    laneseg_label_w16/driver_23_30frame/05151640_0419.MP4/00000.png   (test frames: laneseg_label_w16_test/ as well)
    list/train_gt.txt  list/val_gt.txt                        image, label, four existence flags
    list/test.txt                                             image

The lists give the split. After a partial download, the frames that are there are used and a warning names the missing
folders. A folder with some of its files missing is an error.
"""

from collections import Counter
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath

from intra_search.config.scenes import ScenesSettings
from intra_search.errors import SceneError, SettingError
from intra_search.scenes.images import check_same_size, data_root, read_image, read_mask, sizes_signature
from intra_search.scenes.index import ListedFrame, Listing, Scan, frames_signature, indexed, listing
from intra_search.scenes.labels import SceneClass, index_table
from intra_search.scenes.lane_files import LANES_SUFFIX, ListedImage, lanes_name, read_lanes, read_listed_images
from intra_search.scenes.source import SPLITS, Frame, Split

LISTS: dict[Split, str] = {"train": "list/train_gt.txt", "val": "list/val_gt.txt", "test": "list/test.txt"}
LABEL_FOLDERS = ("laneseg_label_w16", "laneseg_label_w16_test")
CLASSES = (
    SceneClass("background", "background", (0, 0, 0)),
    SceneClass("far_left", "lane", (255, 128, 0)),
    SceneClass("left", "lane", (255, 0, 0)),
    SceneClass("right", "lane", (0, 0, 255)),
    SceneClass("far_right", "lane", (0, 192, 255)),
)
"""Labels 0..4: the two lane dividers on either side of the car."""
SWAP = {1: 4, 2: 3, 3: 2, 4: 1}
CROPPED_SHARE = 240 / 590
"""The authors cut the upper 240 of 590 rows."""


class CulaneScenes:
    """All frames of the three lists whose files exist. A group is a clip.

    A test frame without a mask (test masks are a separate download) gets its labels from its `.lines.txt`."""

    def __init__(self, settings: ScenesSettings) -> None:
        """Lists the files. Raises `SettingError` for a missing root or named groups, `SceneError` for a missing or
        malformed list and for a root that holds none of the listed frames."""
        _check_no_groups(settings)
        self._root = data_root(settings.root)
        self.classes: tuple[SceneClass, ...] = CLASSES
        self.swap: Mapping[int, int] | None = SWAP
        self.lanes: tuple[int, ...] = (1, 2, 3, 4)
        found = indexed("culane", self._root, _list_frames)
        self._frames, self.scenes = found.frames, found.scenes
        places = found.places
        self.splits: Mapping[Split, list[int]] | None = {split: places.get(split, []) for split in SPLITS}

    def load(self, index: int) -> Frame:
        frame = self._frames[index]
        image_path, label_path = self._root / frame.image, self._root / frame.label
        image = read_image(image_path)
        if frame.label.endswith(LANES_SUFFIX):
            # Imported here, because it needs OpenCV, which listing scenes does not.
            from intra_search.scenes.lane_masks import draw_lane_mask, number_lanes

            return image, draw_lane_mask(number_lanes(read_lanes(label_path)), *image.shape[:2])
        labels = read_mask(label_path, index_table(len(CLASSES)), {})
        check_same_size(image_path, image, label_path, labels)
        return image, labels

    def image_file(self, index: int) -> Path | None:
        return self._root / self._frames[index].image

    def existence(self, index: int) -> tuple[bool, ...] | None:
        """The flags in the list; None for a frame that is listed without flags."""
        flags = self._frames[index].lanes
        return tuple(flag == "1" for flag in flags) if flags else None

    @staticmethod
    def paper_crop_top(height: int, width: int) -> int:
        """240 of 590 rows; the same share of frames of other sizes."""
        return round(height * CROPPED_SHARE)

    def signature(self) -> str:
        """Hash of the files' sizes as in other data sets, also of lane files, and of what the lists say."""
        listed = sha256("\n".join(f"{frame.split}{frame.lanes}" for frame in self._frames).encode()).hexdigest()
        lanes = sizes_signature((self._root / lanes_name(frame.image) for frame in self._frames), gaps=True)
        return f"{frames_signature(self._root, self._frames)} {listed} {lanes}"


def _check_no_groups(settings: ScenesSettings) -> None:
    for field in ("val_groups", "test_groups"):
        if getattr(settings, field):
            found = ", ".join(getattr(settings, field))
            raise SettingError(f"scenes.{field}", "has no meaning for CULane", found, "remove it; its lists split it")


class _Folders:
    """Tells which files exist; each folder is listed once."""

    def __init__(self, scan: Scan) -> None:
        self._scan = scan
        self._names: dict[str, frozenset[str]] = {}

    def hold(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        if folder not in self._names:
            self._names[folder] = frozenset(self._scan.files(folder, ("",)))
        return name in self._names[folder]

    def hold_like(self, path: str) -> bool:
        """Whether any file of the same kind lies in the folder."""
        suffix = LANES_SUFFIX if path.endswith(LANES_SUFFIX) else PurePosixPath(path).suffix
        self.hold(path)
        return any(name.endswith(suffix) for name in self._names[path.rpartition("/")[0]])


def _list_frames(scan: Scan) -> Listing:
    folders = _Folders(scan)
    frames: list[ListedFrame] = []
    missing: Counter[str] = Counter()
    split_of: dict[str, Split] = {}
    for split, name in LISTS.items():
        for listed in read_listed_images(scan.table(name)):
            first = split_of.setdefault(listed.image, split)
            if first != split:
                remedy = f"remove it here or in {LISTS[first]}"
                raise SceneError(listed.where, "a frame must be in one split only", listed.image, remedy)
            label = _label(folders, listed)
            has_image = folders.hold(listed.image)
            if not has_image:
                _check_folder_is_missing(folders, listed, [listed.image])
                missing[_place(listed.image)] += 1
            elif label is None:
                _check_folder_is_missing(folders, listed, _labels(listed))
            if label is None:
                missing[_place(listed.label or LABEL_FOLDERS[1])] += 1
            if has_image and label is not None:
                frames.append(_frame(split, listed, label))
    _check_found(scan.root, frames, missing)
    return listing(_unique(frames), _notes(frames, missing))


def _check_folder_is_missing(folders: _Folders, listed: ListedImage, paths: list[str]) -> None:
    """Raises `SceneError` if the folder has other files of the kind: archives hold whole folders, so a file is lost."""
    for path in paths:
        if folders.hold_like(path):
            found = f"no {path}, but others in its folder"
            raise SceneError(listed.where, "every listed file must be there", found, "restore it, or remove the line")


def _unique(frames: list[ListedFrame]) -> list[ListedFrame]:
    """Each frame once: a list may name a frame twice."""
    return list({frame.name: frame for frame in frames}.values())


def _label(folders: _Folders, listed: ListedImage) -> str | None:
    """The file with a frame's labels; None when there is none."""
    return next((path for path in _labels(listed) if folders.hold(path)), None)


def _labels(listed: ListedImage) -> list[str]:
    """Files that may hold a frame's labels. A lanes file may only replace a mask that no list names."""
    if listed.label is not None:
        return [listed.label]
    masks = [f"{folder}/{PurePosixPath(listed.image).with_suffix('.png')}" for folder in LABEL_FOLDERS]
    return [*masks, lanes_name(listed.image)]


def _frame(split: str, listed: ListedImage, label: str) -> ListedFrame:
    name = str(PurePosixPath(listed.image).with_suffix(""))
    return ListedFrame(name, name.rpartition("/")[0], listed.image, label, split, listed.lanes or "")


def _place(path: str) -> str:
    """The folder that a missing file's archive creates: a driver's folder of images or of labels."""
    parts = PurePosixPath(path).parts
    return "/".join(parts[: 2 if parts[0] in LABEL_FOLDERS else 1])


def _check_found(root: Path, frames: list[ListedFrame], missing: Counter[str]) -> None:
    if not frames:
        found = f"none; missing: {_counted(missing)}"
        raise SceneError(str(root), "must hold frames of CULane's lists", found, "unpack the official archives there")


def _notes(frames: list[ListedFrame], missing: Counter[str]) -> list[str]:
    notes = []
    if missing:
        notes.append(f"Leaving out frames whose files are missing: {_counted(missing)}")
    from_lanes = sum(frame.label.endswith(LANES_SUFFIX) for frame in frames)
    if from_lanes:
        notes.append(f"Drawing the labels of {from_lanes} test frames from their .lines.txt: they have no mask")
    splits_of: dict[str, set[str]] = {}
    for frame in frames:
        splits_of.setdefault(frame.group, set()).add(frame.split)
    shared = sorted(group for group, splits in splits_of.items() if len(splits) > 1)
    if shared:
        notes.append(f"The lists share {len(shared)} clips between splits, for example {shared[0]}")
    return notes


def _counted(missing: Counter[str]) -> str:
    return ", ".join(f"{place} ({count} files)" for place, count in sorted(missing.items()))
