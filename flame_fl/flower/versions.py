"""Which Flower this package was tested with. Its private API changes from week to week; guessing is not an option."""

from importlib import metadata

from flame_fl.contract.errors import InputError

TESTED = ("1.41", "1.42")


def require_tested_flower(installed: str | None = None) -> str:
    """Flower's version.

    Raises:
        InputError: It is none that was tested.
    """
    version = metadata.version("flwr") if installed is None else installed
    if ".".join(version.split(".")[:2]) not in TESTED:
        raise InputError(
            f"Flower {version} is installed; this flame_fl was tested with {' and '.join(TESTED)}.",
            mend='Install one of them: pip install "flwr>=1.41,<1.43".',
        )
    return version
