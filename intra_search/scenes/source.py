"""What a data set must provide. A new data set is one file with such a class and one line in
`intra_search.scenes.sources`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from intra_search.errors import SettingError
from intra_search.scenes.labels import SceneClass

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

Frame = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Image (H, W, 3) RGB and labels (H, W), both uint8; a label is a class index or 255 (ignored)."""


def no_protocol(kind: str) -> SettingError:
    """The error for `crop_top = "paper"` with a data set that has no published crop."""
    rule, remedy = "'paper' needs a data set with a protocol", "set a share of rows, e.g. --set scenes.crop_top=0.3"
    return SettingError("scenes.crop_top", rule, f"{kind}, which has none", remedy)


class SceneName(NamedTuple):
    """What is known about a scene without decoding it."""

    name: str
    """Unique in the data set."""
    group: str
    """A video or record: scenes of one group look alike, so all are in one split."""


class SceneSource(Protocol):
    """A data set: its classes and its scenes, in an order that depends on their names alone."""

    @property
    def classes(self) -> tuple[SceneClass, ...]:
        """Classes by index; class 0 is the background."""

    @property
    def swap(self) -> Mapping[int, int] | None:
        """Class after a flip, for classes that change (255: no class fits). None: the data set must not be flipped."""

    @property
    def lanes(self) -> tuple[int, ...]:
        """Classes of lanes whose existence a network may predict; empty: there are none."""

    @property
    def scenes(self) -> Sequence[SceneName]:
        """All scenes of all splits."""

    @property
    def splits(self) -> Mapping[Split, Sequence[int]] | None:
        """The data set's own split as indices into `scenes`. None: it is split by groups, as the settings say."""

    def load(self, index: int) -> Frame:
        """Decodes one scene. Raises `SceneError` when image or mask is damaged or cannot be used."""

    def image_file(self, index: int) -> Path | None:
        """The file of a scene's image; None for a scene that is drawn."""

    def existence(self, index: int) -> tuple[bool, ...] | None:
        """Which of `lanes` a scene has, if the data set says it. None: it has those that its labels show."""

    def paper_crop_top(self, height: int, width: int) -> int:
        """Rows that the paper cuts from the top of a frame of this size.

        Raises `SettingError` when no crop is published for this data set."""

    def signature(self) -> str:
        """Text that changes when a scene's files are replaced. Cheap: no file is decoded."""
