"""What fifty pictures of 49 MB cost: memory of the server, and how long its other pages take meanwhile.

    python benchmarks/upload.py [--count 50] [--at-once 3] [--megabytes 49]

Sends PNG files one a request, three at a time, as the upload page does. The server should stay under 400 MB, and
its other pages should answer in under 200 ms meanwhile. Decoding happens in child processes; what they hold is
told beside it.
"""

from __future__ import annotations

import argparse
import os
import struct
import tempfile
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np

from serving import HEAD, Server, Times, children_bytes, peak_bytes, server

LIMIT_BYTES = 400_000_000
LIMIT_S = 0.2
_EVERY_S = 0.25
_PAGES = ("/", "/history", "/generate", "/train", "/api/v1/actors")


def main() -> None:
    """Upload, watch, and print what was seen."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--at-once", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=49)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder:
        home = Path(folder) / "home"
        os.environ["GREENROOM_HOME"] = str(home)
        with server(home) as running:
            run(running, asked.count, asked.at_once, asked.megabytes * 1_000_000)


def run(running: Server, count: int, at_once: int, size: int) -> None:
    """The uploads, and beside them somebody who looks at other pages."""
    new = {"kind": "character", "name": "Kia", "trigger": "KIA_01"}
    actor = httpx.post(f"{running.url}/api/v1/actors", json=new, timeout=60).json()["id"]
    idle = peak_bytes(running.pid)
    times = {path: Times(path) for path in _PAGES}
    children = [0]
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(running, times, children, stop))
    watcher.start()
    began = time.perf_counter()

    def send(number: int) -> tuple[int, str]:
        body = png(number, size)
        url = f"{running.url}/actors/{actor}/pictures"
        with httpx.Client(timeout=600) as client:
            answer = client.put(
                url, params={"name": f"{number:02d}.png"}, content=body, headers={"origin": running.url}
            )
        return len(body), "" if answer.status_code == 201 else answer.text[:200]

    with ThreadPoolExecutor(max_workers=at_once) as pool:
        sent = list(pool.map(send, range(count)))
    seconds = time.perf_counter() - began
    stop.set()
    watcher.join()
    for _, refusal in sent:
        assert not refusal, refusal
    peak = peak_bytes(running.pid)
    verdict = "holds" if peak < LIMIT_BYTES else "DOES NOT HOLD"
    print(
        f"{count} files of {min(size for size, _ in sent) / 1e6:.1f} MB in {seconds:.0f} s, {at_once} at a time"
    )
    print(f"server: {idle / 1e6:.0f} MB before, {peak / 1e6:.0f} MB at most  {verdict}")
    print(f"its decoding children together: {children[0] / 1e6:.0f} MB at most")
    print(HEAD)
    for path in _PAGES:
        print(times[path].line(LIMIT_S))


def png(number: int, size: int) -> bytes:
    """A PNG of about `size` bytes, stored without compression: a soft drawing that no other number gives."""
    side = int((size / 3) ** 0.5) - 2
    along = np.arange(side, dtype=np.float32)[None, :] / side
    down = np.arange(side, dtype=np.float32)[:, None] / side
    layers = [
        127.5 + 127.5 * np.sin((number % 7 + 3) * along + (number // 7 + 2) * down + shift)
        for shift in (0, 2, 4)
    ]
    pixels = np.stack(layers, axis=-1).astype(np.uint8)
    rows = np.concatenate([np.zeros((side, 1), np.uint8), pixels.reshape(side, -1)], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _watch(running: Server, times: dict[str, Times], children: list[int], stop: threading.Event) -> None:
    with httpx.Client(base_url=running.url, timeout=60) as client:
        while not stop.wait(_EVERY_S):
            for path, seen in times.items():
                began = time.perf_counter()
                client.get(path).raise_for_status()
                seen.seconds.append(time.perf_counter() - began)
            children[0] = max(children[0], children_bytes(running.pid))


if __name__ == "__main__":
    main()
