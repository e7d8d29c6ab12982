"""The adviser: what Optuna is told, and that a suggestion depends on the ledger alone."""

import json
import random
import subprocess
import sys
from typing import Any

import optuna
import pytest

from intra_search.config.objectives import Objective
from intra_search.config.study_file import StudyPlan, parse_study
from intra_search.search.adviser import Adviser, told_trial
from intra_search.store.ledger import HistoryRow, TrialRecord
from intra_search.store.trial_state import TrialState

STUDY = """
[search]
startup_trials = 3
[space."student.network"]
kind = "choice"
values = ["erfnet", "enet", "resnet18"]
[space."student.erfnet.blocks"]
kind = "choice"
values = [[5, 8], [2, 3]]
[space."student.enet.blocks"]
kind = "choice"
values = [[5, 8], [2, 3]]
[space."distill.affinity.weight"]
kind = "float"
low = 0.01
high = 1.0
log = true
[space."distill.affinity.kernel_size"]
kind = "int"
low = 3
high = 11
step = 2
[space."distill.affinity.orders"]
kind = "subset"
values = [1, 2, 3, 4]
"""
METRIC = "val/miou"
OBJECTIVE = Objective(METRIC)


def plan_of(*overrides: str) -> StudyPlan:
    return parse_study(STUDY, "study", overrides)


def ledger_of(plan: StudyPlan, count: int) -> tuple[list[TrialRecord], dict[int, list[HistoryRow]]]:
    """Made-up trials in all states; the score favours small weights."""

    states = ["done", "done", "stopped", "done", "failed", "running", "waiting", "infeasible"]
    records, histories = [], {}
    for trial in range(count):
        point = plan.space.sample(random.Random(trial))
        state = states[trial % len(states)]
        epochs = {"done": 4, "stopped": 2, "failed": 1, "running": 1}.get(state, 0)
        histories[trial] = [
            {"epoch": e, METRIC: 0.5 - 0.3 * point["distill.affinity.weight"]} for e in range(1, epochs + 1)
        ]
        objectives = {METRIC: histories[trial][0][METRIC]} if epochs else {}
        fields: dict[str, Any] = {"trial": trial, "state": state, "point": point, "objectives": objectives}
        records.append(TrialRecord(**fields, origin="sampler", created="now"))
    return records, histories


def test_states_are_told_as_documented() -> None:
    plan = plan_of()
    records, histories = ledger_of(plan, 8)
    expected = {
        "done": optuna.trial.TrialState.COMPLETE,
        "stopped": optuna.trial.TrialState.PRUNED,
        "failed": optuna.trial.TrialState.FAIL,
        "running": optuna.trial.TrialState.RUNNING,
        "waiting": optuna.trial.TrialState.RUNNING,
        "infeasible": optuna.trial.TrialState.PRUNED,
    }
    study = optuna.create_study(direction="maximize")
    for record in records:
        told = told_trial(plan.space, record, histories[record.trial], OBJECTIVE)
        assert told is not None
        assert told.state == expected[record.state]
        assert told.value == (record.objectives[METRIC] if record.state == "done" else None)
        intermediate = (
            {1: histories[record.trial][0][METRIC], 2: histories[record.trial][1][METRIC]}
            if record.state == "stopped"
            else {}
        )
        assert told.intermediate_values == intermediate
        study.add_trial(told)  # Optuna checks parameters against distributions
    assert len(study.trials) == 8


def test_parameters_are_the_walks_questions() -> None:
    plan = plan_of()
    point = {
        "student.network": "erfnet",
        "student.erfnet.blocks": [2, 3],
        "distill.affinity.weight": 1,
        "distill.affinity.kernel_size": 7,
        "distill.affinity.orders": [4],
    }
    told = told_trial(
        plan.space,
        TrialRecord(trial=0, state=TrialState.FAILED, point=point, origin="point", created="now"),
        [],
        OBJECTIVE,
    )
    assert told is not None
    assert told.params == {
        "student.network": "erfnet",
        "student.erfnet.blocks": "[2, 3]",
        "distill.affinity.weight": 1.0,
        "distill.affinity.kernel_size": 7,
        "distill.affinity.orders[1]": False,
        "distill.affinity.orders[2]": False,
        "distill.affinity.orders[3]": False,
    }


def test_a_point_outside_the_space_is_left_out() -> None:
    plan = plan_of()
    records, histories = ledger_of(plan, 1)
    outside = records[0].model_copy(update={"point": {**records[0].point, "distill.affinity.weight": 5.0}})
    assert told_trial(plan.space, outside, histories[0], OBJECTIVE) is None
    assert plan.space.holds(Adviser(plan.space, plan.settings).suggest(1, [outside], histories))


def test_a_failed_trial_without_a_number_can_be_told() -> None:
    plan = plan_of()
    records, _ = ledger_of(plan, 5)
    for value in (None, float("nan")):
        assert told_trial(plan.space, records[4], [{"epoch": 1, METRIC: value}], OBJECTIVE) is not None


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_suggestions_lie_in_the_space_and_depend_on_the_ledger_alone(sampler: str) -> None:
    plan = plan_of(f"search.sampler={sampler}")
    old = Adviser(plan.space, plan.settings)
    for count in (0, 2, 9, 16):
        records, histories = ledger_of(plan, count)
        suggested = old.suggest(count, records, histories)
        assert plan.space.holds(suggested)
        assert suggested == old.suggest(count, records, histories)
        assert suggested == Adviser(plan.space, plan.settings).suggest(count, records, histories)
        # The trial's own record (asked before a kill) does not change the suggestion.
        own = TrialRecord(trial=count, state=TrialState.WAITING, point=suggested, origin="sampler", created="now")
        assert suggested == old.suggest(count, [*records, own], histories)
    other_seed = plan_of(f"search.sampler={sampler}", "seed=1")
    assert Adviser(other_seed.space, other_seed.settings).suggest(16, records, histories) != suggested


SPAWNED = """
import json, sys
from intra_search.config.objectives import Objective
from intra_search.config.study_file import parse_study
from intra_search.search.adviser import Adviser
from intra_search.store.ledger import TrialRecord
given = json.load(sys.stdin)
plan = parse_study(given["study"], "study")
records = [TrialRecord(**record) for record in given["records"]]
histories = {int(trial): rows for trial, rows in given["histories"].items()}
point = Adviser(plan.space, plan.settings).suggest(len(records), records, histories)
print(json.dumps({"hash": hash("word"), "point": point}))
"""


def test_a_spawned_process_suggests_the_same_point() -> None:
    plan = plan_of()
    records, histories = ledger_of(plan, 16)
    given = {"study": STUDY, "records": [record.model_dump() for record in records], "histories": histories}
    answers = []
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", SPAWNED],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)},
            check=True,
        )
        answers.append(json.loads(done.stdout))
    assert answers[0]["hash"] != answers[1]["hash"]  # the processes do differ
    assert answers[0]["point"] == answers[1]["point"]
    assert answers[0]["point"] == Adviser(plan.space, plan.settings).suggest(16, records, histories)


def test_tpe_learns_from_the_ledger() -> None:
    """Small weights scored higher in 48 trials: most suggestions are small then."""
    plan = plan_of()
    records, histories = ledger_of(plan, 48)
    adviser = Adviser(plan.space, plan.settings)
    weights = [adviser.suggest(48 + n, records, histories)["distill.affinity.weight"] for n in range(15)]
    assert sum(weight < 0.1 for weight in weights) >= 10  # half of the log range lies below 0.1


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_small_space_is_used_up_before_a_point_comes_again(sampler: str) -> None:
    text = """
[space."distill.affinity.kernel_size"]
kind = "int"
low = 1
high = 9
step = 2
"""
    plan = parse_study(text, "study", [f"search.sampler={sampler}", "search.startup_trials=2"])
    adviser, records = Adviser(plan.space, plan.settings), list[TrialRecord]()
    for trial in range(6):
        point = adviser.suggest(trial, records, {})
        fields: dict[str, Any] = {"trial": trial, "state": "done", "objectives": {METRIC: 0.1 * (trial == 0)}}
        records.append(TrialRecord(**fields, point=point, origin="sampler", created="now"))
    kernels = [record.point["distill.affinity.kernel_size"] for record in records]
    assert set(kernels[:5]) == {1, 3, 5, 7, 9}
    assert kernels[5] in kernels[:5]


def test_a_value_of_another_type_is_another_point() -> None:
    """A record of true or 0 says nothing about a choice of 1.0 and 0.0, though Python calls them equal."""
    text = '[space."distill.affinity.ramp"]\nkind = "choice"\nvalues = [0.0, 1.0]\n'
    plan = parse_study(text, "study")
    for value, known in ((1.0, True), (1, False), (True, False), (0, False), (False, False)):
        record = TrialRecord(
            trial=0, state=TrialState.FAILED, point={"distill.affinity.ramp": value}, origin="point", created="now"
        )
        assert (told_trial(plan.space, record, [], OBJECTIVE) is not None) == known
