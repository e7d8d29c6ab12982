"""ApolloScape lane segmentation in its official layout:

    ColorImage_road02/ColorImage/Record001/Camera 5/170927_063843458_Camera_5.jpg
    Labels_road02/Label/Record001/Camera 5/170927_063843458_Camera_5_bin.png

The camera's folder is spelled `Camera 5` or `Camera_5`; images and labels may use different spellings.
"""

import logging
from collections.abc import Container, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from intra_search.config.scenes import ScenesSettings
from intra_search.errors import SceneError
from intra_search.scenes.images import (
    IMAGE_SUFFIXES,
    check_same_size,
    data_root,
    read_image,
    read_mask,
)
from intra_search.scenes.index import ListedFrame, Listing, Scan, frames_signature, indexed, listing
from intra_search.scenes.labels import (
    SceneClass,
    apolloscape_classes,
    apolloscape_colors,
    apolloscape_swap,
    train_id_table,
)
from intra_search.scenes.source import Frame, Split

_log = logging.getLogger(__name__)

UNLABELLED_ROAD = "road05"
"""The official test road, whose labels are private."""
_LABEL_SUFFIX = "_bin.png"
KEPT_ROWS_PER_COLUMN = 1010 / 3384
"""The authors cut the upper 1700 of 2710 rows, so 1010 rows of frames 3384 wide are left."""


class ApolloScapeScenes:
    """All labelled frames below a root. A group is a record of a road, so that pictures of both cameras at one moment,
    and similar pictures of one drive, stay in one split."""

    def __init__(self, settings: ScenesSettings) -> None:
        """Lists the files. Raises `SettingError` for a missing root, `SceneError` for no frames or a missing mask."""
        self._root = data_root(settings.root)
        self.classes: tuple[SceneClass, ...] = apolloscape_classes()
        self.swap: Mapping[int, int] | None = apolloscape_swap()
        self.lanes: tuple[int, ...] = ()
        self.splits: Mapping[Split, tuple[int, ...]] | None = None
        found = indexed("apolloscape", self._root, _list_frames)
        self._frames, self.scenes = found.frames, found.scenes

    def load(self, index: int) -> Frame:
        frame = self._frames[index]
        image_path, mask_path = self._root / frame.image, self._root / frame.label
        image = read_image(image_path)
        labels = read_mask(mask_path, train_id_table(), apolloscape_colors())
        check_same_size(image_path, image, mask_path, labels)
        return image, labels

    def image_file(self, index: int) -> Path | None:
        return self._root / self._frames[index].image

    @staticmethod
    def existence(index: int) -> tuple[bool, ...] | None:
        """None: markings, not lanes, are labelled."""
        return None

    @staticmethod
    def paper_crop_top(height: int, width: int) -> int:
        """1700 rows of 3384 x 2710 (the authors' crop); for other sizes, what is left has the same aspect ratio."""
        return max(0, height - round(width * KEPT_ROWS_PER_COLUMN))

    def signature(self) -> str:
        return frames_signature(self._root, self._frames)


def _list_frames(scan: Scan) -> Listing:
    roads = [name for name in scan.folders(".") if name.startswith("ColorImage_")]
    frames = [frame for road_folder in roads for frame in _road_frames(scan, road_folder)]
    if not frames:
        rule = "must hold frames in ApolloScape's layout"
        remedy = "unpack the official archives there (ColorImage_road02/ColorImage/Record001/Camera 5/*.jpg)"
        raise SceneError(str(scan.root), rule, "none", remedy)
    return listing(frames)


def _road_frames(scan: Scan, road_folder: str) -> Iterator[ListedFrame]:
    road = road_folder.removeprefix("ColorImage_")
    labels = f"Labels_{road}/Label"
    if road == UNLABELLED_ROAD and not scan.exists(labels):
        _log.info("Leaving out %s: the official test road has no labels", road)
        return
    masks: dict[str, dict[str, str]] = {}
    for image in road_images(scan, road):
        path = PurePosixPath(image.path)
        record, camera, wanted = path.parts[2], path.parts[3], f"{path.stem}{_LABEL_SUFFIX}"
        if str(path.parent) not in masks:
            masks[str(path.parent)] = _masks(scan, f"{labels}/{record}", camera)
        mask = masks[str(path.parent)].get(wanted)
        if mask is None:
            remedy = f"restore {scan.root / labels / record / camera / wanted}, or remove the image"
            raise SceneError(str(scan.root / path), "every image must have its mask", "no mask", remedy)
        yield ListedFrame(image.name, f"{road}/{record}", image.path, mask)


class RoadImage(NamedTuple):
    """One image of a road."""

    name: str
    """`road02/Record001/Camera_5/<stem>`, whatever the spelling of the camera's folder."""
    path: str
    """Below the root: `ColorImage_road02/ColorImage/Record001/Camera 5/<file>`."""


def road_images(scan: Scan, road: str) -> Iterator[RoadImage]:
    """All images of a road, labelled or not."""
    images = f"ColorImage_{road}/ColorImage"
    cameras = [(record, camera) for record in scan.folders(images) for camera in scan.folders(f"{images}/{record}")]
    # Sorted by the names that scenes get, so that the spelling of a folder does not change their order.
    for record, camera in sorted(cameras, key=lambda pair: (pair[0], pair[1].replace(" ", "_"))):
        folder = f"{images}/{record}/{camera}"
        for image in scan.files(folder, IMAGE_SUFFIXES):
            name = f"{road}/{record}/{camera.replace(' ', '_')}/{PurePosixPath(image).stem}"
            yield RoadImage(name, f"{folder}/{image}")


def _masks(scan: Scan, record: str, camera: str) -> dict[str, str]:
    """Paths of one camera's masks by their names, from both spellings of its folder."""
    folders = {f"{record}/{camera.replace(' ', '_')}", f"{record}/{camera.replace('_', ' ')}"}
    return {name: f"{folder}/{name}" for folder in folders for name in scan.files(folder, (".png",))}


def submission_labels(root: Path) -> dict[str, Path]:
    """Labels below a data set's root, by the name of their prediction in a submission: `road02/<image name>.png`.

    Empty for a folder with another layout. Raises `SceneError` when two labels would have the same prediction."""
    found: dict[str, Path] = {}
    for path in sorted(root.glob(f"Labels_*/Label/*/*/*{_LABEL_SUFFIX}")):
        road = path.relative_to(root).parts[0].removeprefix("Labels_")
        name = f"{road}/{path.name.removesuffix(_LABEL_SUFFIX)}.png"
        if name in found:
            remedy = "remove one: a submission has one file for both"
            raise SceneError(str(path), "names must differ within a road", f"{found[name]} as well", remedy)
        found[name] = path
    return found


def labels_of_predicted_records(labels: Mapping[str, Path], predicted: Container[str]) -> dict[str, Path]:
    """Those of `submission_labels` that belong to a record with a prediction."""
    records = {path.parents[1] for name, path in labels.items() if name in predicted}
    return {name: path for name, path in labels.items() if path.parents[1] in records}
