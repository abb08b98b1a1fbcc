"""A server for one person on this machine: the page, and the landmarks of one folder.

Its address holds a random token, and a request names a scan by its number alone::

    GET  /TOKEN/                 the page
    GET  /TOKEN/about            the scans, and what is the same for all of them
    GET  /TOKEN/scans/3          one scan: pictures, points, numbers
    POST /TOKEN/scans/3/numbers  {"points": {...}}: the numbers of these points
    POST /TOKEN/scans/3/save     {"points": {...}, "version": "..."}: write them
"""

from __future__ import annotations

import json
import re
import secrets
import socketserver
import sys
import threading
from collections import OrderedDict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from dxa_monai.errors import InputError, describe_user_error
from dxa_monai.input_files import parse_json
from dxa_monai.landmarks.folder import LandmarkFolder
from dxa_monai.landmarks.page import content_security_policy, page
from dxa_monai.landmarks.session import ScanSession

HOST = "127.0.0.1"
MAX_BODY_BYTES = 64_000
"""Of a request: ten times a full set of landmarks."""
_KEPT_SESSIONS = 8
_PATIENCE_S = 30.0
_SCAN = re.compile(r"scans/([0-9]{1,9})(?:/(numbers|save))?")
_JSON, _HTML = "application/json", "text/html; charset=utf-8"


class LandmarkServer(ThreadingHTTPServer):
    """Serves one folder on 127.0.0.1 until it is closed.

    Args:
        folder: whose landmarks are moved.
        port: 0 takes a free one.

    Raises:
        InputError: the port is taken, or may not be used.
    """

    daemon_threads = True

    def __init__(self, folder: LandmarkFolder, port: int = 0) -> None:
        self.folder = folder
        self.token = secrets.token_urlsafe(24)
        self._sessions: OrderedDict[int, ScanSession] = OrderedDict()
        self._one_at_a_time = threading.Lock()
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(f"--port {port}: expected a free port of this machine, got '{reason}'.") from error

    def server_bind(self) -> None:
        """Bind without asking for the name of this machine, which may take a while."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, int(self.server_address[1])

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def answer(self, place: int, action: str, content: dict[str, Any] | None) -> dict[str, Any]:
        """What is asked of a scan; one request at a time, since they share the processor and the folder.

        Args:
            place: of the scan in the folder's list.
            action: empty: its state, else "numbers" or "save".
            content: of the request.

        Raises:
            InputError: it cannot be done.
        """
        with self._one_at_a_time:
            if not action:
                self._sessions.pop(place, None)  # its files may have changed
            session = self._sessions.pop(place, None) or self.folder.session(place)
            self._sessions[place] = session
            while len(self._sessions) > _KEPT_SESSIONS:
                self._sessions.popitem(last=False)
            if content is None:
                return session.state()
            points = content["points"]
            return session.numbers(points) if action == "numbers" else session.save(points, content["version"])


class _Refused(Exception):
    """A request that is not answered; the status says why."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: LandmarkServer
    server_version, sys_version = "dxa_monai", ""
    timeout = _PATIENCE_S

    def do_GET(self) -> None:
        """The page, the list, or a scan."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Numbers of other points, or points to be saved."""
        self._answer(self._post)

    def _answer(self, get: Any) -> None:
        try:
            kind, content = get()
        except _Refused as refused:
            self._send(refused.status, _JSON, _as_json({"error": str(refused)}))
        except (InputError, OSError, MemoryError) as error:
            if isinstance(error, ConnectionError | TimeoutError):
                raise
            sentence = describe_user_error(error) or f"expected to read and write files, got '{error}'."
            self._send(HTTPStatus.UNPROCESSABLE_ENTITY, _JSON, _as_json({"error": sentence}))
        except Exception as error:
            told = f"expected to answer, got {type(error).__name__}; the terminal says more."
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, _JSON, _as_json({"error": told}))
            raise
        else:
            self._send(HTTPStatus.OK, kind, content)

    def _get(self) -> tuple[str, bytes]:
        path = self._path()
        if not path:
            return _HTML, page()
        if path == "about":
            return _JSON, _as_json(self.server.folder.about())
        place, action = self._scan(path)
        if action:
            raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED, "expected a POST, got a GET.")
        return _JSON, _as_json(self.server.answer(place, "", None))

    def _post(self) -> tuple[str, bytes]:
        place, action = self._scan(self._path())
        if not action:
            raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED, "expected a GET, got a POST.")
        if self.headers.get_all("Origin") != [f"http://{self.headers['Host']}"]:
            raise _Refused(HTTPStatus.FORBIDDEN, "Origin: expected the page of this server, got another one.")
        if self.headers.get_content_type() != _JSON:
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Content-Type: expected {_JSON}, got another one.")
        content = parse_json(self._body(), "request", unique=True)
        keys = {"points": dict} | ({"version": str} if action == "save" else {})
        if not isinstance(content, dict) or set(content) != set(keys):
            raise _Refused(HTTPStatus.BAD_REQUEST, f"request: expected an object with {', '.join(keys)}, got another.")
        if not all(isinstance(content[name], kind) for name, kind in keys.items()):
            raise _Refused(HTTPStatus.BAD_REQUEST, "request: expected points as an object and a version, got others.")
        return _JSON, _as_json(self.server.answer(place, action, content))

    def _path(self) -> str:
        """What follows the token, if host and token are right."""
        port = self.server.server_port
        if self.headers.get_all("Host") not in ([f"{HOST}:{port}"], [f"localhost:{port}"]):
            # another name that leads here is a page's that wants to read ours (DNS rebinding)
            raise _Refused(HTTPStatus.FORBIDDEN, f"Host: expected {HOST}:{port}, got another one.")
        _, token, path = [*self.path.split("/", 2), "", ""][:3]
        if not secrets.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode()):
            raise _Refused(HTTPStatus.NOT_FOUND, "expected the address that the terminal shows, got another one.")
        if self.path == f"/{token}":
            raise _Refused(HTTPStatus.NOT_FOUND, "expected a slash at the end of the address, got none.")
        return path

    def _scan(self, path: str) -> tuple[int, str]:
        found = _SCAN.fullmatch(path)
        if found is None:
            raise _Refused(HTTPStatus.NOT_FOUND, "expected a scan's number, got another address.")
        return int(found[1]), found[2] or ""

    def _body(self) -> bytes:
        length = self.headers.get_all("Content-Length") or []
        if len(length) != 1 or re.fullmatch(r"[0-9]{1,9}", length[0]) is None or "Transfer-Encoding" in self.headers:
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "Content-Length: expected one number, got none.")
        if int(length[0]) > MAX_BODY_BYTES:
            raise _Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"request: expected at most {MAX_BODY_BYTES} bytes, got {length[0]}.",
            )
        body = self.rfile.read(int(length[0]))
        if len(body) != int(length[0]):
            raise _Refused(HTTPStatus.BAD_REQUEST, "request: expected as many bytes as announced, got fewer.")
        return body

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def end_headers(self) -> None:
        """Every answer has them, also that of a request that is none."""
        for name, value in {
            "Content-Security-Policy": content_security_policy(),
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cache-Control": "no-store",
        }.items():
            self.send_header(name, value)
        super().end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What Python's server says of requests that are none, without repeating any of them."""
        self.close_connection = True
        self._send(HTTPStatus(code), _JSON, _as_json({"error": f"expected a request of the page, got {code}."}))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the address holds the token."""


def _as_json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, allow_nan=False).encode("ascii")
