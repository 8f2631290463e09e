"""The sandbox images: built with no network, started with nothing writable, free of what does not belong inside."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from flame_fl import __version__
from flame_fl.cli import image as cli
from flame_fl.contract.errors import FlameError, InputError
from flame_fl.contract.frames import HEAD, FrameType
from flame_fl.node import image as images
from flame_fl.node.image import build_image, list_images
from tests.architecture.tree import ROOT
from tests.integration.images.conftest import HARDENED
from tests.support.engine import TAG, inputs_digest, test_image, wheels

pytestmark = [pytest.mark.docker, pytest.mark.slow]
APP = ROOT / "use_cases/methylation-age"
LOCKS = ROOT / "constraints.txt"


@pytest.fixture(scope="module")
def plain(client) -> str:
    """Id of the image the other tests use."""
    return test_image(client)


@pytest.fixture(scope="module")
def methylation(client) -> Iterator[images.SandboxImage]:
    """The image of a use case, under a name of the tests' own; the layers stay for the next time."""
    yield build_image(APP, client=client, tag="flame-test-methylation-age", constraints=LOCKS)
    client.images.remove("flame-test-methylation-age", noprune=True)


def test_the_runner_starts_hardened_and_ends_with_its_input(plain: str) -> None:
    done = subprocess.run(["docker", "run", *HARDENED, plain], input=b"", capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_runner_ends_at_a_frame_it_does_not_know(plain: str) -> None:
    """It is the runner that listens, not a Python that waits for anything."""
    frame = HEAD.pack(HEAD.size - 4, FrameType.BYE, 0)
    done = subprocess.run(
        ["docker", "run", *HARDENED, plain], input=frame, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0


class TestAUseCase:
    def test_has_what_its_app_asks_for(self, methylation, python) -> None:
        said = python(
            methylation.id, "import torch, flwr, numpy, pyarrow, sklearn; print(torch.__version__, flwr.__version__)"
        )
        locked = dict(line.strip().split("==") for line in LOCKS.read_text().splitlines() if "==" in line)
        torch, flwr = said.split()
        assert (torch.partition("+")[0], flwr) == (locked["torch"], locked["flwr"])

    def test_can_train(self, methylation, python) -> None:
        """The libraries behind the imports are whole, too: nothing was stripped that is used."""
        code = (
            "import torch, numpy as np, pandas as pd, pyarrow.parquet as pq, io\n"
            "from sklearn.linear_model import ElasticNetCV\n"
            "x = torch.randn(64, 8); m = torch.nn.Linear(8, 1); o = torch.optim.Adam(m.parameters())\n"
            "for _ in range(3): o.zero_grad(); l = (m(x) ** 2).mean(); l.backward(); o.step()\n"
            "b = io.BytesIO(); pd.DataFrame({'a': [1.0, 2.0]}).to_parquet(b); b.seek(0); t = pq.read_table(b)\n"
            "r = np.random.default_rng(0); X = r.normal(size=(40, 5)); e = ElasticNetCV(cv=3).fit(X, X[:, 0])\n"
            "list(torch.utils.data.DataLoader(torch.arange(4), num_workers=0))\n"
            "print(t.num_rows, e.coef_.shape[0])\n"
        )
        assert python(methylation.id, code).split() == ["2", "5"]

    def test_does_not_hold_the_app(self, methylation, python) -> None:
        """The code comes with each bundle, where its digest is checked."""
        assert (
            python(methylation.id, "import importlib.util as u; print(u.find_spec('methylation_age'))").strip()
            == "None"
        )

    def test_says_what_it_is(self, methylation, client) -> None:
        labels = client.images.get(methylation.id).labels
        assert labels["fl.flame.role"] == "sandbox"
        assert labels["fl.flame.app"] == methylation.app == "flame-fl/methylation-age"
        assert labels["org.opencontainers.image.version"] == methylation.flame_version == __version__
        assert methylation.id.startswith("sha256:")
        assert methylation.repo_digest is None

    def test_is_listed(self, methylation, client) -> None:
        assert methylation.id in [image.id for image in list_images(client)]


class TestWhatIsNotInside:
    def test_no_installer(self, plain, python) -> None:
        code = "import importlib.util as u, shutil; print([u.find_spec(n) for n in ('pip', 'uv')], shutil.which('uv'))"
        assert python(plain, code).strip() == "[None, None] None"

    def test_nothing_is_writable_but_the_scratch(self, plain, python) -> None:
        code = (
            "import os\n"
            "skip = ('/proc', '/sys', '/dev', '/tmp')\n"
            "print([d for d, dirs, _ in os.walk('/') if not d.startswith(skip) and os.access(d, os.W_OK)])"
        )
        assert python(plain, code).strip() == "[]"

    def test_nothing_runs_with_the_rights_of_its_owner(self, plain, python) -> None:
        """No set-uid program among the packages; the base system's own are met by no-new-privileges."""
        code = (
            "import os, stat\n"
            "found = [os.path.join(d, f) for d, _, fs in os.walk('/opt') for f in fs]\n"
            "print(len(found), [f for f in found if os.lstat(f).st_mode & (stat.S_ISUID | stat.S_ISGID)])"
        )
        number, bad = python(plain, code).strip().split(" ", 1)
        assert int(number) > 1000
        assert bad == "[]"

    def test_no_variable_but_ours(self, plain, python) -> None:
        names = set(json.loads(python(plain, "import os, json; print(json.dumps(list(os.environ)))")))
        ours = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "FLWR_TELEMETRY_ENABLED",
                "FLWR_DISABLE_UPDATE_CHECK", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"}  # fmt: skip
        assert ours <= names
        # the rest is the engine's, the base image's or the C library's
        assert names - ours <= {
            "PATH",
            "HOSTNAME",
            "HOME",
            "LC_CTYPE",
            "LANG",
            "GPG_KEY",
            "PYTHON_VERSION",
            "PYTHON_SHA256",
        }

    def test_bytecode_is_there(self, plain, python) -> None:
        """The root is read-only, so that what is not compiled now is compiled at each start."""
        assert (
            python(plain, "import flame_fl.contract.frames as f, os; print(os.path.exists(f.__cached__))").strip()
            == "True"
        )

    def test_licences_stay(self, plain, python) -> None:
        code = "import glob; print(len(glob.glob('/opt/site/*.dist-info/**/*LICEN*', recursive=True)))"
        assert int(python(plain, code)) > 20


class TestBuilding:
    def test_the_test_image_is_built_once(self, client) -> None:
        plain = test_image(client)
        before = {image.id for image in client.images.list()}
        assert test_image(client) == plain
        assert {image.id for image in client.images.list()} == before
        base = str(client.images.get(images.BASE).id)
        assert client.images.get(f"{TAG}:{inputs_digest(base)[:16]}").id == plain

    def test_a_base_that_is_absent_is_named_and_never_pulled(self, client) -> None:
        with pytest.raises(InputError, match="no-such-base") as caught:
            build_image(None, client=client, base="flame-no-such-base:1")
        assert "docker pull" in caught.value.mend

    def test_a_base_with_another_python_is_refused(self, client, tmp_path: Path) -> None:
        (tmp_path / "python3").write_text("#!/bin/sh\necho 3.9\n")
        (tmp_path / "Dockerfile").write_text(f"FROM {images.BASE}\nCOPY python3 /usr/local/bin/python3\n")
        (tmp_path / "python3").chmod(0o755)
        client.images.build(path=str(tmp_path), tag="flame-test-other-python", network_mode="none", rm=True)
        try:
            with pytest.raises(InputError, match=r"Python 3\.9"):
                build_image(None, client=client, base="flame-test-other-python")
        finally:
            client.images.remove("flame-test-other-python")

    def test_a_changed_wheel_is_not_installed(self, client, tmp_path: Path) -> None:
        """The lock beside the wheels is what counts."""
        context = tmp_path / "context"
        for name in ("wheels", "own"):
            (context / name).mkdir(parents=True)
        for pattern in ("pip-*.whl", "rfc8785-*.whl"):
            (wheel,) = wheels().glob(pattern)
            shutil.copy(wheel, context / "wheels")
        lock = f"rfc8785=={wheel.name.split('-')[1]} --hash=sha256:{sha256(wheel.read_bytes()).hexdigest()}\n"
        for name in ("wheels", "own"):
            (context / name / "requirements.txt").write_text(lock if name == "wheels" else "")
        (context / "Dockerfile").write_text(images.dockerfile())
        with (context / "wheels" / wheel.name).open("ab") as file:
            file.write(b"\0")
        with pytest.raises(FlameError, match="could not be built") as caught:
            images._build(client, context, "flame-test-broken", images.BASE, {})
        assert "DO NOT MATCH THE HASHES" in caught.value.mend
        assert client.images.list("flame-test-broken") == []

    def test_the_command_prints_what_an_approval_binds(self, methylation, capfd, monkeypatch) -> None:
        monkeypatch.setattr(images, "build_image", lambda app, **given: methylation)
        cli.cli(["build", str(APP), "--json"], standalone_mode=False)
        assert json.loads(capfd.readouterr().out)["id"] == methylation.id
        cli.cli(["list", "--json"], standalone_mode=False)
        assert methylation.id in [image["id"] for image in json.loads(capfd.readouterr().out)]

    def test_the_context_builds_by_itself(self, client, tmp_path: Path, capfd) -> None:
        """What another machine needs: a folder, and the command that was printed."""
        context = tmp_path / "context"
        toy = ROOT / "tests/integration/apps/toy"
        words = ["build", str(toy), "--context", str(context), "--wheels", str(wheels())]
        cli.cli([*words, "--constraints", str(LOCKS)], standalone_mode=False)
        command = capfd.readouterr().out.split()
        assert command[:2] == ["docker", "build"]
        command[command.index("NAME")] = "flame-test-context"
        subprocess.run(command, check=True, capture_output=True, timeout=600)
        labels = client.images.get("flame-test-context").attrs["Config"]
        client.images.remove("flame-test-context")
        assert labels["User"] == "65534:65534"
        assert labels["Cmd"] == ["flame_fl.flower.runner"]
