"""Drawn road scenes as a data set: nothing on disk, exact labels, as many scenes as asked for."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np

from intra_search.config.scenes import ScenesSettings
from intra_search.errors import SettingError
from intra_search.scenes.labels import SceneClass, apolloscape_classes, apolloscape_swap
from intra_search.scenes.source import SPLITS, Frame, SceneName, Split, no_protocol


class DrawnScenes:
    """Scenes drawn from (seed, number), with ApolloScape's classes.

    Scene i of train, val and test has the number 3 i, 3 i + 1 and 3 i + 2: so no two splits share a scene, and a larger
    `num_train` only adds scenes."""

    def __init__(self, settings: ScenesSettings) -> None:
        if settings.val_groups or settings.test_groups:
            field = "val_groups" if settings.val_groups else "test_groups"
            found = ", ".join(getattr(settings, field))
            remedy = "remove it; num_train, num_val and num_test say how many scenes are drawn"
            raise SettingError(f"scenes.{field}", "has no meaning for drawn scenes", found, remedy)
        self.classes: tuple[SceneClass, ...] = apolloscape_classes()
        self.swap: Mapping[int, int] | None = apolloscape_swap()
        self._seed, self._height, self._width = settings.seed, settings.height, settings.width
        self.lanes: tuple[int, ...] = ()
        counts = (settings.num_train, settings.num_val, settings.num_test)
        self.scenes: list[SceneName] = []
        self.splits: dict[Split, range] = {}
        self._numbers: list[int] = []
        for place, (split, count) in enumerate(zip(SPLITS, counts, strict=True)):
            self.splits[split] = range(len(self.scenes), len(self.scenes) + count)
            self.scenes += [SceneName(f"{split}-{number:06d}", split) for number in range(count)]
            self._numbers += range(place, 3 * count, 3)

    def load(self, index: int) -> Frame:
        # Imported here, because it needs OpenCV, which trainings on stored frames do not.
        from intra_search.scenes.synthetic import draw_scene

        return draw_scene(self._seed, self._numbers[index], self._height, self._width)

    @staticmethod
    def image_file(index: int) -> Path | None:
        """None: nothing is on disk."""
        return None

    @staticmethod
    def existence(index: int) -> tuple[bool, ...] | None:
        """None: markings, not lanes, are labelled."""
        return None

    def paper_crop_top(self, height: int, width: int) -> int:
        raise no_protocol("a drawn data set")

    def signature(self) -> str:
        """Includes the first scene's pixels: scenes drawn by another version of the code are another data set."""
        image, labels = self.load(0)
        pixels = sha256(np.ascontiguousarray(image).tobytes() + np.ascontiguousarray(labels).tobytes()).hexdigest()
        return f"{self._seed} {self._height}x{self._width} {pixels}"
