"""Malformed inputs, made from good ones: changed bytes, and changed trees of JSON or TOML."""

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

EDGES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    -(2**63),
    10**30,
    0.5,
    -0.0,
    1e308,
    5e-324,
    1e-9,
    "",
    "x",
    "../../x",
    "/etc/passwd",
    "a\x00b",
    "\x1b[31mred",
    "~nobody/x",
    "é" * 300,
    [],
    [[]],
    {},
    {"": {}},
    [1.5],
    "nan",
]
"""Values at which code that trusts its input breaks."""
PIECES = [
    b"\x00",
    b"\xff\xff\xff\xff",
    b"../",
    b"\n",
    b"\r\n\r\n",
    b"[",
    b"]" * 50,
    b"-1",
    b"1e999",
    b"nan",
    b"\x1b[2J",
    b"=" * 9,
]
values = st.sampled_from(EDGES) | st.integers() | st.floats(allow_nan=True) | st.text(max_size=12)


@st.composite
def mutated_bytes(draw: st.DrawFn, good: bytes) -> bytes:
    """Some bytes replaced, inserted, removed or repeated; or cut short."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        end = min(len(data), at + draw(st.sampled_from([1, 2, 4, 16, 200])))
        kind = draw(st.sampled_from(["replace", "insert", "remove", "repeat", "cut"]))
        if kind == "replace":
            data[at:end] = draw(st.binary(min_size=end - at, max_size=end - at))
        elif kind == "insert":
            data[at:at] = draw(st.sampled_from(PIECES) | st.binary(max_size=8))
        elif kind == "remove":
            del data[at:end]
        elif kind == "repeat":
            data[at:at] = data[at:end] * draw(st.integers(1, 5))
        else:
            del data[at:]
    return bytes(data)


@st.composite
def mutated_tree(draw: st.DrawFn, good: Any) -> Any:
    """A tree in which up to three nodes have another value, are gone, or stand in another's place."""
    root = [copy.deepcopy(good)]
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(root))
        parent, key = places[draw(st.integers(0, len(places) - 1))]
        kind = draw(st.sampled_from(["value", "value", "remove", "swap", "key"]))
        if kind == "remove" and parent is not root:
            del parent[key]
        elif kind == "swap":
            other, place = places[draw(st.integers(0, len(places) - 1))]
            parent[key] = copy.deepcopy(other[place])
        elif kind == "key" and isinstance(parent, dict):
            parent[draw(st.text(max_size=8))] = parent.pop(key)
        else:
            parent[key] = copy.deepcopy(draw(values))  # the next change may go into it
    return root[0]


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Container and key of every node below this one."""
    for key, below in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(below, dict | list):
            yield from _places(below)


def mutated_json(good: bytes) -> st.SearchStrategy[bytes]:
    """A JSON file with changed bytes, or well-formed with another content."""
    other = mutated_tree(json.loads(good)).map(lambda tree: json.dumps(tree).encode())
    return mutated_bytes(good) | other
