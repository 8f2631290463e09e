"""Podman's Docker-compatible interface: start, run, limits. Not part of CI; run by hand where Podman is.

    podman system service --time=0 unix:///run/podman.sock &
    podman load < image.tar
    python -m tests.podman_smoke unix:///run/podman.sock sha256:...

On a machine that may not raise its limits, containers.conf needs default_ulimits = ["nofile=20000:20000"], and
runtime = "runc" where control groups are of version 1.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from flame_fl.contract.content import Content
from flame_fl.contract.errors import SandboxError
from flame_fl.contract.fab import read_fab
from flame_fl.contract.ports import Envelope, SandboxSpec, Session
from flame_fl.contract.terms import Resources
from flame_fl.sandbox.docker import DockerSandbox, Images
from tests.support.gates import make_fab

APP = b"""
import os, socket
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
app = ClientApp()
@app.train()
def train(message, context):
    return Message(message.content, reply_to=message)
@app.query("look")
def look(message, context):
    def tried(call):
        try:
            call()
        except OSError:
            return "refused"
        return "ALLOWED"
    found = {"uid": os.getuid(), "root": tried(lambda: open("/x", "w")),
             "inet": tried(lambda: socket.socket(socket.AF_INET)),
             "seccomp": [l for l in open("/proc/self/status") if l.startswith("Seccomp:")][0].split()[1]}
    return Message(RecordDict({"found": ConfigRecord(found)}), reply_to=message)
@app.query("hog")
def hog(message, context):
    rest = [bytearray(50_000_000) for _ in range(40)]
    return Message(message.content, reply_to=message)
"""


def ask(session: Session, kind: str) -> Content:
    content = Content({"arrays": {"x": np.arange(1000.0)}})
    return session.handle(Envelope("1", kind, "1", content), 120.0, 1 << 24)


def main(engine: str, image: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sandbox = DockerSandbox(Images(image), owner="podman-smoke", folder=Path(folder) / "runs", engine=engine)
        spec = SandboxSpec(
            fab=read_fab(make_fab(files={"app/client.py": APP})),
            component="app.client:app",
            run_id=1,
            node_id=1,
            run_config={},
            node_config={},
            resources=Resources(memory_bytes=400_000_000),
            log_path=Path(folder) / "app.log",
        )
        session = sandbox.start(spec)
        try:
            assert ask(session, "train").arrays["arrays"]["x"][-1] == 999.0
            found = ask(session, "query.look").configs["found"]
            assert found == {"uid": 65534, "root": "refused", "inet": "refused", "seccomp": "2"}, found
            try:
                ask(session, "query.hog")
            except SandboxError as err:
                print(f"memory limit: {err}")
            else:
                raise AssertionError("two gigabytes were given to an app with 400 MB")
        finally:
            session.close()
        assert sandbox.remove_orphans() == 0
    print("Podman: start, run and limits hold")


if __name__ == "__main__":
    main(*sys.argv[1:])
