#!/usr/bin/env python3
"""Blanks the defects on purpose in a copy of the sources: .ci/blank.py DIR

Every `#[cfg(takt_planted)]` and the item or statement behind it become empty lines, so that all
other lines keep their numbers. Prints how many there were.
"""

import pathlib
import sys

ATTRIBUTE = "#[cfg(takt_planted)]"


def blank(lines):
    """The lines without what is planted, and how many pieces that were."""
    pieces, at = 0, 0
    while at < len(lines):
        if lines[at].strip() != ATTRIBUTE:
            at += 1
            continue
        pieces += 1
        lines[at] = ""
        at += 1
        depth, done = 0, False
        while not done:
            line = lines[at]
            depth += sum(line.count(c) for c in "([{") - sum(line.count(c) for c in ")]}")
            done = depth == 0 and line.rstrip().endswith((";", "}"))
            lines[at] = ""
            at += 1
    return pieces


def main():
    root, total = pathlib.Path(sys.argv[1]), 0
    for crate in ("protocol", "storage", "client", "broker"):
        for path in sorted((root / crate / "src").rglob("*.rs")):
            lines = path.read_text().split("\n")
            if path.name != "planted.rs" and (pieces := blank(lines)):
                total += pieces
                path.write_text("\n".join(lines))
    print(total, "planted pieces are blanked")
    if total == 0:
        sys.exit("nothing was planted: is the attribute still the same?")


main()
