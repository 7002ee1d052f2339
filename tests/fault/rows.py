"""Log rows of anybody's making (docs/formats.md), for tests of hostile tables."""
import base64
import hashlib
import os
import struct

ROOT = bytes(16)
REG, DIR, LNK = 8, 4, 10        # S_IFMT >> 12


def var(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def svar(n):
    return var(n << 1 if n >= 0 else (-n << 1) - 1)


class Registers:
    """Objects in the wire form, one coder."""

    def __init__(self, time_ms, node=7):
        self.time, self.node = time_ms << 16, node
        self.out, self.n = b"", 0
        self.last_time = self.last_ns = 0
        self.ctime = b""
        self.dicts = {"node": [], "id": [], "pack": []}

    def key(self, which, value):
        known = self.dicts[which]
        if value in known:
            return var(known.index(value) + 1)
        known.append(value)
        return var(0) + value

    def stamp(self):
        self.time += 1
        diff, self.last_time = self.time - self.last_time, self.time
        return svar(diff) + self.key("node", struct.pack("<Q", self.node))

    def ns(self, value=0):
        diff, self.last_ns = value - self.last_ns, value
        return svar(diff)

    @staticmethod
    def sum(size):
        """Of an empty file: its SHA-256; others have none."""
        return b"" if size else hashlib.sha256(b"").digest()

    def file(self, parent, name, size=0, extents=(), oid=None, kind=REG):
        """extents: (gap, length, pack, off, clen, check)."""
        self.ctime = self.ns()
        body = var(1) + b"\1" + self.stamp() + self.key("id", parent) + \
            var(len(name)) + name
        attrs = b"\3\1" + self.stamp() + var(kind) + var(0) + var(0o644)
        head = var(1) + (b"\3" if size else b"\7") + self.stamp() + var(size) + \
            self.ns((self.time >> 16) * 1000000) + self.sum(size) + \
            var(len(extents))
        for gap, length, pack, off, clen, check in extents:
            head += b"\x0a" + var(gap) + var(length) + \
                self.key("pack", pack) + var(off) + var(clen) + \
                struct.pack("<I", check)
        self.add(1 | 4 | 8, oid, body + attrs + head)

    def directory(self, parent, name, oid):
        self.ctime = self.ns()
        place = b"\x09" + self.stamp() + self.key("id", parent) + \
            var(len(name)) + name
        attrs = b"\3\1" + self.stamp() + var(DIR) + var(0) + var(0o755)
        self.add(2 | 4, oid, place + attrs)

    def add(self, mask, oid, rest):
        self.out += bytes([mask]) + (oid or os.urandom(16)) + self.ctime + rest
        self.n += 1

    def bytes(self):
        return var(self.n) + self.out


def body(registers, raw_len=None, zipped=None):
    if zipped is not None:
        return b"\1\4" + var(raw_len) + zipped
    return b"\1\0" + var(len(registers)) + registers


def insert(table, data, sent_ms, node=7, seq=1, kind="commit", epoch=0):
    """The statement that puts a row with a right id into the log."""
    h = hashlib.sha256()
    for f in (struct.pack("<Q", node), struct.pack("<Q", seq),
              struct.pack("<Q", epoch), kind.encode(), bytes(24), b"", data):
        h.update(struct.pack("<Q", len(f)) + f)
    return (f'INSERT INTO "{table}__log" (id, node, seq, sent, epoch, kind, '
            f"prev, deps, body) VALUES ('{h.hexdigest()[:32]}', "
            f"'{node:016x}', '{seq:016x}', '{sent_ms << 16:016x}', "
            f"'{epoch:016x}', '{kind}', '', '', "
            f"'{base64.b64encode(data).decode()}')")
