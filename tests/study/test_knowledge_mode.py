"""Stored or live: the bill by hand, the share of trials that distil, and a decision that is made once."""

from pathlib import Path

import pytest
import tomli_w

from intra_search.config.study_file import StudyPlan, parse_study
from intra_search.errors import SettingError
from intra_search.store.artefacts import Teacher
from intra_search.store.study_folder import StudyFolder
from intra_search.study import knowledge_mode
from intra_search.study.knowledge_mode import Amount, choose, distilling_settings, distilling_share, mean_epochs
from intra_search.training import worker
from intra_search.training.costs import ViewCosts
from tests.study.contexts import Notes, context_of
from tests.tiny_study import write_roads

HALF = """
[space."distill.enabled"]
kind = "choice"
values = [true, false]
"""


def test_the_bill_by_hand() -> None:
    """100 scenes of 4 views at 0.5 s: 200 s once. 10 trials of 3 epochs show 3000 views."""
    amount = Amount(scenes=100, views=4, trials=10, epochs=3)
    stored = choose(ViewCosts(stored_step=0.1, live_step=0.2, extraction=0.5), amount)
    assert stored.mode == "stored"  # 200 + 300 against 600
    assert "500 s" not in stored.why
    assert "8.33 min stored (3.33 min to answer all views) and 10 min live" in stored.why
    assert "a view of a step takes 100 ms stored and 200 ms live" in stored.why
    live = choose(ViewCosts(stored_step=0.1, live_step=0.15, extraction=0.5), amount)
    assert live.mode == "live"  # 500 against 450
    assert live.why.startswith(
        "live, since about 10 distilling trials of 3 epochs take 7.5 min live and 8.33 min stored"
    )
    assert "\n" not in live.why


def test_more_views_are_paid_by_more_trials() -> None:
    costs = ViewCosts(stored_step=0.1, live_step=0.2, extraction=0.15)
    assert choose(costs, Amount(10, 16, 2, 10)).mode == "live"
    assert choose(costs, Amount(10, 16, 3, 10)).mode == "stored"


def test_epochs_of_a_halved_trial_by_hand() -> None:
    """Rungs at 1, 3, 9 of 20: 1 + 2 / 3 + 6 / 9 + 11 / 27."""
    plan = parse_study("[training]\nepochs = 20", "f")
    assert mean_epochs(plan.settings) == pytest.approx(1 + 2 / 3 + 6 / 9 + 11 / 27)
    assert mean_epochs(parse_study("[training]\nepochs = 7\n[search.halving]\nenabled = false", "f").settings) == 7


def test_share_of_trials_that_distil() -> None:
    assert distilling_share(parse_study(HALF, "f").space, 0) == pytest.approx(0.5, abs=0.12)
    assert distilling_share(parse_study("", "f").space, 0) == 1
    assert distilling_share(parse_study("[distill]\nenabled = false", "f").space, 0) == 0
    plain_first = parse_study(HALF + '[[points]]\n"distill.enabled" = false', "f", ["distill.enabled=false"])
    assert distilling_settings(plain_first.space).distill.enabled


def test_drawn_values_that_break_a_rule_only_together_are_passed_over() -> None:
    """start + ramp may be at most 1. Each value alone is fine, so the space is."""
    reals = {"kind": "float", "low": 0.0, "high": 0.9}
    tree = {"space": {"distill.affinity.start": reals, "distill.affinity.ramp": reals}}
    space = parse_study(tomli_w.dumps(tree), "f").space
    assert distilling_share(space, 0) == 1
    assert distilling_settings(space).distill.enabled


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[ViewCosts]:
    """What the next measurements find, in place of a task on a cluster."""
    costs: list[ViewCosts] = []
    monkeypatch.setattr(worker, "measure_on_cluster", lambda *_, **__: costs.pop(0))
    return costs


def decided(root: Path, mode: str, views: str, notes: Notes) -> str:
    if not (root / "roads").exists():
        write_roads(root / "roads")
    text = f'[scenes]\ndataset = "folder"\nroot = "{root}/roads"\n'
    plan: StudyPlan = parse_study(text, "f", [f"knowledge.mode={mode}", f"scenes.views={views}"])
    teacher = Teacher(folder="teacher/t", checkpoint="", score=0.5)
    return knowledge_mode.ensure(context_of(StudyFolder(str(root / "study")), plan, notes), teacher)


def test_auto_decides_once(tmp_path: Path, measured: list[ViewCosts]) -> None:
    notes = Notes()
    measured.append(ViewCosts(stored_step=0.1, live_step=0.5, extraction=0.1))
    assert decided(tmp_path, "auto", "2", notes) == "stored"
    assert notes[0].startswith("knowledge.mode = auto: stored, since about 1 distilling trials")
    assert decided(tmp_path, "auto", "2", notes) == "stored"  # measures nothing
    assert notes[1] == notes[0]
    stored = StudyFolder(str(tmp_path / "study")).storage.read_json("knowledge_mode.json")
    assert stored["seconds_per_view"] == {"stored_step": 0.1, "live_step": 0.5, "extraction": 0.1}


def test_what_is_set_is_not_measured(tmp_path: Path) -> None:
    notes = Notes()
    assert decided(tmp_path, "stored", "2", notes) == "stored"
    assert notes == []
    assert decided(tmp_path, "live", "2", notes) == "live"
    assert notes == ["the teacher runs live in every step (knowledge.mode = live)"]


def test_fresh_views_need_a_live_teacher(tmp_path: Path) -> None:
    notes = Notes()
    assert decided(tmp_path, "auto", "fresh", notes) == "live"
    assert notes == ["knowledge.mode = auto: live, since fresh views are seen once"]
    assert decided(tmp_path, "live", "fresh", notes) == "live"
    with pytest.raises(SettingError) as caught:
        decided(tmp_path, "stored", "fresh", notes)
    assert "scenes.views: fresh views are drawn once" in str(caught.value)
    assert "--set knowledge.mode=live" in str(caught.value)


@pytest.mark.parametrize("views", ["0", "1001", "new", "1.5"])
def test_views_are_a_number_or_fresh(views: str) -> None:
    with pytest.raises(SettingError, match=r"scenes\.views"):
        parse_study("", "f", [f"scenes.views={views}"])
