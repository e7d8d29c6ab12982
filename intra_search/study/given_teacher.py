"""A teacher that is given as a checkpoint: checked before the study begins, then copied into it and scored here."""

import json
from collections.abc import Sequence
from typing import Any

from torch import nn

from intra_search.config.study import StudySettings
from intra_search.config.teacher import PSPNetOptions
from intra_search.errors import CheckpointError
from intra_search.networks.build import NetworkRecipe
from intra_search.networks.checkpoint import Checkpoint, save_checkpoint
from intra_search.networks.released import is_file, load_released
from intra_search.networks.shipped import checkpoint_storage
from intra_search.scenes.scene_set import open_scenes
from intra_search.store.artefacts import Teacher, TeacherRecord
from intra_search.store.bundle import read_bundle, write_bundle
from intra_search.store.ledger import checkpoint_name
from intra_search.study.context import StudyContext


def adopt(context: StudyContext, home: str) -> TeacherRecord:
    """Copies the given teacher into the study, so that the study stays whole when the original goes, and scores it on
    this study's `val`: what it scored where it was trained may be of other scenes."""
    from intra_search.training.worker import measure_checkpoint

    storage, settings, cluster = context.folder.storage, context.settings, context.cluster
    uri = str(settings.teacher.checkpoint)
    path = _import_released(context, home) if is_file(uri) else _copy_checkpoint(context, home, uri)
    score = measure_checkpoint(storage.uri, path, settings, cpus=cluster.cpus_alone, gpus=cluster.gpus_alone)
    teacher = Teacher(folder=home, checkpoint=path, score=score)
    return TeacherRecord(teacher=teacher, history=[], device_seconds=0.0, source=uri)


def check_given_teacher(settings: StudySettings, about: dict[str, Any], classes: Sequence[str]) -> None:
    """Raises `CheckpointError` when `teacher.checkpoint` is another network, or was trained on other classes."""
    known = [row["name"] for row in about.get("classes", ())]
    name = about["network"]["name"]
    if known != list(classes) or name != settings.teacher.network:
        rule = f"must be a {settings.teacher.network} with this study's {len(classes)} classes: {', '.join(classes)}"
        found = f"{name} with {len(known)}: {', '.join(known)}"
        where = f"teacher.checkpoint = {settings.teacher.checkpoint}"
        raise CheckpointError(where, rule, found, "train a teacher, or use teacher.init")
    _check_options(settings, about["network"]["options"])


def _check_options(settings: StudySettings, recorded: dict[str, Any]) -> None:
    """Those that decide the shapes of a teacher's features must be the settings'."""
    wanted = settings.teacher.options.model_dump(mode="json")
    found = {**PSPNetOptions().model_dump(mode="json"), **json.loads(json.dumps(recorded))}
    differing = [name for name in wanted if name != "dropout" and wanted[name] != found[name]]
    if differing:
        name = differing[0]
        rule = f"must have teacher.options.{name} = {wanted[name]}, as the settings say"
        remedy = ", ".join(f"set teacher.options.{name} = {json.dumps(found[name])}" for name in differing)
        raise CheckpointError(f"teacher.checkpoint = {settings.teacher.checkpoint}", rule, found[name], remedy)


def check_released(settings: StudySettings) -> nn.Module:
    """The teacher with the weights of a torch file of the authors' PSPNet, which `teacher.checkpoint` names.

    Raises `CheckpointError` when the file cannot be read or does not fit the study."""
    network = _released_recipe(settings).build()
    load_released(network, str(settings.teacher.checkpoint))
    return network


def _copy_checkpoint(context: StudyContext, home: str, uri: str) -> str:
    bundle = read_bundle(checkpoint_storage(uri), "")
    classes = [row.name for row in open_scenes(context.settings.scenes, "train").classes]
    check_given_teacher(context.settings, bundle.about, classes)
    path = f"{home}/{checkpoint_name(int(bundle.about['epoch']))}"
    write_bundle(context.folder.storage, path, bundle.files, bundle.about)
    return path


def _import_released(context: StudyContext, home: str) -> str:
    from intra_search.training.job import teacher_job
    from intra_search.training.recipe import checkpoint_about

    storage, settings = context.folder.storage, context.settings
    scenes = open_scenes(settings.scenes, "train")
    about = checkpoint_about(teacher_job(storage.uri, home, 0, settings), _released_recipe(settings), scenes, [])
    state = check_released(settings).state_dict()
    return save_checkpoint(storage, home, 0, Checkpoint(state, {}, about))


def _released_recipe(settings: StudySettings) -> NetworkRecipe:
    """Without an existence branch, which the authors' ApolloScape teacher has not."""
    num_classes = len(open_scenes(settings.scenes, "train").classes)
    return NetworkRecipe(settings.teacher.network, num_classes, settings.teacher.options.model_dump())
