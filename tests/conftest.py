"""What all tests share: the command line in a process of its own, and indexes of data sets in a folder of this run."""

from collections.abc import Iterator

import pytest

from tests.commands import command as command
from tests.commands import own_roads as own_roads
from tests.commands import roads as roads
from tests.object_storage import bucket as bucket


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads its marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on a Ray cluster come first and one after the other, as each takes all cores for itself; with several
    processes (`make test`) the others run beside them, since a cluster that starts mostly waits."""
    items.sort(key=lambda item: item.get_closest_marker("ray") is None)
    for item in items:
        if item.get_closest_marker("ray"):
            item.add_marker(pytest.mark.xdist_group("ray"))


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTRA_SEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
