"""Which network a job trains, and what its checkpoints say of themselves."""

from typing import Any, Literal, cast

import torch
from torch import nn

from intra_search.config.study import StudySettings
from intra_search.networks.build import NetworkRecipe, build_network
from intra_search.scenes.scene_set import SceneSet
from intra_search.store.ledger import HistoryRow
from intra_search.training.job import TrainingJob


def network_recipe(purpose: Literal["student", "teacher"], settings: StudySettings, scenes: SceneSet) -> NetworkRecipe:
    """The network that a job trains. For data sets of lanes it has an existence branch."""
    recipe = NetworkRecipe(settings.student.network, len(scenes.classes), settings.student.options())
    training = settings.training
    if purpose == "teacher":
        recipe = NetworkRecipe(settings.teacher.network, len(scenes.classes), settings.teacher.options.model_dump())
        training = settings.teacher.training
    if not scenes.num_lanes or training.existence_weight == 0:
        return recipe
    return recipe._replace(num_lanes=scenes.num_lanes, input_size=(settings.scenes.height, settings.scenes.width))


def feature_channels(network: nn.Module) -> dict[str, int]:
    """Channels of a network's named features."""
    return cast(dict[str, int], network.feature_channels)


def teacher_channels(settings: StudySettings) -> dict[str, int]:
    """Channels of the teacher's features, found without allocating its weights."""
    with torch.device("meta"):
        teacher = build_network(settings.teacher.network, 2, **settings.teacher.options.model_dump())
    return feature_channels(teacher)


def checkpoint_about(
    job: TrainingJob, recipe: NetworkRecipe, scenes: SceneSet, history: list[HistoryRow]
) -> dict[str, Any]:
    """What evaluation, `init` and a person need to know of a checkpoint."""
    return {
        "network": recipe._asdict(),
        "classes": [scene_class._asdict() for scene_class in scenes.classes],
        "scenes": scenes.fingerprint,
        "purpose": job.purpose,
        "folder": job.folder,
        "generation": job.generation,
        "settings": job.settings.model_dump(mode="json"),
        "history": history,
    }
