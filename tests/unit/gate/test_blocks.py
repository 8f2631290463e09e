"""Blocks of patients, on real tables: who is in which depends on the id, the run and the node's key alone."""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flame_fl.contract.data_terms import DataStore
from flame_fl.data.layout import Layout, Wanted
from flame_fl.data.offer import Offer
from flame_fl.gate.blocks import Block, fingerprint, is_empty, run_key, split
from flame_fl.gate.cohorts import StoreUse

STATED = DataStore(table="samples.parquet", patient_id="patient_id", columns=("*",))
KEY = run_key(b"k" * 32, "7")
K = 8


def use_of(folder: Path, patients: Sequence[Any]) -> StoreUse:
    """A store of these patients' samples, one row each."""
    folder.mkdir()
    table = pa.table({"patient_id": patients, "value": list(range(len(patients)))})
    pq.write_table(table, folder / "samples.parquet")
    offer = Offer("cohort", folder, "5" * 64, Layout("table", "samples.parquet", "patient_id"))
    return StoreUse(offer, STATED, Wanted(), offer.cohort(STATED, date(2026, 1, 1)))


def block_by_patient(uses: Mapping[str, StoreUse], patients: Mapping[str, Sequence[Any]]) -> dict[Any, set[int]]:
    """In which blocks each patient is, over all stores."""
    found: dict[Any, set[int]] = {}
    for number, block in enumerate(split(uses, K, KEY)):
        for name, rows in block.items():
            for row in rows:
                found.setdefault(patients[name][row], set()).add(number)
    return found


def test_every_record_is_in_one_block_and_a_patient_s_are_together(tmp_path: Path) -> None:
    patients = [f"p{n % 40}" for n in range(120)]
    uses = {"cohort": use_of(tmp_path / "a", patients)}
    parts = [block["cohort"] for block in split(uses, K, KEY)]
    assert sorted(np.concatenate(parts)) == list(range(120))
    assert {len(blocks) for blocks in block_by_patient(uses, {"cohort": patients}).values()} == {1}


def test_the_same_id_is_in_the_same_block_of_every_store(tmp_path: Path) -> None:
    first, second = [f"p{n}" for n in range(60)], [f"p{n}" for n in range(59, 20, -1)]
    uses = {"cohort": use_of(tmp_path / "a", first), "genomes": use_of(tmp_path / "b", second)}
    found = block_by_patient(uses, {"cohort": first, "genomes": second})
    assert {len(blocks) for blocks in found.values()} == {1}


def test_an_id_is_the_same_however_a_table_writes_it(tmp_path: Path) -> None:
    """As for opt-outs: a column of numbers has lost its leading zeros, and another table has them. One patient in two
    blocks would change two of them."""
    text, numbers = [f"{n:04d}" for n in range(60)], list(range(60))
    uses = {"cohort": use_of(tmp_path / "a", text), "genomes": use_of(tmp_path / "b", numbers)}
    found = block_by_patient(uses, {"cohort": [int(t) for t in text], "genomes": numbers})
    assert {len(blocks) for blocks in found.values()} == {1}


def test_an_id_is_the_same_however_an_accent_or_a_blank_is_written(tmp_path: Path) -> None:
    one, other = ["Ren\u00e9 1", "p2"], ["Rene\u0301 1", " p2 "]
    uses = {"cohort": use_of(tmp_path / "a", one), "genomes": use_of(tmp_path / "b", other)}
    found = block_by_patient(uses, {"cohort": one, "genomes": one})
    assert {len(blocks) for blocks in found.values()} == {1}


def test_the_order_of_rows_and_other_patients_move_nobody(tmp_path: Path) -> None:
    """No balancing: were it so, one patient more would move others."""
    patients = [f"p{n}" for n in range(50)]
    both = []
    for name, listed in (("a", patients), ("b", [*reversed(patients), "one more"])):
        found = block_by_patient({"cohort": use_of(tmp_path / name, listed)}, {"cohort": listed})
        both.append({patient: blocks for patient, blocks in found.items() if patient != "one more"})
    assert both[0] == both[1]


@pytest.mark.parametrize("other", [run_key(b"k" * 32, "8"), run_key(b"l" * 32, "7")], ids=["run", "node"])
def test_another_run_and_another_node_have_another_partition(tmp_path: Path, other: bytes) -> None:
    use = use_of(tmp_path / "a", [f"p{n}" for n in range(50)])
    parts = [[block["cohort"].tolist() for block in split({"cohort": use}, K, key)] for key in (KEY, other)]
    assert parts[0] != parts[1]


def test_blocks_are_about_as_large_as_chance_makes_them(tmp_path: Path) -> None:
    """4,000 patients in 8 blocks. The key is fixed, so this passes or fails always; beyond five standard deviations
    (a chance of 5e-6 for a fair hash, all blocks together) something is wrong with the hash."""
    use = use_of(tmp_path / "a", [f"p{n}" for n in range(4000)])
    sizes = [len(block["cohort"]) for block in split({"cohort": use}, K, KEY)]
    assert max(abs(size - 500) for size in sizes) < 5 * np.sqrt(4000 * 1 / 8 * 7 / 8)


def block(**rows: Sequence[int]) -> Block:
    return {name: np.array(numbers, dtype=np.int64) for name, numbers in rows.items()}


def test_a_fingerprint_changes_with_the_records_of_its_block() -> None:
    one = fingerprint(block(a=[1, 2], b=[3]))
    assert one == fingerprint(block(b=[3], a=[1, 2]))
    others = [block(a=[1], b=[2, 3]), block(a=[1, 2], b=[]), block(a=[2, 1], b=[3]), block(a=[1, 2], c=[3])]
    assert one not in [fingerprint(other) for other in others]


def test_empty_is_without_any_record() -> None:
    assert is_empty(block(a=[], b=[]))
    assert not is_empty(block(a=[], b=[1]))
