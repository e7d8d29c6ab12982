"""What all tests share: the command line in a process of its own, and indexes of data sets in a folder of this run."""

from collections.abc import Iterator

import pytest

from tests.commands import command as command
from tests.commands import own_roads as own_roads
from tests.commands import roads as roads
from tests.object_storage import bucket as bucket


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs the tests on a Ray cluster one after another in one process: two clusters would compete for two cores. They
    mostly wait, so other tests run beside them. Each runs several commands, so each gets more time."""
    for item in items:
        if item.get_closest_marker("ray") is not None:
            item.add_marker(pytest.mark.xdist_group("ray"))
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTRA_SEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
