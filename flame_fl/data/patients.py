"""What is known of patients' wishes: those who opted out, and the consents of the others.

Two files in a folder of the node's own, each replaced as a whole. Ids come from files and never from a command line,
and nothing but their number is shown.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from flame_fl.contract.errors import InputError
from flame_fl.data.consents import Provision, consenting, read_provisions, write_provisions
from flame_fl.data.files import PRIVATE, Stamp, replace, stamp

Revision = tuple[Stamp | None, ...]


@dataclass
class PatientRegister:
    """The register of one node: a patient who opted out is in no view of any of its stores."""

    folder: Path

    def revision(self) -> Revision:
        """Changes whenever a file does. Costs two looks."""
        return tuple(_stamp(path) for path in (self._opt_out, self._consents))

    def opted_out(self) -> frozenset[str]:
        """Patients whose records are never used.

        Raises:
            InputError: The list cannot be read: nothing may be used then.
        """
        try:
            text = self._opt_out.read_text(encoding="utf-8")
        except FileNotFoundError:
            if not self.folder.exists():
                return frozenset()  # nobody was ever asked
            raise self._lost() from None
        except (OSError, UnicodeDecodeError):
            raise self._lost() from None
        return frozenset(line for line in text.split("\n") if line)

    def _lost(self) -> InputError:
        return InputError(
            f"The list of opt-outs {self._opt_out} cannot be read.",
            mend="Restore it, as an empty file if nobody ever opted out: until then nothing is used.",
        )

    def make(self) -> None:
        """Begin with nobody: from now on a list that is gone is an error, not an empty one."""
        if not self.folder.exists():
            self._write(frozenset())

    def opt_out(self, ids: Iterable[str]) -> int:
        """Add patients; returns how many were not there yet."""
        known = self.opted_out()
        added = frozenset(ids) - known
        self._write(known | added)
        return len(added)

    def opt_in(self, ids: Iterable[str]) -> int:
        """Remove patients; returns how many were there."""
        known = self.opted_out()
        removed = known & frozenset(ids)
        self._write(known - removed)
        return len(removed)

    def _write(self, ids: frozenset[str]) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace(self._opt_out, "".join(f"{word}\n" for word in sorted(ids)).encode(), PRIVATE)

    def provisions(self) -> tuple[Provision, ...]:
        """Every provision of every consent.

        Raises:
            InputError: The file cannot be read: nobody is taken to have consented then.
        """
        return tuple(read_provisions(self._consents)) if self._consents.exists() else ()

    def put_provisions(self, provisions: Sequence[Provision]) -> None:
        """Replace all consents with these."""
        self.make()
        write_provisions(self._consents, provisions)

    def consenting(self, codes: Iterable[str], today: date) -> frozenset[str]:
        """Patients whose consent permits all of this on the day."""
        return consenting(self.provisions(), frozenset(codes), today)

    @property
    def _opt_out(self) -> Path:
        return self.folder / "opt-out.txt"

    @property
    def _consents(self) -> Path:
        return self.folder / "consents.parquet"


def read_ids(path: Path) -> tuple[str, ...]:
    """Patient ids from a text file, one per line; `Patient/ID`, as FHIR refers to one, is taken for ID.

    Raises:
        InputError: It cannot be read, holds none, or is a table.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # Windows puts a mark before the first id
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path} cannot be read.", mend="Give a text file with one patient id per line.") from None
    if any(mark in line for line in lines for mark in ("\t", ";", '"')):
        raise InputError(f"{path} is a table.", mend="Give a text file with the ids alone, one per line, no header.")
    ids = tuple(dict.fromkeys(line.strip().removeprefix("Patient/") for line in lines if line.strip()))
    if not ids:
        raise InputError(f"{path} holds no patient id.", mend="Write one per line.")
    return ids


def _stamp(path: Path) -> Stamp | None:
    try:
        return stamp(path)
    except OSError:
        return None
