"""All settings of a study, typed and frozen. A path such as `distill.affinity.weight` names one everywhere:
in TOML, in `--set`, in a search space, in a trial's record."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from intra_search.config.base import BrokenRuleError, Settings
from intra_search.config.distill import DistillSettings
from intra_search.config.knowledge import KnowledgeSettings
from intra_search.config.resources import ResourcesSettings
from intra_search.config.scenes import ScenesSettings
from intra_search.config.search import OFFICIAL_METRICS, Metric, SearchSettings
from intra_search.config.student import StudentSettings
from intra_search.config.teacher import TeacherSettings
from intra_search.config.training import TrainingSettings
from intra_search.config.traits import Trait


class StudySettings(Settings):
    """One study, whole."""

    name: Annotated[str, Trait.CHANGEABLE, Trait.ONE_FOR_ALL_TRIALS] = "study"
    seed: Annotated[int, Trait.ONE_FOR_ALL_TRIALS, Trait.ANSWERED_ONCE, Trait.OF_A_VIEW] = Field(default=0, ge=0)
    """Seeds views, initial weights, data order and the sampler."""
    scenes: Annotated[ScenesSettings, Trait.ONE_FOR_ALL_TRIALS, Trait.ANSWERED_ONCE] = ScenesSettings()
    teacher: Annotated[TeacherSettings, Trait.ONE_FOR_ALL_TRIALS, Trait.ANSWERED_ONCE] = TeacherSettings()
    student: StudentSettings = StudentSettings()
    knowledge: Annotated[KnowledgeSettings, Trait.ONE_FOR_ALL_TRIALS, Trait.ANSWERED_ONCE] = KnowledgeSettings()
    distill: DistillSettings = DistillSettings()
    training: TrainingSettings = TrainingSettings()
    search: Annotated[SearchSettings, Trait.CHANGEABLE, Trait.ONE_FOR_ALL_TRIALS] = SearchSettings()
    resources: Annotated[ResourcesSettings, Trait.CHANGEABLE, Trait.ONE_FOR_ALL_TRIALS] = ResourcesSettings()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.scenes.views == "fresh" and self.knowledge.mode == "stored":
            rule = "fresh views are drawn once, so the teacher's answers cannot be stored"
            raise BrokenRuleError(
                "scenes.views", rule, "knowledge.mode = stored", "add --set knowledge.mode=live, or auto"
            )
        for metric in self.search.objectives:
            self._check_metric(metric)
        return self

    def _check_metric(self, metric: Metric) -> None:
        dataset = OFFICIAL_METRICS.get(metric, self.scenes.dataset)
        if dataset != self.scenes.dataset:
            rule = f"{metric} is a metric of {dataset}"
            remedy = "maximise val/miou, or the data set's own metric"
            raise BrokenRuleError("search.objectives", rule, f"{self.scenes.dataset} scenes", remedy)
        if dataset in ("apolloscape", "culane") and metric in OFFICIAL_METRICS and self.scenes.classes != "fine":
            rule, found = f"{metric} needs scenes.classes = fine", self.scenes.classes
            raise BrokenRuleError("search.objectives", rule, found, "maximise val/miou")
