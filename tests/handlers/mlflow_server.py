"""A server that speaks as much of MLflow's REST interface as one run needs, and that can fail in every way."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

API = "/api/2.0/mlflow/"


class LoopbackServer(ThreadingHTTPServer):
    """``mode``: ``up`` answers, ``error`` answers with 500, ``hang`` never answers."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, artifact_uri: str, mode: str = "up") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.artifact_uri = artifact_uri
        self.mode = mode
        self.calls: list[str] = []
        self.metrics: dict[tuple[str, int], float] = {}
        self.status = ""

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, call: str, body: dict[str, Any]) -> dict[str, Any] | None:
        info = {"run_id": "r1", "run_uuid": "r1", "experiment_id": "1", "artifact_uri": self.artifact_uri}
        info |= {"status": "RUNNING", "lifecycle_stage": "active"}
        if call == "runs/log-batch":
            self.metrics |= {(each["key"], int(each.get("step", 0))): each["value"] for each in body.get("metrics", [])}
        if call == "runs/update":
            self.status = body["status"]
        known = {
            "experiments/get-by-name": {"experiment": {"experiment_id": "1", "name": "e", "lifecycle_stage": "active"}},
            "runs/create": {"run": {"info": info, "data": {}}},
            "runs/get": {"run": {"info": info, "data": {}}},
            "runs/log-batch": {},
            "runs/search": {"runs": []},
            "runs/update": {"run_info": info},
        }
        return known.get(call)


class _Handler(BaseHTTPRequestHandler):
    server: LoopbackServer

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        call = self.path.partition("?")[0].removeprefix(API)
        self.server.calls.append(call)
        if self.server.mode == "hang":
            time.sleep(60)
        found = self.server.answer(call, json.loads(body or b"{}")) if self.server.mode == "up" else {}
        status = 500 if self.server.mode == "error" else 404 if found is None else 200
        text = json.dumps(found or {}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""


@contextmanager
def loopback_server(artifact_uri: str, mode: str = "up") -> Iterator[LoopbackServer]:
    """A server that runs in a thread of its own for the length of the block."""
    server = LoopbackServer(artifact_uri, mode)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        stop(server)


def stop(server: LoopbackServer) -> None:
    """From now on connections are refused."""
    server.shutdown()
    server.server_close()
