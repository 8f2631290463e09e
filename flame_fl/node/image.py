"""Images that sandboxes run in, built at the node without a network inside the build.

An image holds the packages an app asks for and flame_fl's runner. The app's own code is not in it: it comes with each
bundle, and the approval binds both, the bundle by its digest and the image by its id.
"""

import hashlib
import importlib.resources
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import docker
import docker.errors
from docker.models.images import Image as EngineImage

from flame_fl import __version__
from flame_fl.contract.errors import FlameError, InputError
from flame_fl.contract.fab import Fab, read_fab
from flame_fl.contract.manifest import manifest_of
from flame_fl.contract.ports import VETTED_APP
from flame_fl.flower.bundle import build_fab
from flame_fl.node.wheels import LOCK, collect, requirements_of
from flame_fl.sandbox.container import NOBODY, ROLE

BASE = f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"
APP, WHEELS, BUILT_FROM = "fl.flame.app", "fl.flame.wheels", "fl.flame.base"
_VERSION, _TITLE = "org.opencontainers.image.version", "org.opencontainers.image.title"
_LICENCES = "org.opencontainers.image.licenses"
_DOCKERFILE = "sandbox.Dockerfile"


@dataclass(frozen=True)
class SandboxImage:
    """An image on the engine.

    Attributes:
        id: "sha256:…", the digest of its configuration. This is what approvals bind.
        tags: Its names. A name can be moved to other content, an id cannot.
        app: "publisher/name", or "" for an image of no app in particular.
        repo_digest: Its digest in a registry, if it was ever in one.
        flame_version: Version of flame-fl inside.
        wheels: SHA-256 over the names, versions and hashes of everything installed in it.
        size_bytes: Unpacked.
    """

    id: str
    tags: tuple[str, ...]
    app: str
    repo_digest: str | None
    flame_version: str
    wheels: str
    size_bytes: int

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def read_app(app: Path) -> Fab:
    """An app's bundle: from its folder, or from a `.fab` file."""
    app = app.expanduser()
    return read_fab(app.read_bytes() if app.is_file() else build_fab(app))


def build_image(
    app: Path | None,
    *,
    client: docker.DockerClient,
    tag: str | None = None,
    base: str = BASE,
    constraints: Path | None = None,
    wheels: Path | None = None,
    extra: Sequence[str] = (),
    say: Callable[[str], None] = lambda text: None,
) -> SandboxImage:
    """Collect wheels on this machine, then build an image of them with no network.

    Args:
        app: Folder or `.fab` of a Flower app whose `project.dependencies` go in; None for none.
        client: The engine.
        tag: Its name; None is "flame-sandbox-NAME".
        base: An image that is on the engine, with the Python that runs here. Never pulled.
        constraints: Versions to take, in pip's format; None is what is installed here.
        wheels: A folder of wheels to take everything from; None is pip's own configuration.
        extra: Further requirements.
        say: Told what is being done.

    Raises:
        InputError: The app, its requirements or the base do not serve.
        FlameError: pip or the engine failed; the sentence is theirs.
    """
    name = (VETTED_APP if _is_vetted(read_app(app)) else read_app(app).app_id) if app else ""
    tag = tag or f"flame-sandbox-{name.rpartition('/')[2] or 'plain'}"
    base_id = _check_base(client, base)
    with tempfile.TemporaryDirectory(prefix="flame-image-") as scratch:
        context = Path(scratch) / "context"
        say("collecting wheels")
        locked, lock = write_context(app, context, constraints=constraints, wheels=wheels, extra=extra)
        labels = {
            ROLE: "sandbox",
            APP: name,
            WHEELS: lock,
            BUILT_FROM: base_id,
            _TITLE: f"flame sandbox {name}".strip(),
            _VERSION: __version__,
            _LICENCES: "Apache-2.0",  # of flame-fl; each package's own text is in its .dist-info
        }
        say(f"installing {locked} packages in {tag}")
        return described(_build(client, context, tag, base, labels))


def _needs_of(fab: Fab) -> tuple[str, ...]:
    """What an app asks for; under a vetted claim the code of ours that runs in its place, and nothing else."""
    return ("flame-vetted",) if _is_vetted(fab) else requirements_of(fab)


def _is_vetted(fab: Fab) -> bool:
    terms = manifest_of(fab).terms
    return terms is not None and terms.privacy.ground == "vetted"


def dockerfile() -> str:
    """The text of the Dockerfile that `build_image` uses."""
    return (importlib.resources.files("flame_fl.node") / "dockerfiles" / _DOCKERFILE).read_text(encoding="utf-8")


def write_context(
    app: Path | None,
    into: Path,
    *,
    constraints: Path | None = None,
    wheels: Path | None = None,
    extra: Sequence[str] = (),
) -> tuple[int, str]:
    """Make the folder that `docker build` needs; arguments as `build_image`.

    Returns:
        How many packages it holds, and the SHA-256 of their lock.

    Raises:
        InputError: `into` is there already, or as `build_image`.
        FlameError: As `build_image`.
    """
    requirements = [*(_needs_of(read_app(app)) if app else ()), *extra]
    try:
        into.mkdir(parents=True)
    except OSError as err:
        raise InputError(f"{into} cannot be made ({err.strerror}).", mend="Choose another --context.") from err
    try:
        locked = collect(requirements, into, constraints=constraints, offered=wheels)
        (into / "Dockerfile").write_text(dockerfile(), encoding="utf-8")
    except BaseException:
        shutil.rmtree(into)
        raise
    lock = "".join((into / part / LOCK).read_text(encoding="utf-8") for part in ("wheels", "own"))
    return len(locked), hashlib.sha256(lock.encode()).hexdigest()


def list_images(client: docker.DockerClient) -> list[SandboxImage]:
    """The sandbox images on the engine, by name."""
    found = client.images.list(filters={"label": f"{ROLE}=sandbox", "dangling": False})
    return sorted((described(image) for image in found), key=lambda image: (image.tags, image.id))


def described(image: EngineImage) -> SandboxImage:
    """What the engine says of an image."""
    labels: Mapping[str, str] = image.labels or {}
    digests = image.attrs.get("RepoDigests") or []
    return SandboxImage(
        id=image.id,
        tags=tuple(image.tags),
        app=labels.get(APP, ""),
        repo_digest=digests[0] if digests else None,
        flame_version=labels.get(_VERSION, ""),
        wheels=labels.get(WHEELS, ""),
        size_bytes=int(image.attrs.get("Size", 0)),
    )


def _check_base(client: docker.DockerClient, base: str) -> str:
    try:
        image_id = client.images.get(base).id
        said = client.containers.run(
            image_id,
            ["-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            entrypoint=["python3"],
            network_mode="none",
            user=str(NOBODY),
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            remove=True,
        )
    except docker.errors.ImageNotFound as err:
        raise InputError(
            f"The engine has no image {base}.", mend=f"Fetch it: docker pull {base}; or name another with --base."
        ) from err
    except docker.errors.DockerException as err:
        raise InputError(f"The image {base} does not start python3.", mend="Name another with --base.") from err
    inside, here = said.decode().strip(), f"{sys.version_info.major}.{sys.version_info.minor}"
    if inside != here:
        raise InputError(
            f"{base} has Python {inside}; wheels are collected here for Python {here}.",
            mend=f"Name a base with Python {here}, or run flame with Python {inside}.",
        )
    return str(image_id)


def _build(client: docker.DockerClient, context: Path, tag: str, base: str, labels: Mapping[str, str]) -> EngineImage:
    try:
        image, _ = client.images.build(
            path=str(context), tag=tag, buildargs={"BASE": base}, labels=dict(labels), network_mode="none", rm=True,
            forcerm=True,
        )  # fmt: skip
    except docker.errors.BuildError as err:
        said = "".join(line.get("stream", "") for line in err.build_log)
        raise FlameError(
            f"The image could not be built: {err.msg}",
            mend=f"The end of what the build said: …{' '.join(said.split())[-600:]}",
        ) from err
    except docker.errors.APIError as err:
        raise FlameError(f"The engine refused the build: {err.explanation}", mend="See the engine's own log.") from err
    return image
