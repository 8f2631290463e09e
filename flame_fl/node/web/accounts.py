"""Local accounts of the web page: names, roles and Argon2id hashes in one private file, read again when it changes."""

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import Field, StringConstraints, TypeAdapter, ValidationError

from flame_fl.contract.errors import FlameError, InputError
from flame_fl.contract.words import Frozen
from flame_fl.data.files import PRIVATE, Stamp, stamp
from flame_fl.data.files import replace as replace_file
from flame_fl.node.web.roles import Role

MIN_PASSWORD_CHARS, MAX_PASSWORD_CHARS = 12, 256
AccountName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@\-]{0,63}$")]
_NAME: TypeAdapter[str] = TypeAdapter(AccountName)
_AT_ONCE = 2  # one check takes 64 MiB and a tenth of a second: more at a time would be a way to stop the node


def accounts_file(state: Path) -> Path:
    """Where they are."""
    return state / "web" / "accounts.json"


class Account(Frozen):
    """One person."""

    name: AccountName
    roles: Annotated[tuple[Role, ...], Field(min_length=1)]
    password: str
    """Argon2id, with its salt and parameters."""
    signs_with: Literal["own-key", "node-key"] = "own-key"
    """What a steward signs with: a key on a device of their own, or the one that the node keeps."""
    disabled: bool = False
    made: str = ""


class _File(Frozen):
    accounts_version: Literal[1] = 1
    accounts: tuple[Account, ...] = ()


@dataclass
class Accounts:
    """The accounts of a node.

    Args:
        path: Their file.
        hasher: Argon2id with RFC 9106's second recommendation unless a test needs a quick one.
    """

    path: Path
    hasher: PasswordHasher = field(default_factory=PasswordHasher)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._hashing = threading.BoundedSemaphore(_AT_ONCE)
        self._read: tuple[Stamp, dict[str, Account]] | None = None

    def all(self) -> dict[str, Account]:
        """By name.

        Raises:
            FlameError: The file cannot be read. Nobody is let in then.
        """
        with self._lock:
            try:
                seen = stamp(self.path)
                if self._read is None or self._read[0] != seen:
                    found = _File.model_validate_json(self.path.read_text(encoding="utf-8"))
                    self._read = (seen, {account.name: account for account in found.accounts})
            except FileNotFoundError:
                return {}
            except (OSError, ValidationError, UnicodeDecodeError) as err:
                raise FlameError(f"{self.path} cannot be read.", mend="Restore it from a backup.") from err
            return self._read[1]

    def get(self, name: str) -> Account | None:
        """One that may log in: None if there is none or it is disabled."""
        account = self.all().get(name)
        return None if account is None or account.disabled else account

    def check(self, name: str, password: str) -> Account | None:
        """The account, if the password is its own. As slow where there is no such account."""
        account = self.get(name)
        with self._hashing:
            try:
                self.hasher.verify(account.password if account else self._nobody, password[:MAX_PASSWORD_CHARS])
            except (VerificationError, InvalidHashError):
                return None
        return account

    @cached_property
    def _nobody(self) -> str:
        return self.hasher.hash("no account has this password, for none is checked against it")

    def prepare(self) -> None:
        """Take the time now that the first login with an unknown name would take longer."""
        _ = self._nobody

    def add(self, name: str, roles: tuple[Role, ...], password: str, *, node_key: bool = False) -> Account:
        """Make an account.

        Raises:
            InputError: The name is taken or none, or the password is too short.
            FlameError: The file cannot be written.
        """
        try:
            _NAME.validate_python(name)
        except ValidationError:
            raise InputError(f"{name!r} is no name.", mend="Letters, digits and . _ @ - ; at most 64.") from None
        if not roles:
            raise InputError(
                "An account needs a role.", mend="--role steward, admin or auditor; more than one may be given."
            )
        if node_key and Role.STEWARD not in roles:
            raise InputError("Only stewards sign.", mend="Leave --node-key out, or add --role steward.")
        account = Account(
            name=name,
            roles=tuple(dict.fromkeys(roles)),
            password=self._hashed(name, password),
            signs_with="node-key" if node_key else "own-key",
            made=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        known = self.all()
        if name in known:
            raise InputError(f"There is an account {name!r} already.", mend="`flame node account list`.")
        self._write({**known, name: account})
        return account

    def change(
        self, name: str, *, password: str | None = None, disabled: bool | None = None, roles: tuple[Role, ...] = ()
    ) -> Account:
        """Change an account. A new password, other roles or disabling it ends its sessions.

        Raises:
            InputError: There is none, or the password is too short.
        """
        known = self.all()
        if (account := known.get(name)) is None:
            raise InputError(f"There is no account {name!r}.", mend="`flame node account list`.")
        changes: dict[str, object] = {}
        if password is not None:
            changes["password"] = self._hashed(name, password)
        if disabled is not None:
            changes["disabled"] = disabled
        if roles:
            changes["roles"] = tuple(dict.fromkeys(roles))
        changed = account.model_copy(update=changes)
        self._write({**known, name: changed})
        return changed

    def remove(self, name: str) -> None:
        """Remove an account; its sessions end.

        Raises:
            InputError: There is none.
        """
        known = dict(self.all())
        if known.pop(name, None) is None:
            raise InputError(f"There is no account {name!r}.", mend="`flame node account list`.")
        self._write(known)

    def _hashed(self, name: str, password: str) -> str:
        if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
            raise InputError(
                f"The password has {len(password)} characters.",
                mend=f"Between {MIN_PASSWORD_CHARS} and {MAX_PASSWORD_CHARS}; several words are easy to remember.",
            )
        if name.lower() in password.lower() or len(set(password)) < 5:
            raise InputError("The password is easy to guess.", mend="Not the name, not one character repeated.")
        return self.hasher.hash(password)

    def _write(self, accounts: dict[str, Account]) -> None:
        text = _File(accounts=tuple(accounts[name] for name in sorted(accounts))).model_dump_json(indent=1)
        with self._lock:
            try:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                replace_file(self.path, text.encode(), PRIVATE)
            except OSError as err:
                raise FlameError(f"{self.path} cannot be written.", mend="See its folder's permissions.") from err
            self._read = None
