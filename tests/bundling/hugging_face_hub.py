"""A stand-in for Hugging Face's hub on this machine: what ``snapshot_download`` asks for, and no more."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Handler(BaseHTTPRequestHandler):
    """Answers for one repository with one commit, on ``main`` and under one tag."""

    folder: Path
    repository: str
    tag: str
    asked: list[str]
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.asked.append(f"{self.command} {path}")
        api, files = f"/api/models/{self.repository}", f"/{self.repository}/resolve/"
        revisions = (self.tag, "main", COMMIT)
        if path == f"{api}/refs":
            self._send_json({"branches": [_ref("heads", "main")], "converts": [], "tags": [_ref("tags", self.tag)]})
        elif path in [f"{api}/revision/{revision}" for revision in revisions]:
            siblings = [{"rfilename": entry["path"]} for entry in self._tree()]
            self._send_json({"_id": "0", "id": self.repository, "sha": COMMIT, "siblings": siblings})
        elif path in [f"{api}/tree/{revision}" for revision in revisions]:
            self._send_json(self._tree())
        elif path.startswith(files) and path.removeprefix(files).partition("/")[0] in revisions:
            content = (self.folder / path.removeprefix(files).partition("/")[2]).read_bytes()
            self._send(content, {"ETag": f'"{_blob(content)}"', "X-Repo-Commit": COMMIT})
        else:
            self.send_error(404)

    def _tree(self) -> list[dict[str, Any]]:
        """Files, as the hub lists them."""
        return [
            {
                "type": "file",
                "path": path.relative_to(self.folder).as_posix(),
                "size": path.stat().st_size,
                "oid": _blob(path.read_bytes()),
            }
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        ]

    def _send_json(self, answer: Any) -> None:
        self._send(json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _send(self, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _ref(kind: str, name: str) -> dict[str, str]:
    return {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": COMMIT}


def _blob(content: bytes) -> str:
    """A file's name in git."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def hub_with(folder: Path, repository: str, tag: str) -> Iterator[tuple[str, list[str]]]:
    """Offer a folder as a repository; the hub's URL, and what it is asked for."""
    asked: list[str] = []
    handler = type("Handler", (_Handler,), {"folder": folder, "repository": repository, "tag": tag, "asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()
