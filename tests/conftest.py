"""What all tests share: indexes of data sets go to a folder of this run, never to the user's cache."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTRA_SEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
