"""The code interpreter of the loopback server: lines by script.

It runs no code.  What a cell contains chooses the lines of the answer, in
the shapes that the official client reads.
"""
import base64
import json
import time
import uuid

# a 1x1 picture
PNG = ("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwAD"
       "hgGAWjR9awAAAABJRU5ErkJggg==")
CONTEXTS = {}


def lines_for(req, context):
    code = req.get("code", "")
    now = int(time.time() * 1000)
    if "raise" in code:
        yield {"type": "error", "name": "ValueError", "value": "no",
               "traceback": "Traceback (most recent call last):\n"
                            "ValueError: no\n"}
    elif "plot" in code:
        base64.b64decode(PNG)
        yield {"type": "stdout", "text": "drawing\n", "timestamp": now}
        yield {"type": "result", "is_main_result": False, "png": PNG,
               "text": "<Figure>", "chart": {
                   "type": "line", "title": "T", "elements": []}}
    elif "=" in code and "==" not in code:
        name, _, value = code.partition("=")
        context["vars"][name.strip()] = value.strip()
    elif code.strip() in context["vars"]:
        yield {"type": "result", "is_main_result": True, "text":
               context["vars"][code.strip()]}
    else:
        yield {"type": "stdout", "text": code + "\n", "timestamp": now}
        yield {"type": "stderr", "text": "warned\n", "timestamp": now}
    yield {"type": "something_new", "x": 1}
    context["count"] += 1
    yield {"type": "number_of_executions", "execution_count":
           context["count"]}


def new_context(sb, req):
    cid = str(uuid.uuid4())
    CONTEXTS[cid] = {"id": cid, "language": req.get("language") or "python",
                     "cwd": req.get("cwd") or "/home/user", "sandbox": sb.id,
                     "vars": {}, "count": 0}
    return CONTEXTS[cid]


def public(c):
    return {k: c[k] for k in ("id", "language", "cwd")}


def execute(h, sb, req):
    if req.get("context_id") and req.get("language"):
        h.error(400, "context_id and language exclude each other")
        return
    cid = req.get("context_id")
    if cid and cid not in CONTEXTS:
        h.error(404, "context not found")
        return
    context = CONTEXTS[cid] if cid else new_context(sb, req)
    h.send_response(200)
    h.send_header("Content-Type", "application/json")
    h.send_header("Transfer-Encoding", "chunked")
    h.end_headers()
    for line in lines_for(req, context):
        data = json.dumps(line).encode() + b"\n"
        half = len(data) // 2  # lines come in any pieces
        for piece in (data[:half], data[half:]):
            h.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            h.wfile.flush()
    h.wfile.write(b"0\r\n\r\n")


def handle(h, sb, raw):
    path = h.path.split("?")[0]
    req = json.loads(raw) if raw else {}
    if path == "/health":
        h.answer(200, "OK")
    elif path == "/execute":
        execute(h, sb, req)
    elif path == "/contexts" and h.command == "POST":
        h.answer(201, public(new_context(sb, req)))
    elif path == "/contexts":
        h.answer(200, [public(c) for c in CONTEXTS.values()
                       if c["sandbox"] == sb.id])
    elif path.endswith("/restart"):
        h.answer(200, {})
    elif h.command == "DELETE":
        CONTEXTS.pop(path.split("/")[2], None)
        h.answer(204)
    else:
        h.error(404, "no such path")
