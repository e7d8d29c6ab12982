"""A whole study through the command line: run, refuse, resume, extend, fail one trial."""

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.commands import SPACE, Command, read_history, read_record, wait_for, write_study

pytestmark = pytest.mark.ray


def test_run_again_extend_and_read(command: Command, roads: Path, tmp_path: Path) -> None:
    study, file = (
        tmp_path / "study",
        write_study(tmp_path / "study.toml", roads, search={"num_trials": 3, "twin": True}),
    )
    stopped = command.run("run", str(file), "--study", str(study), "--set", "teacher.allow_weak=false", code=2)
    assert "the teacher must be better than the plain student, found val/miou" in stopped.splitlines()[-1]
    output = command.run("run", str(file), "--study", str(study))
    assert "going on, as teacher.allow_weak says" in output
    assert "Pick: trial" in output
    assert "tensorboard --logdir" in output
    status = command.json("status", str(study))
    assert status["finished"] == 3
    assert status["trials"] == {
        "waiting": 0,
        "running": 0,
        "done": status["trials"]["done"],
        "stopped": 3 - status["trials"]["done"],
        "failed": 0,
        "infeasible": 0,
    }
    assert set(status["device_seconds"]) == {"teacher", "knowledge", "trials"}
    assert min(status["device_seconds"].values()) > 0
    # The paper's recipe first, then the file's own point.
    assert read_record(study, 0)["point"] == {
        "distill.enabled": True,
        "distill.affinity.weight": 0.1,
        "student.erfnet.width": 0.25,
    }
    assert read_record(study, 1)["point"] == {"distill.enabled": False, "student.erfnet.width": 0.25}
    finished = {path: path.read_bytes() for path in study.glob("trials/*/*.json*")}

    again = command.run("run", str(file), "--study", str(study))
    assert "nothing is missing" in again
    assert {path: path.read_bytes() for path in study.glob("trials/*/*.json*")} == finished

    command.run("run", str(file), "--study", str(study), "--set", "search.num_trials=5")
    assert command.json("status", str(study))["finished"] == 5
    assert {path: path.read_bytes() for path in finished} == finished
    check_best(command, study)
    changes = (study / "study.toml").read_text()
    assert "search.num_trials" in changes


def check_best(command: Command, study: Path) -> None:
    best = command.json("best", str(study))
    done = [
        record
        for record in map(json.loads, (path.read_text() for path in study.glob("trials/*/record.json")))
        if record["state"] == "done"
    ]
    assert best["objectives"]["val/miou"] == max(record["objectives"]["val/miou"] for record in done)
    assert (best["twin"] is not None) == best["settings"]["distill.enabled"]
    assert best["settings"] == read_record(study, best["trial"])["point"]
    assert Path(best["checkpoint"], "manifest.json").exists()
    history = read_history(study, best["trial"])
    assert history[best["epoch"] - 1]["val/miou"] == best["objectives"]["val/miou"]
    scores = command.json("evaluate", best["checkpoint"], "--split", "val")
    assert scores["miou"] == pytest.approx(best["objectives"]["val/miou"], abs=1e-6)


def test_a_killed_driver_is_resumed_by_the_same_command(command: Command, roads: Path, tmp_path: Path) -> None:
    training = {"epochs": 30, "batch_size": 2, "learning_rate": 0.002}
    search = {"num_trials": 2, "halving": {"enabled": False}, "max_concurrent": 1}
    study = tmp_path / "study"
    file = write_study(tmp_path / "study.toml", roads, training=training, search=search)
    driver = command.start("run", str(file), "--study", str(study))
    wait_for(study / "trials/00001/gen-1/checkpoint-000003")
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    before = read_history(study, 1)
    finished = (study / "trials/00000/record.json").read_bytes()
    assert json.loads(finished)["state"] == "done"
    assert read_record(study, 1)["state"] == "running"
    half_written = study / "trials/00001/gen-1/.tmp-checkpoint-000099-0"
    half_written.mkdir()

    output = command.run("run", str(file), "--study", str(study))
    assert "trial 1 resumed" in output
    assert re.search(r"removed \d+ half-written files", output)
    assert not half_written.exists()
    assert (study / "trials/00000/record.json").read_bytes() == finished
    history = read_history(study, 1)
    assert [row["epoch"] for row in history] == list(range(1, 31))
    # What had been reported is kept as it was, but for the epoch in flight.
    assert history[: len(before) - 1] == before[:-1]
    record = read_record(study, 1)
    assert (record["state"], record["generation"], record["restarts"]) == ("done", 2, 1)
    assert command.json("best", str(study))["trial"] in (0, 1)


def test_interrupted_once_it_finishes_the_epoch_and_leaves(command: Command, roads: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    training = {"epochs": 200, "batch_size": 2}
    file = write_study(tmp_path / "study.toml", roads, training=training, search={"num_trials": 1})
    driver = command.start("run", str(file), "--study", str(study))
    wait_for(study / "trials/00000/gen-1/checkpoint-000002")
    driver.send_signal(signal.SIGINT)
    output, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130, output
    assert "interrupted: trials finish their epoch and leave" in output
    record = read_record(study, 0)
    assert record["state"] == "waiting"
    assert record["epochs"] == len(read_history(study, 0)) < 200


def test_two_stored_teachers_and_frames_without_labels(command: Command, roads: Path, tmp_path: Path) -> None:
    """A study's teacher at two of its epochs is a choice of the next study; each answers all frames once."""
    first, study = tmp_path / "first", tmp_path / "study"
    teacher = {"keep_epochs": [1, 3], "training": {"epochs": 3, "batch_size": 2, "learning_rate": 0.003}}
    small = {"search": {"num_trials": 1}, "space": {}, "points": []}
    command.run(
        "run", str(write_study(tmp_path / "first.toml", roads, **small, teacher=teacher)), "--study", str(first)
    )
    (home,) = (first / "teacher").iterdir()
    early, late = (str(home / f"gen-1/checkpoint-00000{epoch}") for epoch in (1, 3))

    network = {"network": "pspnet_resnet18", "options": {"head_channels": 8, "bins": [1, 2]}}
    file = write_study(
        tmp_path / "study.toml",
        roads,
        teacher={**network, "checkpoint": late, "allow_weak": True},
        scenes={"unlabelled": ["synthetic:4"], "pseudo_labels": 0.5},
        space={
            "distill.enabled": {"kind": "choice", "values": [True, False]},
            "teacher.checkpoint": {"kind": "choice", "values": [early, late], "when": {"distill.enabled": True}},
        },
        points=[{"distill.enabled": False}, {"teacher.checkpoint": early}, {"teacher.checkpoint": late}],
        search={"num_trials": 4, "halving": {"enabled": False}},
    )
    output = command.run("run", str(file), "--study", str(study))
    assert "scenes.unlabelled: 4 frames without labels" in output
    for name in (early, late):
        assert re.search(rf"the teacher {re.escape(name)} is (not )?better than", output.replace("\n", " ")), output
    points = [read_record(study, trial)["point"].get("teacher.checkpoint") for trial in range(4)]
    assert {early, late, None} == set(points)
    assert len(list((study / "teacher").iterdir())) == 2
    sources = [json.loads(path.read_text()) for path in study.glob("knowledge/*/source.json")]
    assert len(sources) == 4
    assert sum(len(list(folder.glob("manifest-*.json"))) for folder in (study / "knowledge").iterdir()) == 4

    assert "nothing is missing" in command.run("run", str(file), "--study", str(study))
    other = [*("run", str(file)), "--study", str(study), "--set", 'scenes.unlabelled=["synthetic:5"]']
    assert "must keep the scenes of its trials" in command.run(*other, code=2)


def test_a_trial_that_diverges_fails_and_the_search_goes_on(command: Command, roads: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    space = {**SPACE, "training.learning_rate": {"kind": "choice", "values": [0.003, 1000.0]}}
    points = [{"training.learning_rate": 1000.0}]
    training = {"weight_decay": 10.0}  # so that weights grow ten-thousandfold in each step at that rate
    search = {"num_trials": 3, "sampler": "random"}
    knowledge = {"mode": "auto"}
    groups = {"search": search, "space": space, "points": points, "knowledge": knowledge, "training": training}
    file = write_study(tmp_path / "study.toml", roads, **groups)
    output = command.run("run", str(file), "--study", str(study))
    assert "knowledge.mode = auto: " in output
    record = read_record(study, 1)
    assert record["state"] == "failed"
    assert "not finite" in record["reason"]
    status = command.json("status", str(study))
    assert status["finished"] == 3
    assert status["best"]["trial"] != 1


def test_a_held_study_names_its_owner_and_a_trial_whose_worker_keeps_dying_fails(
    command: Command, roads: Path, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    training, search = {"epochs": 500, "batch_size": 2}, {"num_trials": 1}
    file = write_study(tmp_path / "study.toml", roads, training=training, search=search, resources={"max_restarts": 1})
    driver = command.start("run", str(file), "--study", str(study))
    try:
        wait_for(study / "generation")
        output = command.run("run", str(file), "--study", str(study), code=2)
        assert f"pid {driver.pid}" in output
        assert len(output.strip().splitlines()) == 2  # the data set's line and the refusal
        killed: set[int] = set()
        for _ in range(2):
            killed.add(kill_worker(command, killed))
        output, _ = driver.communicate(timeout=120)
    finally:
        driver.kill()
        driver.communicate()
    assert len(killed) == 2
    record = read_record(study, 0)
    assert record["state"] == "failed"
    assert record["epochs"] == len(read_history(study, 0)) > 0
    assert record["reason"].startswith("its worker died 2 times (resources.max_restarts = 1); last: ")
    assert "actor died unexpectedly" in record["reason"]  # Ray's words go on in several ways
    # No other trial is left, so the study has failed, for that reason.
    assert driver.returncode == 2
    assert record["reason"][:100] in output.replace("\n", " ")  # the middle of a long reason is left out
    assert record["reason"][-100:] in output.replace("\n", " ")


def kill_worker(command: Command, others: set[int]) -> int:
    """Kills the process that trains a student, once it is one that was not killed before."""
    deadline = time.monotonic() + 120
    folder = f"RAY_TMPDIR={command.environment['RAY_TMPDIR']}".encode()
    while time.monotonic() < deadline:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                training = b"ray::StudentTrainable" in (process / "cmdline").read_bytes()
                if training and folder in (process / "environ").read_bytes() and int(process.name) not in others:
                    os.kill(int(process.name), signal.SIGKILL)
                    return int(process.name)
            except OSError:
                continue  # it ended while we looked
        time.sleep(0.2)
    raise AssertionError("no worker trains")
