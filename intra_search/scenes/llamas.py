"""LLAMAS in its official layout:

    color_images/train/<recording>/<stamp>_color_rect.png     (or grayscale_images/…/<stamp>_gray_rect.png)
    labels/train/<recording>/<stamp>.json                     folders train and valid; test labels are private

The labels of the official test images are private. So `test` is the whole official valid folder, whose scores can be
compared with published ones, and `val`, which guides the search, consists of recordings of the official train folder
(`scenes.val_groups` or `scenes.val_fraction`). With labels/test, the official split is used as it is. A recording is in
one split only: if valid or test contains it, too, its training frames are left out.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from intra_search.config.scenes import ScenesSettings
from intra_search.errors import SceneError, SettingError
from intra_search.scenes.images import check_same_size, data_root, read_image
from intra_search.scenes.index import ListedFrame, Listing, Scan, frames_signature, indexed, listing
from intra_search.scenes.labels import SceneClass
from intra_search.scenes.source import Frame, Split
from intra_search.scenes.splits import val_groups

IMAGE_FOLDERS = {"color_images": "_color_rect.png", "grayscale_images": "_gray_rect.png"}
"""Folders of images, of which the first that exists is used, and how the names of their files end after the stamp."""
CROPPED_SHARE = 333 / 717
"""The authors cut the upper 333 of 717 rows."""
SWAP = {1: 4, 2: 3, 3: 2, 4: 1}
_FOLDERS = ("train", "valid", "test")
CLASSES = (
    SceneClass("background", "background", (0, 0, 0)),
    SceneClass("l1", "marker", (255, 128, 0)),
    SceneClass("l0", "marker", (255, 0, 0)),
    SceneClass("r0", "marker", (0, 0, 255)),
    SceneClass("r1", "marker", (0, 192, 255)),
)
"""Labels 0..4: the two lane dividers on either side of the camera, outer left to outer right."""
BINARY_CLASSES = (CLASSES[0], SceneClass("marker", "marker", (255, 0, 0)))


class LlamasScenes:
    """All labelled frames. A group is a recording.

    `scenes.classes` = `fine`: background, l1, l0, r0, r1. `category`: the official binary task, in which the markers of
    all lanes are one class, also those of farther lanes and their blended edges."""

    def __init__(self, settings: ScenesSettings) -> None:
        """Lists the files. Raises `SettingError` for a missing root or named test groups, `SceneError` for a root
        that holds no labelled frames."""
        if settings.test_groups:
            found = ", ".join(settings.test_groups)
            remedy = "remove it; test is the official valid folder (see scenes.val_groups)"
            raise SettingError("scenes.test_groups", "has no meaning for LLAMAS", found, remedy)
        self._root = data_root(settings.root)
        self._binary = settings.classes == "category"
        self.classes: tuple[SceneClass, ...] = BINARY_CLASSES if self._binary else CLASSES
        self.swap: Mapping[int, int] | None = {} if self._binary else SWAP
        self.lanes: tuple[int, ...] = () if self._binary else (1, 2, 3, 4)
        listed = indexed("llamas", self._root, _list_frames)
        self._frames, self.scenes = listed.frames, listed.scenes
        self.splits: Mapping[Split, list[int]] | None = self._split(listed.places, settings)

    def load(self, index: int) -> Frame:
        # Imported here, because it needs OpenCV, which listing scenes does not.
        from intra_search.scenes.llamas_labels import binary_mask, class_mask, read_label

        frame = self._frames[index]
        image_path, label_path = self._root / frame.image, self._root / frame.label
        image = read_image(image_path)
        label = read_label(label_path)
        try:
            labels = binary_mask(label) if self._binary else class_mask(label)
        except SceneError as error:
            raise SceneError(str(label_path), error.rule, error.found, error.remedy) from None
        check_same_size(image_path, image, label_path, labels)
        return image, labels

    def image_file(self, index: int) -> Path | None:
        return self._root / self._frames[index].image

    @staticmethod
    def existence(index: int) -> tuple[bool, ...] | None:
        """None: label files have no flags. A lane exists if a frame's labels show one of its markers."""
        return None

    @staticmethod
    def paper_crop_top(height: int, width: int) -> int:
        """333 of 717 rows; the same share of frames of other sizes."""
        return round(height * CROPPED_SHARE)

    def signature(self) -> str:
        return frames_signature(self._root, self._frames)

    def _split(self, places: dict[str, list[int]], settings: ScenesSettings) -> dict[Split, list[int]]:
        official = {folder: places.get(folder, []) for folder in _FOLDERS}
        if official["test"]:
            if settings.val_groups:
                found = ", ".join(settings.val_groups)
                raise SettingError("scenes.val_groups", "has no meaning beside labels/test", found, "remove it")
            return {"train": official["train"], "val": official["valid"], "test": official["test"]}
        val = val_groups([self.scenes[index] for index in official["train"]], settings)
        chosen: dict[Split, list[int]] = {"train": [], "val": [], "test": official["valid"]}
        for index in official["train"]:
            chosen["val" if self.scenes[index].group in val else "train"].append(index)
        return chosen


def image_folder(scan: Scan) -> tuple[str, str]:
    """The folder of images that exists, and how its files' names end after the stamp."""
    found = next((name for name in IMAGE_FOLDERS if scan.exists(name)), None)
    if found is None:
        rule = f"must hold {' or '.join(IMAGE_FOLDERS)}"
        raise SceneError(str(scan.root), rule, "neither", "unpack the official archives there")
    return found, IMAGE_FOLDERS[found]


def _list_frames(scan: Scan) -> Listing:
    images, _ = image_folder(scan)
    frames: list[ListedFrame] = []
    missing: Counter[str] = Counter()
    notes: list[str] = []
    taken: set[str] = set()
    # From the last to the first: a recording that valid or test contains stays there.
    for folder in reversed(_FOLDERS):
        recordings = scan.folders(f"labels/{folder}")
        shared = [name for name in recordings if name in taken]
        if shared:
            notes.append(f"Leaving out of labels/{folder} what valid or test hold too: {', '.join(shared)}")
        own = [name for name in recordings if name not in taken]
        taken.update(own)
        for recording in own:
            frames += _recording(scan, f"{images}/{folder}/{recording}", f"labels/{folder}/{recording}", missing)
    if missing:
        counted = ", ".join(f"{place} ({count} files)" for place, count in sorted(missing.items()))
        notes.append(f"Leaving out frames whose files are missing: {counted}")
    if not frames:
        found = "; ".join(notes) or "none"
        raise SceneError(str(scan.root / "labels"), "must hold labels with images", found, "unpack the archives there")
    frames.sort(key=lambda frame: (_FOLDERS.index(frame.split), frame.name))
    return listing(frames, notes)


def _recording(scan: Scan, images: str, labels: str, missing: Counter[str]) -> Iterator[ListedFrame]:
    """Frames of one recording. Labels without images are counted if all images are missing (a partial download), else
    they raise `SceneError`; images without a label are counted."""
    suffix = IMAGE_FOLDERS[images.partition("/")[0]]
    present = set(scan.files(images, (suffix,)))
    _, split, recording = labels.split("/")
    stamps = [label.removesuffix(".json") for label in scan.files(labels, (".json",))]
    unlabelled = len(present.difference(f"{stamp}{suffix}" for stamp in stamps))
    if unlabelled:
        missing[labels] += unlabelled
    for stamp in stamps:
        image, label = f"{images}/{stamp}{suffix}", f"{labels}/{stamp}.json"
        if f"{stamp}{suffix}" in present:
            yield ListedFrame(f"{recording}/{stamp}", recording, image, label, split)
        elif present:
            found = f"no {scan.root / image}, but others in its folder"
            raise SceneError(str(scan.root / label), "every label must have its image", found, "restore or remove it")
        else:
            missing[images] += 1
