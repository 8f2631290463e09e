"""The parts beneath the pages: accounts, sessions, waiting, the door, settings, pictures, words."""

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flame_fl.contract.errors import FlameError, InputError
from flame_fl.node.web.accounts import Accounts, accounts_file
from flame_fl.node.web.guard import refused
from flame_fl.node.web.plots import HEIGHT, WIDTH, nice_ceiling, step_plot
from flame_fl.node.web.roles import Right, Role, rights_of
from flame_fl.node.web.sessions import Sessions
from flame_fl.node.web.settings import OidcSection, WebSection
from flame_fl.node.web.throttle import ACCOUNT, ADDRESS, Throttle
from flame_fl.node.web.verifying import ChainCheck
from flame_fl.node.web.words import message, moment, number, size, word
from tests.support.web import PASSWORD, QUICK


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    return Accounts(accounts_file(tmp_path), QUICK)


class TestAccounts:
    def test_are_kept_in_a_private_file_without_passwords(self, accounts: Accounts) -> None:
        """Argon2id, 0600, in a folder that nobody else enters."""
        accounts.add("maria", (Role.STEWARD, Role.STEWARD, Role.ADMIN), PASSWORD, node_key=True)
        text = accounts.path.read_text()
        assert PASSWORD not in text
        assert json.loads(text)["accounts"][0]["password"].startswith("$argon2id$")
        assert stat.S_IMODE(accounts.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(accounts.path.parent.stat().st_mode) == 0o700
        (account,) = Accounts(accounts.path, QUICK).all().values()
        assert (account.roles, account.signs_with) == ((Role.STEWARD, Role.ADMIN), "node-key")

    def test_of_a_real_page_hash_slowly(self, tmp_path: Path) -> None:
        """Argon2id with at least 64 MiB."""
        hasher = Accounts(tmp_path / "a.json").hasher
        assert hasher.type.name == "ID"
        assert hasher.memory_cost >= 64 * 1024
        assert hasher.time_cost >= 3

    @pytest.mark.parametrize("password", ["short", "x" * 12, "my-maria-password", "x" * 257, ""])
    def test_need_a_password_worth_the_name(self, accounts: Accounts, password: str) -> None:
        """Twelve characters, not one repeated, not the name."""
        with pytest.raises(InputError):
            accounts.add("maria", (Role.STEWARD,), password)
        assert accounts.all() == {}

    @pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 65, "rule x", "a\n", "ä"])
    def test_have_plain_names(self, accounts: Accounts, name: str) -> None:
        """Which also can be a key's."""
        with pytest.raises(InputError, match="is no name"):
            accounts.add(name, (Role.STEWARD,), PASSWORD)

    def test_are_there_once_and_have_a_role(self, accounts: Accounts) -> None:
        """And only a steward signs."""
        accounts.add("maria", (Role.STEWARD,), PASSWORD)
        for roles, node_key, words in (
            ((Role.ADMIN,), False, "already"),
            ((), False, "needs a role"),
            ((Role.ADMIN,), True, "Only stewards"),
        ):
            with pytest.raises(InputError, match=words):
                accounts.add("maria", roles, PASSWORD, node_key=node_key)

    def test_are_checked(self, accounts: Accounts) -> None:
        """Name and password; disabled and unknown ones never."""
        accounts.add("maria", (Role.STEWARD,), PASSWORD)
        assert accounts.check("maria", PASSWORD) is not None
        assert accounts.check("maria", PASSWORD + "x") is None
        assert accounts.check("nobody", PASSWORD) is None
        accounts.change("maria", disabled=True)
        assert accounts.check("maria", PASSWORD) is None

    def test_that_another_process_changed_are_read_again(self, accounts: Accounts) -> None:
        """At the next question."""
        accounts.add("maria", (Role.STEWARD,), PASSWORD)
        Accounts(accounts.path, QUICK).change("maria", disabled=True)
        assert accounts.get("maria") is None
        Accounts(accounts.path, QUICK).remove("maria")
        assert accounts.all() == {}
        for change in (lambda: accounts.change("maria", disabled=True), lambda: accounts.remove("maria")):
            with pytest.raises(InputError, match="no account"):
                change()

    def test_in_a_broken_file_are_an_error(self, accounts: Accounts) -> None:
        """Not an empty list."""
        accounts.add("maria", (Role.STEWARD,), PASSWORD)
        accounts.path.write_text("[]")
        with pytest.raises(FlameError, match="cannot be read"):
            accounts.all()


def test_rights_of_roles() -> None:
    """Nobody but a steward decides; nobody without a role may anything."""
    assert rights_of(()) == frozenset()
    assert [role for role in Role if Right.DECIDE in rights_of((role,))] == [Role.STEWARD]
    assert [role for role in Role if Right.STOP in rights_of((role,))] == [Role.STEWARD, Role.ADMIN]
    assert all(Right.READ in rights_of((role,)) for role in Role)


def test_there_are_not_more_sessions_than_a_thousand() -> None:
    """The one that nobody used for longest goes first."""
    now = 0.0
    sessions = Sessions(900, 3600, lambda: now)
    tokens = []
    for count in range(1001):
        now = count / 10
        tokens.append(sessions.begin("maria", "password", ())[0])
    assert sessions.get(tokens[0]) is None
    assert sessions.get(tokens[1]) is not None
    assert len(set(tokens)) == 1001
    assert all(len(token) >= 43 for token in tokens)  # 256 bits


@given(st.integers(0, 200))
def test_waiting_doubles_and_has_an_end(failures: int) -> None:
    """Never shorter after one failure more; an account's is a minute at most."""
    for rule in (ACCOUNT, ADDRESS):
        assert rule.wait(failures) <= rule.wait(failures + 1) <= rule.most_seconds
        assert (rule.wait(failures) == 0) == (failures < rule.free)
    assert ACCOUNT.wait(200) == 60


def test_attempts_at_the_same_time_all_count() -> None:
    """Each is counted before it is looked at."""
    throttle = Throttle(lambda: 0.0)
    assert [throttle.take({"a": ACCOUNT}) == 0 for _ in range(8)] == [True] * 5 + [False] * 3
    throttle.good({"a": ACCOUNT})
    assert throttle.take({"a": ACCOUNT}) == 0


def head(**headers: str) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]


class TestDoor:
    WEB = WebSection()

    def test_what_a_browser_sends(self) -> None:
        """Under every own name; forms with an origin, or with a word that they are of the same."""
        for host in ("127.0.0.1:8443", "localhost:8443", "LOCALHOST", "[::1]:8443"):
            assert refused("GET", head(host=host), self.WEB) is None
        own = "http://127.0.0.1:8443"
        assert refused("POST", head(host="127.0.0.1:8443", origin=own), self.WEB) is None
        assert refused("POST", head(host="localhost:8443", origin="http://localhost:8443"), self.WEB) is None
        assert refused("POST", head(host="localhost:8443", sec_fetch_site="same-origin"), self.WEB) is None

    def test_two_hosts_are_refused(self) -> None:
        """A proxy might believe the other one."""
        twice = head(host="localhost") + head(host="localhost")
        assert refused("GET", twice, self.WEB) == (400, "this page is not called so")

    @given(st.text(max_size=40))
    def test_any_other_host_is_refused(self, host: str) -> None:
        """Whatever it is, without an error of ours."""
        raw = [(b"host", host.encode("utf-8", "surrogatepass"))]
        known = host.lower().rsplit(":", 1)[0].strip("[]") in self.WEB.names or host.strip("[]") == "::1"
        assert known or refused("GET", raw, self.WEB) is not None


class TestSettings:
    @pytest.mark.parametrize(
        "changes",
        [
            {"host": "0.0.0.0"},
            {"host": "10.0.0.1"},
            {"host": "diz.example.org"},
            {"tls_cert": "a"},
            {"tls_key": "a"},
            {"public_url": "https://a/b"},
            {"public_url": "javascript:x"},
            {"language": "fr"},
            {"idle_minutes": 0},
            {"allowed_hosts": ["a b"]},
            {"misspelt": 1},
        ],
        ids=str,
    )
    def test_that_are_refused(self, changes: dict[str, object]) -> None:
        """Beyond this machine only with TLS; nothing misspelt."""
        with pytest.raises(ValidationError):
            WebSection.model_validate(changes)

    def test_origin_and_names(self) -> None:
        """As a browser says them."""
        web = WebSection(host="10.0.0.1", tls_cert="c", tls_key="k", port=443, allowed_hosts=("Diz.Example.org",))
        assert (web.origin, web.is_secure) == ("https://10.0.0.1", True)
        assert web.names == {"10.0.0.1", "diz.example.org"}
        assert WebSection(public_url="https://Flame.example.org/").origin == "https://flame.example.org"
        assert WebSection(host="::1").origin == "http://[::1]:8443"

    @pytest.mark.parametrize("issuer", ["http://sso.example.org", "ftp://x", "https://", "https://x/?a=b"])
    def test_an_issuer_has_tls(self, issuer: str) -> None:
        """But on this machine."""
        with pytest.raises(ValidationError):
            OidcSection(issuer=issuer, client_id="flame")
        assert OidcSection(issuer="http://localhost:8080/realms/diz", client_id="flame").role_map


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=900), st.floats(1e-3, 1e6))
def test_a_plot_stays_in_its_picture(steps: list[float], cap: float) -> None:
    """Whatever is drawn; and it is not long."""
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    points = [(begin + timedelta(hours=at), value) for at, value in enumerate(sorted(steps))]
    plot = step_plot(points, points[-1][0] + timedelta(hours=1), cap)
    assert plot is not None
    assert plot.path.count("H") <= 402
    for part in plot.path.replace("M", "H").split():
        value = float(part.lstrip("HV"))
        assert 0 <= value <= (HEIGHT if part.startswith("V") else WIDTH)
    assert plot.cap is not None
    assert plot.top <= plot.cap <= plot.bottom


def test_no_points_no_plot() -> None:
    """And round numbers at the axis."""
    assert step_plot([], datetime.now(UTC), 1.0) is None
    assert [nice_ceiling(v) for v in (0.3, 1.0, 1.1, 2.2, 9.0)] == [0.5, 1.0, 2.0, 2.5, 10.0]


def test_words_and_numbers_in_both_languages() -> None:
    """What is not known stands for itself."""
    assert (word("approved", "de"), word("approved", "en"), word("odd", "de")) == ("freigegeben", "approved", "odd")
    assert (number(1234567, "de"), number(1234567, "en"), number(0.25, "de")) == ("1.234.567", "1,234,567", "0,25")
    assert moment("2026-11-28T06:05:00+00:00", "de") == "28.11.2026, 06:05 UTC"
    assert moment("someday", "en") == "someday"
    assert (size(1500, "en"), size(3_200_000_000, "de")) == ("2 kB", "3,2 GB")
    assert message("The signature is for another purpose.", "de")[1] == "de"
    assert message("Something else.", "de") == ("Something else.", "en")


def test_a_check_that_breaks_is_no_good_check() -> None:
    """Whatever happens in it, the page says that the chain could not be shown to hold."""

    def broken() -> tuple[int, str]:
        raise OSError("disk")

    check = ChainCheck(broken)
    assert check.begin()
    check.wait(10)
    assert check.verdict is not None
    assert check.verdict.fault
