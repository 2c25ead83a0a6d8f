#!/usr/bin/env python3
"""Makes the seeds of the targets decode, repaired, operations and text: from the golden directory
of the tests, whose bytes were written by a node, and from texts as people write them."""
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
GOLDEN = HERE.parent / "tests/golden/data-v2"
SEED_MAX = 3_000


def put(target, name, content):
    path = HERE / "corpus" / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def entries(journal):
    at = struct.unpack_from("<I", journal, 68)[0] * 4096
    while journal[at:at + 4] == b"TkC\x01":
        body, length, count = struct.unpack_from("<III", journal, at + 8)
        entry = at + 112
        for _ in range(count):
            size = struct.unpack_from("<I", journal, entry + 1)[0]
            yield journal[entry], journal[entry + 5:entry + 5 + size]
            entry += 5 + size
        at += length


def decode():
    smallest = {}
    for path in sorted(GOLDEN.glob("journal-*.log")):
        for kind, content in entries(path.read_bytes()):
            if kind not in smallest or len(content) < len(smallest[kind]):
                smallest[kind] = content
    for kind, content in smallest.items():
        if len(content) > SEED_MAX:
            continue
        put("decode", f"entry-{kind}", bytes([4, kind]) + content)
        if kind == 3:
            put("decode", "stored", b"\3" + content[4:])
            client = content[4 + struct.unpack_from("<I", content, 8)[0]:]
            put("decode", "publish", b"\2" + client)
            put("decode", "deliver", b"\2" + b"\0\0\0\0" + content[4:])
            put("decode", "mirror", b"\2" + b"\0" * 6 + content[4:])
        if kind == 10:
            # The run, if the file has one, ends the entry.
            put("decode", "run-info", b"\5" + content[-84:])
        if kind == 5:
            text = content
            for _ in range(2):
                text = text[1 + text[0]:]
            put("decode", "receipt", b"\0" + text[4:])
            put("decode", "receipts", b"\7" + text[4:])
    run = min(GOLDEN.glob("run-*.run"), key=lambda path: path.stat().st_size)
    put("decode", "run", b"\6" + run.read_bytes())
    for path in sorted((HERE / "corpus/frame").iterdir()):
        frame = path.read_bytes()[1:]
        if 5 < len(frame) < 300:
            put("decode", f"control-{path.name}", b"\1" + frame[5:])


def repaired():
    # The kind of directory; then kind of change, file (2 bytes), place / 8 (2 bytes), more.
    for base in (0, 1):
        for file in range(12):
            put("repaired", f"flip-{base}-{file}", bytes([base, 0, file, 0, 40, 2, 3, 0]))
        put("repaired", f"cut-{base}", bytes([base, 1, 1, 0, 0, 2]))
        put("repaired", f"write-{base}", bytes([base, 2, 0, 0, 16, 2, 8, 0]) + b"\xff" * 8)
        put("repaired", f"move-{base}", bytes([base, 6, 0, 0, 0, 2, 0, 4]))
        put("repaired", f"remove-{base}", bytes([base, 4, 2, 0, 0, 0]))


def operations():
    publish = bytes([16, 1, 0, 2, 1, 3, 5])
    put("operations", "publish", publish)
    put("operations", "repeat", publish + bytes([4, 5, 4, 7]) + publish)
    put("operations", "conflict", publish + bytes([0, 1, 8]) + bytes([5]))
    put("operations", "cut", publish + bytes([6, 0x55]) + publish + bytes([6, 0xFF, 7]))
    put("operations", "long", (bytes([56]) + bytes(range(16)) + bytes([5])) * 8)


CONFIG = """[node]
name = "munich"
role = "plant"
plant = "munich"
data_dir = "data"
[listen]
address = "127.0.0.1:7500"
[security]
ca = "ca.pem"
cert = "node.pem"
key = "node.key"
[upstream]
address = "hub.example:7500"
server = "hub"
topics = ["*"]
backoff_max = "5s"
[journal]
file_size = "64MiB"
retention_age = "30d"
[[topics]]
name = "production"
horizon = "400d"
on_conflict = "quarantine"
"""
ROW = "Case 1,Turning,Machine 4,2012/01/29 23:24:00.000,2012/01/30 05:43:00.000,1,0,0,D,\n"
EVENT = """{"specversion":"1.0","id":"4711-1","source":"//acme/mes","type":"mfg.done.v1",
"time":"2026-11-22T06:15:00.5+01:00","partitionkey":"4711","datacontenttype":"application/json",
"data":{"yieldQty":40},"correlationid":"c","backfill":true}"""


def text():
    put("text", "config", b"\0" + CONFIG.encode())
    put("text", "config-environment", b"\0" + CONFIG.encode() + b"\0TAKT_JOURNAL__FILE_SIZE=4MiB")
    for name in ("plant/munich/node/munich", "plant/munich/client/mes", "hub/node/hub", "operator/eva"):
        put("text", "name-" + name.replace("/", "-"), b"\1spiffe://takt.local/" + name.encode())
    put("text", "row", b"\2" + ROW.encode())
    put("text", "row-quoted", b"\3" + ROW.replace("Turning", '"Turning, ""fine"""').encode() * 2)
    put("text", "event", b"\4" + EVENT.encode())
    put("text", "event-base64", b"\4" + EVENT.replace('"data":{"yieldQty":40}', '"data_base64":"AAEC"').encode())
    put("text", "batch", b"\5[" + EVENT.encode() + b"," + EVENT.encode() + b"]")


decode()
repaired()
operations()
text()
