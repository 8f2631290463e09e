"""What a FLAME Hub's answers mean, which id is which, and the files they lie in."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.contract.errors import InputError
from flame_fl.contract.refusal import RefusalCode
from flame_fl.contract.settings import parse_settings
from flame_fl.node.external import (
    FlameHubSection,
    HubAnswer,
    HubIds,
    HubStatus,
    RunState,
    hub_verdict,
    progress_of,
    report_of,
    with_analysis,
    with_project,
    without,
)
from flame_fl.node.external_files import (
    HubFiles,
    IdsFile,
    read_answers,
    read_ids,
    read_secret,
    write_answers,
    write_ids,
)

A, B = "3e160e30-e91c-4f33-b1c4-fad331044934", "e7c4536a-3625-456a-b64d-fc1063eee91c"
DIGEST, OTHER = "ab" * 32, "cd" * 32
SECTION = {"core_url": "https://core.hub.example", "auth_url": "https://auth.hub.example", "client_id": "c"}


def section(**changes: object) -> FlameHubSection:
    return FlameHubSection.model_validate({**SECTION, "node_id": A, **changes})


class TestVerdict:
    @pytest.mark.parametrize(
        ("status", "was", "code"),
        [
            (HubStatus.APPROVED, True, None),
            (HubStatus.PENDING, False, RefusalCode.PENDING_APPROVAL),
            (HubStatus.GONE, False, RefusalCode.PENDING_APPROVAL),
            (HubStatus.UNKNOWN, False, RefusalCode.PENDING_APPROVAL),
            (HubStatus.REJECTED, False, RefusalCode.NOT_APPROVED),
            (HubStatus.UNKNOWN, True, RefusalCode.PENDING_APPROVAL),
            (HubStatus.REJECTED, True, RefusalCode.WITHDRAWN_OR_EXPIRED),
            (HubStatus.GONE, True, RefusalCode.WITHDRAWN_OR_EXPIRED),
            (HubStatus.PENDING, True, RefusalCode.WITHDRAWN_OR_EXPIRED),
        ],
    )
    def test_of_each_status(self, status: HubStatus, was: bool, code: RefusalCode | None) -> None:
        """Only `approved` is; what was and is no longer counts as withdrawn."""
        verdict = hub_verdict("analysis", HubAnswer(status, 100.0, was), 101.0, 300)
        assert verdict.code == code
        assert bool(verdict.detail) == (code is not None)

    def test_never_asked(self) -> None:
        """No answer is no approval."""
        assert hub_verdict("project", None, 0.0, 300).code == RefusalCode.PENDING_APPROVAL

    @given(age=st.floats(-1e9, 1e9), most=st.integers(1, 86400))
    def test_only_a_young_approval_counts(self, age: float, most: int) -> None:
        """Neither an old one, nor one from after the clock was set back."""
        verdict = hub_verdict("project", HubAnswer(HubStatus.APPROVED, 1e10 - age, True), 1e10, most)
        if age > most + 1 or age < -6:
            assert verdict.code == RefusalCode.PENDING_APPROVAL
        if 0 <= age <= most - 1:
            assert verdict.code is None

    @given(status=st.sampled_from(HubStatus), was=st.booleans(), at=st.floats(allow_nan=True), now=st.floats(0, 1e11))
    def test_nothing_but_approved_opens(self, status: HubStatus, was: bool, at: float, now: float) -> None:
        """Whatever the clock says, and not a number neither."""
        verdict = hub_verdict("project", HubAnswer(status, at, was), now, 300)
        if verdict.code is None:
            assert status is HubStatus.APPROVED
            assert now - at <= 300


class TestSection:
    @pytest.mark.parametrize(
        "url",
        [
            "http://core.hub.example",
            "https://user:word@core.hub.example",
            "https://core.hub.example?x=1",
            "https://core.hub.example#x",
            "ftp://core.hub.example",
            "https://",
            "https://core.hub.example:0",
            "https://core hub.example",
            "http://localhost.hub.example",
            "http://127.0.0.1.hub.example",
        ],
    )
    def test_a_url_that_is_unsafe_or_none_is_refused(self, url: str) -> None:
        """Https alone, but for this machine itself; no login in it."""
        with pytest.raises(ValueError, match="must be"):
            section(core_url=url)

    @pytest.mark.parametrize("url", ["http://localhost:3000/core", "http://127.0.0.1:1", "http://[::1]:1/x/"])
    def test_http_is_for_this_machine(self, url: str) -> None:
        """A trailing slash makes no difference."""
        assert section(auth_url=url).auth_url == url.rstrip("/")

    def test_the_secret_is_no_setting(self) -> None:
        """Who writes it into node.toml is told, and the value is not repeated."""
        text = "\n".join(f'{k} = "{v}"' for k, v in {**SECTION, "node_id": A, "client_secret": "hunter2"}.items())
        with pytest.raises(InputError) as caught:
            parse_settings(text, FlameHubSection, "node.toml")
        assert "client_secret" in str(caught.value)
        assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize(
        "changes",
        [{"poll_seconds": 0}, {"poll_seconds": 3601}, {"max_age_seconds": 10}, {"node_id": "diz-1"}, {"ca2": ""}],
    )
    def test_what_could_not_work_is_refused(self, changes: dict[str, object]) -> None:
        """An age that no answer could keep, for example."""
        with pytest.raises(ValueError, match=r"."):
            section(**changes)


class TestIds:
    def test_one_to_one(self) -> None:
        """Each id stands for one; the same once more changes nothing."""
        ids = with_analysis(with_project(HubIds(), "blood-clock", A), DIGEST, B.upper())
        assert ids.projects == {"blood-clock": A}
        assert ids.analyses == {DIGEST: B}
        assert with_analysis(ids, DIGEST, B) == ids
        for ours, theirs in ((DIGEST, A), (OTHER, B)):
            with pytest.raises(InputError, match="mapped to another"):
                with_analysis(ids, ours, theirs)
        with pytest.raises(InputError, match="mapped to another"):
            with_project(ids, "other", A)

    @pytest.mark.parametrize(("ours", "theirs"), [("ab" * 31, A), (DIGEST.upper(), A), (DIGEST, "x"), ("", A)])
    def test_what_is_no_id(self, ours: str, theirs: str) -> None:
        """A shortened digest, for example: it could mean another analysis tomorrow."""
        with pytest.raises(InputError):
            with_analysis(HubIds(), ours, theirs)
        with pytest.raises(InputError):
            with_project(HubIds(), "Not Kebab", A)

    @pytest.mark.parametrize("word", [DIGEST, B, B.upper()])
    def test_unmapped_by_either_id(self, word: str) -> None:
        """And what is not mapped is an error."""
        ids = with_analysis(HubIds(), DIGEST, B)
        assert without(ids, word) == HubIds()
        with pytest.raises(InputError, match="Nothing is mapped"):
            without(HubIds(), word)

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", '{"version": 2}', '{"projects": {"X": "y"}}', "\xff", "[" * 100_000, '{"more": 1}']
    )
    def test_a_broken_file_maps_nothing(self, tmp_path: Path, text: str) -> None:
        """The command says so; the gate goes on, closed."""
        files = HubFiles(tmp_path)
        files.ids.write_text(text, encoding="latin-1")
        with pytest.raises(InputError, match="no analysis is mapped"):
            read_ids(files)
        assert IdsFile(files).now() == HubIds()

    def test_two_of_ours_for_one_of_the_hub_in_the_file(self, tmp_path: Path) -> None:
        """Written by hand, it maps nothing."""
        files = HubFiles(tmp_path)
        files.ids.write_text(json.dumps({"analyses": {DIGEST: A, OTHER: A.upper()}}))
        assert IdsFile(files).now() == HubIds()

    def test_a_change_is_seen_at_once(self, tmp_path: Path) -> None:
        """Also that the file went."""
        files = HubFiles(tmp_path)
        file = IdsFile(files)
        assert file.now() == HubIds()
        write_ids(files, with_analysis(HubIds(), DIGEST, A))
        assert file.now().analyses == {DIGEST: A}
        write_ids(files, HubIds())
        assert file.now() == HubIds()
        files.ids.unlink()
        assert file.now() == HubIds()
        assert list(tmp_path.iterdir()) == []  # nothing else is left beside it


class TestAnswers:
    def test_a_restart_keeps_them_with_their_age(self, tmp_path: Path) -> None:
        """And what was approved before."""
        files, kept = HubFiles(tmp_path), {("analysis", A): HubAnswer(HubStatus.REJECTED, 5.0, True, B, B)}
        write_answers(files, section(), kept)
        assert read_answers(files, section()) == kept
        assert files.answers.stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize("changes", [{"node_id": B}, {"core_url": "https://other.hub.example"}])
    def test_those_of_another_hub_or_node_are_none(self, tmp_path: Path, changes: dict[str, object]) -> None:
        """An approval for another node opens nothing here."""
        files = HubFiles(tmp_path)
        write_answers(files, section(), {("analysis", A): HubAnswer(HubStatus.APPROVED, 5.0, was_approved=True)})
        assert read_answers(files, section(**changes)) == {}

    @pytest.mark.parametrize("text", ["", "{}", "[" * 100_000, '{"version": 1, "core_url": 1}', "x" * (5 << 20)])
    def test_a_broken_file_is_none(self, tmp_path: Path, text: str) -> None:
        """It opens nothing and stops nothing."""
        files = HubFiles(tmp_path)
        files.answers.write_text(text)
        assert read_answers(files, section()) == {}


class TestSecret:
    def put(self, tmp_path: Path, data: bytes, mode: int = 0o600) -> Path:
        path = tmp_path / "flame-hub.secret"
        path.write_bytes(data)
        path.chmod(mode)
        return path

    def test_one_line(self, tmp_path: Path) -> None:
        """With or without its end."""
        assert read_secret(self.put(tmp_path, b"hunter2\n")) == "hunter2"
        assert read_secret(self.put(tmp_path, b"hunter2")) == "hunter2"

    @pytest.mark.parametrize(
        ("data", "mode"),
        [(b"", 0o600), (b"hun ter2", 0o600), (b"hunter2\nx", 0o600), (b"hunter2\xff", 0o600), (b"hunter2", 0o640)],
    )
    def test_what_is_not_one_or_not_private(self, tmp_path: Path, data: bytes, mode: int) -> None:
        """The sentence repeats nothing of it."""
        with pytest.raises(InputError) as caught:
            read_secret(self.put(tmp_path, data, mode))
        assert "ter2" not in str(caught.value)

    def test_a_link_a_folder_or_nothing(self, tmp_path: Path) -> None:
        """None of them is followed."""
        (tmp_path / "link").symlink_to(self.put(tmp_path, b"hunter2"))
        for path in (tmp_path / "link", tmp_path, tmp_path / "missing"):
            with pytest.raises(InputError):
                read_secret(path)


class TestReports:
    @given(answered=st.integers(-5, 10_000), most=st.integers(-5, 10_000))
    def test_a_percentage_below_the_end(self, answered: int, most: int) -> None:
        """100 is kept for a run that is finished."""
        assert 0 <= progress_of(answered, most) <= 99

    def test_what_is_final(self) -> None:
        """The Hub's own words."""
        assert {s.value for s in RunState if s.final} == {"executed", "stopped", "failed"}
        assert {s.value for s in RunState if not s.final} == {"starting", "executing"}

    @pytest.mark.parametrize(
        ("kind", "code", "answered", "most", "said"),
        [
            ("released", 0, 1, 4, (RunState.RUNNING, 25)),
            ("released", 0, 4, 4, (RunState.FINISHED, 100)),
            ("released", 0, 3, 0, (RunState.RUNNING, 0)),
            ("refused", 905, 2, 4, (RunState.FAILED, 50)),
            ("refused", 906, 4, 4, (RunState.FAILED, 99)),
            ("refused", 907, 2, 4, (RunState.STOPPED, 50)),
            ("refused", 902, 0, 4, None),
            ("refused", 903, 2, 4, None),
            ("refused", 908, 2, 4, None),
            ("resent", 0, 2, 4, None),
        ],
    )
    def test_what_a_step_of_the_gate_says(
        self, kind: str, code: int, answered: int, most: int, said: tuple[RunState, int] | None
    ) -> None:
        """The state of a run, never why: a budget that is used up or terms that were not kept are not told."""
        assert report_of(kind, code, answered, most) == said
