"""`flame node data …` and `flame node consent …`: exit codes, JSON, what a person reads, and what nobody ever reads."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from flame_fl.contract.places import Places
from flame_fl.contract.refusal import RefusalCode
from flame_fl.data.consents import POLICY_SYSTEM
from flame_fl.gate.store import Store
from flame_fl.gate.workflow import Gate
from flame_fl.node.wiring import Node
from tests.support.gates import manifest_from
from tests.unit.cli.conftest import Said
from tests.unit.cli.conftest import flame as _flame
from tests.unit.node.conftest import change, cohort
from tests.unit.node.decisions import ask, fab_of

Flame = Callable[..., Said]
flame = _flame  # the fixture of the command line's own tests
CODE = "2.16.840.1.113883.3.1937.777.24.5.3.8"
TABLE = ("--table", "samples.parquet", "--patient-id", "patient_id")


@pytest.fixture(autouse=True)
def _home(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAME_HOME", str(places.state))
    monkeypatch.setenv("USER", "ada")
    monkeypatch.setenv("LOGNAME", "ada")


def asjson(said: Said) -> Any:
    assert said.code == 0, said
    assert len(said.out.splitlines()) == 1, said.out
    return json.loads(said.out)


def failed(said: Said, code: int = 2) -> dict[str, Any]:
    """A failure in JSON: one sentence, the mend, the exit code; the same on standard error."""
    assert said.code == code, said
    answer: dict[str, Any] = json.loads(said.out)
    assert answer["exit_code"] == code
    assert answer["error"]
    assert answer["mend"]
    assert answer["error"] in said.err
    assert "Traceback" not in said.err
    return answer


def audited(node: Node) -> list[tuple[str, dict[str, Any]]]:
    store = Store(node.files.database)
    found = [(entry["kind"], entry["body"]) for entry, _ in store.audit_rows()]
    store.close()
    return found


class TestAdd:
    def test_from_a_folder(self, flame: Flame, node: Node, tmp_path: Path) -> None:
        said = flame("node", "data", "add", "more", cohort(tmp_path / "more"), *TABLE, "--mock")
        assert said.code == 0, said.err
        assert "more version 1: 60 records of 30 patients" in said.out
        assert "used where it lies" in said.out  # nobody can be asked here
        assert audited(node)[-1][1]["by"] == "ada"

    def test_json(self, flame: Flame, node: Node, tmp_path: Path) -> None:
        found = asjson(flame("node", "data", "add", "more", cohort(tmp_path / "more"), *TABLE, "--mock", "--json"))
        version = node.data.registry.get("more").current
        assert (found["name"], found["version"], found["patients"], found["rows"]) == ("more", 1, 30, 60)
        assert (found["content"], found["rule"]) == (version.snapshot, version.spec.rule_sha256)
        assert (found["mode"], found["mock"]) == ("in-place", True)

    def test_a_copy_of_the_nodes_own(self, flame: Flame, node: Node, tmp_path: Path) -> None:
        found = asjson(flame("node", "data", "add", "m", cohort(tmp_path / "m"), *TABLE, "--mock", "--copy", "--json"))
        assert found["mode"] in {"copy", "reflink"}
        own = node.data.registry.snapshots / found["content"] / "samples.parquet"
        assert own.read_bytes() == (tmp_path / "m" / "samples.parquet").read_bytes()

    def test_from_a_file_that_says_it_all(self, flame: Flame, node: Node, tmp_path: Path) -> None:
        cohort(tmp_path / "m")
        (tmp_path / "m.toml").write_text(
            'mock = true\nshift_dates_days = 3\n[layout]\ntable = "samples.parquet"\npatient_id = "patient_id"\n'
            '[source]\ntype = "folder"\npath = "m"\n[cohort]\nwhere = [{ column = "value", op = "<", value = 30 }]\n'
        )
        found = asjson(flame("node", "data", "add", "m", "--spec", tmp_path / "m.toml", "--json"))
        assert (found["patients"], found["rows"]) == (30, 30)
        assert node.data.registry.get("m").current.spec.shift_dates_days == 3

    def test_ids_as_they_are_only_where_it_is_said(self, flame: Flame, node: Node, tmp_path: Path) -> None:
        folder = cohort(tmp_path / "m")
        assert flame("node", "data", "add", "a", folder, *TABLE, "--mock").code == 0
        assert flame("node", "data", "add", "b", folder, *TABLE, "--mock", "--plain-ids").code == 0
        assert [node.data.registry.get(n).current.spec.pseudonyms for n in ("a", "b")] == [True, False]

    def test_real_data_need_docker(self, flame: Flame, node: Node, places: Places, tmp_path: Path) -> None:
        """Refused before anything is looked at; with Docker they are taken."""
        folder = cohort(tmp_path / "real")
        add = ("node", "data", "add", "real", folder, *TABLE, "--json")
        said = failed(flame(*add))
        assert "confines nothing" in said["error"]
        assert 'kind = "docker"' in said["mend"]
        assert node.data.registry.names() == ["cohort"]
        change(places, 'kind = "subprocess"', 'kind = "docker"')
        assert asjson(flame(*add))["mock"] is False

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ((), "Give the folder of the store, or --spec"),
            (("{folder}",), "table and its patient id column are needed"),
            (("{folder}", "--table", "samples.parquet"), "table and its patient id column are needed"),
            (("{folder}", "--spec", "x.toml", *TABLE), "Give the folder of the store, or --spec"),
            (("nowhere", *TABLE), "There is no folder"),
            (("{folder}", "--table", "t.csv", "--patient-id", "patient_id"), "t.csv"),
            (("{folder}", "--table", "../x.csv", "--patient-id", "patient_id"), "layout.table"),
            (("{folder}", "--table", "samples.parquet", "--patient-id", "case"), "no column 'case'; its columns: "),
            (("{folder}", *TABLE, "--record-id", "patient_id"), "record ids in samples.parquet occur more than once"),
            (("{folder}", *TABLE, "--file", "labs.csv"), "labs.csv"),
            (("{folder}", *TABLE, "--kind", "excel"), "layout.kind"),
            (("--spec", "odd.toml", "--mock"), "--spec says it all"),
            (("--spec", "nowhere.toml"), "nowhere.toml cannot be read"),
            (("--spec", "broken.toml"), "is no TOML"),
            (("--spec", "odd.toml"), "layout.patient is no setting; did you mean patient_id?"),
        ],
    )  # fmt: skip
    def test_bad_input_is_a_sentence(
        self, flame: Flame, node: Node, tmp_path: Path, words: tuple[str, ...], said: str
    ) -> None:
        """Exit code 2, what is wrong, what to do; nothing is registered."""
        folder = cohort(tmp_path / "m")
        (tmp_path / "broken.toml").write_text("= no toml")
        (tmp_path / "odd.toml").write_text('[layout]\ntable = "t.csv"\npatient = "p"\n')
        given = [word.replace("{folder}", str(folder)) for word in words]
        mock = () if "--spec" in words else ("--mock",)
        answer = failed(flame("node", "data", "add", "m", *given, *mock, "--json"))
        assert said in answer["error"]
        assert node.data.registry.names() == ["cohort"]

    def test_another_store_under_the_same_name_needs_a_word(self, flame: Flame, node: Node, tmp_path: Path) -> None:
        """A wrong column would be a silent second version, with other patients."""
        folder = cohort(tmp_path / "cohort")
        add = ("node", "data", "add", "cohort", folder, "--table", "samples.parquet", "--patient-id", "value", "--mock")
        assert "registered with another layout" in failed(flame(*add, "--json"))["error"]
        assert node.data.registry.get("cohort").current.patients == 30
        assert flame(*add, "--replace").code == 0
        assert node.data.registry.get("cohort").current.patients == 60

    def test_a_store_too_small_to_be_used_is_said(self, flame: Flame, node: Node, tmp_path: Path) -> None:
        small = cohort(tmp_path / "small", patients=3)
        assert "Fewer patients than min_patients" in flame("node", "data", "add", "s", small, *TABLE, "--mock").out

    @pytest.mark.parametrize("what", ["truncated", "no ids", "unreadable", "link"])
    def test_bad_data_are_a_sentence_without_a_value(self, flame: Flame, node: Node, tmp_path: Path, what: str) -> None:
        folder, said = cohort(tmp_path / "m"), "samples.parquet"
        path = folder / "samples.parquet"
        if what == "truncated":
            path.write_bytes(path.read_bytes()[:-9])
            said = "not a Parquet file that can be read"
        elif what == "no ids":
            table = pq.read_table(path)
            empty = table.set_column(0, "patient_id", [[None] * table.num_rows])
            pq.write_table(empty.set_column(0, "patient_id", [["", *[None] * (table.num_rows - 1)]]), path)
            said = "No record in samples.parquet names its patient in 'patient_id'"
        elif what == "unreadable":
            path.unlink()
            path.mkdir()
            said = "is no file"
        else:
            path.rename(tmp_path / "elsewhere")
            path.symlink_to(tmp_path / "elsewhere")
            said = "is a link"
        answer = failed(flame("node", "data", "add", "m", folder, *TABLE, "--mock", "--json"))
        assert said in answer["error"]
        assert "p1" not in answer["error"].replace(str(tmp_path), "")
        assert node.data.registry.names() == ["cohort"]

    def test_a_name_that_is_none(self, flame: Flame, node: Node, tmp_path: Path) -> None:
        folder = cohort(tmp_path / "m")
        assert (
            "no name for a data store"
            in failed(flame("node", "data", "add", "a/b", folder, *TABLE, "--mock", "--json"))["error"]
        )


class TestListAndCheck:
    def test_what_was_touched_is_seen_and_what_changed_is_said(self, flame: Flame, node: Node, tmp_path: Path) -> None:
        import os

        def touched() -> bool:
            (row,) = asjson(flame("node", "data", "list", "--json"))
            return bool(row["now"] != "unchanged")

        assert not touched()
        assert "unchanged" in flame("node", "data", "list").out
        os.utime(tmp_path / "cohort" / "samples.parquet", ns=(1, 1))
        assert touched()
        assert "flame node data check NAME" in flame("node", "data", "list").out
        said = flame("node", "data", "check", "cohort")
        assert said.code == 0
        assert "cohort: unchanged." in said.out
        assert not touched()  # its time is another, its content was found to be the same
        cohort(tmp_path / "cohort", patients=31)
        assert "their content changed" in failed(flame("node", "data", "check", "cohort", "--json"))["error"]
        (tmp_path / "cohort").rename(tmp_path / "moved")
        assert asjson(flame("node", "data", "list", "--json"))[0]["now"] == "missing"
        assert "cannot be read" in failed(flame("node", "data", "check", "cohort", "--json"))["error"]

    def test_check_reports(self, flame: Flame, node: Node) -> None:
        assert asjson(flame("node", "data", "check", "cohort", "--json"))["patients"] == 30
        assert "30 patients" in flame("node", "data", "check", "cohort").out

    def test_refresh_registers_the_change(self, flame: Flame, node: Node, tmp_path: Path) -> None:
        cohort(tmp_path / "cohort", patients=31)
        assert asjson(flame("node", "data", "refresh", "cohort", "--json"))["version"] == 2
        (row,) = asjson(flame("node", "data", "list", "--json"))
        assert (row["patients"], row["now"], row["versions"]) == (31, "unchanged", 1)
        assert "version 2: 62 records" in flame("node", "data", "refresh", "cohort").out

    @pytest.mark.parametrize("command", ["check", "show", "refresh", "remove"])
    def test_a_store_that_is_not_there(self, flame: Flame, node: Node, command: str) -> None:
        answer = failed(flame("node", "data", command, "nothing", "--json"))
        assert "no data store 'nothing'" in answer["error"]
        assert "flame node data list" in answer["mend"]


class TestShow:
    def test_versions_and_who_is_approved_for_them(self, flame: Flame, node: Node, gate: Gate, tmp_path: Path) -> None:
        """An earlier version is kept for an approval, and removed never while it stands."""
        fab = fab_of()
        assert ask(gate, fab) is RefusalCode.PENDING_APPROVAL
        digest = manifest_from(fab).digest
        assert flame("node", "approve", digest, "--with-project").code == 0
        cohort(tmp_path / "cohort", patients=31)
        assert flame("node", "data", "refresh", "cohort").code == 0
        found = asjson(flame("node", "data", "show", "cohort", "--json"))
        assert [(v["version"], v["approved"]) for v in found["versions"]] == [(1, [digest]), (2, [])]
        assert found["schema_released"] is False
        assert found["quality"]["patients"] == 31
        assert found["spec"]["layout"]["patient_id"] == "patient_id"
        shown = flame("node", "data", "show", "cohort").out
        assert digest[:12] in shown
        assert "released schema: no" in shown
        answer = failed(flame("node", "data", "remove", "cohort", "--json"))
        assert digest[:12] in answer["error"]
        assert "flame node reject" in answer["mend"]
        assert flame("node", "reject", digest).code == 0
        assert asjson(flame("node", "data", "remove", "cohort", "--json")) == {"removed": "cohort"}
        assert node.data.registry.names() == []

    def test_without_a_report(self, flame: Flame, node: Node) -> None:
        node.data.quality(node.data.registry.get("cohort").current.snapshot).unlink()
        assert asjson(flame("node", "data", "show", "cohort", "--json"))["quality"] is None

    def test_removed_for_people(self, flame: Flame, node: Node) -> None:
        assert flame("node", "data", "remove", "cohort").out.strip() == "cohort is offered no longer."
        assert [(kind, body.get("by")) for kind, body in audited(node)][-1] == ("data-removed", "ada")


class TestSchemaAndMock:
    def test_draft_complete_release_mock(self, flame: Flame, node: Node, tmp_path: Path) -> None:
        """The draft has no value; what is released is what mock data are made of, twice the same."""
        schema = tmp_path / "schema.json"
        assert flame("node", "data", "schema", "cohort", "--out", schema).code == 0
        drafted = json.loads(schema.read_text())
        assert [column["name"] for column in drafted["columns"]] == ["patient_id", "value"]
        assert "p1" not in schema.read_text()
        answer = flame("node", "data", "mock", "cohort", "--out", tmp_path / "mock")
        assert answer.code == 2
        assert "No schema of 'cohort' is released" in answer.err
        assert "--release schema.json" in answer.err
        drafted["columns"][1] |= {"min": 5, "max": 6}
        schema.write_text(json.dumps(drafted))
        assert "is released" in flame("node", "data", "schema", "cohort", "--release", schema).out
        assert audited(node)[-1][0] == "schema-released"
        assert json.loads(flame("node", "data", "schema", "cohort").out)["columns"][1]["min"] == 5
        for name in ("mock-1", "mock-2"):
            assert flame("node", "data", "mock", "cohort", "--out", tmp_path / name, "--rows", 20).code == 0
        one, two = (pq.read_table(tmp_path / name / "samples.parquet") for name in ("mock-1", "mock-2"))
        assert one.equals(two)
        assert one.num_rows == 20
        assert set(one.column("value").to_pylist()) <= {5, 6}
        assert "is there already" in flame("node", "data", "mock", "cohort", "--out", tmp_path / "mock-1").err

    @pytest.mark.parametrize("text", ["", "{}", "[]", '{"kind": "table"}'])
    def test_a_schema_that_is_none(self, flame: Flame, node: Node, tmp_path: Path, text: str) -> None:
        (tmp_path / "schema.json").write_text(text)
        said = flame("node", "data", "schema", "cohort", "--release", tmp_path / "schema.json")
        assert said.code == 2
        assert "schema.json" in said.err
        assert flame("node", "data", "schema", "cohort", "--release", tmp_path / "none.json").code == 2

    def test_a_schema_of_another_store(self, flame: Flame, node: Node, tmp_path: Path) -> None:
        flame("node", "data", "schema", "cohort", "--out", tmp_path / "schema.json")
        text = (tmp_path / "schema.json").read_text().replace("samples.parquet", "other.parquet")
        (tmp_path / "schema.json").write_text(text)
        said = flame("node", "data", "schema", "cohort", "--release", tmp_path / "schema.json")
        assert said.code == 2
        assert "another kind or with other files" in said.err


def consent(patient: str, code: str = CODE, kind: str = "permit") -> dict[str, Any]:
    """A FHIR Consent as the MII writes it."""
    period = {"start": "2020-01-01", "end": "2090-01-01"}
    return {
        "resourceType": "Consent",
        "status": "active",
        "dateTime": "2020-01-01",
        "patient": {"reference": f"Patient/{patient}"},
        "provision": {
            "type": "deny",
            "period": period,
            "provision": [
                {"type": kind, "period": period, "code": [{"coding": [{"system": POLICY_SYSTEM, "code": code}]}]}
            ],
        },
    }


class TestConsent:
    SECRET = ("hidden-1", "hidden-2")

    def ids(self, tmp_path: Path, *ids: str) -> Path:
        path = tmp_path / "ids.txt"
        path.write_text("".join(f"{word}\n" for word in ids))
        return path

    def test_out_in_and_how_many(self, flame: Flame, node: Node, tmp_path: Path) -> None:
        """Numbers only."""
        ids = self.ids(tmp_path, *self.SECRET)
        assert asjson(flame("node", "consent", "withdraw", "--ids", ids, "--json")) == {
            "patients": 2,
            "unknown_here": 2,
        }
        said = flame("node", "consent", "withdraw", "--ids", self.ids(tmp_path, *self.SECRET, "hidden-3"))
        words = " ".join(said.out.split())
        assert (
            words
            == "1 patients added to the opt-outs, 2 were there. 3 of these ids occur in no store that is offered here."
        )
        assert asjson(flame("node", "consent", "show", "--json")) == {"opted_out": 3, "patients_with_consents": 0}
        assert "3 patients opted out" in flame("node", "consent", "show").out
        ids = self.ids(tmp_path, "hidden-1", "hidden-9")
        assert flame("node", "consent", "restore", "--ids", ids).out.strip() == "1 patients removed from the opt-outs."
        assert node.data.patients.opted_out() == {"hidden-2", "hidden-3"}

    def test_ids_as_fhir_refers_to_them(self, flame: Flame, node: Node, tmp_path: Path) -> None:
        ids = self.ids(tmp_path, "Patient/p1", " p2 ")
        assert asjson(flame("node", "consent", "withdraw", "--ids", ids, "--json")) == {
            "patients": 2,
            "unknown_here": 0,
        }
        assert node.data.patients.opted_out() == {"p1", "p2"}

    def test_an_import_of_nothing_changes_nothing(self, flame: Flame, node: Node, tmp_path: Path) -> None:
        """Consents of another code system, for example: the register is not emptied."""
        (tmp_path / "c.json").write_text(json.dumps(consent("hidden-1")))
        assert flame("node", "consent", "import", tmp_path / "c.json").code == 0
        other = json.dumps(consent("hidden-1")).replace("2.16.840", "9.99.999")
        (tmp_path / "d.json").write_text(other)
        assert (
            "no provision of the MII broad consent"
            in failed(flame("node", "consent", "import", tmp_path / "d.json", "--json"))["error"]
        )
        assert len({p.patient_id for p in node.data.patients.provisions()}) == 1

    def test_ids_are_in_no_output_and_in_no_audit(self, flame: Flame, node: Node, tmp_path: Path) -> None:
        """Who and how many, for every change."""
        ids = self.ids(tmp_path, *self.SECRET)
        (tmp_path / "c.json").write_text(json.dumps(consent("hidden-1")))
        said = [
            flame("node", "consent", "withdraw", "--ids", ids),
            flame("node", "consent", "withdraw", "--ids", ids, "--json"),
            flame("node", "consent", "show"),
            flame("node", "consent", "restore", "--ids", ids),
            flame("node", "consent", "import", tmp_path / "c.json"),
            flame("node", "consent", "show", "--json"),
        ]
        assert [s.code for s in said] == [0] * 6
        assert "hidden" not in "".join(s.out + s.err for s in said)
        found = audited(node)[-4:]
        assert [kind for kind, _ in found] == [
            "consent-withdrawn", "consent-withdrawn", "consent-restored", "consents-imported",
        ]  # fmt: skip
        assert [body for _, body in found] == [{"patients": n, "by": "ada"} for n in (2, 0, 2, 1)]

    @pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe hidden"])
    def test_a_file_of_ids_that_is_none(self, flame: Flame, node: Node, tmp_path: Path, content: bytes | None) -> None:
        if content is not None:
            (tmp_path / "ids.txt").write_bytes(content)
        for command in ("withdraw", "restore"):
            answer = failed(flame("node", "consent", command, "--ids", tmp_path / "ids.txt", "--json"))
            assert "ids.txt" in answer["error"]
            assert "hidden" not in answer["error"]
        assert "consent-withdrawn" not in [kind for kind, _ in audited(node)]

    def test_ids_are_never_words_of_a_command(self, flame: Flame, node: Node) -> None:
        """They would be in the shell's history and in the list of processes."""
        assert flame("node", "consent", "withdraw", "p1").code == 2
        assert node.data.patients.opted_out() == frozenset()

    def test_import_bundles(self, flame: Flame, node: Node, tmp_path: Path) -> None:
        entries = [
            {"resource": consent("a")},
            {"resource": consent("b", kind="deny")},
            {"resource": {"resourceType": "Patient"}},
        ]
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "1.json").write_text(json.dumps({"resourceType": "Bundle", "entry": entries}))
        (tmp_path / "in" / "2.ndjson").write_text("\n".join(json.dumps(consent(p)) for p in ("c", "d")))
        assert asjson(flame("node", "consent", "import", tmp_path / "in", "--json")) == {
            "patients": 4,
            "patients_before": 0,
        }
        from datetime import date

        assert node.data.patients.consenting([CODE], date(2026, 1, 1)) == {"a", "c", "d"}
        assert asjson(flame("node", "consent", "show", "--json"))["patients_with_consents"] == 4

    def test_import_what_the_fhir_source_wrote(self, flame: Flame, node: Node, tmp_path: Path) -> None:
        """`consent.parquet`, as the help says."""
        from flame_fl.data.consents import provisions, write_provisions

        write_provisions(tmp_path / "consent.parquet", provisions(consent("a")))
        assert asjson(flame("node", "consent", "import", tmp_path / "consent.parquet", "--json")) == {
            "patients": 1,
            "patients_before": 0,
        }

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("c.json", "no json hidden"),
            ("c.json", '{"resourceType": "Patient", "id": "hidden"}'),
            ("c.json", '{"resourceType": "Consent", "status": "hidden"}'),
            ("c.ndjson", '{"resourceType": "Consent"'),
            ("c.parquet", "PAR1hidden"),
            ("c.txt", "hidden"),
        ],
    )
    def test_consents_that_are_none_replace_nothing(
        self, flame: Flame, node: Node, tmp_path: Path, name: str, text: str
    ) -> None:
        (tmp_path / "good.json").write_text(json.dumps(consent("a")))
        assert flame("node", "consent", "import", tmp_path / "good.json").code == 0
        (tmp_path / name).write_text(text)
        answer = failed(flame("node", "consent", "import", tmp_path / name, "--json"))
        assert "hidden" not in answer["error"]
        assert asjson(flame("node", "consent", "show", "--json"))["patients_with_consents"] == 1
        assert [kind for kind, _ in audited(node)].count("consents-imported") == 1
        assert flame("node", "consent", "import", tmp_path / "nowhere.json").code == 2

    def test_a_withdrawal_holds_in_a_running_gate_at_once(
        self, flame: Flame, node: Node, gate: Gate, tmp_path: Path
    ) -> None:
        """Of 30 patients 25 go: fewer than the ten that the terms need."""
        fab = fab_of()
        ask(gate, fab)
        assert flame("node", "approve", manifest_from(fab).digest, "--with-project").code == 0
        assert ask(gate, fab, leg="2") is RefusalCode.SANDBOX_FAILED
        ids = self.ids(tmp_path, *(f"p{n}" for n in range(25)))
        assert flame("node", "consent", "withdraw", "--ids", ids).code == 0
        assert ask(gate, fab, leg="3") is RefusalCode.TERMS_VIOLATED
        assert flame("node", "consent", "restore", "--ids", ids).code == 0
        assert ask(gate, fab, leg="3") is RefusalCode.SANDBOX_FAILED


@pytest.mark.parametrize(
    "command",
    [("data", "list"), ("data", "check", "x"), ("data", "show", "x"), ("data", "remove", "x"), ("data", "refresh", "x"),
     ("data", "schema", "x"), ("data", "mock", "x", "--out", "y"), ("data", "add", "x", "y", *TABLE),
     ("consent", "show"), ("consent", "import", "x.json")],
)  # fmt: skip
def test_without_a_node_every_command_is_a_sentence(flame: Flame, command: tuple[str, ...]) -> None:
    said = flame("node", *command)
    assert said.code == 2, said
    assert "Traceback" not in said.err
