"""Recording, checking and exporting a long audit chain, and the auditor's program on the export.

    python benchmarks/audit.py [ENTRIES]

Entries are as long as those of releases; a checkpoint every 100. Memory is the largest resident set of the process
that does each step, without what Python and the imports take.
"""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flame_fl.contract.canonical import canonical_json
from flame_fl.gate.audit import GENESIS, next_entry
from flame_fl.gate.audit_export import export_lines
from flame_fl.gate.checkpoints import Checkpoints
from flame_fl.gate.database import Database
from flame_fl.gate.signatures import public_text

KEY = Ed25519PrivateKey.from_private_bytes(b"1" * 32)
PUBLIC = public_text(KEY.public_key())
AT = "2026-01-01T00:00:00.000+00:00"
VERIFIER = Path(__file__).parents[1] / "deploy/auditor/verify_audit.py"


def write(folder: Path, entries: int) -> None:
    """A chain, in one transaction."""
    database = Database(folder / "state.db", durable=False)
    points, head = Checkpoints(database, KEY), GENESIS
    with database.transaction():
        for seq in range(1, entries + 1):
            body = {"run": "1234567890123456789", "leg": str(seq), "attempt": 1, "content": "ab" * 32, "bytes": 4096}
            entry = next_entry(seq, head, AT, "released", body)
            head = entry.hash
            database.execute("INSERT INTO audit VALUES(?,?,?)", seq, canonical_json(entry.as_json()).decode(), head)
            points.note(seq, head, AT)
    points.publish()


def verify(folder: Path, entries: int) -> None:
    """Chain, checkpoints and their signatures."""
    found = Checkpoints(Database(folder / "state.db", durable=False)).check([PUBLIC])
    assert (found.entries, found.checkpoints) == (entries, entries // 100)


def export(folder: Path, entries: int) -> None:
    """All of it, to a file."""
    with (folder / "export.jsonl").open("w") as file:
        file.writelines(export_lines(Database(folder / "state.db", durable=False), node="DIZ-1", key=PUBLIC))


def auditor(folder: Path, entries: int) -> None:
    """The program of the standard library, in a process of its own."""
    (folder / "key.pub").write_text(PUBLIC)
    command = [sys.executable, "-I", str(VERIFIER), str(folder / "export.jsonl"), "--key", str(folder / "key.pub")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def measured(step: Callable[[Path, int], None], folder: Path, entries: int) -> None:
    """One step, in this process: seconds and megabytes more than before."""
    own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    begun = time.perf_counter()
    step(folder, entries)
    seconds = time.perf_counter() - begun
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - own
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss - children
    print(f"{step.__name__:8} {entries:>8} entries  {seconds:7.2f} s  {max(more, child) / 1024:6.1f} MB")


def main() -> None:
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        for step in (write, verify, export, auditor):
            process = get_context("spawn").Process(target=measured, args=(step, Path(folder), entries))
            process.start()
            process.join()
        print(f"export: {(Path(folder) / 'export.jsonl').stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
