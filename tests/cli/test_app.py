"""The command line: frozen verbs and flags, `--dry-run`, and every bad input as one line with exit code 2."""

import json
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import tomli_w
import typer

from intra_search.cli.app import _TerminalFormatter, app, main
from intra_search.scenes.writers.formats import draw_data_set, draw_order
from tests.commands import write_study
from tests.tiny_study import tiny_tree

SPACES = Path(__file__).parents[2] / "search_spaces"
VERBS = {
    "run": {"study_file", "study", "set_", "dry_run", "address", "takeover"},
    "status": {"study", "as_json"},
    "trials": {"study", "as_json"},
    "best": {"study", "as_json"},
    "evaluate": {"checkpoint", "split", "data", "set_", "sheet", "out", "as_json"},
    "predict": {"checkpoint", "pictures", "out", "painted"},
    "draw": {"out", "layout", "count", "height", "width", "seed", "overwrite"},
    "score": set(),
}


class Answer(NamedTuple):
    code: int
    out: str
    error: str


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    def called(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["intra-search", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        shown = capsys.readouterr()
        return Answer(int(left.value.code or 0), shown.out, shown.err)

    return called


def tree_bytes(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_verbs_and_flags_are_frozen() -> None:
    """A new verb or flag is a promise to users: add it here on purpose."""
    group = typer.main.get_command(app)
    found = {name: {parameter.name for parameter in command.params} for name, command in group.commands.items()}  # type: ignore[attr-defined]
    assert {name: flags - {"help"} for name, flags in found.items() if name != "score"} == {
        name: flags for name, flags in VERBS.items() if name != "score"
    }


def test_dry_run_shows_settings_samples_and_size(call: Callable[..., Answer]) -> None:
    answer = call("run", SPACES / "quickstart.toml", "--dry-run", "--set", "training.epochs=4")
    assert answer.code == 0
    assert "[training]\nepochs = 4" in answer.out
    assert answer.out.count("# sample: ") == 5
    assert "discrete settings" in answer.out
    fixed = (
        "enabled=true, preset=paper",
        "enabled=false",
        "enabled=true, preset=canonical",
        "enabled=true, preset=intra",
    )
    for trial, point in enumerate(fixed):
        assert f"# trial {trial} (fixed): {point}" in answer.out


def test_dry_run_shows_what_stored_knowledge_takes_and_spares(call: Callable[..., Answer]) -> None:
    answer = call("run", SPACES / "quickstart.toml", "--dry-run", "--set", "student.resnet18.width=0.1875")
    # In cells of 10 x 26. Eight graphs of 12 x 12 with 12 counts, in float32: orders 1 and 2 on the space's two teacher
    # layers, paper's on block3 and order 3 on block5; features of block5 (232 channels) and penultimate (64), logits
    # of 12 classes at a quarter of 80 x 208. All but graphs in float16; 48 scenes, 2 views.
    stored = re.search(r"# knowledge: (\S+) kB per view \((.*)\), (\S+) MB for 2 x 48 views", answer.out)
    assert stored is not None
    parts: dict[str, str] = dict(re.findall(r"(\w+) (\S+) kB", stored[2]))
    assert float(parts["feature"]) == pytest.approx((232 + 64) * 10 * 26 * 2 / 1000, rel=0.01)
    assert float(parts["logits"]) == pytest.approx(12 * 20 * 52 * 2 / 1000, rel=0.01)
    assert float(parts["affinity"]) == pytest.approx(8 * (12 * 12 * 4 + 12 * 4) / 1000, rel=0.01)
    assert float(stored[1]) == pytest.approx(sum(float(part) for part in parts.values()), rel=0.01)
    assert float(stored[3]) == pytest.approx(float(stored[1]) * 96 / 1000, rel=0.01)
    assert "8 trials then students" in answer.out
    assert re.search(r"no trial stopped early, \d\d% of them distilling", answer.out)
    assert "with a live teacher" in answer.out


def test_dry_run_says_when_the_teacher_will_run_live(call: Callable[..., Answer]) -> None:
    file = SPACES / "quickstart.toml"
    answer = call("run", file, "--dry-run", "--set", "knowledge.max_gb=0.001")
    assert "the teacher will run live: its answers would take 0.0" in answer.out
    assert "above knowledge.max_gb = 0.001" in answer.out
    live = ("--set", "knowledge.mode=live")
    assert "the teacher runs live; 8 trials take" in call("run", file, "--dry-run", *live).out
    fresh = ("--set", "scenes.views=fresh")
    assert "the teacher runs live; 8 trials take" in call("run", file, "--dry-run", *fresh).out
    check_refusal(call("run", file, *fresh, "--set", "knowledge.mode=stored"), "scenes.views", "knowledge.mode")


def test_dry_run_needs_no_data_set(call: Callable[..., Answer], tmp_path: Path) -> None:
    settings = ("scenes.dataset=folder", f"scenes.root={tmp_path / 'nowhere'}")
    answer = call(
        "run", SPACES / "quickstart.toml", "--dry-run", *(part for value in settings for part in ("--set", value))
    )
    assert (answer.code, "# knowledge: not estimated without the data set: " in answer.out) == (0, True)


def spoil_mask(root: Path, change: Callable[[Path], None]) -> None:
    change(sorted((root / "masks").iterdir())[0])


def odd_size(mask: Path) -> None:
    cv2.imwrite(str(mask), np.zeros((5, 5), np.uint8))


def unknown_id(mask: Path) -> None:
    labels = cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE)
    assert labels is not None
    labels[0, 0] = 77
    cv2.imwrite(str(mask), labels)


def cut_short(mask: Path) -> None:
    picture = Path(str(mask).replace("masks", "images"))
    picture.write_bytes(picture.read_bytes()[:200])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (Path.unlink, ("road000", "mask")),
        (odd_size, ("road000", "5")),
        (unknown_id, ("road000", "77")),
        (cut_short, ("road000.png",)),
    ],
)
def test_bad_scenes_are_refused_before_anything_is_stored(
    call: Callable[..., Answer], own_roads: Path, tmp_path: Path, change: Callable[[Path], None], words: tuple[str, ...]
) -> None:
    spoil_mask(own_roads, change)
    # Every drive is looked at, whichever split it falls into.
    tree = tiny_tree(own_roads, scenes={"val_groups": ["drive1"], "test_groups": ["drive2"]})
    file = tmp_path / "study.toml"
    file.write_text(tomli_w.dumps(tree))
    answer = call("run", file, "--study", tmp_path / "study")
    check_refusal(answer, *words)
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("change", [Path.unlink, lambda lanes: lanes.write_text("1 2 3\n")])
def test_lanes_that_the_objective_cannot_read_are_refused_before_anything_is_stored(
    call: Callable[..., Answer], tmp_path: Path, change: Callable[[Path], object]
) -> None:
    root = tmp_path / "culane"
    draw_data_set(root, "culane", draw_order("culane", 10, 0, 59, 164))
    first = (root / "list/val_gt.txt").read_text().split()[0].lstrip("/").replace(".jpg", ".lines.txt")
    change(root / first)
    file = tmp_path / "study.toml"
    for metric, words in (("val/f1", (first,)), ("val/miou", ("training.batch_size",))):
        tree = tiny_tree(root, scenes={"dataset": "culane"}, search={"objectives": [metric]})
        tree["training"]["batch_size"] = 500  # refused after the scenes, before any cluster
        file.write_text(tomli_w.dumps(tree))
        check_refusal(call("run", file, "--study", tmp_path / "study"), *words)
    assert not (tmp_path / "study").exists()


def check_refusal(answer: Answer, *words: str) -> None:
    assert answer.code == 2, answer
    lines = answer.error.strip().splitlines()
    assert len(lines) == 1, answer.error
    assert lines[0].startswith("intra-search: ")
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], ("Missing argument 'STUDY.toml'", "see intra-search run --help")),
        (["run", "study.toml", "--nope"], ("No such option: --nope", "see intra-search run --help")),
        (["run", "study.toml", "--takeover=3"], ("--takeover", "does not take a value")),
        (["frobnicate"], ("No such command 'frobnicate'", "see intra-search --help")),
    ],
)
def test_a_wrong_call_is_one_line(call: Callable[..., Answer], arguments: list[str], words: tuple[str, ...]) -> None:
    check_refusal(call(*arguments), *words)


def test_a_study_needs_a_place(call: Callable[..., Answer], roads: Path, tmp_path: Path) -> None:
    file = write_study(tmp_path / "study.toml", roads)
    check_refusal(call("run", file), "--study", "needed unless --dry-run is given")


def test_a_bare_call_is_help_and_its_exit_code_says_so(call: Callable[..., Answer]) -> None:
    answer = call()
    assert (answer.code, answer.error) == (2, "")
    assert "Usage: intra-search" in answer.out


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["training.epoch=3"], ("training.epoch", "unknown setting", "epochs")),
        (['training.epochs="3"'], ("training.epochs", "integer", "'3'")),
        (["scenes.val_groups=['nowhere']"], ("nowhere", "drive0")),
        (["scenes.root=/no/such/folder"], ("/no/such/folder",)),
        (["training.batch_size=500"], ("training.batch_size", "500")),
        (["teacher.init=/no/such/checkpoint"], ("teacher.init", "/no/such/checkpoint")),
        (["student.network=unet"], ("student.network", "erfnet")),
        (["distill.affinity.orders=[1, 7]"], ("distill.affinity", "subset of 1..6", "[1, 7]")),
        (["distill.affinity.kernel_size=4"], ("distill.affinity", "kernel_size must be odd", "4")),
        (
            ["distill.layers=[['block9', 'block3']]"],
            ("distill.layers", "block9", "student erfnet", "block1, block2, block3"),
        ),
        (
            ["distill.layers=[['block2', 'layer4']]"],
            ("distill.layers", "layer4", "teacher pspnet_resnet18", "block1", "block5"),
        ),
        (["distill.layers=[]"], ("distill.layers", "add a pair")),
        (["distill.sad.weight=1", "distill.sad.blocks=['block1', 'block7']"], ("distill.sad.blocks", "block7")),
        (["distill.dks.weight=1", "distill.dks.blocks=['up']"], ("distill.dks.blocks", "'up'", "block1, block2")),
        (["distill.fsp.weight=1"], ("distill.layers", "two pairs")),
    ],
)
def test_bad_settings_are_refused(
    call: Callable[..., Answer], roads: Path, tmp_path: Path, settings: list[str], words: tuple[str, ...]
) -> None:
    file = write_study(tmp_path / "study.toml", roads)
    arguments = [part for setting in settings for part in ("--set", setting)]
    check_refusal(call("run", file, "--study", tmp_path / "study", *arguments), *words)
    assert not (tmp_path / "study").exists()


def test_layers_that_one_network_of_the_space_lacks_are_refused(
    call: Callable[..., Answer], roads: Path, tmp_path: Path
) -> None:
    """`block5` exists in a student of this space, in the other it does not."""
    space = {"student.network": {"kind": "choice", "values": ["resnet18", "erfnet"]}}
    distill = {"layers": [["block5", "block5"]]}
    file = write_study(tmp_path / "study.toml", roads, space=space, points=[], distill=distill)
    for arguments in (("--study", tmp_path / "study"), ("--dry-run",)):
        check_refusal(call("run", file, *arguments), "distill.layers", "block5", "block1, block2, block3")
    assert not (tmp_path / "study").exists()
    space["student.network"]["values"] = ["resnet18"]
    options = {"student": {"network": "resnet18"}, "distill": distill}
    file = write_study(tmp_path / "study.toml", roads, space=space, points=[], **options)
    assert call("run", file, "--dry-run").code == 0


def test_a_given_teacher_of_other_classes_is_refused(call: Callable[..., Answer], roads: Path, tmp_path: Path) -> None:
    from intra_search.store.bundle import write_bundle
    from intra_search.store.storage import Storage

    classes = [{"name": "background"}, {"name": "line"}]
    about = {"network": {"name": "pspnet_resnet18", "options": {}}, "classes": classes, "epoch": 1, "history": []}
    write_bundle(Storage(str(tmp_path)), "teacher", {"network.pt": b"weights"}, about)
    file = write_study(tmp_path / "study.toml", roads, teacher={"checkpoint": str(tmp_path / "teacher")})
    words = (
        "teacher.checkpoint",
        "3 classes: background, line, dash",
        "found pspnet_resnet18 with 2",
        "train a teacher",
    )
    check_refusal(call("run", file, "--study", tmp_path / "study"), *words)
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("names", "options", "words"),
    [
        (("a.jpg", "a.jpeg"), (), ("a.jpg: names must differ before the suffix", "a.jpeg as well")),
        (("a.jpg", "a_painted.jpg"), ("--painted",), ("a_painted.jpg: names must differ", "a.jpg as well")),
    ],
)
def test_pictures_whose_labels_would_replace_each_other_are_refused(
    call: Callable[..., Answer], tmp_path: Path, names: tuple[str, ...], options: tuple[str, ...], words: tuple[str]
) -> None:
    for name in names:
        (tmp_path / name).touch()
    check_refusal(call("predict", "checkpoint", tmp_path, "--out", tmp_path / "out", *options), *words)


def test_a_local_study_cannot_be_taken_over(call: Callable[..., Answer], roads: Path, tmp_path: Path) -> None:
    file = write_study(tmp_path / "study.toml", roads)
    check_refusal(call("run", file, "--study", tmp_path / "study", "--takeover"), "--takeover", "local", "leave it out")
    assert not (tmp_path / "study").exists()


def test_a_space_that_no_setting_matches_is_refused(call: Callable[..., Answer], roads: Path, tmp_path: Path) -> None:
    space = {"student.enet.width": {"kind": "choice", "values": [0.25]}}
    file = write_study(tmp_path / "study.toml", roads, space=space, points=[])
    check_refusal(call("run", file, "--study", tmp_path / "study"), "space.student.enet.width.when", "enet")


@pytest.fixture
def stored(roads: Path, tmp_path: Path) -> Path:
    """A study as `begin` leaves it."""
    from intra_search.config.study_file import load_study
    from intra_search.scenes.scene_set import open_scenes
    from intra_search.store.study_folder import StudyFolder

    plan = load_study(write_study(tmp_path / "study.toml", roads))
    fingerprint = open_scenes(plan.settings.scenes, "train").fingerprint
    StudyFolder(str(tmp_path / "study")).begin(plan.settings.model_dump(mode="json"), plan.space.tables(), fingerprint)
    return tmp_path / "study"


def test_a_study_of_another_version_is_refused_unchanged(
    call: Callable[..., Answer], stored: Path, tmp_path: Path
) -> None:
    file = stored / "study.toml"
    file.write_text(file.read_text().replace("version = 3", "version = 99"))
    before = tree_bytes(stored)
    check_refusal(call("run", tmp_path / "study.toml", "--study", stored), "version 99")
    check_refusal(call("status", stored), "version 99")
    assert tree_bytes(stored) == before


def test_a_study_of_other_settings_or_data_is_refused_unchanged(
    call: Callable[..., Answer], stored: Path, own_roads: Path, tmp_path: Path
) -> None:
    before = tree_bytes(stored)
    changed = call("run", tmp_path / "study.toml", "--study", stored, "--set", "training.epochs=7")
    check_refusal(changed, "training.epochs", "7")
    # Another folder of the same form holds other scenes.
    (own_roads / "images/road000.png").write_bytes((own_roads / "images/road001.png").read_bytes() + b"\0" * 9)
    moved = call("run", tmp_path / "study.toml", "--study", stored, "--set", f"scenes.root={own_roads}")
    check_refusal(moved, "data set")
    assert tree_bytes(stored) == before


def test_a_folder_without_a_study_is_named(call: Callable[..., Answer], tmp_path: Path) -> None:
    for verb in ("status", "trials", "best"):
        check_refusal(call(verb, tmp_path / "nothing"), "no study there")


def test_a_study_without_a_finished_trial_has_no_pick(call: Callable[..., Answer], stored: Path) -> None:
    check_refusal(call("best", stored), "must have a finished trial")
    answer = call("status", stored, "--json")
    found: dict[str, Any] = json.loads(answer.out)
    assert found["finished"] == 0
    assert found["best"] is None


def test_a_bad_key_cannot_steer_the_terminal(call: Callable[..., Answer], tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text('[training]\n"\\u001b[2J' + "a" * 200_000 + '" = 1\n')
    answer = call("run", file, "--dry-run")
    assert answer.code == 2
    assert r"\x1b[2Jaaa" in answer.error
    assert "\x1b" not in answer.error
    assert len(answer.error) < 2000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "a\0b.toml"), r"no argument may hold a null byte, found 'a\x00b.toml'"),
        (("run", "s.toml", "--study=~nobody-here/x"), "must begin with a home folder that is known"),
        (("status", "~nobody-here/x"), "must begin with a home folder that is known"),
    ],
)
def test_arguments_that_can_be_no_path(call: Callable[..., Answer], arguments: tuple[str, ...], message: str) -> None:
    answer = call(*arguments)
    assert answer.code == 2
    assert answer.error.count("\n") == 1
    assert message in answer.error


def test_a_study_file_of_a_million_lines(call: Callable[..., Answer], tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text("".join(f"a{number} = 1\n" for number in range(1_000_000)))
    answer = call("run", file, "--dry-run")
    assert answer.code == 2
    assert "must be a file of at most 1,048,576 characters" in answer.error


def test_logged_text_cannot_steer_the_terminal() -> None:
    record = logging.LogRecord("intra_search", logging.INFO, "", 0, "Scenes in %s", ("a\x1b[2Jb\nc",), None)
    assert _TerminalFormatter("%(message)s").format(record) == "Scenes in a\\x1b[2Jb\nc"
