"""The training loop, the same for teacher and students, for one worker and for several."""

import functools
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from intra_search.config.objectives import Objectives
from intra_search.config.seeding import derived_seed
from intra_search.config.study import StudySettings
from intra_search.distill.loss import StudentLoss, StudentLossResult, changes_over_time, needs_of
from intra_search.distill.needs import Need, teacher_answers
from intra_search.distill.unlabelled import (
    NOTHING,
    asked_of,
    confidence,
    pseudo_labels,
    teacher_regions,
    unlabelled_in_batch,
)
from intra_search.distill.workers import ALONE, Workers
from intra_search.knowledge.reader import KnowledgeReader, open_knowledge
from intra_search.knowledge.source import scene_hashes
from intra_search.networks.checkpoint import (
    Checkpoint,
    initialise,
    load_network,
    load_newest,
    prune_checkpoints,
    save_checkpoint,
)
from intra_search.networks.input import normalise
from intra_search.networks.placement import Placement, place
from intra_search.networks.released import depth_of, load_imagenet
from intra_search.scenes.scene_set import SceneSet, open_scenes
from intra_search.scenes.unlabelled_set import UnlabelledScenes, open_unlabelled
from intra_search.store.ledger import HistoryRow
from intra_search.store.storage import Storage
from intra_search.training.batch_norm import over_workers
from intra_search.training.batches import Batch, Keys, Mix, Unlabelled, ViewOrder, training_loader
from intra_search.training.evaluation import validate
from intra_search.training.failures import DivergedError
from intra_search.training.job import TrainingJob
from intra_search.training.optimizer import build_optimizer, learning_rate, set_learning_rate
from intra_search.training.recipe import checkpoint_about, feature_channels, network_recipe, teacher_channels
from intra_search.training.replicas import check_agreed, check_replicas, describe_workers

FINITE_CHECK_STEPS = 20
"""Steps between checks that the loss is finite: each check makes the GPU wait and needs an all-reduce."""
LOUD = 10.0
"""A term whose gradient is this many times the task's in the first epoch is said to drown it."""

# Kept for the next trial of this process.
_opened = functools.lru_cache(maxsize=2)(open_scenes)
_opened_unlabelled = functools.lru_cache(maxsize=1)(open_unlabelled)


class TrainingStep(nn.Module):
    """Network and student loss as one module, so that DDP reduces the gradients of both."""

    def __init__(
        self, network: nn.Module, student_loss: StudentLoss, placement: Placement, workers: Workers, *, compiled: bool
    ) -> None:
        super().__init__()
        self.network = network
        self.student_loss = student_loss
        # Not a submodule of its own: it has the network's weights.
        self._compiled = functools.partial(torch.compile(network)) if compiled else network.__call__
        self._placement = placement
        self._workers = workers

    def forward(
        self,
        images: Tensor,
        labels: Tensor,
        regions: Tensor,
        existence: Tensor,
        answers: Mapping[str, Tensor],
        progress: float,
    ) -> StudentLossResult:
        # A compiled network hides the gradients at its features, so steps that measure them run the network itself.
        network = self.network if self.student_loss.measures(progress) else self._compiled
        with self._placement.autocast():
            output = network(normalise(images))
        # Outside autocast, in float32: moments and log-softmax lose too many digits in bfloat16.
        result: StudentLossResult = self.student_loss(
            output,
            labels,
            answers,
            self._workers,
            progress=progress,
            existence=existence,
            regions=regions,
        )
        return result


class Training:
    """One training, run epoch by epoch. It starts from its newest checkpoint, if there is one."""

    def __init__(self, job: TrainingJob, workers: Workers = ALONE, *, use_gpu: bool = False) -> None:
        self.job = job
        self.history: list[HistoryRow] = []
        self.attempt = uuid.uuid4().hex[:8]
        self.notes: list[str] = []
        """Decisions that a person should see. They are sent with the reports, since workers have no terminal."""
        self._workers = workers
        self._storage = Storage(job.study)
        self._place = place(job.training.amp, use_gpu=use_gpu)
        # The teacher's own precision, as in an extraction: its answers must not depend on the student's settings.
        self._teacher_place = place(job.settings.teacher.training.amp, use_gpu=use_gpu)
        self._train_scenes = _opened(job.settings.scenes, "train")
        self._val_scenes = _opened(job.settings.scenes, "val")
        torch.manual_seed(job.seed)
        self._recipe = network_recipe(job.purpose, job.settings, self._train_scenes)
        self.network = self._recipe.build()
        self._asked = asked_of(job.settings) if job.purpose == "student" else NOTHING
        self._unlabelled_scenes = _opened_unlabelled(job.settings.scenes) if self._asked.unlabelled else None
        self._teacher = self._live_teacher()
        self._student_loss = self._build_student_loss()
        self._start_weights()
        self._step = self._parallel_step()
        parameters = [*self.network.parameters(), *self._student_loss.parameters()]
        self._optimizer = build_optimizer(parameters, job.training)
        self._resume()
        check_agreed("their newest checkpoint's epoch", len(self.history), workers)
        self._checked = False
        self._order = self._view_order()
        self._loader = self._training_loader()
        self.notes += [self._place.reason, *describe_workers(workers)]

    @property
    def finished(self) -> bool:
        return len(self.history) >= self.job.training.epochs

    @property
    def num_parameters(self) -> int:
        """Number of weights of the network, without the adapters of the student loss."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def run_epoch(self) -> HistoryRow:
        """Trains one epoch, validates, writes a checkpoint. Raises `DivergedError` when the loss is not finite."""
        started = time.perf_counter()
        epoch = len(self.history)
        # Dropout draws random numbers: seeded in every epoch, so that a resumed training draws the same ones.
        torch.manual_seed(derived_seed(self.job.seed, "epoch", epoch, self._workers.rank))
        losses = self._train_epoch(epoch)
        sums = check_replicas(self.network, self._workers)
        self.notes += [f"after epoch {epoch + 1}, {line}" for line in sums if not self._checked]
        self._checked = True
        self.notes += self._loud_terms() if epoch == 0 else []
        trained = time.perf_counter()
        size = self.job.training.batch_size
        scores = validate(
            self.network, self._val_scenes, self.job.settings, self._place, self._workers, batch_size=size
        )
        row: HistoryRow = {"epoch": epoch + 1, **losses, **scores}
        row["train_seconds"] = trained - started
        row["seconds"] = time.perf_counter() - started
        self.history.append(row)
        if self._workers.rank == 0:
            self._save()
        return row

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        self._step.train()
        self._order.epoch = epoch
        totals: dict[str, Tensor] = {}
        counts: Counter[str] = Counter()
        weights: Mapping[str, Tensor] = {}
        rate = 0.0
        for step, batch in enumerate(self._loader):
            rate = learning_rate(self.job.training, epoch, step, len(self._order))
            set_learning_rate(self._optimizer, rate)
            result = self._train_step(batch, (epoch + step / len(self._order)) / self.job.training.epochs)
            weights = result.weights
            shares = {"loss": result.loss.detach() / self._workers.size, **result.parts}
            for name, part in shares.items():
                totals[name] = totals.get(name, torch.zeros_like(part)) + part
                counts[name] += 1  # a term may begin, or end, within the epoch
            if step % FINITE_CHECK_STEPS == 0 or step + 1 == len(self._order):
                self._check_finite(totals, epoch, step)
        means = {name: float(self._workers.all_reduce(total) / counts[name]) for name, total in totals.items()}
        last = {f"weight/{name}": float(weight) for name, weight in weights.items()}
        return {f"train/{name}": mean for name, mean in means.items()} | last | {"learning_rate": rate}

    def _train_step(self, batch: Batch, progress: float) -> StudentLossResult:
        images, labels = self._place.images(batch["images"]), self._place.labels(batch["labels"])
        regions = labels if self._unlabelled_scenes is None else self._place.labels(batch["regions"])
        existence = batch["existence"].to(self._place.device, non_blocking=True)
        answers = {key: answer.to(self._place.device, non_blocking=True) for key, answer in batch["answers"].items()}
        if self._teacher is not None:
            labelled = batch["labelled"].to(self._place.device)
            labels, regions, answers = self._ask_teacher(images, labels, regions, labelled, progress)
        self._optimizer.zero_grad(set_to_none=True)
        result: StudentLossResult = self._step(images, labels, regions, existence, answers, progress)
        result.loss.backward()  # type: ignore[no-untyped-call]
        limit = self.job.training.clip_gradient_norm
        if limit is not None:
            nn.utils.clip_grad_norm_(self._step.parameters(), limit)
        self._optimizer.step()
        return result

    @torch.no_grad()
    def _ask_teacher(
        self, images: Tensor, labels: Tensor, regions: Tensor, labelled: Tensor, progress: float
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Labels, regions and answers of a batch; the teacher does not run where nothing that counts asks it."""
        assert self._teacher is not None
        asked = asked_of(self.job.settings, progress)
        if not asked.anything:
            return labels, regions, {}
        with self._teacher_place.autocast():
            output = self._teacher(normalise(images))
        if asked.unlabelled and self._unlabelled_scenes is not None:
            is_labelled = labelled[:, None, None]
            regions = torch.where(is_labelled, regions, teacher_regions(output.logits, regions).to(regions.dtype))
            threshold = self.job.settings.scenes.pseudo_labels
            if threshold is not None:
                labels = torch.where(is_labelled, labels, pseudo_labels(regions, confidence(output.logits), threshold))
        return labels, regions, teacher_answers(asked.labelled, output, regions, self._recipe.num_classes)

    def _check_finite(self, totals: Mapping[str, Tensor], epoch: int, step: int) -> None:
        broken = [name for name, total in totals.items() if not torch.isfinite(total)]
        count = torch.tensor(float(len(broken)), device=self._place.device)
        if self._workers.all_reduce(count) > 0:
            names = ", ".join(f"train/{name}" for name in broken) or "a loss on another worker"
            raise DivergedError(f"{names} is not finite at epoch {epoch + 1}, step {step + 1}")

    def _loud_terms(self) -> list[str]:
        """A line for each term that drowns the task."""
        pulls = self._student_loss.pulls() if self.job.purpose == "student" else {}
        return [
            f"distill.{name} pulls {pull:.3g} times as hard as the task loss at the student's features: lower "
            f'distill.{name}.weight, or set distill.balance = "gradient" and a weight of at most 1'
            for name, pull in pulls.items()
            if pull > LOUD
        ]

    def _build_student_loss(self) -> StudentLoss:
        settings = self.job.settings
        distill = settings.distill
        if self.job.purpose == "teacher":
            distill = distill.model_copy(update={"enabled": False})
        return StudentLoss(
            distill,
            self.job.training,
            num_classes=self._recipe.num_classes,
            ignored_class=settings.scenes.ignored_class,
            student_channels=feature_channels(self.network),
            teacher_channels=teacher_channels(settings) if needs_of(distill) else {},
        )

    def _live_teacher(self) -> nn.Module | None:
        if self.job.teacher is None or not self._asked.anything:
            return None
        teacher, _ = load_network(self._storage, self.job.teacher)
        return self._teacher_place.network(teacher).requires_grad_(False)

    def _start_weights(self) -> None:
        setting, uri = self.job.init
        if uri is not None:
            left = initialise(self.network, uri, setting)
            self.notes.append(f"weights from {uri}, {len(left)} tensors left as they were ({', '.join(left[:3])})")
        teacher = self.job.settings.teacher
        if self.job.purpose == "teacher" and teacher.pretrained is not None:
            load_imagenet(self.network, depth_of(teacher.network))
            self.notes.append("backbone with ImageNet's weights of torchvision")

    def _parallel_step(self) -> nn.Module:
        if self._workers.size > 1:
            self.network = over_workers(self.network, self._place.device)
        network = self._place.network(self.network)
        student_loss = self._student_loss.to(self._place.device)
        step = TrainingStep(network, student_loss, self._place, self._workers, compiled=self.job.training.compile)
        if self._workers.size == 1:
            return step
        # Where every step runs the same graph, DDP need not look for unused parameters (adapters) in each.
        changes = changes_over_time(self.job.settings.distill)
        return DistributedDataParallel(step, static_graph=not changes, find_unused_parameters=changes)

    def _view_order(self) -> ViewOrder:
        job, mix = self.job, None
        if self._unlabelled_scenes is not None:
            in_batch = unlabelled_in_batch(job.training.batch_size, job.settings.scenes.unlabelled_share)
            mix = Mix(len(self._unlabelled_scenes), in_batch)
        return ViewOrder(
            len(self._train_scenes),
            job.settings.scenes.views,
            job.training.batch_size,
            job.seed,
            self._workers,
            mix=mix,
            asks=functools.partial(_keys, job.settings) if self._asked.anything else None,
            epochs=job.training.epochs,
        )

    def _training_loader(self) -> Any:
        settings, frames = self.job.settings, self._unlabelled_scenes
        unlabelled = None
        if frames is not None:
            knowledge = self._stored(self.job.unlabelled_knowledge, self._asked.unlabelled, frames)
            unlabelled = Unlabelled(frames, knowledge, settings.scenes.pseudo_labels)
        return training_loader(
            self._train_scenes,
            self._order,
            self._stored(self.job.knowledge, self._asked.labelled, self._train_scenes),
            settings.seed,
            num_processes=settings.resources.loader_processes,
            pin=self._place.device.type == "cuda",
            unlabelled=unlabelled,
        )

    def _stored(
        self, uri: str | None, needs: frozenset[Need], scenes: SceneSet | UnlabelledScenes
    ) -> KnowledgeReader | None:
        """The stored answers about some scenes; None where nothing is asked, or the teacher runs live."""
        if uri is None or not needs:
            return None
        settings = self.job.settings
        expected = scene_hashes(settings, scenes)
        return open_knowledge(Storage(uri), needs, expected, node_cache_gb=settings.knowledge.node_cache_gb)

    def _resume(self) -> None:
        checkpoint = load_newest(self._storage, self.job.folder, self.job.generation, self.notes.append)
        if checkpoint is None:
            return
        self.network.load_state_dict(checkpoint.network)
        self._student_loss.load_state_dict(checkpoint.training["objective"])
        self._optimizer.load_state_dict(checkpoint.training["optimizer"])
        self.history = checkpoint.history

    def _save(self) -> None:
        about = checkpoint_about(self.job, self._recipe, self._train_scenes, self.history)
        state = {"objective": self._student_loss.state_dict(), "optimizer": self._optimizer.state_dict()}
        epoch = len(self.history)
        folder = self.job.output_folder
        save_checkpoint(self._storage, folder, epoch, Checkpoint(self.network.state_dict(), state, about))
        # The one before the newest stays, in case the newest turns out to be damaged.
        best = Objectives.of(self.job.settings).best_epoch(self.history)
        kept = self.job.settings.teacher.keep_epochs if self.job.purpose == "teacher" else ()
        prune_checkpoints(self._storage, folder, {epoch, epoch - 1, best, *kept})


def _keys(settings: StudySettings, progress: float) -> Keys:
    """What is read of stored answers when the share `progress` of a training is done."""
    asked = asked_of(settings, progress)
    return Keys(*(frozenset(need.key for need in needs) for needs in asked))
