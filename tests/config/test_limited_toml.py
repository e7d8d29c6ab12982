"""TOML at its edges: one error, in a moment."""

import pytest

from intra_search.config.limited_toml import MAX_CHARACTERS
from intra_search.config.parsing import json_text
from intra_search.config.study_file import parse_override, parse_study
from intra_search.errors import SettingError

DEEP = "must not nest more than 32"


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = " + "[" * 100_000 + "]" * 100_000, DEEP),
        ("name = " + "[" * 40 + "]" * 40, DEEP),
        ("a." * 100_000 + "a = 1", DEEP),
        ("[" + "'a' . " * 100_000 + "a]", DEEP),
        ("seed = " + "1" * 5000, "must fit into 64 bits, found one of thousands of digits"),
        ("seed = 0x" + "f" * 5000, "must fit into 64 bits, found one of 20000 bits"),
        ("seed = 9223372036854775808", "must fit into 64 bits, found one of 64 bits"),
        ('scenes.root = "a\\u0000b"', r"may hold a null byte, found 'a\x00b'"),
        ('[[points]]\n"student.init" = "a\\u0000b"', "may hold a null byte"),
        ("# no setting\n" * 1_000_000, f"at most {MAX_CHARACTERS:,} characters"),
    ],
    ids=lambda text: text[:20],
)
def test_the_edges_of_a_file(text: str, message: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse_study(text, "s.toml")
    assert str(caught.value).startswith("s.toml: ")
    assert message in str(caught.value)


def test_the_edges_of_an_override() -> None:
    with pytest.raises(SettingError, match="--set seed: whole numbers must fit into 64 bits"):
        parse_override("seed=" + "1" * 5000)
    with pytest.raises(SettingError, match=f"--set name: {DEEP}"):
        parse_override("name=" + "[" * 100_000)


def test_json_of_a_deep_tree() -> None:
    tree: dict[str, object] = {}
    for _ in range(100_000):
        tree = {"a": tree}
    with pytest.raises(SettingError, match="settings: must hold plain values, found deep nesting"):
        json_text(tree, "settings")


def test_a_home_that_is_not_known() -> None:
    with pytest.raises(SettingError, match="~nobody-here/data: must begin with a home folder that is known"):
        parse_study('scenes = { dataset = "folder", root = "~nobody-here/data" }', "s.toml")


@pytest.mark.timeout(20)
def test_a_long_list_takes_a_moment() -> None:
    folders = ", ".join(f'"{number}"' for number in range(80_000))
    assert len(parse_study(f"scenes.unlabelled = [{folders}]", "s.toml").settings.scenes.unlabelled) == 80_000
