"""What the server answers, and what it does not."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from dxa_monai.errors import InputError
from dxa_monai.landmarks.folder import LandmarkFolder
from dxa_monai.landmarks.server import MAX_BODY_BYTES, LandmarkServer
from tests.landmarks.conftest import NAMES, contents, session_of
from tests.landmarks.test_session import moved

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    def json(self) -> Any:
        return json.loads(self.body)


def ask(server: LandmarkServer, path: str, method: str = "GET", body: Any = None, **headers: str) -> Answer:
    """A request; ``headers`` with _ for -; an empty one is left out."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    origin = f"http://127.0.0.1:{server.server_port}"
    sent = {"Host": origin.removeprefix("http://")}
    if method == "POST":
        sent |= {"Origin": origin, "Content-Type": "application/json", "Content-Length": str(len(content))}
    for name, value in (sent | {name.replace("_", "-"): value for name, value in headers.items()}).items():
        if value:
            connection.putheader(name, value)
    connection.endheaders(content)
    try:
        return Answer(connection.getresponse())
    finally:
        connection.close()


def path_of(server: LandmarkServer, rest: str = "") -> str:
    return f"/{server.token}/{rest}"


def test_the_page_needs_nothing_else_and_only_its_own_scripts_run(server: LandmarkServer) -> None:
    answer = ask(server, path_of(server))
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        texts = re.findall(rf"<{tag}>(.*?)</{tag}>", answer.body.decode(), re.DOTALL)
        assert len(texts) == {"script": 2, "style": 1}[tag]
        for text in texts:
            assert f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy
    assert not re.search(rb"(src|href)=|@import|url\(|innerHTML|\son\w+=", answer.body)
    for name, value in HEADERS.items():
        assert answer.headers[name] == value


def test_scans_numbers_and_saved_landmarks(server: LandmarkServer, run: Path) -> None:
    about = ask(server, path_of(server, "about")).json()
    assert [each["scan_id"] for each in about["scans"]] == [NAMES[1], NAMES[0]]
    state = ask(server, path_of(server, "scans/1")).json()
    session = session_of(run)
    assert state == session.state()
    points = moved(state["points"])
    answer = ask(server, path_of(server, "scans/1/numbers"), "POST", {"points": points})
    assert answer.json() == session.numbers(points)
    saved = ask(server, path_of(server, "scans/1/save"), "POST", {"points": points, "version": state["version"]})
    assert saved.json()["path"] == str(run / "landmarks" / "A01.json")
    assert (
        ask(server, path_of(server, "scans/1")).json()["saved"]
        == json.loads((run / "landmarks" / "A01.json").read_text())["landmarks"]
    )


def test_a_name_that_is_html_is_only_ever_json(server: LandmarkServer) -> None:
    assert b"<img" not in ask(server, path_of(server)).body
    answer = ask(server, path_of(server, "about"))
    assert answer.headers["Content-Type"] == "application/json"


def test_user_mistakes_are_one_sentence(server: LandmarkServer) -> None:
    state = ask(server, path_of(server, "scans/1")).json()
    points = state["points"] | {"crotch": [500.0, 50.0]}
    answer = ask(server, path_of(server, "scans/1/numbers"), "POST", {"points": points})
    assert answer.status == 422
    assert answer.json()["error"].startswith("A01: expected crotch inside the image")
    assert ask(server, path_of(server, "scans/2")).json() == {"error": "scan: expected a number below 2, got 2."}


def test_without_the_token_there_is_nothing(server: LandmarkServer) -> None:
    wrong = server.token[:-1] + ("A" if server.token[-1] != "A" else "B")
    for path in ("/", "/about", "/scans/1", f"/{wrong}/about", f"/{server.token}", f"/x/{server.token}/about", "*"):
        answer = ask(server, path)
        assert answer.status == 404, path
        assert server.token.encode() not in answer.body
    assert ask(server, "/scans/1/save", "POST", {}).status == 404
    with LandmarkServer(server.folder) as other:
        assert len(other.token) >= 32
        assert other.token != server.token


@pytest.mark.parametrize(
    "rest",
    [
        "../run/A01.json",
        "A01.json",
        "landmarks/A01.json",
        "scans/A01",
        "scans/1/../../about",
        "scans/1/",
        "scans/-1",
        "scans/1.0",
        "scans/٣",
        "scans/1/numbers/2",
        "scans/%31",
        "about?x=1",
        "about/",
        "/etc/passwd",
        "..%2f..%2fetc/passwd",
        "scans/1234567890123",
    ],
)
def test_no_path_is_taken_from_a_request(rest: str, server: LandmarkServer) -> None:
    for method in ("GET", "POST"):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as connection:
            host = f"127.0.0.1:{server.server_port}"
            lines = [
                f"{method} {path_of(server, rest)} HTTP/1.0",
                f"Host: {host}",
                f"Origin: http://{host}",
                "Content-Type: application/json",
                "Content-Length: 0",
            ]
            connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
            answer = connection.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.0 404 "), rest


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "0.0.0.0:{port}", ""]
)
def test_another_host_is_refused(host: str, server: LandmarkServer) -> None:
    """A page whose name was made to lead to this machine (DNS rebinding) says its own name."""
    assert ask(server, path_of(server, "about"), Host=host.format(port=server.server_port)).status == 403
    assert ask(server, path_of(server, "about"), Host=f"localhost:{server.server_port}").status == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://127.0.0.1:1", "http://localhost:{port}", "null", ""]
)
def test_a_request_of_another_page_changes_nothing(origin: str, server: LandmarkServer, run: Path) -> None:
    state, before = ask(server, path_of(server, "scans/1")).json(), contents(run)
    body = {"points": moved(state["points"]), "version": state["version"]}
    where = path_of(server, "scans/1/save")
    assert ask(server, where, "POST", body, Origin=origin.format(port=server.server_port)).status == 403
    assert contents(run) == before


def test_a_body_is_json_of_bounded_size(server: LandmarkServer) -> None:
    where = path_of(server, "scans/1/numbers")
    points = session_of(server.folder.path).state()["points"]
    assert ask(server, where, "POST", {"points": points}).status == 200
    for status, body, headers in (
        (415, {"points": points}, {"Content_Type": "text/plain"}),
        (415, {"points": points}, {"Content_Type": ""}),
        (415, {"points": points}, {"Content_Type": "multipart/form-data"}),
        (413, b"", {"Content_Length": str(MAX_BODY_BYTES + 1)}),
        (411, b"", {"Content_Length": ""}),
        (411, b"", {"Content_Length": "-1"}),
        (411, b"", {"Content_Length": "1e3"}),
        (411, b"", {"Transfer_Encoding": "chunked"}),
        (422, b"", {}),
        (422, b"{", {}),
        (422, b"\xff\xfe", {}),
        (422, b"[" * 60_000, {}),
        (422, b'{"points": {}, "points": {}}', {}),
        (400, b"[]", {}),
        (400, {"points": points, "path": "/etc/passwd"}, {}),
        (400, {"points": [1]}, {}),
        (422, {"points": {}}, {}),
    ):
        answer = ask(server, where, "POST", body, **headers)
        assert (answer.status, list(answer.json())) == (status, ["error"]), (body, headers)
    assert ask(server, path_of(server, "scans/1/save"), "POST", {"points": points}).status == 400


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "HEAD", "<b>"])
def test_other_methods_are_refused_and_nothing_is_repeated(method: str, server: LandmarkServer) -> None:
    answer = ask(server, path_of(server, "scans/1"), method)
    assert answer.status == 501
    assert b"<b>" not in answer.body
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert ask(server, path_of(server, "scans/1"), "POST", {}).status == 405
    assert ask(server, path_of(server, "scans/1/save")).status == 405


def test_it_listens_on_this_machine_alone(server: LandmarkServer) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"
    assert server.address == f"http://127.0.0.1:{server.server_port}/{server.token}/"


def test_a_port_that_is_taken_is_told(server: LandmarkServer, run: Path) -> None:
    with pytest.raises(InputError, match=f"--port {server.server_port}: expected a free port of this machine, got"):
        LandmarkServer(LandmarkFolder(run), server.server_port)


def test_a_fault_of_ours_ends_one_request_and_not_the_server(
    server: LandmarkServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(server.folder, "about", fail)
    answer = ask(server, path_of(server, "about"))
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert ask(server, path_of(server, "scans/1")).status == 200
