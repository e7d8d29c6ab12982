"""What all tests share: the command line in a process of its own, and indexes of data sets in a folder of this run."""

from collections.abc import Iterator

import pytest

from tests.commands import command as command
from tests.commands import own_roads as own_roads
from tests.commands import roads as roads
from tests.object_storage import bucket as bucket


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on a Ray cluster come first: they take longest, and mostly wait, so that others run beside them."""
    items.sort(key=lambda item: item.get_closest_marker("ray") is None)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTRA_SEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
