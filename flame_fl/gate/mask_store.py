"""A node's half of secure aggregation between messages: one set-up per run, with the keys of the next sum."""

from flame_fl.gate.database import Database


class MaskStore:
    """The table `masks`. Part of `Store`, in whose transactions it is used."""

    _db: Database

    def mask_state(self, run_id: str) -> tuple[int, str]:
        """Number of the run's newest set-up, 0 if there was none, and its state; "" once it was erased."""
        rows = self._db.rows("SELECT epoch, state FROM masks WHERE run_id=?", run_id)
        return (rows[0][0], rows[0][1]) if rows else (0, "")

    def put_mask_state(self, run_id: str, epoch: int, state: str) -> None:
        """Replace it. Pages that held it before are overwritten; the log of changes, when the run ends."""
        self._db.execute(
            "INSERT INTO masks(run_id, epoch, state) VALUES(?,?,?)"
            " ON CONFLICT(run_id) DO UPDATE SET epoch=excluded.epoch, state=excluded.state",
            run_id,
            epoch,
            state,
        )

    def held_counts(self, run_id: str) -> str:
        """Counts that wait for the result of a minimum-count test, "" if none do."""
        rows = self._db.rows("SELECT held FROM masks WHERE run_id=?", run_id)
        return str(rows[0][0]) if rows else ""

    def hold_counts(self, run_id: str, held: str) -> None:
        """Replace them."""
        self._db.execute("UPDATE masks SET held=? WHERE run_id=?", held, run_id)

    def erase_masks(self, run_id: str) -> None:
        """Drop a run's keys; that there was a set-up of this number stays known."""
        self._db.execute("UPDATE masks SET state='', held='' WHERE run_id=?", run_id)

    def masked_runs(self) -> list[tuple[str, str]]:
        """Runs that have keys here, each with its analysis's digest."""
        return [
            (run, digest)
            for run, digest in self._db.rows("SELECT run_id, digest FROM masks JOIN runs USING(run_id) WHERE state<>''")
        ]
