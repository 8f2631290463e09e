"""A node that spends its budget until it is killed, telling the outside of every step at once."""

from multiprocessing.connection import Connection
from pathlib import Path

from flame_fl.gate.workflow import NodeLimits
from tests.support.gates import ENFORCED, TRAIN, World, make_fab, terms_table

LIMITS = NodeLimits(epsilon_cap=1e6, delta=1e-5, min_patients=5)
FAB = make_fab(
    terms_table(
        privacy=ENFORCED | {"epsilon_max": 1e6},
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
