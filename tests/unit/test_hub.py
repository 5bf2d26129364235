"""Fetching a base speaks to a server of our own, in a child process: the tests' own network is off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from greenroom.errors import BadBase, UnsafeFile
from greenroom.studio import hub

COMMIT = "0" * 40
FILES = {
    "model_index.json": b'{"_class_name": "ZImagePipeline", "vae": ["diffusers", "AutoencoderKL"]}',
    "vae/config.json": b"{}",
    "vae/model.safetensors": b"plain weights",
    "vae/model.fp16.safetensors": b"half",
    "vae/model.bin": b"a pickle",
    "safety_checker/model.safetensors": b"not wanted",
    "README.md": b"not wanted either",
}


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as a download needs: one open base, one gated."""

    def do_GET(self) -> None:
        name = self.path.split("?")[0]
        if "/gated" in name and self.headers.get("Authorization") != "Bearer sesame":
            self._answer(403, b"", {"X-Error-Code": "GatedRepo"})
        elif "/nothing" in name:
            self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif name.startswith("/api/models/") and "/tree/" not in name:
            repo = "/".join(name.split("/")[3:5])
            siblings = [{"rfilename": file} for file in FILES]
            self._answer(200, json.dumps({"id": repo, "sha": COMMIT, "siblings": siblings}).encode(), {})
        elif name.startswith("/api/models/"):
            tree = [
                {"type": "file", "path": file, "size": len(data), "oid": COMMIT}
                for file, data in FILES.items()
            ]
            self._answer(200, json.dumps(tree).encode(), {})
        else:
            data = FILES[name.split(f"/resolve/{COMMIT}/")[1]]
            self._answer(200, data, {"ETag": f'"{len(data)}"', "X-Repo-Commit": COMMIT})

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body)), "Content-Type": "text/plain"}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def fetch(repo_id: str, folder: Path, url: str, token: str = "", **environment: str) -> str:
    """What the fetching says in the end: "done", or the error's class and sentence."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom greenroom.errors import GreenroomError\n"
        "from greenroom.studio import hub\n"
        "try:\n    hub.fetch(sys.argv[1], Path(sys.argv[2]), endpoint=sys.argv[3], token=sys.argv[4])\n"
        "    print('done')\n"
        "except GreenroomError as error:\n    print(f'{error.code}: {error}')\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", code, repo_id, str(folder), url, token],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={
            **{
                key: value
                for key, value in os.environ.items()
                if not key.startswith(("HF_", "TRANSFORMERS_"))
            },
            "HF_HOME": str(folder.parent / "hf"),
            "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
            "NO_PROXY": "127.0.0.1",
            **environment,
        },
    )
    assert child.returncode == 0, child.stderr
    return child.stdout.strip().splitlines()[-1]


def test_a_base_is_fetched_without_pickles_copies_and_extras(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "bases" / "z"
    assert fetch("org/name", folder, url) == "done"
    found = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert {name for name in found if not name.startswith(".cache")} == {
        "model_index.json",
        "vae/config.json",
        "vae/model.safetensors",
    }
    assert (folder / "vae" / "model.safetensors").read_bytes() == b"plain weights"


def test_a_gated_base_says_what_to_accept_and_opens_with_a_token(url: str, tmp_path: Path) -> None:
    said = fetch("org/gated", tmp_path / "g", url)
    assert said.startswith("BadBase: org/gated is gated")
    assert "HF_TOKEN" in said
    assert fetch("org/gated", tmp_path / "g", url, token="sesame") == "done"


def test_an_unknown_base_and_an_unreachable_hub_are_sentences(url: str, tmp_path: Path) -> None:
    assert fetch("org/nothing", tmp_path / "n", url).startswith("BadBase: The hub has no base org/nothing")
    nobody = "http://127.0.0.1:9"  # the discard port, where no server listens
    said = fetch("org/name", tmp_path / "n", nobody)
    assert said.startswith("BaseMissing: org/name could not be fetched")
    said = fetch("org/name", tmp_path / "n", url, HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set" in said


def test_a_hub_id_is_told_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert hub.is_repo_id("Qwen/Qwen-Image")
    for other in ("name", "./a/b", "/a/b", "a/b/c", "~/a", "a/../b", "-a/b"):
        assert not hub.is_repo_id(other), other
    (tmp_path / "models" / "mine").mkdir(parents=True)
    assert not hub.is_repo_id("models/mine")


def test_half_precision_files_are_taken_when_there_are_no_others() -> None:
    files = [
        "model_index.json",
        "unet/model.fp16.safetensors",
        "unet/config.json",
        "vae/m-00001-of-00002.safetensors",
    ]
    assert set(hub.wanted(files, "a/b")) == set(files)


def test_what_is_no_safe_base_is_refused_before_the_download() -> None:
    with pytest.raises(BadBase, match="diffusers' layout"):
        hub.wanted(["model.safetensors"], "a/b")
    with pytest.raises(UnsafeFile, match="its unet as pickles"):
        hub.wanted(["model_index.json", "unet/model.bin"], "a/b")
