"""Fingerprints of settings: what was made with the same fingerprint need not be made again.

They name folders of studies that exist, so the same settings must have the same fingerprint in every release. A setting
that is added to the teacher or the scenes gets `Trait.ADDED_LATER`.
"""

from intra_search.config.hashing import json_hash
from intra_search.config.study import StudySettings
from intra_search.config.traits import Trait, fingerprint_tree


def teacher_key(settings: StudySettings, scenes_fingerprint: str) -> str:
    """Name of the teacher that these settings lead to on scenes of this fingerprint."""
    tree = fingerprint_tree(settings, lambda traits: Trait.CHANGEABLE not in traits)
    return json_hash([tree["seed"], tree["teacher"], tree["scenes"], scenes_fingerprint])[:16]


def views_hash(settings: StudySettings) -> str:
    """Hash of all that decides how views are drawn from given scenes."""
    tree = fingerprint_tree(settings, lambda traits: Trait.OF_A_VIEW in traits)
    # Views are drawn from the study's seed. `scenes.seed`, not counted here, draws and splits the scenes.
    return json_hash({**tree["scenes"], "seed": tree["seed"]})
