"""Hashes that name stored folders: another text behind them would make older studies unreadable."""

import hashlib

from intra_search.config.hashing import json_hash


def test_a_hash_is_that_of_the_json_text_with_sorted_keys() -> None:
    text = b'{"a": [1, 2.5, null, true], "b": "\\u00e9"}'
    assert json_hash({"b": "é", "a": (1, 2.5, None, True)}) == hashlib.sha256(text).hexdigest()


def test_a_stored_hash_keeps_its_value() -> None:
    assert json_hash([3, 64, "weights"]) == "41459fcf303b92bb7c30135bd538f7701aa46fe14dbdd09e05a903854348da55"
