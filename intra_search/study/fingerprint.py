"""Which teacher a study's settings and scenes lead to."""

import hashlib
import json

from intra_search.config.settings import StudySettings


def teacher_home(settings: StudySettings, fingerprint: str) -> str:
    """Folder of the teacher that these settings and scenes lead to."""
    scenes = settings.scenes.model_dump(mode="json", exclude={"root", "cache"})
    teacher = settings.teacher.model_dump(mode="json", exclude={"allow_weak"})
    parts = [settings.seed, teacher, scenes, fingerprint]
    return f"teacher/{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]}"
