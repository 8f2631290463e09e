"""Errors: one base, who is at fault, what to do next.

```
FlameError            exit 1   something failed
├─ InputError         exit 2   what the user gave us (flag, file, manifest, app) is bad
├─ RefusedError       exit 3   a gate decided not to run or not to release (carries a refusal code)
├─ VerificationError  exit 5   stored evidence does not hold: a broken audit chain, a foreign state file
├─ UnreachableError   exit 6   a hub or a Docker Engine does not answer
└─ SandboxError       exit 1   the app failed inside its sandbox; details stay at the node
```
A misuse of a function by our own code stays a builtin (`ValueError`, `RuntimeError`): it is a bug, not a message
for a user. Texts never hold a patient's values: they name files, columns and counts.
"""

from typing import ClassVar


class FlameError(Exception):
    """Base of every error meant for a person.

    Args:
        message: What is wrong, one sentence that names the thing.
        mend: What to do next, one sentence.
    """

    exit_code: ClassVar[int] = 1
    fault: ClassVar[str] = "unknown"

    def __init__(self, message: str, *, mend: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.message} {self.mend}".strip()


class InputError(FlameError):
    """What the user gave is bad: a flag, a file, a manifest, an app."""

    exit_code = 2
    fault = "user"


class VerificationError(FlameError):
    """Stored evidence does not hold, or the state is not ours to touch."""

    exit_code = 5
    fault = "state"


class UnreachableError(FlameError):
    """A hub or a Docker Engine does not answer."""

    exit_code = 6
    fault = "environment"


class SandboxError(FlameError):
    """The app failed in its sandbox: it died, answered garbage, or broke a limit.

    The message is for the node's own log. What leaves is the fixed text of the refusal code.
    """

    fault = "app"


class SandboxTimeoutError(SandboxError):
    """The app did not answer before its deadline."""
