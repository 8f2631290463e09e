"""`flame hub up`: the SuperLink as a child, the server agent beside it, and one log that a person can read."""

import fcntl
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx

from flame_fl.contract.errors import FlameError, InputError
from flame_fl.contract.places import Places
from flame_fl.flower.server_tasks import TaskQueue
from flame_fl.flower.superlink_state import RunReader
from flame_fl.hub.agent import Agent
from flame_fl.hub.config import HubConfig, HubFiles, load_config
from flame_fl.hub.launch import Launcher, SubprocessLauncher

_READY_SECONDS = 60.0
_TICK_SECONDS = 0.3
_END_SECONDS = 8.0
_QUICK_SECONDS = 10.0
_LONGEST_WAIT = 30.0
_MAX_LOG_BYTES = 50 << 20
Say = Callable[[str], None]


def run_hub(places: Places, say: Say) -> None:
    """Serve until SIGTERM or SIGINT. ServerApps that run are left running; the next `up` finds them.

    Raises:
        InputError: There is no hub, or it is up already.
        FlameError: It cannot be started.
    """
    config, files = load_config(places), HubFiles(places.state)
    stop = _Stop()
    with _alone(files), stop.on_signals():
        launcher = _launcher(config, say)
        superlink = SuperLink(config, files)
        try:
            superlink.start()
            superlink.wait_until_ready(stop)
            _serve(config, files, launcher, superlink, stop, say)
        finally:
            superlink.end()
    say("hub is down")


def _serve(  # noqa: PLR0917
    config: HubConfig, files: HubFiles, launcher: Launcher, superlink: "SuperLink", stop: "_Stop", say: Say
) -> None:
    queue = TaskQueue(config.own_address, files.ca, files.secret.read_bytes())
    reader = RunReader(files.database)
    agent = Agent(config, files, queue=queue, reader=reader, launcher=launcher, say=say)
    try:
        if not stop.asked:
            agent.adopt()
            say(f"hub is ready at {config.address} (certificate authority {files.ca}, Flower's log {files.log})")
        while not stop.wait(_TICK_SECONDS):
            if not superlink.is_alive():
                say("the SuperLink ended; starting it again")
                superlink.restart(stop)
            try:
                agent.tick()
            except Exception as err:  # the hub stays up: the next look may go better
                say(str(err) if isinstance(err, FlameError) else f"{type(err).__name__}: {err}")
                stop.wait(2.0)
    finally:
        agent.close()
        reader.close()
        queue.close()


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

    def wait_until_ready(self, stop: "_Stop") -> None:
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

    def restart(self, stop: "_Stop") -> None:
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


class _Stop:
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


@contextmanager
def _alone(files: HubFiles) -> Iterator[None]:
    """One `hub up` at a time."""
    lock: IO[str] = (files.state / "hub.lock").open("w")
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError("This hub is up already.", mend="End that one first.") from None
        yield
    finally:
        lock.close()


def _launcher(config: HubConfig, say: Say) -> Launcher:
    if config.serverapp.sandbox == "subprocess":
        say('WARNING: sandbox = "subprocess" confines no ServerApp; it is for tests on a machine of your own')
        return SubprocessLauncher()
    from flame_fl.hub.launch_docker import DockerLauncher  # noqa: PLC0415  (a hub without Docker does not need it)

    return DockerLauncher(config, say)


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
