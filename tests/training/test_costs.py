"""Step times are measured on tiny roads, and no file is left behind."""

from pathlib import Path

from intra_search.config.parsing import with_overrides
from intra_search.distill.loss import needs_of
from intra_search.store.ledger import checkpoint_name
from intra_search.training.costs import measure_costs
from intra_search.training.job import TrainingJob, teacher_job
from intra_search.training.loop import Training
from tests.tiny_study import tiny_settings


def test_costs_are_measured_and_nothing_is_kept(roads: Path, tmp_path: Path) -> None:
    settings = with_overrides(tiny_settings(roads), {"knowledge.mode": "auto"})
    Training(teacher_job(str(tmp_path), "teacher/t", 1, settings)).run_epoch()
    before = sorted(tmp_path.rglob("*"))
    teacher = f"teacher/t/gen-1/{checkpoint_name(1)}"
    job = TrainingJob(str(tmp_path), "timing", 0, "student", settings, 0, teacher=teacher)
    costs = measure_costs(job, needs_of(settings.distill), use_gpu=False)
    assert min(costs) > 0
    assert sorted(tmp_path.rglob("*")) == before
