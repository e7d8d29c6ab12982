"""What a worker must know to train one network: plain data that travels to any machine."""

import json
from typing import Literal, NamedTuple

from intra_search.config.parsing import parse_settings
from intra_search.config.seeding import derived_seed
from intra_search.config.study import StudySettings
from intra_search.config.training import TrainingSettings


class TrainingJob(NamedTuple):
    """One training of one network of a study."""

    study: str
    """URI of the study; all paths below are relative to it."""
    folder: str
    """Home of this training, such as `trials/00017`."""
    generation: int
    """The driver start that asked for it; checkpoints go below `<folder>/gen-<generation>/`."""
    purpose: Literal["student", "teacher"]
    settings: StudySettings
    """The study's settings with the trial's point."""
    seed: int
    """Seeds initial weights, dropout and data order."""
    knowledge: str | None = None
    """URI of the stored knowledge, its own folder; None: there is none, or the teacher runs live."""
    teacher: str | None = None
    """Checkpoint of the teacher, for live knowledge."""
    unlabelled_knowledge: str | None = None
    """As `knowledge`, about the frames without labels."""

    @property
    def training(self) -> TrainingSettings:
        return self.settings.teacher.training if self.purpose == "teacher" else self.settings.training

    @property
    def output_folder(self) -> str:
        return f"{self.folder}/gen-{self.generation}"

    def to_json(self) -> str:
        """The whole job as text: settings that travel as objects would be flattened and copied by Ray Tune."""
        return json.dumps({**self._asdict(), "settings": self.settings.model_dump(mode="json")})

    @classmethod
    def of_json(cls, text: str) -> "TrainingJob":
        fields = json.loads(text)
        return cls(**{**fields, "settings": parse_settings(fields["settings"])})

    @property
    def init(self) -> tuple[str, str | None]:
        """Name and value of the setting that names initial weights."""
        group = self.settings.teacher if self.purpose == "teacher" else self.settings.student
        return f"{self.purpose}.init", group.init


def student_job(
    study: str,
    trial: int,
    folder: str,
    generation: int,
    settings: StudySettings,
    *,
    knowledge: str | None,
    teacher: str,
    unlabelled_knowledge: str | None = None,
) -> TrainingJob:
    """The job of one trial."""
    # Without stored knowledge the teacher runs live, whatever the mode: `auto` or knowledge.max_gb may require it.
    live = (teacher or None) if knowledge is None and unlabelled_knowledge is None else None
    seed = derived_seed(settings.seed, "student", trial)
    return TrainingJob(study, folder, generation, "student", settings, seed, knowledge, live, unlabelled_knowledge)


def teacher_job(study: str, folder: str, generation: int, settings: StudySettings) -> TrainingJob:
    """The job of the teacher: the same loop without distillation."""
    return TrainingJob(study, folder, generation, "teacher", settings, derived_seed(settings.seed, "teacher"))
