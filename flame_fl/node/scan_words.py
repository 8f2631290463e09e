"""What the scan can say: each finding's key, how much it matters, and its sentence in English and German.

The part of a key before its dot is the finding's category. `{what}` is the symbol that was found, already escaped;
`{count}` a number.
"""

from typing import Literal, NamedTuple

Risk = Literal["high", "medium", "low"]
Language = Literal["en", "de"]
RISKS: tuple[Risk, ...] = ("high", "medium", "low")


class Entry(NamedTuple):
    """One kind of finding."""

    risk: Risk
    en: str
    de: str


# fmt: off
# ruff: noqa: E501
CATALOGUE: dict[str, Entry] = {
    # Python that was not looked at
    "unread.syntax": Entry("high", "This Python could not be parsed: nothing in it was looked at ({what}).", "Dieses Python ließ sich nicht lesen: Nichts darin wurde geprüft ({what})."),
    "unread.too_large": Entry("high", "This Python was not looked at: the file, or all of them together, is too large ({what}).", "Dieses Python wurde nicht geprüft: Die Datei oder alle zusammen sind zu groß ({what})."),
    "unread.name": Entry("high", "A dotted name of more than {what} parts: the file was not parsed.", "Ein Name aus mehr als {what} Teilen mit Punkten: Die Datei wurde nicht gelesen."),
    # Code that runs and cannot be read here
    "native.module": Entry("high", "Uses {what}, which runs native code past Python.", "Benutzt {what}: führt nativen Code an Python vorbei aus."),
    "native.memory": Entry("medium", "Uses {what}, which maps memory or files directly.", "Benutzt {what}: greift unmittelbar auf Speicher oder Dateien zu."),
    "native.file": Entry("high", "A compiled file ({what}): its content cannot be read here.", "Eine übersetzte Datei ({what}): Ihr Inhalt ist hier nicht lesbar."),
    "dynamic.execute": Entry("high", "{what} runs text as code.", "{what} führt Text als Code aus."),
    "dynamic.import_computed": Entry("high", "{what} imports a module whose name is computed.", "{what} importiert ein Modul, dessen Name errechnet wird."),
    "dynamic.getattr_module": Entry("high", "Reads an attribute of {what} whose name is computed.", "Liest ein Attribut von {what}, dessen Name errechnet wird."),
    "dynamic.internals": Entry("high", "Reaches into the interpreter through {what}.", "Greift über {what} in das Innere des Interpreters."),
    "dynamic.loader": Entry("high", "Uses {what}, which loads or runs code from files or text.", "Benutzt {what}: lädt oder startet Code aus Dateien oder Text."),
    "dynamic.import": Entry("medium", "{what} imports a module while running.", "{what} importiert ein Modul zur Laufzeit."),
    "dynamic.text": Entry("medium", "Names the internal {what} in a text.", "Nennt den internen Namen {what} in einem Text."),
    "dynamic.star": Entry("low", "Imports every name of {what}.", "Importiert alle Namen aus {what}."),
    "dynamic.namespace": Entry("medium", "{what} gives access to names that the code does not spell out.", "{what} gibt Zugriff auf Namen, die nicht im Code stehen."),
    "dynamic.getattr": Entry("low", "{what} is given a name that is computed.", "{what} erhält einen errechneten Namen."),
    "dynamic.eval_method": Entry("low", "The method {what} may evaluate a text as an expression.", "Die Methode {what} wertet womöglich Text als Ausdruck aus."),
    # Data that carry code
    "pickle.module": Entry("high", "Uses {what}: reading such data can run code.", "Benutzt {what}: Das Lesen solcher Daten kann Code ausführen."),
    "pickle.torch": Entry("high", "{what} without weights_only=True: reading the file can run code.", "{what} ohne weights_only=True: Das Lesen der Datei kann Code ausführen."),
    "pickle.numpy": Entry("high", "{what} with allow_pickle: reading the file can run code.", "{what} mit allow_pickle: Das Lesen der Datei kann Code ausführen."),
    "pickle.yaml": Entry("high", "{what} without a safe loader: reading the text can run code.", "{what} ohne sicheren Loader: Das Lesen des Textes kann Code ausführen."),
    "pickle.write": Entry("medium", "{what} writes data that can carry code.", "{what} schreibt Daten, die Code enthalten können."),
    "pickle.hook": Entry("medium", "Defines {what}, which runs when an object is packed or unpacked.", "Definiert {what}: läuft beim Ein- oder Auspacken eines Objekts."),
    "pickle.file": Entry("high", "A file of a format that can carry code ({what}).", "Eine Datei in einem Format, das Code enthalten kann ({what})."),
    # Hidden things
    "obfuscation.decoded": Entry("high", "{what} runs something that was decoded before.", "{what} führt etwas aus, das zuvor dekodiert wurde."),
    "obfuscation.bidi": Entry("high", "A character that changes the direction of text ({what}): the line reads differently than it runs.", "Ein Zeichen, das die Schreibrichtung ändert ({what}): Die Zeile liest sich anders, als sie läuft."),
    "obfuscation.invisible": Entry("high", "An invisible or control character ({what}).", "Ein unsichtbares oder ein Steuerzeichen ({what})."),
    "obfuscation.encoding": Entry("high", "The source is not plain UTF-8 ({what}): Python may read it differently than people.", "Der Quelltext ist kein einfaches UTF-8 ({what}): Python liest ihn womöglich anders als Menschen."),
    "obfuscation.lookalike": Entry("high", "The name {what} is written with letters that look like others.", "Der Name {what} ist mit Buchstaben geschrieben, die anderen gleichen."),
    "obfuscation.mixed": Entry("medium", "The name {what} mixes scripts.", "Der Name {what} mischt Schriften."),
    "obfuscation.pushed_right": Entry("high", "Code stands far to the right, behind {what} spaces.", "Code steht weit rechts, hinter {what} Leerzeichen."),
    "obfuscation.line_end": Entry("medium", "A line end that some editors do not show as one ({what}).", "Ein Zeilenende, das manche Editoren nicht zeigen ({what})."),
    "obfuscation.literal": Entry("medium", "A long literal that looks encoded ({what} characters).", "Ein langer Wert, der kodiert aussieht ({what} Zeichen)."),
    "obfuscation.long_line": Entry("medium", "A very long line ({what} characters).", "Eine sehr lange Zeile ({what} Zeichen)."),
    "obfuscation.numbers": Entry("low", "A long list of numbers from 0 to 255 ({what} of them).", "Eine lange Liste von Zahlen von 0 bis 255 ({what} Stück)."),
    "obfuscation.decode": Entry("low", "{what} decodes text or bytes.", "{what} dekodiert Text oder Bytes."),
    "obfuscation.chr": Entry("low", "{what} makes text out of numbers.", "{what} macht Text aus Zahlen."),
    # Reaching out
    "network.module": Entry("high", "Uses {what}, which can open network connections.", "Benutzt {what}: kann Netzverbindungen öffnen."),
    "network.ip": Entry("medium", "Names a network address ({what}).", "Nennt eine Netzadresse ({what})."),
    "network.address": Entry("low", "Names an address ({what}).", "Nennt eine Adresse ({what})."),
    "subprocess.module": Entry("high", "Uses {what}, which starts other programs.", "Benutzt {what}: startet andere Programme."),
    "subprocess.shell": Entry("high", "{what} with a shell: text becomes commands.", "{what} mit einer Shell: Text wird zu Befehlen."),
    "process.patch_core": Entry("high", "Changes {what} in place, on which the gate or the interpreter relies.", "Ändert {what} im laufenden Programm; darauf verlassen sich das Gate oder der Interpreter."),
    "process.modules": Entry("high", "Uses {what}, which changes what is imported.", "Benutzt {what}: ändert, was importiert wird."),
    "process.shadow": Entry("high", "This file takes the place of the installed package {what}.", "Diese Datei tritt an die Stelle des installierten Pakets {what}."),
    "process.patch": Entry("medium", "Changes {what}, a part of another module.", "Ändert {what}, einen Teil eines anderen Moduls."),
    "process.flower": Entry("medium", "Uses {what}, a part of Flower that is not for apps.", "Benutzt {what}, einen Teil von Flower, der nicht für Apps gedacht ist."),
    "process.environment": Entry("medium", "Uses {what}: the environment of the process.", "Benutzt {what}: die Umgebung des Prozesses."),
    "process.control": Entry("medium", "Uses {what}: signals, threads, processes or hooks.", "Benutzt {what}: Signale, Threads, Prozesse oder Einhängepunkte."),
    "files.system": Entry("high", "Names a place of the operating system or of secrets ({what}).", "Nennt einen Ort des Betriebssystems oder von Geheimnissen ({what})."),
    "files.absolute": Entry("medium", "Names an absolute path ({what}).", "Nennt einen absoluten Pfad ({what})."),
    "files.delete": Entry("medium", "{what} deletes, moves, links or changes rights of files.", "{what} löscht, verschiebt oder verknüpft Dateien oder ändert Rechte."),
    "files.write": Entry("low", "{what} writes files.", "{what} schreibt Dateien."),
    "files.read": Entry("low", "{what} reads files or lists folders.", "{what} liest Dateien oder listet Ordner auf."),
    # What is not Python
    "content.archive": Entry("high", "An archive ({what}): what is in it was not looked at.", "Ein Archiv ({what}): Sein Inhalt wurde nicht geprüft."),
    "content.startup": Entry("high", "A file that Python runs by itself when it starts ({what}).", "Eine Datei, die Python beim Start von selbst ausführt ({what})."),
    "content.script": Entry("medium", "Code in another language ({what}).", "Code in einer anderen Sprache ({what})."),
    "content.notebook": Entry("medium", "A notebook ({what}): its code was not looked at.", "Ein Notebook ({what}): Sein Code wurde nicht geprüft."),
    "content.binary": Entry("medium", "A binary file ({what}).", "Eine Binärdatei ({what})."),
    "content.data": Entry("low", "A data file ({what}).", "Eine Datendatei ({what})."),
}

HEADINGS: dict[str, tuple[str, str]] = {
    "unread": ("Not looked at", "Nicht geprüft"),
    "native": ("Native code", "Nativer Code"),
    "dynamic": ("Code made while running", "Zur Laufzeit erzeugter Code"),
    "pickle": ("Data that carry code", "Daten, die Code enthalten"),
    "obfuscation": ("Hidden things", "Verstecktes"),
    "network": ("Network", "Netz"),
    "subprocess": ("Other programs", "Andere Programme"),
    "process": ("Process and environment", "Prozess und Umgebung"),
    "files": ("Files", "Dateien"),
    "content": ("Files that are not Python", "Dateien, die kein Python sind"),
}
RISK_WORDS: dict[Risk, tuple[str, str]] = {"high": ("high", "hoch"), "medium": ("medium", "mittel"), "low": ("low", "gering")}
_MORE = ("And {count} more of this kind in this file.", "Und {count} weitere dieser Art in dieser Datei.")
_MORE_FILES = ("And {count} more of this kind in further files.", "Und {count} weitere dieser Art in weiteren Dateien.")
# fmt: on
CATEGORIES = tuple(HEADINGS)
MORE, MORE_FILES = "more", "more_files"
"""Second parts of the keys that stand for what was left out; every category has both."""


def sentence(key: str, what: str, count: int, language: Language) -> str:
    """A finding in words.

    Raises:
        KeyError: There is no such key.
    """
    kind = key.partition(".")[2]
    if kind in {MORE, MORE_FILES}:
        template = (_MORE if kind == MORE else _MORE_FILES)[language == "de"]
    else:
        template = CATALOGUE[key].de if language == "de" else CATALOGUE[key].en
    return template.format(what=what, count=count)


def heading(category: str, language: Language) -> str:
    """A category in words."""
    return HEADINGS[category][language == "de"]


def risk_word(risk: Risk, language: Language) -> str:
    """A risk in words."""
    return RISK_WORDS[risk][language == "de"]
