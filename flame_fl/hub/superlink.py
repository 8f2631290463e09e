"""The SuperLink's process: started, waited for, started again, ended."""

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from flame_fl.contract.errors import FlameError
from flame_fl.hub.config import HubConfig, HubFiles

_READY_SECONDS = 60.0
_END_SECONDS = 8.0
_QUICK_SECONDS = 10.0
_LONGEST_WAIT = 30.0
_MAX_LOG_BYTES = 50 << 20


class Stop:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.asked = False

    def wait(self, seconds: float) -> bool:
        """Sleep, but not longer than until somebody asks. True if somebody has."""
        end = time.monotonic() + seconds
        while not self.asked and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
        return self.asked

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Ask on SIGTERM and SIGINT."""

        def ask(number: int, frame: object) -> None:
            del number, frame
            self.asked = True

        before = {name: signal.signal(name, ask) for name in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)


class SuperLink:
    """The SuperLink's process."""

    def __init__(self, config: HubConfig, files: HubFiles) -> None:
        self._config, self._files = config, files
        self._process: subprocess.Popen[bytes] | None = None
        self._started, self._wait = 0.0, 0.5

    def start(self) -> None:
        """Start it. From the main thread: it ends with the thread that started it."""
        files, hub = self._files, self._config.hub
        command = [
            sys.executable, "-m", "flame_fl.flower.superlink",
            "--flame-access", str(files.access), "--flame-runs", str(files.runs), "--flame-parent", str(os.getpid()),
            "--host", hub.host, "--port", str(hub.port),
            "--ssl-ca-certfile", str(files.ca), "--ssl-certfile", str(files.certificate),
            "--ssl-keyfile", str(files.key), "--enable-supernode-auth", "--database", str(files.database),
            "--isolation", "process", "--superexec-auth-secret-file", str(files.secret),
            "--disable-runtime-dependency-installation",
        ]  # fmt: skip
        files.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _rotate(files.log)
        with files.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(files),
                start_new_session=True,
            )
        self._started = time.monotonic()

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def wait_until_ready(self, stop: "Stop") -> None:
        """Wait until it answers, or until it is to stop.

        Raises:
            FlameError: It ended, or does not answer in time; with the last lines of its log.
        """
        context = ssl.create_default_context(cafile=self._files.ca)
        end = time.monotonic() + _READY_SECONDS
        with httpx.Client(verify=context, timeout=2.0) as client:
            while not stop.asked:
                if not self.is_alive() or time.monotonic() > end:
                    raise FlameError(f"The SuperLink did not start.{_last_lines(self._files.log)}", mend=_mend(self))
                try:
                    if client.get(f"https://{self._config.own_address}/health").is_success and self.is_alive():
                        return
                except httpx.HTTPError:
                    pass
                stop.wait(0.1)

    @property
    def log(self) -> Path:
        """Where it logs."""
        return self._files.log

    def restart(self, stop: "Stop") -> None:
        """Start it again, later each time that it did not live long."""
        self._wait = 0.5 if time.monotonic() - self._started > _QUICK_SECONDS else min(self._wait * 2, _LONGEST_WAIT)
        if not stop.wait(self._wait):
            self.start()

    def end(self) -> None:
        """End it: asked first, then killed."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _environment(files: HubFiles) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH") if name in os.environ}
    return kept | {
        "HOME": str(files.state),
        "FLWR_HOME": str(files.state / "flwr"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _rotate(log: Path) -> None:
    """Keep one older log when this one is large."""
    if log.exists() and log.stat().st_size > _MAX_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))


def _last_lines(log: Path, count: int = 5) -> str:
    try:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return "\n" + "\n".join(lines[-count:]) if lines else ""


def _mend(superlink: SuperLink) -> str:
    return f"See {superlink.log}; most often the port is in use (port in hub.toml)."
