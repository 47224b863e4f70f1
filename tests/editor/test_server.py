"""The real server, as an editor starts it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from queue import Queue

import pytest

pytest.importorskip("pygls")
LIMIT = 120  # seconds


class Client:
    """Speaks JSON-RPC with `sparsec lsp`."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "sparsec", "lsp", "--stdio"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.messages: Queue = Queue()
        self.number = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while header := self.process.stdout.readline():
            length = int(header.split(b":")[1]) if header.lower().startswith(b"content-length") else length  # noqa: F821
            if header == b"\r\n":
                self.messages.put(json.loads(self.process.stdout.read(length)))

    def notify(self, method: str, params: object, **more: object) -> None:
        data = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, **more}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(data) + data)
        self.process.stdin.flush()

    def ask(self, method: str, params: object = None) -> dict:
        self.number += 1
        self.notify(method, params, id=self.number)
        return self.wait(lambda message: message.get("id") == self.number)

    def wait(self, wanted) -> dict:
        while not wanted(message := self.messages.get(timeout=LIMIT)):
            pass
        return message

    def diagnostics(self) -> list[dict]:
        said = self.wait(lambda message: message.get("method") == "textDocument/publishDiagnostics")
        return said["params"]["diagnostics"]


@pytest.fixture
def client():
    client = Client()
    yield client
    client.process.kill()
    client.process.wait()


def test_a_session(client: Client, tmp_path: Path) -> None:
    (tmp_path / "a.spat").write_text("set far(w) = past(w)\n")
    uri = (tmp_path / "mine.spat").as_uri()
    text = '"""😀"""\r\nuse "a.spat"\r\npattern p(w = 4) = /* 😀 */ far(w)|pas(w)\r\n'.replace("/* 😀 */ ", "")
    here = {"textDocument": {"uri": uri}}
    started = client.ask("initialize", {"processId": None, "rootUri": None, "capabilities": {}})["result"]
    assert started["capabilities"]["positionEncoding"] == "utf-16"
    client.notify("initialized", {})
    opened = {"uri": uri, "languageId": "spat", "version": 1, "text": text}
    client.notify("textDocument/didOpen", {"textDocument": opened})
    [wrong] = client.diagnostics()
    assert wrong["code"] == "SP0201" and wrong["range"]["start"] == {"line": 2, "character": 26}

    changed = {"uri": uri, "version": 2}
    right = text.replace("pas(", "past(")
    client.notify("textDocument/didChange", {"textDocument": changed, "contentChanges": [{"text": right}]})
    assert [each["code"] for each in client.diagnostics() if each["severity"] == 1] == []

    at = {**here, "position": {"line": 2, "character": 27}}
    assert "The last w keys" in client.ask("textDocument/hover", at)["result"]["contents"]["value"]
    assert "past" in [each["label"] for each in client.ask("textDocument/completion", at)["result"]]
    assert client.ask("textDocument/definition", at)["result"]["uri"].endswith("grammar/prelude.spat")
    w = {**here, "position": {"line": 2, "character": 10}}
    edits = client.ask("textDocument/rename", {**w, "newName": "width"})["result"]["changes"][uri]
    assert [each["range"]["start"]["character"] for each in edits] == [10, 23, 31]
    assert len(client.ask("textDocument/references", {**w, "context": {"includeDeclaration": True}})["result"]) == 3
    refused = client.ask("textDocument/rename", {**at, "newName": "last"})["error"]
    assert "prelude" in refused["message"]
    options = {"options": {"tabSize": 4, "insertSpaces": True}}
    [edit] = client.ask("textDocument/formatting", {**here, **options})["result"]
    assert "far(w) | past(w)\r\n" in edit["newText"]
    assert [each["name"] for each in client.ask("textDocument/documentSymbol", here)["result"]] == ["p"]
    assert "error" in client.ask("textDocument/hover", {**at, "textDocument": {"uri": "file:///nowhere/x.spat"}})
    assert client.ask("textDocument/hover", at)["result"], "the session goes on"
    client.ask("shutdown")
    client.notify("exit", None)
    assert client.process.wait(LIMIT) == 0


def test_quick_fixes(client: Client, tmp_path: Path) -> None:
    uri = (tmp_path / "mine.spat").as_uri()
    client.ask("initialize", {"processId": None, "rootUri": None, "capabilities": {}})
    client.notify("initialized", {})
    text = "pattern p(w = 4) = pas(w)\n"
    opened = {"uri": uri, "languageId": "spat", "version": 1, "text": text}
    client.notify("textDocument/didOpen", {"textDocument": opened})
    [wrong] = client.diagnostics()
    asked = {"textDocument": {"uri": uri}, "range": wrong["range"], "context": {"diagnostics": [wrong]}}
    actions = client.ask("textDocument/codeAction", asked)["result"]
    assert actions[0]["edit"]["changes"][uri][0]["newText"] in ("past", "past(w)")


def test_without_pygls_it_says_what_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['pygls'] = None; from sparsec.cli import main; main()"
    run = subprocess.run([sys.executable, "-c", code, "lsp"], capture_output=True, text=True)
    assert run.returncode == 2
    assert "pip install 'sparsec[lsp]'" in run.stderr
