#!/usr/bin/env python3
"""faultproxy.py - an HTTP/1.1 proxy in front of a table server that makes the
network between them as bad as a test wants it.

    faultproxy.py --upstream http://127.0.0.1:8088 [--listen 127.0.0.1:0]
                  [--delay-ms 20] [--rate 50000000] [--control FILE]
                  [--stats FILE] [--seed N]

It prints "ready http://ADDRESS:PORT" once it answers, and ends on SIGTERM or
SIGINT, printing its counters as one line of JSON.

--delay-ms  added to every request, and to every new connection: one round trip
--rate      bytes a second, each way, shared by all connections
--control   a JSON file, read again whenever it changes (replace it by rename):

    {"delay_ms": 20, "rate": 0, "down": false, "blackhole": false,
     "faults": [{"kind": "lose_answer", "match": "INSERT", "p": 0.1,
                 "skip": 2, "count": 3}]}

  down       connections are reset at once, the open ones too
  blackhole  requests are taken and never answered, nor passed on
  faults     for each request the first whose `match` (a regular expression
             over "METHOD PATH" and the first 400 bytes of the body) and dice
             say so: after `skip` matching requests, with probability `p` (1),
             at most `count` times (no limit)

  kind             applied?  what the client sees
  reset            no        connection reset before anything was passed on
  cut_request      no        connection reset in the middle of the body
  hang             no        nothing, until it gives up
  status           no        `status`, with `retry_after`, `body`, `type`
  lose_answer      yes       connection reset instead of the answer
  hang_after       yes       nothing, until it gives up
  status_after     yes       `status` instead of the answer
  cut_answer       yes       the answer cut in the middle
  empty            yes       200 without rows
  slow             yes       the answer `ms` later

Counters: GET /__faultproxy__/stats here, or --stats FILE (written when they
changed, at most five times a second).
"""

import argparse
import asyncio
import json
import os
import random
import re
import signal
import socket
import struct
import sys
import urllib.parse

CHUNK = 1 << 18
HEAD_MAX = 1 << 16
PEEK = 400
BEFORE = ("reset", "cut_request", "hang", "status")
AFTER = ("lose_answer", "hang_after", "status_after", "cut_answer", "empty",
         "slow")


class Gone(Exception):
    """The connection is over."""


class Bucket:
    """Bytes a second, shared; a chunk may overdraw it and is waited for."""

    def __init__(self):
        self.rate = 0
        self.free_at = 0.0

    async def take(self, n):
        if not self.rate:
            return
        now = asyncio.get_running_loop().time()
        self.free_at = max(self.free_at, now) + n / self.rate
        if self.free_at - now > 0.002:
            await asyncio.sleep(self.free_at - now)


class Control:
    """The plan: what the command line says, then the control file."""

    def __init__(self, args):
        self.path = args.control
        self.stamp = None
        self.base = {"delay_ms": args.delay_ms, "rate": args.rate}
        self.dice = random.Random(args.seed)
        self.faults = []
        self.apply({})

    def apply(self, plan):
        plan = {**self.base, **plan}
        unknown = set(plan) - {"delay_ms", "rate", "down", "blackhole",
                               "faults"}
        if unknown:
            raise ValueError(f"unknown keys: {', '.join(sorted(unknown))}")
        faults = []
        for f in plan.get("faults", []):
            if f.get("kind") not in BEFORE + AFTER:
                raise ValueError(f"unknown kind {f.get('kind')!r}")
            faults.append(dict(f, seen=0, fired=0,
                               re=re.compile(f.get("match", ""))))
        self.faults = faults
        self.delay = float(plan["delay_ms"]) / 1000
        self.rate = float(plan["rate"])
        self.down = bool(plan.get("down"))
        self.blackhole = bool(plan.get("blackhole"))

    def reread(self):
        """True if the plan changed."""
        if not self.path:
            return False
        try:
            st = os.stat(self.path)
            stamp = (st.st_mtime_ns, st.st_ino, st.st_size)
            if stamp == self.stamp:
                return False
            with open(self.path, encoding="utf-8") as f:
                plan = json.load(f)
        except FileNotFoundError:
            if self.stamp is None:
                return False
            stamp, plan = None, {}
        except ValueError as e:
            print(f"faultproxy: {self.path}: {e}", file=sys.stderr)
            return False
        self.stamp = stamp
        try:
            self.apply(plan)
        except (ValueError, re.error, KeyError, TypeError) as e:
            sys.exit(f"faultproxy: {self.path}: {e}")
        return True

    def pick(self, text):
        for f in self.faults:
            if not f["re"].search(text):
                continue
            f["seen"] += 1
            if f["seen"] <= f.get("skip", 0):
                continue
            if f["fired"] >= f.get("count", 1 << 62):
                continue
            if self.dice.random() >= f.get("p", 1.0):
                continue
            f["fired"] += 1
            return f
        return None


class Head:
    """The first lines of a request or an answer."""

    def __init__(self, raw):
        self.raw = raw
        lines = raw.decode("latin-1").split("\r\n")
        self.first = lines[0]
        self.fields = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if colon:
                self.fields[name.strip().lower()] = value.strip()
        self.chunked = "chunked" in self.fields.get("transfer-encoding", "")
        self.length = int(self.fields.get("content-length", "0") or 0)
        self.close = "close" in self.fields.get("connection", "").lower()


async def read_head(reader):
    try:
        return Head(await reader.readuntil(b"\r\n\r\n"))
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError,
            ConnectionError, ValueError) as e:
        raise Gone from e


def reset(writer):
    """Close with RST, so that the peer sees a reset and not an end."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                            struct.pack("ii", 1, 0))
        except OSError:
            pass
    writer.transport.abort()


class Proxy:
    def __init__(self, args):
        self.args = args
        url = urllib.parse.urlsplit(args.upstream)
        if url.scheme != "http" or not url.hostname:
            sys.exit("faultproxy: --upstream must be http://HOST:PORT")
        self.upstream = (url.hostname, url.port or 80)
        self.control = Control(args)
        self.up, self.down = Bucket(), Bucket()
        self.open = set()
        self.dirty = True
        self.stats = {"connections": 0, "requests": 0, "in_flight": 0,
                      "max_in_flight": 0, "bytes_up": 0, "bytes_down": 0,
                      "largest_request": 0, "largest_answer": 0,
                      "refused": 0, "blackholed": 0, "faults": {}}

    # -- plan

    def look(self):
        if self.control.reread() and self.control.down:
            for w in list(self.open):
                reset(w)
        self.up.rate = self.down.rate = self.control.rate

    def fired(self, kind):
        faults = self.stats["faults"]
        faults[kind] = faults.get(kind, 0) + 1
        self.dirty = True

    # -- bytes

    async def send(self, writer, data, bucket, counter):
        await bucket.take(len(data))
        writer.write(data)
        self.stats[counter] += len(data)
        try:
            await writer.drain()
        except ConnectionError as e:
            raise Gone from e

    @staticmethod
    async def read_some(reader, n):
        try:
            data = await reader.read(min(n, CHUNK))
        except ConnectionError as e:
            raise Gone from e
        if not data:
            raise Gone
        return data

    async def chunk_pieces(self, reader):
        """The raw pieces of a chunked body, framing included."""
        while True:
            try:
                line = await reader.readuntil(b"\r\n")
                yield line
                size = int(line.split(b";")[0], 16)
                if size == 0:
                    while line != b"\r\n":
                        line = await reader.readuntil(b"\r\n")
                        yield line
                    return
                left = size + 2
            except (asyncio.IncompleteReadError, ConnectionError,
                    ValueError) as e:
                raise Gone from e
            while left:
                data = await self.read_some(reader, left)
                left -= len(data)
                yield data

    async def pieces(self, reader, head):
        if head.chunked:
            async for data in self.chunk_pieces(reader):
                yield data
            return
        left = head.length
        while left:
            data = await self.read_some(reader, left)
            left -= len(data)
            yield data

    # -- one request

    async def answer_status(self, writer, f):
        body = f.get("body")
        if body is None:
            body = json.dumps({"error": "injected by the test"})
        data = body.encode()
        lines = [f"HTTP/1.1 {int(f.get('status', 503))} Injected",
                 f"Content-Type: {f.get('type', 'application/json')}",
                 f"Content-Length: {len(data)}"]
        if "retry_after" in f:
            lines.append(f"Retry-After: {f['retry_after']}")
        raw = "\r\n".join(lines).encode() + b"\r\n\r\n" + data
        await self.send(writer, raw, self.down, "bytes_down")

    async def wait_gone(self, reader):
        """Until the client has had enough."""
        while True:
            await self.read_some(reader, CHUNK)

    async def peek(self, reader, head):
        if head.chunked or not head.length:
            return b""
        want = min(PEEK, head.length)
        try:
            data = await reader.readexactly(want)
        except (asyncio.IncompleteReadError, ConnectionError) as e:
            raise Gone from e
        head.length -= want
        return data

    async def before(self, f, reader, writer, head, first, server):
        """A fault that the server does not hear of, or only half."""
        self.fired(f["kind"])
        if f["kind"] == "status":
            async for _ in self.pieces(reader, head):
                pass
            await self.answer_status(writer, f)
            return
        if f["kind"] == "hang":
            await self.wait_gone(reader)
        if f["kind"] == "cut_request" and head.length + len(first) > 1:
            half = (head.length + len(first)) // 2
            up = await server()
            await self.send(up, head.raw, self.up, "bytes_up")
            data = first[:half]
            await self.send(up, data, self.up, "bytes_up")
            got = len(first)
            while got < half:
                data = await self.read_some(reader, half - got)
                got += len(data)
                await self.send(up, data, self.up, "bytes_up")
            reset(up)
        reset(writer)
        raise Gone

    async def pass_answer(self, f, up_reader, reader, writer):
        kind = f["kind"] if f else None
        if kind:
            self.fired(kind)
        head = await read_head(up_reader)
        while head.first.split(" ")[1:2] == ["100"]:
            head = await read_head(up_reader)
        if kind == "slow":
            await asyncio.sleep(float(f.get("ms", 1000)) / 1000)
        swallow = kind in ("lose_answer", "hang_after", "status_after",
                           "empty")
        cut = head.length // 2 if kind == "cut_answer" else None
        size = 0
        if not swallow:
            await self.send(writer, head.raw, self.down, "bytes_down")
        async for data in self.pieces(up_reader, head):
            size += len(data)
            if swallow:
                continue
            if cut is not None and size > cut:
                data = data[:max(0, len(data) - (size - cut))]
                await self.send(writer, data, self.down, "bytes_down")
                reset(writer)
                raise Gone
            await self.send(writer, data, self.down, "bytes_down")
        self.stats["largest_answer"] = max(self.stats["largest_answer"], size)
        if kind == "hang_after":
            await self.wait_gone(reader)
        if kind in ("lose_answer", "cut_answer"):
            reset(writer)
            raise Gone
        if kind == "status_after":
            await self.answer_status(writer, dict({"status": 502}, **f))
        if kind == "empty":
            await self.answer_status(writer, {
                "status": 200,
                "body": '{"columns":[],"rows":[],"row_count":0}'})
        return head

    async def one(self, reader, writer, head, server):
        size = head.length
        first = await self.peek(reader, head)
        self.stats["requests"] += 1
        self.stats["largest_request"] = max(self.stats["largest_request"],
                                            size)
        self.dirty = True
        self.look()
        if self.control.blackhole:
            self.stats["blackholed"] += 1
            await self.wait_gone(reader)
        if self.control.delay:
            await asyncio.sleep(self.control.delay)
        f = self.control.pick(f"{head.first} {first.decode('latin-1')}")
        if f and f["kind"] in BEFORE:
            await self.before(f, reader, writer, head, first, server)
            return False
        up = await server()
        await self.send(up, head.raw + first, self.up, "bytes_up")
        async for data in self.pieces(reader, head):
            await self.send(up, data, self.up, "bytes_up")
        answer = await self.pass_answer(f, up.peer_reader, reader, writer)
        return head.close or answer.close

    # -- one connection

    async def connect(self):
        try:
            r, w = await asyncio.open_connection(*self.upstream,
                                                 limit=HEAD_MAX)
        except OSError as e:
            raise Gone from e
        nodelay(w)
        w.peer_reader = r
        return w

    async def own_page(self, writer, head):
        data = (json.dumps(self.stats) + "\n").encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                     b"Content-Length: %d\r\n\r\n" % len(data) + data)
        await writer.drain()
        return head.close

    async def serve(self, reader, writer):
        self.look()
        nodelay(writer)
        if self.control.down:
            self.stats["refused"] += 1
            self.dirty = True
            reset(writer)
            return
        self.stats["connections"] += 1
        self.open.add(writer)
        up = None

        async def server():
            nonlocal up
            # An idle connection that the server has closed is no fault.
            if up is None or up.is_closing() or up.peer_reader.at_eof():
                if up is not None:
                    self.open.discard(up)
                    up.transport.abort()
                up = await self.connect()
                self.open.add(up)
            return up

        try:
            if self.control.delay:
                await asyncio.sleep(self.control.delay)
            close = False
            while not close:
                head = await read_head(reader)
                if " /__faultproxy__/stats" in head.first:
                    close = await self.own_page(writer, head)
                    continue
                self.stats["in_flight"] += 1
                self.stats["max_in_flight"] = max(
                    self.stats["max_in_flight"], self.stats["in_flight"])
                try:
                    close = await self.one(reader, writer, head, server)
                finally:
                    self.stats["in_flight"] -= 1
        except (Gone, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open.discard(writer)
            if up is not None:
                self.open.discard(up)
                up.transport.abort()
            writer.close()

    # -- life

    def write_stats(self):
        if not self.args.stats or not self.dirty:
            return
        tmp = self.args.stats + ".tmp"
        with open(tmp, "w", encoding="utf-8") as f:
            json.dump(self.stats, f)
        os.replace(tmp, self.args.stats)
        self.dirty = False

    async def run(self):
        host, _, port = self.args.listen.rpartition(":")
        self.look()
        server = await asyncio.start_server(self.serve, host, int(port),
                                            limit=HEAD_MAX, backlog=256)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sig, stop.set)
        at = server.sockets[0].getsockname()
        print(f"ready http://{at[0]}:{at[1]}", flush=True)
        while not stop.is_set():
            self.look()
            self.write_stats()
            try:
                await asyncio.wait_for(stop.wait(), 0.2)
            except asyncio.TimeoutError:
                pass
        server.close()
        for w in list(self.open):
            w.transport.abort()
        self.dirty = True
        self.write_stats()
        print(json.dumps(self.stats), flush=True)


def nodelay(writer):
    sock = writer.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def main():
    p = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--upstream", required=True)
    p.add_argument("--listen", default="127.0.0.1:0")
    p.add_argument("--delay-ms", type=float, default=0)
    p.add_argument("--rate", type=float, default=0)
    p.add_argument("--control")
    p.add_argument("--stats")
    p.add_argument("--seed", type=int, default=1)
    asyncio.run(Proxy(p.parse_args()).run())


if __name__ == "__main__":
    main()
