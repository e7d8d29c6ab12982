"""What stored answers are about: the teacher, the scenes and the views, each by its hash."""

from collections.abc import Mapping
from typing import NamedTuple

from intra_search.config.fingerprints import views_hash
from intra_search.config.hashing import json_hash
from intra_search.config.study import StudySettings
from intra_search.errors import KnowledgeError
from intra_search.networks.checkpoint import NETWORK_FILE, read_checkpoint_about
from intra_search.scenes.scene_set import SceneSet
from intra_search.scenes.unlabelled_set import UnlabelledScenes
from intra_search.store.bundle import read_sums
from intra_search.store.storage import Storage

FORMAT_VERSION = 3
SCENES_PER_SHARD = 64


class Source(NamedTuple):
    """Hashes of all that an answer depends on. Their common hash names the folder of a store."""

    teacher: str
    """Of its weights, its network's options and the setting of its precision."""
    scenes: str
    """Of the data set and the names of its training scenes, in order."""
    views: str
    """Of the settings and the seed from which views are drawn."""
    num_scenes: int
    num_views: int

    @property
    def folder(self) -> str:
        return json_hash([FORMAT_VERSION, SCENES_PER_SHARD, *self])[:16]

    @property
    def hashes(self) -> dict[str, str]:
        """By the names that manifests and errors use."""
        named = {"teacher": self.teacher, "scenes": self.scenes, "views": self.views}
        return named | {"format version": str(FORMAT_VERSION)}

    @property
    def num_shards(self) -> int:
        return -(-self.num_scenes // SCENES_PER_SHARD)

    def scenes_of(self, shard: int) -> range:
        return range(shard * SCENES_PER_SHARD, min((shard + 1) * SCENES_PER_SHARD, self.num_scenes))


def source_of(storage: Storage, teacher: str, settings: StudySettings, scenes: SceneSet | UnlabelledScenes) -> Source:
    """The source of this study's answers about its training scenes, or its frames without labels; `teacher` is a
    checkpoint's path."""
    network = read_checkpoint_about(storage, teacher)["network"]
    weights = read_sums(storage, teacher)[NETWORK_FILE]
    teacher_hash = json_hash([weights, network, settings.teacher.training.amp])
    hashes = scene_hashes(settings, scenes)
    return Source(teacher_hash, hashes["scenes"], hashes["views"], len(scenes), int(settings.scenes.views))


def scene_hashes(settings: StudySettings, scenes: SceneSet | UnlabelledScenes) -> dict[str, str]:
    """The hashes that a trial can make of its own scenes and settings: `scenes` and `views`."""
    return {"scenes": json_hash([scenes.fingerprint, *scenes.names]), "views": views_hash(settings)}


def check_hashes(where: str, found: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """Raises `KnowledgeError` that names the first hash of a store that is not the expected one, and both values."""
    for name, wanted in expected.items():
        if found.get(name) != wanted:
            rule = f"must hold answers about {name} {wanted[:12]}"
            remedy = f"delete {where} and repeat `intra-search run`, which stores its own"
            raise KnowledgeError(where, rule, f"{name} {str(found.get(name))[:12]}", remedy)
