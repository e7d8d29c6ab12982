"""Settings: what is refused, and that the message names path, rule, value and remedy in one line."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from intra_search.config.base import Settings
from intra_search.config.parsing import parse_settings, with_overrides
from intra_search.config.study import StudySettings
from intra_search.config.study_file import load_study, parse_override, parse_study
from intra_search.config.traits import SettingInfo, all_settings
from intra_search.errors import IntraSearchError, SettingError


def groups(model: type[Settings], prefix: str = "") -> Iterator[tuple[str, type[Settings]]]:
    """Every group of settings, with its path."""
    yield prefix.rstrip("."), model
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            yield from groups(field.annotation, f"{prefix}{name}.")


GROUPS = dict(groups(StudySettings))


def refused(text: str, *overrides: str) -> str:
    """The one line with which a study file is refused."""
    with pytest.raises(IntraSearchError) as caught:
        parse_study(text, "my.toml", overrides)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_groups_are_found() -> None:
    assert {"", "scenes", "scenes.augment", "teacher.training", "distill.affinity", "search.halving"} <= set(GROUPS)


@pytest.mark.parametrize("group", GROUPS)
def test_unknown_key_is_refused_at_every_level_and_the_known_ones_are_listed(group: str) -> None:
    line = refused(f"[{group}]\nno_such = 1" if group else "no_such = 1")
    path = f"{group}.no_such" if group else "no_such"
    assert line.startswith(f"my.toml: {path}: unknown setting, found 'no_such'; known here: ")
    assert all(name in line for name in GROUPS[group].model_fields)


@pytest.mark.parametrize("group", GROUPS)
def test_unknown_override_is_refused_at_every_level(group: str) -> None:
    path = f"{group}.no_such" if group else "no_such"
    line = refused("", f"{path}=1")
    assert line.startswith(f"{path}: unknown setting, found 'no_such'; {group or 'a study'} has: ")
    assert all(name in line for name in GROUPS[group].model_fields)


@pytest.mark.parametrize("group", GROUPS)
def test_every_field_is_explained_or_plain_and_every_group_frozen(group: str) -> None:
    model = GROUPS[group]
    assert model.model_config["frozen"]
    assert model.model_config["extra"] == "forbid"
    assert model.__doc__


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        ("seed", -1, "greater than or equal to 0"),
        ("seed", 1.0, "valid integer"),
        ("seed", "one", "valid integer"),
        ("seed", True, "valid integer"),
        ("name", 3, "valid string"),
        ("scenes.dataset", "cityscapes", "'synthetic', 'apolloscape', 'culane', 'llamas' or 'folder'"),
        ("scenes.height", 164, "multiple of 8"),
        ("scenes.height", 24, "greater than or equal to 32"),
        ("scenes.crop_top", 1.5, "scenes.crop_top: must be 'paper' or in [0, 1), found 1.5"),
        ("scenes.root", "somewhere", "scenes.root: has no meaning for drawn scenes"),
        ("scenes.dataset", "folder", "scenes.root: must name the folder of the folder data set"),
        ("scenes.augment.scale", [2.0, 1.0], "0.25 <= low <= high <= 4"),
        ("scenes.augment.rotation", 90.0, "less than or equal to 45"),
        ("scenes.val_fraction", 1.0, "less than 1"),
        ("training.learning_rate", 0.0, "greater than or equal to 0.00000001"),
        ("training.learning_rate", float("nan"), "finite"),
        ("training.learning_rate", float("inf"), "finite"),
        ("training.clip_gradient_norm", -1.0, "greater than or equal to 0.000001"),
        ("training.compile", 1, "valid boolean"),
        ("student.erfnet.blocks", [5], "Field required"),
        ("student.resnet18.width", "wide", "valid number"),
        ("student.enet.width", 5.0, "less than or equal to 4"),
        ("student.network", "unet", "student.network: must be one of erfnet, enet, resnet18, found 'unet'"),
        ("distill.affinity.orders", [], "non-empty subset of 1..6"),
        ("distill.affinity.orders", [1, 1], "non-empty subset of 1..6"),
        ("distill.affinity.orders", [7], "non-empty subset of 1..6"),
        ("distill.affinity.kernel_size", 4, "must be odd, got 4"),
        ("distill.layers", [["block2"]], "Field required"),
        ("distill.preset", ["paper"], "Input should be"),
        ("distill.preset", {"paper": 1}, "Input should be"),
        ("distill.affinity.weight", -0.5, "greater than or equal to 0"),
        ("search.num_trials", 0, "greater than or equal to 1"),
        ("search.objectives", [], "exactly one metric"),
        ("search.halving.factor", 1, "greater than or equal to 2"),
        ("resources.gpus_per_worker", "all", "valid integer or Input should be 'auto'"),
        ("training", 3, "object"),
        ("scenes.augment", [1], "object"),
    ],
)
def test_wrong_value_is_refused(path: str, value: Any, rule: str) -> None:
    with pytest.raises(SettingError) as caught:
        with_overrides(StudySettings(), {path: value}, "my.toml")
    line = str(caught.value)
    # A rule between settings names the one to change; a wrong item of a list its position.
    places = (f"{path}:", f"{path}.0", f"{path}.1", f"{path.rpartition('.')[0]}:", rule)
    assert line.startswith(tuple(f"my.toml: {place}" for place in places))
    assert rule in line
    assert ", found " in line
    assert "; " in line


FACTORS = [
    setting
    for setting in all_settings(StudySettings)
    if "float" in str(setting.field.annotation) and "tuple" not in str(setting.field.annotation)
]


@pytest.mark.parametrize("setting", FACTORS, ids=lambda setting: setting.path)
def test_no_float_is_without_bounds(setting: SettingInfo) -> None:
    """What a computation in float32 turns into 0, infinity or nothing is refused, also beside a space."""
    with pytest.raises(SettingError):
        with_overrides(StudySettings(), {setting.path: 1e308})
    if setting.path.endswith(("weight", "temperature", "learning_rate", "clip_gradient_norm", "cpus_per_worker")):
        with pytest.raises(SettingError):
            with_overrides(StudySettings(), {setting.path: 5e-324})


COUNTS = [
    setting
    for setting in all_settings(StudySettings)
    if str(setting.field.annotation).startswith(("<class 'int'>", "typing.Annotated[int"))
    and not setting.path.startswith("search.")  # trials may be as many as one likes
    and not setting.path.endswith("seed")
]


@pytest.mark.parametrize("setting", COUNTS, ids=lambda setting: setting.path)
def test_no_size_is_without_bounds(setting: SettingInfo) -> None:
    """What no machine can hold is refused at once."""
    with pytest.raises(SettingError, match="less than or equal to"):
        with_overrides(StudySettings(), {setting.path: 8 * 10**12})


@pytest.mark.parametrize("path", ["distill.layer_weights", "distill.affinity.order_weights"])
@pytest.mark.parametrize("value", [5e-324, 1e308])
def test_no_list_of_weights_is_without_bounds(path: str, value: float) -> None:
    with pytest.raises(SettingError, match=r"weights\.0: "):
        with_overrides(StudySettings(), {path: [value], "distill.affinity.orders": [1]})


def test_first_wrong_setting_is_named_and_the_others_counted() -> None:
    line = refused("seed = -1\n[training]\nepochs = 0\nbatch_size = 0")
    assert line.startswith("my.toml: seed: ")
    assert line.endswith("(and 2 more)")


def test_dates_are_refused_wherever_they_stand() -> None:
    for text in ("name = 2024-05-01", "[student.enet]\nblocks = [5, 10:30:00]", "[space.x]\nwhen = {a = 2024-05-01}"):
        assert "no setting is a date or a time" in refused(text)


def test_toml_error_names_file_and_line() -> None:
    assert refused("seed = 1\nname = ").startswith("my.toml: must be valid TOML, found ")
    assert "line 2" in refused("seed = 1\nname = \n")


def test_unreadable_file_is_named(tmp_path: Any) -> None:
    missing = tmp_path / "no.toml"
    with pytest.raises(SettingError, match=r"no\.toml: must be a readable TOML file, found No such file"):
        load_study(missing)
    (tmp_path / "latin.toml").write_bytes(b'name = "caf\xe9"')
    with pytest.raises(SettingError, match="not UTF-8 text"):
        load_study(tmp_path / "latin.toml")
    with pytest.raises(SettingError, match="directory"):
        load_study(tmp_path)


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("training.epochs=4", "training.epochs", 4),
        (" training.epochs = 4 ", "training.epochs", 4),
        ("training.learning_rate=1e-4", "training.learning_rate", 1e-4),
        ("training.amp=off", "training.amp", "off"),
        ("training.amp='off'", "training.amp", "off"),
        ("student.enet.blocks=[3, 4]", "student.enet.blocks", [3, 4]),
        ("training.compile=true", "training.compile", True),
        ("scenes.root=/data/a=b", "scenes.root", "/data/a=b"),
        ("scenes.root=2024-05-01", "scenes.root", "2024-05-01"),
        ("scenes.root=2024-05-01T10:00:00Z", "scenes.root", "2024-05-01T10:00:00Z"),
        ("scenes.augment={rotation = 3.0}", "scenes.augment", {"rotation": 3.0}),
    ],
)
def test_override_is_parsed_as_toml_and_plain_words_need_no_quotes(text: str, path: str, value: Any) -> None:
    parsed = parse_override(text)
    assert parsed == (path, value)
    assert type(parsed[1]) is type(value)


@pytest.mark.parametrize(
    "text", ["training.epochs", "=4", "", "name=", "student.enet.blocks=[3, 4", 'name="a', "name={"]
)
def test_override_that_cannot_be_read_is_refused(text: str) -> None:
    assert refused("", text).startswith("--set ")


def test_override_beats_the_file_and_keeps_its_neighbours() -> None:
    plan = parse_study("[training]\nepochs = 3\nbatch_size = 2", "f", ["training.epochs=5", "scenes.views=4"])
    assert (plan.settings.training.epochs, plan.settings.training.batch_size) == (5, 2)
    assert plan.settings.scenes.views == 4


def test_override_below_something_that_is_no_table() -> None:
    assert "training must be a table in the file, found 3" in refused("training = 3", "training.epochs=4")
    assert "no settings below it" in refused("", "seed.x=4")
    assert "no settings below it" in refused("", "student.enet.blocks.0=4")


def test_override_of_a_space_is_no_setting() -> None:
    assert "unknown setting, found 'space'" in refused("", "space.x=1")


def test_settings_survive_their_json_form() -> None:
    settings = parse_settings({"student": {"enet": {"blocks": [2, 3]}}, "scenes": {"augment": {"scale": [0.5, 2]}}})
    assert parse_settings(settings.model_dump(mode="json")) == settings
    assert parse_settings(json.loads(settings.model_dump_json())) == settings


def test_overriding_validates_again_and_leaves_the_original() -> None:
    base = StudySettings()
    changed = with_overrides(base, {"distill.affinity.orders": [4, 1], "training.clip_gradient_norm": None})
    assert changed.distill.affinity.orders == (4, 1)
    assert base == StudySettings()


@pytest.mark.parametrize(
    ("scenes", "views", "mode"),
    [
        ({}, 1, "stored"),  # all views of a scene would be the same
        ({"augment": {"rotation": 5.0}}, 4, "stored"),
        ({"augment": {"rotation": 5.0}, "views": 2}, 2, "stored"),
        ({"augment": {"rotation": 5.0}, "views": "fresh"}, "fresh", "live"),
    ],
)
def test_views_and_mode_follow_from_what_is_drawn(scenes: dict[str, Any], views: int | str, mode: str) -> None:
    settings = parse_settings({"scenes": scenes})
    assert (settings.scenes.views, settings.knowledge.mode) == (views, mode)
    again = with_overrides(settings, {"scenes.augment.rotation": 0.0})
    assert (again.scenes.views, again.knowledge.mode) == (views, mode)  # what was resolved stays


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("keep_epochs = [0]", "teacher.keep_epochs"),
        ("keep_epochs = [2, 5]\n[teacher.training]\nepochs = 4", "at most teacher.training.epochs = 4, found 5"),
        ('keep_epochs = [2]\ncheckpoint = "/x"', "needs a teacher that is trained here, found teacher.checkpoint"),
    ],
)
def test_epochs_of_the_teacher_that_cannot_be_kept_are_refused(text: str, message: str) -> None:
    assert message in refused(f"[teacher]\n{text}")
