"""The register of patients' wishes: whole files, private, and no wish is lost."""

import json
import stat
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.contract.errors import InputError
from flame_fl.data import patients as module
from flame_fl.data.consents import Provision
from flame_fl.data.patients import PatientRegister, read_ids

TODAY = date(2026, 6, 1)
CODE = "2.16.840.1.113883.3.1937.777.24.5.3.8"


@pytest.fixture
def register(tmp_path: Path) -> PatientRegister:
    return PatientRegister(tmp_path / "patients")


def permit(patient: str, code: str = CODE) -> Provision:
    return Provision(patient, code, True, date(2020, 1, 1), date(2050, 1, 1), "active", date(2020, 1, 1))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_nothing_written_is_nobody(register: PatientRegister) -> None:
    assert register.opted_out() == frozenset()
    assert register.provisions() == ()
    assert register.consenting([CODE], TODAY) == frozenset()
    assert not register.folder.exists()


def test_out_and_in_again(register: PatientRegister) -> None:
    """What is counted are the patients for whom something changed."""
    assert register.opt_out(["a", "b", "a"]) == 2
    assert register.opt_out(["b", "c"]) == 1
    assert register.opted_out() == {"a", "b", "c"}
    assert register.opt_in(["b", "x"]) == 1
    assert register.opted_out() == {"a", "c"}
    assert PatientRegister(register.folder).opted_out() == {"a", "c"}


def test_both_files_are_the_nodes_own(register: PatientRegister) -> None:
    register.opt_out(["a"])
    register.put_provisions([permit("a")])
    assert mode(register.folder) == 0o700
    assert sorted((f.name, mode(f)) for f in register.folder.iterdir()) == [
        ("consents.parquet", 0o600), ("opt-out.txt", 0o600),
    ]  # fmt: skip


def test_every_change_is_another_revision(register: PatientRegister) -> None:
    """Cohorts are computed anew when it changes, and only then."""
    seen = [register.revision()]
    register.opt_out(["a"])
    seen.append(register.revision())
    assert register.revision() == seen[-1]
    register.put_provisions([permit("a")])
    seen.append(register.revision())
    register.opt_in(["a"])
    seen.append(register.revision())
    register.opt_out(["b"])
    seen.append(register.revision())
    assert len(set(seen)) == 5


def test_a_list_that_cannot_be_read_lets_nobody_be_used(register: PatientRegister) -> None:
    """An empty answer would use everybody who opted out."""
    register.opt_out(["a"])
    (register.folder / "opt-out.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"opt-out\.txt cannot be read"):
        register.opted_out()
    (register.folder / "opt-out.txt").unlink()
    (register.folder / "opt-out.txt").mkdir()
    with pytest.raises(InputError, match=r"opt-out\.txt cannot be read"):
        register.opted_out()


def test_a_list_that_cannot_be_written_is_the_old_one(
    register: PatientRegister, monkeypatch: pytest.MonkeyPatch
) -> None:
    register.opt_out(["a"])

    def full(path: Path, data: bytes, bits: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "replace", full)
    with pytest.raises(OSError, match="No space"):
        register.opt_out(["b"])
    assert register.opted_out() == {"a"}


def test_consents_replace_each_other(register: PatientRegister) -> None:
    """And of all codes asked for, each must be permitted."""
    register.put_provisions([permit("a"), permit("b"), permit("b", "1.2.3")])
    assert register.consenting([CODE], TODAY) == {"a", "b"}
    assert register.consenting([CODE, "1.2.3"], TODAY) == {"b"}
    assert register.consenting([CODE], date(2051, 1, 1)) == frozenset()
    register.put_provisions([permit("c")])
    assert register.consenting([CODE], TODAY) == {"c"}


def test_consents_that_cannot_be_read_are_an_error(register: PatientRegister) -> None:
    register.put_provisions([permit("a")])
    (register.folder / "consents.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"consents\.parquet"):
        register.consenting([CODE], TODAY)


WORD = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=8)


@given(one=st.sets(WORD), other=st.sets(WORD))
def test_an_opt_out_is_never_lost(tmp_path: Path, one: set[str], other: set[str]) -> None:
    """Whatever ids look like."""
    register = PatientRegister(tmp_path / json.dumps(sorted(one | other)).encode().hex()[:100])
    register.opt_in(register.opted_out())
    register.opt_out(one)
    register.opt_out(other)
    assert register.opted_out() == one | other
    register.opt_in(other)
    assert register.opted_out() == one - other


class TestIds:
    def test_one_per_line(self, tmp_path: Path) -> None:
        (tmp_path / "ids.txt").write_text("a\n\n  b \r\na\nc d\n")
        assert read_ids(tmp_path / "ids.txt") == ("a", "b", "c d")

    def test_a_mark_that_windows_writes_is_no_part_of_an_id(self, tmp_path: Path) -> None:
        """Else the first patient of the list would not be found in any store."""
        (tmp_path / "ids.txt").write_bytes("p1\r\np2\r\n".encode("utf-8-sig"))
        assert read_ids(tmp_path / "ids.txt") == ("p1", "p2")

    @pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf\n"])
    def test_none_at_all_is_a_mistake(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "ids.txt").write_bytes(content)
        with pytest.raises(InputError, match="holds no patient id"):
            read_ids(tmp_path / "ids.txt")

    def test_what_cannot_be_read_is_named_without_its_content(self, tmp_path: Path) -> None:
        (tmp_path / "ids.txt").write_bytes("pätzold".encode("latin-1"))
        with pytest.raises(InputError, match=r"ids\.txt cannot be read") as caught:
            read_ids(tmp_path / "ids.txt")
        assert "tzold" not in str(caught.value)
        with pytest.raises(InputError, match=r"none\.txt cannot be read"):
            read_ids(tmp_path / "none.txt")


def test_a_list_that_is_gone_is_no_empty_list(tmp_path: Path) -> None:
    """Nothing is used until it is back; where nobody was ever asked there is none."""
    register = PatientRegister(tmp_path / "patients")
    assert register.opted_out() == frozenset()
    register.make()
    register.opt_out(["a"])
    (tmp_path / "patients" / "opt-out.txt").unlink()
    with pytest.raises(InputError, match=r"list of opt-outs .* cannot be read"):
        register.opted_out()
    register.make()
    with pytest.raises(InputError, match=r"list of opt-outs .* cannot be read"):
        register.opted_out()


@pytest.mark.parametrize("text", ["pid;reason\np1;gone\n", "pid\treason\n", '"p1"\n'])
def test_a_table_is_no_list_of_ids(tmp_path: Path, text: str) -> None:
    (tmp_path / "ids.txt").write_text(text)
    with pytest.raises(InputError, match="is a table"):
        read_ids(tmp_path / "ids.txt")
