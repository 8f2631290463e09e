"""`flame hub up`: the SuperLink as a child, the server agent beside it, and one log that a person can read."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from flame_fl.contract.errors import FlameError, InputError
from flame_fl.contract.places import Places
from flame_fl.flower.server_tasks import TaskQueue
from flame_fl.flower.superlink_beside import RunReader
from flame_fl.hub.agent import Agent
from flame_fl.hub.config import HubConfig, HubFiles, load_config
from flame_fl.hub.launch import Launcher, SubprocessLauncher
from flame_fl.hub.superlink import Stop, SuperLink

_TICK_SECONDS = 0.3
Say = Callable[[str], None]


def run_hub(places: Places, say: Say) -> None:
    """Serve until SIGTERM or SIGINT. ServerApps that run are left running; the next `up` finds them.

    Raises:
        InputError: There is no hub, or it is up already.
        FlameError: It cannot be started.
    """
    config, files = load_config(places), HubFiles(places.state)
    stop = Stop()
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
    config: HubConfig, files: HubFiles, launcher: Launcher, superlink: SuperLink, stop: Stop, say: Say
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
