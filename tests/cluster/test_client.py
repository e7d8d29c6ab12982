"""A connection through a Ray client: tried again where Ray's head lost the client's server, and only there."""

from typing import Any

import pytest
import ray

from intra_search.cluster.client import CLIENT_ATTEMPTS, _connect_client
from intra_search.errors import ClusterError

LOST = "Initialization failure from server:\nRuntimeError: Starting Ray client server failed. See the logs."


@pytest.mark.parametrize(
    ("error", "failures", "attempts", "connects"),
    [
        (ConnectionAbortedError(LOST), 2, 3, True),
        (ConnectionAbortedError(LOST), CLIENT_ATTEMPTS, CLIENT_ATTEMPTS, False),
        (ConnectionError("nobody there"), 1, 1, False),
    ],
)
def test_a_lost_server_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, error: Exception, failures: int, attempts: int, connects: bool
) -> None:
    asked = []

    def init(**options: Any) -> None:
        asked.append(options["address"])
        if len(asked) <= failures:
            raise error

    monkeypatch.setattr(ray, "init", init)
    if connects:
        _connect_client("ray://head:1")
    else:
        with pytest.raises(ClusterError, match=r"--address ray://head:1: must be a running Ray cluster"):
            _connect_client("ray://head:1")
    assert asked == ["ray://head:1"] * attempts
