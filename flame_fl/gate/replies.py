"""Large replies as files beside the database: complete on disk before the transaction that names their hash commits.

An orphan of a crash is harmless, and overwritten when its leg is tried again.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flame_fl.contract.canonical import sha256_hex
from flame_fl.contract.errors import VerificationError

LARGE_BYTES = 64 * 1024


@dataclass(frozen=True)
class ReplyFiles:
    """The folder of one node. `durable` waits for the disk."""

    folder: Path
    durable: bool

    def _file(self, run_id: str, leg_id: str) -> Path:
        # both ids come from the hub: only their hashes become file names
        return self.folder / sha256_hex(run_id.encode()) / sha256_hex(leg_id.encode())

    def write(self, run_id: str, leg_id: str, reply: Sequence[bytes | memoryview]) -> None:
        """Store a reply, given in parts."""
        file = self._file(run_id, leg_id)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as stream:
            for part in reply:
                stream.write(part)
            if self.durable:
                stream.flush()
                os.fsync(stream.fileno())
        if self.durable:  # the folders' entries too, or a power cut could lose the file but keep the commit
            for folder in (file.parent, self.folder, self.folder.parent):
                descriptor = os.open(folder, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)

    def read(self, run_id: str, leg_id: str, sha256: str) -> bytes:
        """A stored reply.

        Raises:
            VerificationError: It is missing, or has other bytes than were committed.
        """
        file = self._file(run_id, leg_id)
        try:
            reply = file.read_bytes()
        except FileNotFoundError:
            reply = b""
        if sha256_hex(reply) != sha256:
            raise VerificationError(
                f"The stored reply {file} is missing or was changed.",
                mend="Restore the node's whole state folder from one backup; never copy state.db alone.",
            )
        return reply

    def forget(self, run_id: str) -> None:
        """Remove a run's files."""
        shutil.rmtree(self._file(run_id, "").parent, ignore_errors=True)
