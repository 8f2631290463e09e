"""Runs in a container: what an honest app does with its machine. Prints each thing that worked, and "done"."""

import asyncio
import ctypes.util
import fcntl
import multiprocessing
import multiprocessing.shared_memory
import os
import platform
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path


def threads() -> None:
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(abs, range(100))) == 4950


def processes() -> None:
    for method in ("fork", "spawn"):
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
            assert sum(pool.map(abs, range(20))) == 190


def shared_memory() -> None:
    block = multiprocessing.shared_memory.SharedMemory(create=True, size=1 << 16)
    block.buf[:4] = b"abcd"
    again = multiprocessing.shared_memory.SharedMemory(block.name)
    assert bytes(again.buf[:4]) == b"abcd"
    again.close()
    block.close()
    block.unlink()
    lock = multiprocessing.Lock()
    assert lock.acquire(timeout=1)
    lock.release()


def programs() -> None:
    assert subprocess.run(["/bin/echo", "x"], capture_output=True, check=True).stdout == b"x\n"
    assert os.system("true") == 0
    ctypes.util.find_library("c")
    platform.platform()


def event_loop() -> None:
    async def work() -> bytes:
        process = await asyncio.create_subprocess_exec("/bin/echo", "y", stdout=asyncio.subprocess.PIPE)
        said, _ = await process.communicate()
        await asyncio.gather(*(asyncio.sleep(0.01) for _ in range(10)), asyncio.to_thread(time.sleep, 0.01))
        return said

    assert asyncio.run(work()) == b"y\n"


def files() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "a"
        source.mkdir()
        (source / "x.txt").write_text("x" * 100_000)
        (source / "y").symlink_to("x.txt")
        os.link(source / "x.txt", source / "z")
        shutil.copytree(source, folder / "b", symlinks=True)
        shutil.move(folder / "b", folder / "c")
        shutil.make_archive(str(folder / "archive"), "gztar", folder / "c")
        shutil.unpack_archive(folder / "archive.tar.gz", folder / "d")
        os.utime(folder / "d" / "x.txt")
        (folder / "d" / "x.txt").chmod(0o600)
        with (folder / "d" / "x.txt").open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.truncate(10)
            os.posix_fallocate(file.fileno(), 0, 4096)
            os.fsync(file.fileno())
        with sqlite3.connect(folder / "db") as database:
            database.execute("pragma journal_mode=wal")
            database.execute("create table t (x)")
        shutil.disk_usage(folder)
        assert sorted(p.name for p in (folder / "c").iterdir()) == ["x.txt", "y", "z"]


def unix_sockets() -> None:
    one, other = socket.socketpair()
    one.sendall(b"x")
    assert other.recv(1) == b"x"
    with tempfile.TemporaryDirectory() as name, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{name}/s")
        server.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{name}/s")
            server.accept()[0].close()


def signals_and_clocks() -> None:
    heard: list[int] = []
    signal.signal(signal.SIGALRM, lambda number, frame: heard.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    time.sleep(0.05)
    assert heard == [signal.SIGALRM]
    threading.Timer(0.01, lambda: None).start()
    random.seed()
    os.sched_getaffinity(0)
    os.getloadavg()


def numpy() -> None:
    try:
        import numpy as np
    except ModuleNotFoundError:
        return
    matrix = np.random.default_rng(1).random((600, 600))
    assert np.allclose(np.linalg.inv(matrix) @ matrix, np.eye(600), atol=1e-6)
    np.linalg.svd(matrix)
    with tempfile.TemporaryDirectory() as name:
        np.save(f"{name}/x.npy", matrix)
        assert (np.load(f"{name}/x.npy", mmap_mode="r") == matrix).all()


def flower() -> None:
    try:
        from flwr.app import ArrayRecord, Message, RecordDict  # noqa: F401
        from flwr.clientapp import ClientApp
    except ModuleNotFoundError:
        return
    assert ClientApp()


def arrow() -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError:
        return
    with tempfile.TemporaryDirectory() as name:
        parquet.write_table(pa.table({"x": list(range(100_000))}), f"{name}/x.parquet")
        assert parquet.read_table(f"{name}/x.parquet").num_rows == 100_000


class Squares:
    """A data set for torch's loader, whose workers share memory with the process."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> object:
        import torch

        return torch.full((8,), float(index**2))


def torch() -> None:
    try:
        import torch
    except ModuleNotFoundError:
        return
    torch.set_num_threads(2)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 26 * 26, 2)
    )
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.rand(16, 1, 28, 28)).sum().backward()
        optimizer.step()
    loader = torch.utils.data.DataLoader(Squares(), batch_size=8, num_workers=2)
    assert sum(len(batch) for batch in loader) == 64
    with tempfile.TemporaryDirectory() as name:
        torch.save(model.state_dict(), f"{name}/model.pt")
        torch.load(f"{name}/model.pt", weights_only=True, mmap=True)


WORK = [
    threads,
    processes,
    shared_memory,
    programs,
    event_loop,
    files,
    unix_sockets,
    signals_and_clocks,
    numpy,
    flower,
    arrow,
    torch,
]

if __name__ == "__main__":
    chosen = [w for w in WORK if w.__name__ in sys.argv[1:]] or WORK
    for work in chosen:
        work()
        print(work.__name__, flush=True)
    print("done")
