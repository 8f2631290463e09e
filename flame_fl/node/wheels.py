"""What goes into a sandbox image: the wheels, each with its SHA-256.

Rules this module follows:

1. An app's requirements are names and versions. An address, a path or an option of pip's is refused: what a hospital
   installs comes from the index it configured, or from a folder it filled.
2. Wheels only. A source distribution would run the stranger's build script on this machine.
3. Our own distributions are built from what is installed here and never looked up in an index, where anybody could
   offer something of that name.
"""

import importlib.metadata
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from flame_fl.contract.errors import FlameError, InputError
from flame_fl.contract.fab import Fab

CORE = "flame-fl"
OWN = (CORE, "flame-strategies", "flame-vetted")
LOCK = "requirements.txt"
_SECONDS = 1800
_NOT_IN_A_SANDBOX = {"flwr": {"simulation"}}  # Flower's own apps ask for it; Ray has nothing to do in a sandbox


@dataclass(frozen=True)
class Locked:
    """One wheel of an image."""

    name: str
    version: str
    sha256: str


def requirements_of(fab: Fab) -> tuple[str, ...]:
    """What an app's pyproject.toml lists under `project.dependencies`, checked.

    Raises:
        InputError: One of them is no name with versions.
    """
    listed = fab.setting("project", "dependencies") or []
    if not isinstance(listed, list):
        raise InputError(f"The dependencies of {fab.app_id} are no list.", mend="See [project] of its pyproject.toml.")
    return tuple(_checked(str(text), fab.app_id) for text in listed)


def _checked(text: str, app: str) -> str:
    try:
        requirement = Requirement(text)
    except InvalidRequirement as err:
        raise InputError(
            f"{app} asks for {text!r}, which is no requirement of Python's.", mend="Correct [project] of its pyproject."
        ) from err
    if requirement.url:
        raise InputError(
            f"{app} asks for {requirement.name} from an address of its own.",
            mend="Ask for a name and a version; put the wheel into a folder and give that with --wheels.",
        )
    requirement.extras -= _NOT_IN_A_SANDBOX.get(canonicalize_name(requirement.name), set())
    return str(requirement)


def collect(
    requirements: Sequence[str], into: Path, *, constraints: Path | None = None, offered: Path | None = None
) -> tuple[Locked, ...]:
    """Fill `into/wheels` and `into/own`, each with a lock of hashes beside the wheels.

    Args:
        requirements: As `requirements_of` checked them; flame-fl comes by itself.
        into: An empty folder: the context of an image.
        constraints: Versions to take, in pip's format; None is what is installed here, so that a sandbox computes
            with the versions that were tried here.
        offered: A folder of wheels to take everything from, with no network; None is pip's own configuration.

    Raises:
        FlameError: pip found no set of wheels; the sentence is pip's.
        InputError: One of our own distributions is asked for and neither installed nor offered.
    """
    own, wheels = into / "own", into / "wheels"
    own.mkdir()
    wheels.mkdir()
    _own_wheels(requirements, own, offered)
    strangers = [text for text in requirements if canonicalize_name(Requirement(text).name) not in OWN]
    download = ["download", "--only-binary=:all:", "--dest", str(wheels)]
    download += ["--no-index", "--find-links", str(offered)] if offered else []
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as here:
        here.write("".join(f"{line}\n" for line in installed()))
        here.flush()
        versions = ["--constraint", str(constraints or here.name)]
        _pip(*download, *versions, "--find-links", str(own), *map(str, own.glob("*.whl")), *strangers)
    for wheel in own.glob("*.whl"):
        (wheels / wheel.name).unlink(missing_ok=True)
    # pip itself, to unpack the others with: not installed, so neither constrained nor locked
    _pip(*download, "--no-deps", "pip")
    return (*_lock(wheels), *_lock(own))


def installed() -> list[str]:
    """The versions of what is installed here, as constraints; a build's own suffix ("+cpu") is left to pip."""
    pairs = {canonicalize_name(d.name): d.version.partition("+")[0] for d in importlib.metadata.distributions()}
    return [f"{name}=={version}" for name, version in sorted(pairs.items()) if name not in OWN]


def _own_wheels(requirements: Iterable[str], own: Path, offered: Path | None) -> None:
    waiting, done = [CORE, *requirements], set()
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        if name not in OWN or name in done:
            continue
        done.add(name)
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError as err:
            offers = sorted(offered.glob(f"{name.replace('-', '_')}-*.whl")) if offered else []
            if len(offers) != 1:
                raise InputError(
                    f"{name} is asked for, not installed on this machine, and not one wheel of it is in --wheels.",
                    mend=f"Install {name} {importlib.metadata.version(CORE)} here, or put its wheel into --wheels.",
                ) from err
            shutil.copy(offers[0], own)
            continue
        folder = _editable(found)
        if folder is None:
            repack(found, own)
        else:
            isolation = ["--no-build-isolation", "--no-index"] if importlib.util.find_spec("hatchling") else []
            _pip("wheel", "--no-deps", *isolation, "--wheel-dir", str(own), str(folder))
        waiting += [text for text in found.requires or [] if "extra ==" not in text]


def _editable(found: importlib.metadata.Distribution) -> Path | None:
    """Where the sources of a distribution installed with `pip install -e` are."""
    about = json.loads(found.read_text("direct_url.json") or "{}")
    if not about.get("dir_info", {}).get("editable"):
        return None
    return Path(unquote(urlsplit(about["url"]).path))


def repack(found: importlib.metadata.Distribution, into: Path) -> Path:
    """The wheel an installed distribution came from, made again of its files; the same files give the same bytes."""
    name = canonicalize_name(found.name).replace("-", "_")
    info = f"{name}-{found.version}.dist-info"
    wheel = into / f"{name}-{found.version}-py3-none-any.whl"
    skipped = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
    record = []
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(found.files or [], key=str):
            path = file.as_posix()
            if path.startswith("..") or file.suffix == ".pyc" or (info in path and file.name in skipped):
                continue
            data = Path(str(found.locate_file(file))).read_bytes()
            packed.writestr(zipfile.ZipInfo(path), data)
            record.append(f"{path},sha256={urlsafe_b64encode(sha256(data).digest()).decode().rstrip('=')},{len(data)}")
        lines = [*record, f"{info}/RECORD,,", ""]
        packed.writestr(zipfile.ZipInfo(f"{info}/RECORD"), "\n".join(lines))
    return wheel


def _lock(folder: Path) -> tuple[Locked, ...]:
    found = []
    for wheel in sorted(folder.glob("*.whl")):
        name, version, _, _ = parse_wheel_filename(wheel.name)
        if name != "pip":
            found.append(Locked(name, str(version), sha256(wheel.read_bytes()).hexdigest()))
    (folder / LOCK).write_text("".join(f"{w.name}=={w.version} --hash=sha256:{w.sha256}\n" for w in found))
    return tuple(found)


def _pip(command: str, *arguments: str) -> None:
    # -I: nothing of the folder we happen to stand in is imported
    asked = [sys.executable, "-I", "-m", "pip", command, "--quiet", "--disable-pip-version-check", "--no-input"]
    with tempfile.TemporaryFile("w+") as said:
        try:
            code = subprocess.run(  # noqa: S603  (requirements are parsed, so that none is an option)
                [*asked, *arguments], stdout=said, stderr=said, timeout=_SECONDS, check=False
            ).returncode
        except subprocess.TimeoutExpired as err:
            raise FlameError(
                f"pip {command} did not end within {_SECONDS} s.", mend="See that the package index answers."
            ) from err
        said.seek(0)
        text = said.read()
    if code:
        errors = [re.sub(r"//[^/\s@]*@", "//", line) for line in text.splitlines() if line.startswith("ERROR: ")]
        why = (errors or text.splitlines() or ["no reason given"])[-1].removeprefix("ERROR: ")
        raise FlameError(
            f"pip {command} failed: {why.rstrip('.')}.",
            mend="See that the index is reachable (pip's own configuration), or give a folder with --wheels.",
        )
