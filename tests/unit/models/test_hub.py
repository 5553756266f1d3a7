"""The hub by name: a small server of our own stands for it, so that nothing leaves this machine."""

import hashlib
import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from oneway.models.checkpoint import CheckpointError, load_checkpoint
from oneway.models.tokens import word_tokenizer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "somebody/tiny"


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's interface as a download needs; `files` are those of the one model that it has."""

    files: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.asked.append(path)
        if "gated" in path:
            return self._send(403, b"{}", {"X-Error-Code": "GatedRepo"}, with_body)
        if "broken" in path:
            return self._send(503, b"{}", {}, with_body)
        if NAME not in path:
            return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, with_body)
        names = sorted(file.name for file in self.files.iterdir())
        if "/tree/" in path:
            found = [
                {"type": "file", "path": n, "size": (self.files / n).stat().st_size, "oid": self._oid(n)}
                for n in names
            ]
            return self._send(200, json.dumps(found).encode(), {}, with_body)
        if "/resolve/" in path:
            name = path.rpartition("/")[2]
            if name not in names:
                return self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, with_body)
            head = {"ETag": f'"{self._oid(name)}"', "X-Repo-Commit": COMMIT}
            return self._send(200, (self.files / name).read_bytes(), head, with_body)
        about = {"id": NAME, "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
        return self._send(200, json.dumps(about).encode(), {}, with_body)

    def _oid(self, name: str) -> str:
        return hashlib.sha1((self.files / name).read_bytes()).hexdigest()

    def _send(self, status: int, body: bytes, head: dict[str, str], with_body: bool) -> None:
        self.send_response(status)
        for key, value in (head | {"Content-Length": str(len(body))}).items():
            self.send_header(key, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    return tmp_path / "cache"


@pytest.fixture
def hub(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    tokenizer = word_tokenizer(["Tim Duncan plays basketball"])
    torch.manual_seed(0)
    shape = {"n_positions": 16, "n_embd": 8, "n_layer": 1, "n_head": 1}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **shape)).save_pretrained(tmp_path / "files")
    tokenizer.save_pretrained(tmp_path / "files")
    (tmp_path / "files" / "pytorch_model.bin").write_bytes(b"not to be fetched")
    (tmp_path / "files" / "training.log").write_text("not to be fetched")
    handler = type("Serving", (Hub,), {"files": tmp_path / "files", "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    reach(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    yield handler
    server.shutdown()
    server.server_close()


def reach(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", endpoint)


def test_a_model_is_fetched_once_and_then_found_in_the_cache(hub, monkeypatch, tmp_path):
    found = load_checkpoint(NAME)
    assert found.name == NAME
    assert found.hashes["model.safetensors"]
    fetched = {path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path}
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= fetched
    assert not {"pytorch_model.bin", "training.log"} & fetched
    hub.asked.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    again = load_checkpoint(NAME)
    assert hub.asked == [], "offline, the network is left alone"
    assert again.hashes == found.hashes


def test_without_the_hub_the_cache_is_used(hub, monkeypatch):
    hashes = load_checkpoint(NAME).hashes
    reach(monkeypatch, "http://127.0.0.1:9")  # the port of nobody
    assert load_checkpoint(NAME).hashes == hashes


def test_a_model_whose_weights_are_not_in_the_cache_is_named(hub, cache, monkeypatch):
    load_checkpoint(NAME)
    for file in cache.rglob("model.safetensors"):
        file.unlink()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="has no safetensors weights"):
        load_checkpoint(NAME)


def test_a_model_with_pickles_only_is_named_before_they_are_fetched(hub):
    (hub.files / "model.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"on the hub: it has pytorch_model\.bin, but a pickle can run code"
    ):
        load_checkpoint(NAME)
    assert not any(path.endswith(".bin") for path in hub.asked)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nobody/nothing", "no directory nobody/nothing here and no model nobody/nothing on http://127"),
        ("somebody/gated", r"somebody/gated is gated: accept its terms on http://127.*HF_TOKEN"),
        ("somebody/broken", "the hub cannot be reached .*503"),
        ("a name with spaces", "no model on the hub can have that name"),
    ],
)
def test_what_the_hub_refuses_is_said_at_once(hub, name, message):
    started = time.monotonic()
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(name)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("offline", [False, True])
def test_a_hub_out_of_reach_is_said_within_seconds(cache, monkeypatch, offline):
    reach(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    started = time.monotonic()
    said = "HF_HUB_OFFLINE is set" if offline else "the hub cannot be reached .*hf download somebody/tiny"
    with pytest.raises(CheckpointError, match=said) as raised:
        load_checkpoint(NAME)
    assert "HF_HOME" in str(raised.value)
    assert time.monotonic() - started < 10, "half a minute where the library tries again"
