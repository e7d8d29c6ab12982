"""ApolloScape lane segmentation in its official layout:

    ColorImage_road02/ColorImage/Record001/Camera 5/170927_063843458_Camera_5.jpg
    Labels_road02/Label/Record001/Camera 5/170927_063843458_Camera_5_bin.png

The camera's folder is spelled `Camera 5` or `Camera_5`, not always alike in both trees.
"""

import logging
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from intra_search.config.settings import ScenesSettings
from intra_search.errors import SceneError
from intra_search.scenes.images import (
    check_same_size,
    data_root,
    list_images,
    read_image,
    read_mask,
    sizes_signature,
)
from intra_search.scenes.labels import (
    SceneClass,
    apolloscape_classes,
    apolloscape_colors,
    apolloscape_swap,
    train_id_table,
)
from intra_search.scenes.source import Frame, SceneName, Split

_log = logging.getLogger(__name__)

UNLABELLED_ROAD = "road05"
"""The official test road, whose labels are private."""
KEPT_ROWS_PER_COLUMN = 1010 / 3384
"""The authors keep the lowest 1010 rows of frames 3384 wide: they cut 1700 of 2710 rows."""


class _Files(NamedTuple):
    image: Path
    mask: Path


class ApolloScapeScenes:
    """All labelled frames below a root. A group is a record of a road, so that both cameras of a moment and the
    near duplicates of one drive stay together."""

    def __init__(self, settings: ScenesSettings) -> None:
        """Lists the files. Raises `SettingError` for a missing root, `SceneError` for no frames or a missing mask."""
        root = data_root(settings.root)
        self.classes: tuple[SceneClass, ...] = apolloscape_classes()
        self.swap: Mapping[int, int] | None = apolloscape_swap()
        self.splits: Mapping[Split, tuple[int, ...]] | None = None
        self.scenes: list[SceneName] = []
        self._files: list[_Files] = []
        for road_folder in sorted(root.glob("ColorImage_*")):
            for scene, found in _road_scenes(root, road_folder):
                self.scenes.append(scene)
                self._files.append(found)
        if not self.scenes:
            rule = "must hold frames in ApolloScape's layout"
            remedy = "unpack the official archives there (ColorImage_road02/ColorImage/Record001/Camera 5/*.jpg)"
            raise SceneError(str(root), rule, "none", remedy)

    def load(self, index: int) -> Frame:
        image_path, mask_path = self._files[index]
        image = read_image(image_path)
        labels = read_mask(mask_path, train_id_table(), apolloscape_colors())
        check_same_size(image_path, image, mask_path, labels)
        return image, labels

    @staticmethod
    def paper_crop_top(height: int, width: int) -> int:
        """1700 of 3384 x 2710 (the authors' crop); frames of other sizes keep the same shape of the lowest rows."""
        return max(0, height - round(width * KEPT_ROWS_PER_COLUMN))

    def signature(self) -> str:
        return sizes_signature(chain.from_iterable(self._files))


def _road_scenes(root: Path, road_folder: Path) -> Iterator[tuple[SceneName, _Files]]:
    road = road_folder.name.removeprefix("ColorImage_")
    labels_folder = root / f"Labels_{road}" / "Label"
    if road == UNLABELLED_ROAD and not labels_folder.is_dir():
        _log.info("Leaving out %s: the official test road has no labels", road)
        return
    for camera_folder in sorted((road_folder / "ColorImage").glob("*/*"), key=_sort_key):
        if not camera_folder.is_dir():
            continue
        record, camera = camera_folder.parent.name, camera_folder.name.replace(" ", "_")
        masks = _masks(labels_folder / record, camera)
        for image in list_images(camera_folder):
            mask = masks.get(f"{image.stem}_bin.png")
            if mask is None:
                wanted = labels_folder / record / camera_folder.name / f"{image.stem}_bin.png"
                remedy = f"restore {wanted}, or remove the image"
                raise SceneError(str(image), "every image must have its mask", "no mask", remedy)
            yield SceneName(f"{road}/{record}/{camera}/{image.stem}", f"{road}/{record}"), _Files(image, mask)


def _sort_key(camera_folder: Path) -> tuple[str, str]:
    # By the name that scenes get, so that the spelling of a folder does not change their order.
    return camera_folder.parent.name, camera_folder.name.replace(" ", "_")


def _masks(record_folder: Path, camera: str) -> dict[str, Path]:
    """Mask files of one camera by name, from either spelling of its folder."""
    folders = {record_folder / camera, record_folder / camera.replace("_", " ")}
    return {path.name: path for folder in folders if folder.is_dir() for path in list_images(folder)}
