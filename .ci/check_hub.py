#!/usr/bin/env python3
"""Compares what the hub holds with the production log itself, order by order.

usage: check_hub.py LOG.csv HUB.jsonl

LOG.csv is the production log, and HUB.jsonl what `takt sub --output json` printed at the hub: one
CloudEvent per line, with `origin`, `partition`, `offset` and `ordersequence` beside its attributes
and the row's columns as `data`.

Nothing of Takt is used: the expectation comes from the CSV file alone. The hub must hold each
distinct row once; the rows of an order in the order of the file, from one origin, with order
sequences 1, 2, 3, ...; offsets without gaps; and so the same sums of quantities. A corrected
report is a conflict, which is set aside and not delivered, so it must not show up here.

Exit status: 0 where all is equal, 1 where something differs, 2 where a file cannot be read.
"""

import csv
import json
import sys
from collections import defaultdict

ORDER, GOOD, REVIEW, REWORK = "Case ID", "Qty_Completed", "Qty_for_MRB", "Rework"
SHOWN_MAX = 50


class Unreadable(Exception):
    """A file is not what it should be."""


def log_rows(path):
    """The distinct rows per order, in the order of the file; and how many rows repeat one."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, strict=True)
        orders, seen, repeats = defaultdict(list), set(), 0
        for row in reader:
            if None in row or None in row.values():
                raise Unreadable(f"{path}:{reader.line_num}: not as many fields as the header")
            values = tuple(row.values())
            if values in seen:
                repeats += 1
                continue
            seen.add(values)
            orders[row[ORDER]].append(row)
    if not orders:
        raise Unreadable(f"{path}: no rows")
    return dict(orders), repeats


def hub_events(path):
    """The events, each with its line for messages."""
    events = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                event = json.loads(line)
            except json.JSONDecodeError as error:
                raise Unreadable(f"{path}:{number}: {error}") from error
            needed = ("origin", "partition", "offset", "ordersequence", "data")
            missing = [key for key in needed if not isinstance(event, dict) or key not in event]
            if missing:
                raise Unreadable(f"{path}:{number}: no {', '.join(missing)}")
            if not isinstance(event["data"], dict) or ORDER not in event["data"]:
                raise Unreadable(f"{path}:{number}: the data is no row with a {ORDER}")
            event["line"] = number
            events.append(event)
    return events


def sums(rows):
    """Good pieces, pieces for the material review board, and rework reports of some rows."""
    try:
        good = sum(int(row[GOOD]) for row in rows)
        review = sum(int(row[REVIEW]) for row in rows)
    except (KeyError, ValueError) as error:
        raise Unreadable(f"a quantity is missing or no number: {error}") from error
    return good, review, sum(row.get(REWORK) == "Y" for row in rows)


def number(event, key):
    """A number of the event; CloudEvents extensions may be written as text."""
    try:
        return int(event[key])
    except (TypeError, ValueError) as error:
        raise Unreadable(f"line {event['line']}: {key} is {event[key]!r}") from error


def partition_differences(events):
    """Offsets must be 0, 1, 2, ... as delivered, per origin and partition."""
    following = defaultdict(int)
    for event in events:
        place = (event["origin"], number(event, "partition"))
        offset = number(event, "offset")
        if offset != following[place]:
            name = f"{place[0]}, partition {place[1]}"
            yield f"{name}: offset {offset} where {following[place]} should be (line {event['line']})"
        following[place] = offset + 1


def order_differences(order, expected, events):
    """What is wrong with one order."""
    origins = sorted({str(event["origin"]) for event in events})
    if len(origins) > 1:
        yield f"{order}: from {len(origins)} origins: {', '.join(origins)}"
    for place, event in enumerate(events, 1):
        if number(event, "ordersequence") != place:
            yield f"{order}: report {place} has the order sequence {event['ordersequence']}"
            break
    for event in events:
        if event.get("partitionkey", order) != order:
            yield f"{order}: line {event['line']} has the order key {event['partitionkey']!r}"
            break
    held = [event["data"] for event in events]
    if len(held) != len(expected):
        yield f"{order}: {len(held)} reports at the hub, {len(expected)} in the log"
    for place, (there, here) in enumerate(zip(held, expected), 1):
        if there != here:
            columns = [name for name in here if there.get(name) != here[name]]
            columns += [name for name in there if name not in here]
            detail = ", ".join(f"{c}: {there.get(c)!r} for {here.get(c)!r}" for c in columns)
            yield f"{order}: report {place} differs: {detail}"
            break
    names = ("good pieces", "pieces for review", "rework reports")
    for name, there, here in zip(names, sums(held), sums(expected)):
        if there != here:
            yield f"{order}: {there} {name} at the hub, {here} in the log"


def differences(orders, events):
    """All that is wrong, first by partition and then by order."""
    yield from partition_differences(events)
    held = defaultdict(list)
    for event in events:
        held[event["data"][ORDER]].append(event)
    for order in sorted(orders.keys() - held.keys()):
        yield f"{order}: not at the hub"
    for order in sorted(held.keys() - orders.keys()):
        yield f"{order}: not in the log"
    for order in sorted(orders.keys() & held.keys()):
        yield from order_differences(order, orders[order], held[order])


def main(arguments):
    """Compares, prints, and returns the exit status."""
    if len(arguments) != 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    try:
        orders, repeats = log_rows(arguments[0])
        events = hub_events(arguments[1])
        found = list(differences(orders, events))
        rows = [row for order in orders.values() for row in order]
        good, review, rework = sums(rows)
    except (OSError, UnicodeDecodeError, csv.Error, Unreadable) as error:
        print(f"check_hub: {error}", file=sys.stderr)
        return 2
    for difference in found[:SHOWN_MAX]:
        print(difference)
    if len(found) > SHOWN_MAX:
        print(f"... and {len(found) - SHOWN_MAX} more")
    print(
        f"log: {len(rows)} distinct rows ({repeats} repeats) of {len(orders)} orders, "
        f"{good} good, {review} for review, {rework} rework reports"
    )
    places = {(event["origin"], event["partition"]) for event in events}
    print(f"hub: {len(events)} events from {len(places)} partitions")
    print(f"{len(found)} differences" if found else "equal, order by order")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
