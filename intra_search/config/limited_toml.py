"""TOML within limits that no study file comes near, so that none costs more than a moment."""

import re
import tomllib
from collections.abc import Iterable
from typing import Any

from intra_search.errors import SettingError

MAX_CHARACTERS = 2**20
MAX_DEPTH = 32
"""Tables and lists within each other."""

_PART = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*"""
# Parsing a key takes the square of its parts: minutes for 50,000.
_LONG_KEY = re.compile(rf"(?<![\w-])(?:{_PART}){{{MAX_DEPTH + 1}}}")


def parse_limited(text: str, where: str) -> dict[str, Any]:
    """`tomllib.loads` for text that anybody may have written; `where` names it in errors.

    Raises `TOMLDecodeError` for what is no TOML, `SettingError` for TOML that no setting can mean.
    """
    if len(text) > MAX_CHARACTERS:
        rule = f"must be a file of at most {MAX_CHARACTERS:,} characters"
        raise SettingError(where, rule, "a longer one", "check that it is a study file")
    if _LONG_KEY.search(text):
        raise _too_deep(where)
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise _too_deep(where) from None
    except ValueError:  # Python reads no decimal number of over 4300 digits
        raise _too_large(where, "one of thousands of digits") from None
    _check_values(tree, where)
    return tree


def _check_values(tree: dict[str, Any], where: str) -> None:
    """Level by level: recursion would fail on what is refused here."""
    level: list[Any] = [tree]
    for _ in range(MAX_DEPTH):
        for value in level:
            _check_value(value, where)
        level = [item for value in level for item in _below(value)]
        if not level:
            return
    raise _too_deep(where)


def _below(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else ()


def _check_value(value: Any, where: str) -> None:
    if isinstance(value, int) and value.bit_length() > 63:
        raise _too_large(where, f"one of {value.bit_length()} bits")
    if isinstance(value, str) and "\0" in value:
        raise SettingError(where, "no name or value may hold a null byte", repr(value), "remove it")


def _too_deep(where: str) -> SettingError:
    rule = f"must not nest more than {MAX_DEPTH} tables and lists"
    return SettingError(where, rule, "more", "no setting needs them; correct it")


def _too_large(where: str, found: str) -> SettingError:
    return SettingError(where, "whole numbers must fit into 64 bits", found, "write a smaller one")
