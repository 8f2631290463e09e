"""A node that spends its budget until it is killed, telling the outside of every step at once."""

from multiprocessing.connection import Connection
from pathlib import Path

from tests.support.gates import ENFORCED, LIMITS, TRAIN, World, make_fab, terms_table

FAB = make_fab(
    terms_table(
        privacy=ENFORCED | {"noise_multiplier": 1000.0},  # ten million releases are within its epsilon
        messages={"train": TRAIN | {"per_run": 100_000}},
        limits={"runs": 1000},
    )
)


def spend(folder: Path, run_id: int, outside: Connection) -> None:
    """Ask the gate message after message. Says "start N" before one, "done N AUDIT_HEAD" once its reply is out."""
    world = World(folder, limits=LIMITS)
    world.decide(FAB)
    number = 0
    while True:
        number += 1
        outside.send_bytes(f"start {number}".encode())
        head = world.released(FAB, leg=str(number), run_id=run_id).configs["flame"]["audit_head"]
        outside.send_bytes(f"done {number} {head}".encode())
