"""A Docker Engine and an image for the tests: `engine()` finds the one, `test_image()` builds the other when needed.

The image holds flame-fl, flame-strategies, flame-vetted and torch, under the tag `flame-test-sandbox`. It is built anew
when code that runs in sandboxes, the locks or the Dockerfile change: seconds if only our code did, about a minute
otherwise.

    python -m tests.support.engine      # build it now, print its id
"""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import docker.errors
import pytest

from flame_fl.contract.errors import UnreachableError
from flame_fl.node.image import BASE, build_image, write_context
from flame_fl.sandbox.docker import connect

ROOT = Path(__file__).parents[2]
TAG = "flame-test-sandbox"
EXTRA = ("flame-strategies", "flame-vetted", "torch", "numpy")
PACKAGES = ("constraints.txt", "pyproject.toml", "strategies/pyproject.toml", "vetted/pyproject.toml",
            "flame_fl/node/wheels.py")  # fmt: skip
# and what the runners import
INPUTS = (*PACKAGES, "flame_fl/__init__.py", "flame_fl/contract", "flame_fl/flower", "flame_fl/node/dockerfiles",
          "flame_fl/privacy", "strategies/flame_strategies", "vetted/flame_vetted")  # fmt: skip


def engine() -> docker.DockerClient:
    """The engine; skips the test if there is none, fails it where CI promised one."""
    try:
        return connect(timeout_seconds=600)
    except UnreachableError as err:
        (pytest.fail if os.environ.get("FLAME_REQUIRE_ALL") == "1" else pytest.skip)(f"no Docker Engine: {err}")


def test_image(client: docker.DockerClient | None = None) -> str:  # noqa: PT028
    """The id of an image that holds the code as it is now."""
    client = client or engine()
    name = f"{TAG}:{inputs_digest(str(client.images.get(BASE).id))[:16]}"
    with _alone():
        try:
            return str(client.images.get(name).id)
        except docker.errors.ImageNotFound:
            pass
        old = [tag for image in client.images.list(TAG) for tag in image.tags if not tag.endswith(":latest")]
        image = build_image(None, client=client, tag=TAG, wheels=wheels(), extra=EXTRA)
        client.images.get(image.id).tag(TAG, name.partition(":")[2])
        for tag in old:  # only the name goes: a container may still run in it
            client.images.remove(tag, force=True, noprune=True)
    return image.id


test_image.__test__ = False  # type: ignore[attr-defined]  # a function to call, not a test


def wheels() -> Path:
    """The packages, downloaded once for all builds from the same locks."""
    folder = ROOT / "build" / f"wheels-{inputs_digest(names=PACKAGES)[:16]}"
    if not folder.exists():
        write_context(None, folder.with_suffix(".new"), constraints=ROOT / "constraints.txt", extra=EXTRA)
        folder.with_suffix(".new").rename(folder)
    return folder / "wheels"


def inputs_digest(*more: str, names: tuple[str, ...] = INPUTS) -> str:
    """SHA-256 over everything the image is made of."""
    digest = hashlib.sha256("\0".join((*more, *EXTRA)).encode())
    for name in names:
        top = ROOT / name
        for file in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if file.is_file() and "__pycache__" not in file.parts:
                data = file.read_bytes()
                digest.update(f"{file.relative_to(ROOT)}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()


@contextmanager
def _alone() -> Iterator[None]:
    """Two runs of the tests on one machine build one image."""
    path = Path(tempfile.gettempdir()) / f"{TAG}-{os.getuid()}.lock"
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    print(test_image())
