"""A bbolt file of nested buckets, which is what a vulnerability database of trivy is. Written once, never changed.

Format: page.go, bucket.go and meta.go of go.etcd.io/bbolt, version 2. Every bucket is one leaf page, as long as it has
to be; no branch pages and no free ones, so what is written is small sets only.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

PAGE_BYTES = 4096
HEADER = struct.Struct("<QHHI")  # number, kind, entries, pages that follow and belong to it
ELEMENT = struct.Struct("<IIII")  # kind, where from here, bytes of key, bytes of value
BUCKET = struct.Struct("<QQ")  # its page, its sequence
META = struct.Struct("<IIIIQQQQQ")  # magic, version, page size, flags, root bucket (2), free list, pages, transaction
LEAF, METADATA, FREE_LIST = 0x02, 0x04, 0x10
NESTED = 0x01
MAGIC, VERSION = 0xED0CDAED, 2
FIRST = 3  # pages 0 and 1 hold the metadata, twice; 2 the empty free list

Node = Mapping[str, "Node | bytes"]


def write(path: Path, root: Node) -> None:
    """Write the buckets of `root`: a name leads to a value or to the bucket inside."""
    pages: list[bytes] = []
    top = _bucket(root, pages)
    count = FIRST + sum(len(page) // PAGE_BYTES for page in pages)
    metas = [_meta(number, top, count) for number in (0, 1)]
    path.write_bytes(b"".join((*metas, _page(2, FREE_LIST, 0, b""), *pages)))


def _bucket(node: Node, pages: list[bytes]) -> int:
    """Append the page of `node` after those of its children; the number of its page."""
    entries: list[tuple[int, bytes, bytes]] = []
    for name in sorted(node, key=str.encode):
        value = node[name]
        nested = not isinstance(value, bytes)
        content = BUCKET.pack(_bucket(value, pages), 0) if not isinstance(value, bytes) else value
        entries.append((NESTED if nested else 0, name.encode(), content))
    number = FIRST + sum(len(page) // PAGE_BYTES for page in pages)
    heads, bodies = b"", b""
    for index, (kind, key, content) in enumerate(entries):
        where = (len(entries) - index) * ELEMENT.size + len(bodies)
        heads += ELEMENT.pack(kind, where, len(key), len(content))
        bodies += key + content
    pages.append(_page(number, LEAF, len(entries), heads + bodies))
    return number


def _page(number: int, kind: int, entries: int, content: bytes) -> bytes:
    pages = -(-(HEADER.size + len(content)) // PAGE_BYTES)
    return (HEADER.pack(number, kind, entries, pages - 1) + content).ljust(pages * PAGE_BYTES, b"\0")


def _meta(number: int, root: int, pages: int) -> bytes:
    body = META.pack(MAGIC, VERSION, PAGE_BYTES, 0, root, 0, 2, pages, number)
    return _page(number, METADATA, 0, body + struct.pack("<Q", _checksum(body)))


def _checksum(content: bytes) -> int:
    """FNV-1a of 64 bits: http://www.isthe.com/chongo/tech/comp/fnv/"""
    value = 0xCBF29CE484222325
    for byte in content:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value
