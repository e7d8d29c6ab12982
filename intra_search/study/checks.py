"""What must hold before a study begins or goes on; found out before anything is written or any device is taken."""

import os
from typing import Any, Literal, NamedTuple

from intra_search.cluster.surroundings import check_shared_memory, prepare
from intra_search.config.hashing import json_hash
from intra_search.config.parsing import with_overrides
from intra_search.config.space import Space
from intra_search.config.study import StudySettings
from intra_search.distill.terms.table import TERMS
from intra_search.distill.unlabelled import labelled_in_batch
from intra_search.errors import CheckpointError, SettingError
from intra_search.knowledge.spec import needs_of_space, needs_without_labels_of_space
from intra_search.networks.checkpoint import read_checkpoint_about
from intra_search.networks.normalised import smallest_normalised
from intra_search.networks.released import depth_of, imagenet_state, is_file
from intra_search.networks.shipped import checkpoint_storage
from intra_search.scenes.check import check_labelled, check_scenes
from intra_search.scenes.scene_set import SceneSet, open_scenes
from intra_search.scenes.unlabelled_set import check_unlabelled, open_unlabelled
from intra_search.store.events import Note, Tell
from intra_search.study.given_teacher import check_given_teacher, check_released
from intra_search.training.batches import BATCHES_AHEAD
from intra_search.training.evaluation import official_scorer


class CheckedScenes(NamedTuple):
    """What a study's students are trained on."""

    train: SceneSet
    fingerprint: str
    """Hash of the training scenes and of the frames without labels."""


def checked_scenes(settings: StudySettings, *, new_study: bool, tell: Tell) -> CheckedScenes:
    """Opens `train`, `val` (never `test`) and the frames without labels; reads once what a new study will read."""
    train = open_scenes(settings.scenes, "train")
    val = open_scenes(settings.scenes, "val")
    classes = len(train.classes)
    scenes = f"{len(train)} training and {len(val)} validation scenes, {classes} classes"
    tell(Note(f"{settings.scenes.dataset}: {scenes}"))
    if new_study and settings.scenes.dataset != "synthetic":
        check_scenes(train)
        scorer = official_scorer(settings)
        check_scenes(val, also=scorer.check if scorer else None)
    if new_study:
        check_labelled(val, "val")
    frames = open_unlabelled(settings.scenes)
    if frames is None:
        return CheckedScenes(train, train.fingerprint)
    tell(Note(f"scenes.unlabelled: {len(frames)} frames without labels"))
    if new_study:
        check_unlabelled(settings.scenes, train)
    return CheckedScenes(train, json_hash([train.fingerprint, frames.fingerprint]))


def check_machine(settings: StudySettings) -> None:
    """This machine must be able to hold the cluster that a run starts on it."""
    prepare()
    check_shared_memory(_decoded_ahead(settings))


def _decoded_ahead(settings: StudySettings) -> int:
    """Bytes of images, labels and regions that the loader processes of all trials on this machine hold, at least."""
    resources, search = settings.resources, settings.search
    cores_of_trial = resources.workers * resources.cpus_per_worker
    trials = max(1, min(int((os.cpu_count() or 1) / cores_of_trial), search.num_trials, search.max_concurrent or 10**9))
    samples = trials * resources.loader_processes * BATCHES_AHEAD * settings.training.batch_size
    return samples * (3 + 1 + 1) * settings.scenes.height * settings.scenes.width


def check_batches(settings: StudySettings, num_scenes: int) -> None:
    """Batches that could not be dealt would fail every training, after the study has begun."""
    labelled = {
        "training": labelled_in_batch(settings.training.batch_size, settings.scenes),
        "teacher.training": settings.teacher.training.batch_size,
    }
    for group, size in labelled.items():
        if size > num_scenes:
            found = f"{size} with {num_scenes} training scenes"
            raise SettingError(f"{group}.batch_size", "must not exceed the training scenes", found, "lower it")
    if settings.training.batch_size < settings.resources.workers:
        found = f"{settings.training.batch_size} with {settings.resources.workers} workers"
        raise SettingError("training.batch_size", "must give every worker a sample", found, "raise it")


def check_single_images(space: Space) -> None:
    """Batches of one image train no network that normalises maps of one cell, such as a pyramid's bin of 1.

    Shares of one image do: BatchNorm is over all workers, each of which has an image.
    """
    base = space.base
    trains_teacher = base.teacher.checkpoint is None and (needs_of_space(space) or needs_without_labels_of_space(space))
    if base.teacher.training.batch_size == 1 and trains_teacher:
        _check_single(base, "teacher", base.teacher.options.model_dump())
    # A step that asks nothing about frames without labels gets none.
    if base.resources.workers > 1 or labelled_in_batch(base.training.batch_size, base.scenes) > 1:
        return
    paths = [path for path in space.domains if path.startswith("student.")]
    for point in space.combinations(paths, lambda path, domain: domain.corners()):
        settings = with_overrides(base, {path: value for path, value in point.items() if path in paths})
        _check_single(settings, "student", settings.student.options())


def _check_single(settings: StudySettings, whose: Literal["teacher", "student"], options: dict[str, Any]) -> None:
    network = getattr(settings, whose).network
    if smallest_normalised(network, options, settings.scenes.height, settings.scenes.width) == 1:
        rule = f"must give every step two images, since {network} normalises maps of one cell, as a pyramid bin of 1 is"
        where = {"teacher": "teacher.training.batch_size", "student": "training.batch_size"}[whose]
        remedy = {"teacher": "raise it, or set teacher.options.bins without 1", "student": "raise it"}[whose]
        raise SettingError(where, rule, "1", remedy)


def check_schedules(space: Space, num_scenes: int) -> None:
    """A term must begin before a training ends: one that never does would be a weight that is silently 0."""
    base = space.base
    labelled = labelled_in_batch(base.training.batch_size, base.scenes)
    steps = base.training.epochs * (num_scenes // labelled)
    for name in TERMS:
        if not any(space.values_of(f"distill.{name}.weight")):
            continue
        latest = max(space.values_of(f"distill.{name}.start"))
        if latest * steps > steps - 1:
            rule = f"must lie before the last of a training's {steps} steps, else the term never begins"
            raise SettingError(f"distill.{name}.start", rule, f"{latest:g}", "lower it, or train longer")


def check_init(settings: StudySettings, train: SceneSet, *, with_teacher: bool) -> None:
    """The weights to start from must exist, and a given teacher must fit.

    Args:
        with_teacher: also those of the teacher; not needed any more once the study holds its teacher.
    """
    given = {"student.init": settings.student.init}
    if with_teacher:
        given |= {"teacher.init": settings.teacher.init, "teacher.checkpoint": settings.teacher.checkpoint}
        if settings.teacher.pretrained is not None:
            imagenet_state(depth_of(settings.teacher.network))
    for setting, uri in given.items():
        if uri is not None and setting == "teacher.checkpoint" and is_file(uri):
            check_released(settings)
        elif uri is not None:
            try:
                about = read_checkpoint_about(checkpoint_storage(uri), "")
            except CheckpointError as error:
                raise CheckpointError(f"{setting} = {uri}", error.rule, error.found, error.remedy) from None
            if setting == "teacher.checkpoint":
                check_given_teacher(settings, about, [row.name for row in train.classes])
