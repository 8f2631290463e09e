"""Answers by DIZ where they can be read, and none of them where they are masked."""

import numpy as np
import pytest
from flame_strategies.approval import GATE_RECORD
from flame_strategies.secure_replies import MASKED_SITES
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict
from gene_expression import by_site

from flame_fl.flower.identity import take_identity


class Replies:
    """Of a grid only what `ask_each` uses: node n answers n, node 3 refuses."""

    def __init__(self, *, masked):
        self.masked, self.asked = masked, []

    def send_and_receive(self, messages, *, timeout):
        return [self.answer(message) for message in messages]

    def answer(self, message):
        node = message.metadata.dst_node_id
        self.asked.append(node)
        if node == 3:
            return Message(Error(901, "not approved"), reply_to=message)
        said = {"node": f"DIZ-{node}"} | ({MASKED_SITES: 2} if self.masked else {})
        content = {"sums": ArrayRecord({"n": Array(np.array([node]))}), GATE_RECORD: ConfigRecord(said)}
        return Message(RecordDict(content), reply_to=message)


@pytest.mark.parametrize("masked", [False, True])
def test_by_site_only_where_answers_can_be_read(masked, monkeypatch):
    """The sum is there in any case, over those that answered."""
    take_identity(run_id=1)
    monkeypatch.setattr(by_site, "secure", lambda grid: grid)
    grid = Replies(masked=masked)
    found = by_site.ask_each(grid, (2, 1, 3, 2), 5.0)("query.survival_curve", {"of": {"of_split": "all"}})
    assert grid.asked == [1, 2, 3]
    assert found.total["n"] == [3]
    assert (found.sites, found.refused) == (2, 1)
    expected = {} if masked else {"DIZ-1": 1, "DIZ-2": 2}
    assert {name: int(arrays["n"][0]) for name, arrays in found.by_site.items()} == expected
