"""`hubs.toml`: the hubs a researcher may use.

```toml
[local]
address = "hub.example.org:8000"
ca = "/home/me/.config/flame/hub-ca.crt"
token_file = "/home/me/.config/flame/hub.token"   # readable by its owner only
project = "methylation-age"                        # optional: else the app's own
```
Relative paths are relative to the file.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tomli_w
from pydantic import StringConstraints

from flame_fl.contract.errors import InputError
from flame_fl.contract.settings import parse_settings
from flame_fl.contract.words import Frozen, Name

_MAX_TOKEN_BYTES = 256
FilePath = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class HubEntry(Frozen):
    """One hub."""

    address: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.\-\[\]:]{1,255}:[0-9]{1,5}$")]
    ca: FilePath
    token_file: FilePath
    project: Name | None = None


@dataclass(frozen=True)
class Hub:
    """A hub with all that is needed to speak to it. The token is not shown."""

    name: str
    address: str
    ca: Path
    token: str
    project: str | None = None

    def __repr__(self) -> str:
        return f"Hub({self.name}, {self.address})"


def load_hub(file: Path, name: str) -> Hub:
    """The hub of that name, with its token.

    Raises:
        InputError: It is not in the file, or its certificate or token cannot be read.
    """
    entries = parse_hubs(_text(file), str(file))
    if name not in entries:
        known = ", ".join(sorted(entries)) or "none"
        raise InputError(
            f"There is no hub {name} in {file}.", mend=f"Known: {known}. The hub's administrator gives you its lines."
        )
    entry = entries[name]
    ca, token_file = _path(file, entry.ca), _path(file, entry.token_file)
    if not ca.is_file():
        raise InputError(f"The certificate {ca} of hub {name} is missing.", mend="Ask the hub's administrator for it.")
    return Hub(name, entry.address, ca, _token(token_file), entry.project)


def parse_hubs(text: str, name: str = "hubs.toml") -> Mapping[str, HubEntry]:
    """All hubs of a file's text.

    Raises:
        InputError: It is not as it should be; the sentence names the setting.
    """
    return parse_settings(text, dict[str, HubEntry], name)


def snippet(name: str, entry: HubEntry) -> str:
    """The lines for a `hubs.toml`."""
    return tomli_w.dumps({name: entry.model_dump(exclude_none=True)}).rstrip()


def add_hub(file: Path, name: str, entry: HubEntry) -> None:
    """Add a hub to a file, or replace the one of that name.

    Raises:
        InputError: The file is there and cannot be read.
    """
    entries = dict(parse_hubs(_text(file), str(file))) if file.exists() else {}
    entries[name] = entry
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.new")
    temporary.write_text(tomli_w.dumps({key: value.model_dump(exclude_none=True) for key, value in entries.items()}))
    temporary.replace(file)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as err:
        raise InputError(f"There is no {file}.", mend="The hub's administrator gives you its lines.") from err
    except (OSError, UnicodeDecodeError) as err:
        raise InputError(f"{file} cannot be read.", mend="See its permissions.") from err


def _path(file: Path, text: str) -> Path:
    path = Path(text).expanduser()
    return path if path.is_absolute() else file.parent / path


def _token(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            if stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & 0o077:
                raise InputError(f"Others may read the token {file}.", mend=f"Run `chmod 600 {file}`.")
            raw = stream.read(_MAX_TOKEN_BYTES + 1).strip()
    except OSError as err:
        raise InputError(
            f"The token {file} cannot be read ({err.strerror}).", mend="Write the token that you were given into it."
        ) from err
    if not raw or len(raw) > _MAX_TOKEN_BYTES or not raw.isascii() or not raw.decode().isprintable():
        raise InputError(f"{file} holds no token.", mend="Write the token that you were given into it.")
    return raw.decode()
