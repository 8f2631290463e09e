"""A page of a node, with an account for each role."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from flame_fl.node.web.roles import Role
from tests.support.web import WebLab, make_web_node


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[WebLab]:
    """`maria` signs with the key at the node, `otto` with his own; an administrator, an auditor."""
    lab = WebLab(make_web_node(tmp_path))
    with lab.closing:
        lab.account("maria", node_key=True)
        lab.account("otto")
        lab.account("anna", Role.ADMIN)
        lab.account("rita", Role.AUDITOR)
        yield lab
