"""German and English. A template says both, side by side: `say("Anträge", "Requests")`; here is what several share."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, Literal

Language = Literal["de", "en"]
LANGUAGES: Final = ("de", "en")

_SHARED: Final[Mapping[str, tuple[str, str]]] = {
    # states of analyses and projects
    "pending": ("wartet", "waiting"),
    "approved": ("freigegeben", "approved"),
    "rejected": ("abgelehnt", "rejected"),
    "withdrawn": ("widerrufen", "withdrawn"),
    "expired": ("abgelaufen", "expired"),
    # decisions
    "approve": ("freigegeben", "approved"),
    "reject": ("abgelehnt", "rejected"),
    "withdraw": ("widerrufen", "withdrawn"),
    # runs
    "running": ("läuft", "running"),
    "open": ("offen", "open"),
    "done": ("beendet", "done"),
    "stopped": ("angehalten", "stopped"),
    # roles
    "steward": ("Data Steward", "steward"),
    "admin": ("Administration", "administrator"),
    "auditor": ("Revision", "auditor"),
    # differences
    "added": ("neu", "new"),
    "removed": ("entfernt", "removed"),
    "changed": ("geändert", "changed"),
    "looser": ("erlaubt mehr", "allows more"),
    "tighter": ("erlaubt weniger", "allows less"),
    "binary": ("kein Text", "no text"),
    "too large": ("zu groß zum Zeigen", "too large to show"),
}
# What a person at a form most often meets; every other message is shown in English, marked as such.
_MESSAGES: Final[Mapping[str, str]] = {
    "The key is no steward's of this node.": "Der Schlüssel gehört keinem Data Steward dieses Knotens.",
    "This is no whole SSH signature.": "Das ist keine vollständige SSH-Signatur.",
    "This is no Ed25519 signature over this statement.": "Das ist keine Ed25519-Signatur über diese Erklärung.",
    "The signature is for another purpose.": "Die Signatur ist für einen anderen Zweck gemacht.",
    "The signature is not by an Ed25519 key.": "Die Signatur stammt nicht von einem Ed25519-Schlüssel.",
    "The statement was changed on its way.": "Die Erklärung wurde unterwegs verändert.",
    "This is no statement of a decision.": "Das ist keine Erklärung einer Entscheidung.",
    "The statement's last day is over.": "Der letzte Tag der Erklärung ist vorbei.",
    "The statement is from before a rejection or withdrawal.": (
        "Die Erklärung stammt aus der Zeit vor einer Ablehnung oder einem Widerruf."
    ),
    "The statement is about another node.": "Die Erklärung gilt für einen anderen Knoten.",
    "The statement is about another project.": "Die Erklärung gilt für ein anderes Projekt.",
    "The statement is about another digest.": "Die Erklärung gilt für eine andere Analyse oder ein anderes Projekt.",
    "The statement is about another sandbox, data, participants or terms.": (
        "Die Erklärung gilt für eine andere Sandbox, andere Daten, Teilnehmer oder Bedingungen."
    ),
}


def sayer(language: Language) -> Callable[[str, str], str]:
    """`say(german, english)`: the one of the page's language."""
    return (lambda german, english: german) if language == "de" else (lambda german, english: english)


def word(key: str, language: Language) -> str:
    """A shared word; one that is not listed stands for itself."""
    pair = _SHARED.get(key)
    return key if pair is None else pair[LANGUAGES.index(language)]


def message(text: str, language: Language) -> tuple[str, Language]:
    """An error's sentence, and the language it is in."""
    return (_MESSAGES[text], "de") if language == "de" and text in _MESSAGES else (text, "en")


def moment(at: str, language: Language) -> str:
    """A point of time (UTC, as it is stored) for people; what is none stands for itself."""
    try:
        when = datetime.fromisoformat(at)
    except ValueError:
        return at
    return f"{when:%d.%m.%Y, %H:%M} UTC" if language == "de" else f"{when:%Y-%m-%d %H:%M} UTC"


def number(value: float, language: Language) -> str:
    """A number for people, to four digits; whole ones in full."""
    text = f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.4g}"
    return text.translate(str.maketrans(",.", ".,")) if language == "de" else text


def size(count: int, language: Language) -> str:
    """Bytes for people."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{number(round(value), language)} {unit}"
        value /= 1000
    return f"{number(round(value, 1), language)} GB"
