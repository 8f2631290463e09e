"""Hashing a store's files against `sha256sum` of the same.

    python benchmarks/snapshots.py GIGABYTES

Files lie in the page cache for both: what is compared is the hashing, not the disk.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flame_fl.data.snapshot import take

_FILE_BYTES = 100_000_000


@contextmanager
def files(gigabytes: float) -> Iterator[tuple[Path, list[str]]]:
    """A folder of files of 100 MB, of random bytes."""
    with tempfile.TemporaryDirectory() as folder:
        names = [f"part-{number:03d}" for number in range(max(1, round(gigabytes * 1e9 / _FILE_BYTES)))]
        for name in names:
            (Path(folder) / name).write_bytes(os.urandom(_FILE_BYTES))
        yield Path(folder), names


def ours(folder: Path, names: list[str]) -> float:
    """Seconds to take a snapshot where the files lie."""
    started = time.perf_counter()
    take(folder, names, bytes(32), mode="in-place")
    return time.perf_counter() - started


def peer(folder: Path, names: list[str]) -> float:
    """Seconds of one `sha256sum` over all of them."""
    started = time.perf_counter()
    subprocess.run(["sha256sum", *names], cwd=folder, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    with files(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0) as (where, parts):
        print(f"ours {ours(where, parts):.2f} s, sha256sum {peer(where, parts):.2f} s")
