"""The data sets by their names in `scenes.dataset`. A new one is a file with a `SceneSource` and a line here."""

from collections.abc import Callable

from intra_search.config.scenes import ScenesSettings
from intra_search.scenes.apolloscape import ApolloScapeScenes
from intra_search.scenes.culane import CulaneScenes
from intra_search.scenes.drawn import DrawnScenes
from intra_search.scenes.folder import FolderScenes
from intra_search.scenes.llamas import LlamasScenes
from intra_search.scenes.source import SceneSource

SOURCES: dict[str, Callable[[ScenesSettings], SceneSource]] = {
    "synthetic": DrawnScenes,
    "apolloscape": ApolloScapeScenes,
    "culane": CulaneScenes,
    "llamas": LlamasScenes,
    "folder": FolderScenes,
}
