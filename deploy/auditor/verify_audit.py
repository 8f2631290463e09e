"""Check an audit export of a flame_fl node.

python3 -I verify_audit.py EXPORT [--against HEADS]... [--key identity.pub]

Needs Python 3.9 or later and nothing else; `ssh-keygen` checks the signatures if it is there. What is checked:

1. entries   SHA-256 of each entry's text is the hash beside it; each names its number and the hash before it.
2. signed    every checkpoint is signed by the node's key.
3. marks     every checkpoint and every head in HEADS is in the chain: it vouches for all entries up to its own.
4. export    its own lines are all there: nothing was lost on its way.

HEADS holds what others have of this node: 64 hex digits at the end of a line. Exit code 0 if all that could be checked
holds, 5 if not, 2 if there was nothing to check. What was not checked is said.
"""
# ruff: noqa: D103, N818, S603, T201

import argparse
import hashlib
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

GENESIS = "0" * 64
SHAPE = {"seq": int, "head": str, "at": str, "signature": str}


class Broken(Exception):
    """The number of the first entry that does not hold, and why; number 0 if it is no entry's fault."""


def parsed(text):
    try:
        value = json.loads(text) if isinstance(text, str) else {}
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def exports(file):
    """Each export in a file: its first line, its entries as (number, predecessor, hash, stored hash), checkpoints."""
    export = {"whole": True}
    for raw in file:
        line = parsed(raw.decode("utf-8", "replace"))
        kind, text = line.get("line"), line.get("text")
        if kind == "export":
            if "first" in export:
                yield export
            export, state = {"first": line, "entries": [], "points": [], "whole": False}, hashlib.sha256()
        elif export["whole"]:
            yield {"first": {}, "entries": [], "points": [], "whole": False}  # a line before or after all exports
            return
        elif kind == "entry":
            entry, is_text = parsed(text), isinstance(text, str)
            hashed = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() if is_text else ""
            export["entries"].append((entry.get("seq"), entry.get("prev"), hashed, line.get("hash")))
        elif kind == "checkpoint":
            export["points"].append(line)
        elif kind == "end":
            head = export["entries"][-1][2] if export["entries"] else line.get("head")
            told = (line.get("sha256"), line.get("entries"), line.get("head"))
            export["whole"] = told == (state.hexdigest(), len(export["entries"]), head)
        state.update(raw)
    if "first" in export:
        yield export


def check_entries(entries, since):
    """1. Returns {hash: number}."""
    found, head = {}, GENESIS if since == 1 else None
    for number, (seq, prev, hashed, stored) in enumerate(entries, since):
        if hashed != stored or type(seq) is not int:
            raise Broken(number, "edited: its text does not have its hash")
        if seq != number:
            if any(later[0] == number for later in entries[number - since + 1 :]):
                raise Broken(number, f"reordered: entry {seq} stands in its place, and it comes later")
            raise Broken(number, f"{'repeated' if seq < number else 'dropped'}: entry {seq} stands in its place")
        if head not in (None, prev):
            raise Broken(number, "replaced: it does not follow the one before it; one of both was replaced")
        found[hashed], head = number, hashed
    return found


def is_signed(point, key, folder):
    """2. By `ssh-keygen -Y verify`."""
    (folder / "allowed").write_text(f"node {key}\n")
    (folder / "signature").write_text(point["signature"])
    told = {"checkpoint_version": 1, "node": key, "seq": point["seq"], "head": point["head"], "at": point["at"]}
    message = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    command = ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", "node", "-n", "flame-audit", "-s", "signature"]
    return subprocess.run(command, input=message, capture_output=True, cwd=folder, check=False).returncode == 0


def check_marks(found, last, points, heads, since):
    """3. Returns the last entry that is vouched for."""
    good = [p["seq"] for p in points if found.get(p["head"]) == p["seq"]] + [found[h] for h in heads if h in found]
    confirmed = max(good, default=since - 1)
    for seq, head in sorted((p["seq"], p["head"]) for p in points):
        if found.get(head) == seq or seq < since:
            continue
        if seq <= confirmed:
            raise Broken(seq, "forged: a checkpoint names another entry")
        if seq <= last:
            raise Broken(confirmed + 1, f"rewritten: entries up to {seq} are not those of a checkpoint")
        raise Broken(last + 1, f"truncated: there was an entry {seq}, says a checkpoint")
    by_others = max((found[head] for head in heads if head in found), default=since - 1)
    for head in heads:  # whoever has the node's key can sign other checkpoints: here only others' heads count
        if head not in found and since == 1:
            how = "truncated" if by_others == last else f"rewritten up to {last}, or later entries dropped"
            raise Broken(by_others + 1, f"{how}: head {head[:16]}..., held by others, is of no entry")
    return confirmed


def check(export, heads, given_key, folder):
    """All four. Returns what was checked, in words."""
    first, entries, points = export["first"], export["entries"], export["points"]
    since = first["since"] if type(first.get("since")) is int else 1
    found = check_entries(entries, since)
    if any(type(p.get(name)) is not kind or p["seq"] < 1 for p in points for name, kind in SHAPE.items()):
        raise Broken(0, "a checkpoint is damaged")
    key = " ".join((given_key or str(first.get("key") or "")).split()[:2])
    can = bool(points and key and shutil.which("ssh-keygen"))
    forged = [point for point in points if can and not is_signed(point, key, folder)]
    genuine = [point for point in points if point not in forged]
    confirmed = check_marks(found, since + len(entries) - 1, genuine, heads, since)
    if forged:
        raise Broken(forged[0]["seq"], "forged: a checkpoint is not signed by this node's key")
    if not export["whole"]:
        raise Broken(0, "the export is not whole: a line was lost or changed, or its end is missing")
    said = [f"{len(entries)} entries hold, from {since}; vouched for: up to {confirmed}"]
    said += [f"{len(points)} checkpoints signed by {key}"] if can else []
    said += ["NOT CHECKED: signatures: no checkpoint, no key, or no ssh-keygen"] if not can else []
    said += ["NOT CHECKED: whether that is the node's key (--key)"] if can and not given_key else []
    said += ["NOT CHECKED: heads that others hold (--against)"] if since > 1 or not heads else []
    return "\n   ".join(said + ([f"NOT CHECKED: entries before {since}"] if since > 1 else []))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=pathlib.Path)
    parser.add_argument("--against", type=pathlib.Path, action="append", default=[])
    parser.add_argument("--key", type=pathlib.Path)
    options = parser.parse_args()
    heads = [h for f in options.against for h in re.findall(r"\b([0-9a-f]{64})\s*$", f.read_text(), re.MULTILINE)]
    if options.against and not heads:
        parser.error("--against: there is no head at the end of a line")
    key, code, count = options.key.read_text() if options.key else "", 0, 0
    with options.export.open("rb") as file, tempfile.TemporaryDirectory() as folder:
        for export in exports(file):
            count += 1
            name = ascii(export["first"].get("node"))
            try:
                print("OK", name, ascii(check(export, heads, key, pathlib.Path(folder)))[1:-1].replace(r"\n", "\n"))
            except Broken as broken:
                number, why = broken.args
                print("BROKEN", name, f"at entry {number}:" if number else "", ascii(why)[1:-1])
                code = 5
    return code if count else parser.error("there is no export in this file")


if __name__ == "__main__":
    sys.exit(main())
