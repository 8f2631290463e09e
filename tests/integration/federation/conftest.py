"""Order: tests run shuffled, but the one that takes the federation away is its module's last."""

import pytest

_LAST = "test_down_and_purge_leave_nothing"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """After whoever shuffles."""
    for last in [item for item in items if item.name == _LAST]:
        rest = [item for item in items if item is not last]
        after = max((i for i, item in enumerate(rest) if item.path == last.path), default=len(rest) - 1)
        items[:] = [*rest[: after + 1], last, *rest[after + 1 :]]
