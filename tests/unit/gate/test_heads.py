"""Heads that others hold: signed as they leave, read from what anybody may have written."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.contract.errors import InputError
from flame_fl.gate.audit import GENESIS
from flame_fl.gate.heads import MOST_HEADS, Head, held_in, is_signed_by, sign_head, witnessed_in
from tests.support.chains import KEY, OTHER_KEY, OTHER_PUBLIC, PUBLIC

ONE, TWO = "a1" * 32, "b2" * 32
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=70) | st.sampled_from([ONE, TWO, "DIZ-1"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
HEADS = st.sampled_from(["heads_nodes", "heads", "heads_signatures"])


class TestSigning:
    def test_a_head_that_leaves_is_signed_by_its_node(self) -> None:
        """And by no other, and no other head."""
        signature = sign_head(KEY, ONE)
        assert is_signed_by(Head("", ONE, signature), PUBLIC)
        assert not is_signed_by(Head("", TWO, signature), PUBLIC)
        assert not is_signed_by(Head("", ONE, signature), OTHER_PUBLIC)
        assert not is_signed_by(Head("", ONE, sign_head(OTHER_KEY, ONE)), PUBLIC)

    def test_fits_into_what_a_hub_keeps(self) -> None:
        """It cuts texts at 500 characters."""
        assert len(sign_head(KEY, ONE)) < 500

    @pytest.mark.parametrize("signature", ["", "x", "\ud800", "-----BEGIN SSH SIGNATURE-----"])
    def test_anything_else_is_no_signature(self, signature: str) -> None:
        assert not is_signed_by(Head("", ONE, signature), PUBLIC)


class TestFromTheHub:
    def test_three_lists_are_heads(self) -> None:
        signature = sign_head(KEY, ONE)
        told = {"heads_nodes": ["DIZ-1", "DIZ-2"], "heads": [ONE, TWO], "heads_signatures": [signature, ""]}
        assert witnessed_in(told) == (Head("DIZ-1", ONE, signature), Head("DIZ-2", TWO))

    def test_signatures_may_be_missing(self) -> None:
        assert witnessed_in({"heads_nodes": ["DIZ-1"], "heads": [ONE]}) == (Head("DIZ-1", ONE),)

    @pytest.mark.parametrize(
        "told",
        [
            {},
            {"heads_nodes": ["DIZ-1"]},
            {"heads_nodes": "DIZ-1", "heads": ONE},
            {"heads_nodes": ["DIZ-1", "DIZ-2"], "heads": [ONE]},
            {"heads_nodes": ["DIZ-1"] * (MOST_HEADS + 1), "heads": [ONE] * (MOST_HEADS + 1)},
        ],
    )
    def test_what_is_no_such_lists_or_too_long_is_none(self, told: dict[str, object]) -> None:
        assert witnessed_in(told) == ()

    @pytest.mark.parametrize("head", [ONE.upper(), ONE[1:], ONE + "\n", GENESIS, "", 1, None])
    @pytest.mark.parametrize("node", ["DIZ-1", "", "a\x1b[31m", "\u202ex", "x" * 65, 1, None])
    def test_what_is_malformed_is_left_out(self, node: object, head: object) -> None:
        """A name that could paint a terminal, a head that is none; what stands beside it stays."""
        told = {"heads_nodes": [node, "DIZ-2"], "heads": [head, TWO]}
        assert witnessed_in(told) == (Head("DIZ-2", TWO),)

    def test_a_signature_that_is_too_long_is_dropped_alone(self) -> None:
        told = {"heads_nodes": ["DIZ-1"], "heads": [ONE], "heads_signatures": ["x" * 501]}
        assert witnessed_in(told) == (Head("DIZ-1", ONE),)

    @given(st.dictionaries(HEADS, ANYTHING | st.lists(st.sampled_from([ONE, "DIZ-1"]), max_size=3)))
    def test_anything_is_heads_or_nothing_never_a_crash(self, told: dict[str, object]) -> None:
        assert all(len(h.head) == 64 and h.node.isprintable() for h in witnessed_in(told))


class TestFromFiles:
    @pytest.mark.parametrize(
        ("text", "heads"),
        [
            (f"{ONE}\n\n DIZ-1  {TWO}\n# no head\n", [Head("", ONE), Head("DIZ-1", TWO)]),
            (
                json.dumps({"nodes": [{"name": "DIZ-1", "audit_head": ONE}, {"name": "x"}, 1]}, indent=1),
                [Head("DIZ-1", ONE)],
            ),
            (json.dumps({"nodes": [{"name": "DIZ-1", "audit_head": ONE}]}), [Head("DIZ-1", ONE)]),
            (
                json.dumps({"kind": "reply", "name": "n", "flame": {"audit_head": ONE, "audit_signature": "s"}})
                + "\n"
                + json.dumps({"kind": "reply", "name": "n", "flame": {"node": "DIZ-2", "audit_head": TWO}})
                + "\n"
                + json.dumps({"kind": "reply", "name": "n", "flame": {}}),
                [Head("n", ONE, "s"), Head("DIZ-2", TWO)],
            ),
            (
                json.dumps({"line": "export", "node": "DIZ-1"})
                + "\n"
                + json.dumps({"line": "witnessed", "node": "DIZ-2", "head": ONE, "signature": "s"})
                + "\n"
                + json.dumps({"line": "end", "head": TWO}),
                [Head("DIZ-2", ONE, "s"), Head("DIZ-1", TWO)],
            ),
            ("", []),
        ],
        ids=["lines", "result.json", "result.json in one line", "events.jsonl", "export", "empty"],
    )
    def test_each_kind_is_read(self, text: str, heads: list[Head], tmp_path: Path) -> None:
        (tmp_path / "file").write_text(text)
        assert list(held_in(tmp_path / "file")) == heads

    def test_a_runs_folder_is_its_files(self, tmp_path: Path) -> None:
        (tmp_path / "result.json").write_text(json.dumps({"nodes": [{"name": "DIZ-1", "audit_head": ONE}]}))
        (tmp_path / "events.jsonl").write_text(json.dumps({"kind": "reply", "name": "x", "flame": {"audit_head": TWO}}))
        assert list(held_in(tmp_path)) == [Head("DIZ-1", ONE), Head("x", TWO)]

    def test_nothing_to_read_is_bad_input(self, tmp_path: Path) -> None:
        for path in (tmp_path, tmp_path / "none"):
            with pytest.raises(InputError):
                list(held_in(path))

    @given(raw=st.binary(max_size=300) | ANYTHING.map(lambda value: json.dumps(value).encode()))
    def test_anything_is_heads_or_nothing_never_a_crash(
        self, raw: bytes, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        file = tmp_path_factory.getbasetemp() / "anything"
        file.write_bytes(raw)
        assert all(len(h.head) == 64 for h in held_in(file))
