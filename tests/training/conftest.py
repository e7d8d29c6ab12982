from pathlib import Path

import pytest

from tests.tiny_study import write_roads


@pytest.fixture(scope="session")
def roads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("roads")
    write_roads(root)
    return root
