"""How fast the gallery and the history answer when they are full: 5,000 actors and 50,000 drawn pictures.

    python benchmarks/gallery.py [--actors N] [--pictures N] [--rounds N]

Fills a home of its own with rows as the studio writes them, starts `greenroom serve` on it, and asks for pages
as a browser and a program would. Every page should answer in under 100 ms, and the server start in under 2 s.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import httpx

from serving import HEAD, Times, cpu_s, server

LIMIT_S = 0.1
START_LIMIT_S = 2.0
_WORDS = (
    *("laughing", "crying", "space", "beach", "forest", "night", "rain", "city"),
    *("portrait", "running", "asleep", "garden", "snow", "piano"),
)


def main() -> None:
    """Fill, serve, ask, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--actors", type=int, default=5_000)
    parser.add_argument("--pictures", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=20)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder:
        home = Path(folder) / "home"
        began = time.perf_counter()
        ids = fill(home, asked.actors, asked.pictures)
        print(
            f"{asked.actors} actors, {asked.pictures} pictures, filled in {time.perf_counter() - began:.0f} s"
        )
        starts = []
        for _ in range(3):
            with server(home) as once:
                starts.append((once.start_s, once.start_cpu_s))
        verdict = "holds" if min(starts)[0] < START_LIMIT_S else "DOES NOT HOLD"
        said = ", ".join(f"{took:.2f} s ({cpu:.2f} s CPU)" for took, cpu in sorted(starts))
        print(f"start to the first page: {said}  {verdict}", flush=True)
        with server(home) as running, httpx.Client(base_url=running.url, timeout=60) as client:
            print(HEAD)
            for name, path in pages(client, ids).items():
                times = Times(name)
                client.get(path).raise_for_status()
                before = cpu_s(running.pid)
                for _ in range(asked.rounds):
                    at = time.perf_counter()
                    client.get(path)
                    times.seconds.append(time.perf_counter() - at)
                times.cpu_s = (cpu_s(running.pid) - before) / asked.rounds
                print(times.line(LIMIT_S), flush=True)


def pages(client: httpx.Client, ids: dict[str, str]) -> dict[str, str]:
    """What is asked for, by what it is called in the table."""
    deep = client.get("/api/v1/made?limit=200").json()["next"]
    return {
        "gallery": "/",
        "gallery, in the middle": f"/?after={ids['actor']}",
        "gallery, searched": "/?q=actor+49",
        "gallery, searched, nothing found": "/?q=zzzz",
        "gallery, one state": "/?state=trained",
        "history": "/history",
        "history, in the middle": f"/history?before={ids['made']}",
        "history, searched, common words": "/history?q=laughing+beach",
        "history, searched, nothing found": "/history?q=zzzz",
        "generate": "/generate",
        "one drawn picture": f"/made/{ids['made']}",
        "API: actors": "/api/v1/actors",
        "API: 200 actors": "/api/v1/actors?limit=200",
        "API: drawn pictures": "/api/v1/made",
        "API: drawn pictures, next page": f"/api/v1/made?limit=200&cursor={deep}",
        "API: generations": "/api/v1/generations",
    }


def fill(home: Path, actors: int, pictures: int) -> dict[str, str]:
    """Rows as the studio writes them, in bulk; ids from the middle of each list."""
    os.environ["GREENROOM_HOME"] = str(home)
    from sqlalchemy import insert

    from greenroom import settings
    from greenroom.db import models
    from greenroom.db import session as db
    from greenroom.db.models import (
        ActorKind,
        ActorState,
        Generation,
        MadePicture,
        Picture,
        RunState,
        Training,
    )
    from greenroom.studio import workspaces
    from greenroom.studio.generations import CastMember, Plan, Request

    rng = random.Random(0)
    with db.session(settings.current()) as session:
        workspace = workspaces.default(session).id
        began = models.now() - timedelta(days=200)
        rows = []
        for number in range(actors):
            state = rng.choice([ActorState.TRAINED] * 8 + [ActorState.DRAFT, ActorState.FAILED])
            rows.append(
                {
                    "id": models.new_id("act"),
                    "workspace_id": workspace,
                    "kind": rng.choice(list(ActorKind)),
                    "name": f"Actor {number}",
                    "trigger": f"ACT_{number:05d}",
                    "trigger_key": f"act_{number:05d}",
                    "state": state,
                    "base": "starter",
                    "active_training_id": models.new_id("trn") if state == ActorState.TRAINED else None,
                    "created_at": began + timedelta(minutes=number),
                }
            )
        session.execute(insert(models.Actor), rows)
        session.execute(
            insert(Picture),
            [
                {
                    "actor_id": row["id"],
                    "sha256": "0" * 64,
                    "pixels_sha256": "0" * 64,
                    "upload_sha256": "0" * 64,
                    "size_bytes": 1,
                    "width_px": 512,
                    "height_px": 512,
                    "original_name": f"{position}.png",
                    "key": "none",
                    "thumbnail_key": "none",
                    "position": position,
                }
                for row in rows
                for position in range(1, 13)
            ],
        )
        trained = [row for row in rows if row["active_training_id"]]
        session.execute(
            insert(Training),
            [
                {
                    "id": row["active_training_id"],
                    "actor_id": row["id"],
                    "version": 1,
                    "base": "starter",
                    "config": {"steps": 400, "rank": 16, "sample_prompts": ["one", "two"]},
                    "manifest": [{"picture_id": "none", "caption": "a caption " * 8}] * 12,
                    "state": RunState.DONE,
                    "step": 400,
                    "total_steps": 400,
                    "lora_key": "none",
                }
                for row in trained
            ],
        )
        session.execute(
            insert(models.Checkpoint),
            [
                {"training_id": row["active_training_id"], "step": step, "sample_keys": ["none"] * 4}
                for row in trained
                for step in (100, 200, 300, 400)
            ],
        )
        made = []
        requests = []
        for number in range(pictures // 4):
            row = rng.choice(trained)
            prompt = f"{row['trigger']} {' '.join(rng.sample(_WORDS, 6))}, in soft light, drawn with care"
            member = CastMember(
                actor_id=str(row["id"]),
                name=str(row["name"]),
                trigger=str(row["trigger"]),
                training_id=str(row["active_training_id"]),
                version=1,
                lora_key="none",
                weight=1.0,
            )
            plan = Plan(
                request=Request(prompt=f"@{prompt}", count=4),
                prompt=prompt,
                negative="",
                base="starter",
                seed=number,
                width_px=256,
                height_px=256,
                cast=(member,),
            )
            at = began + timedelta(seconds=20 * number)
            generation_id = models.new_id("gen")
            requests.append(
                {
                    "id": generation_id,
                    "workspace_id": workspace,
                    "request": plan.model_dump(mode="json"),
                    "state": RunState.DONE,
                    "created_at": at,
                }
            )
            made += [
                {
                    "id": models.new_id("mad"),
                    "workspace_id": workspace,
                    "generation_id": generation_id,
                    "key": "none",
                    "seed": number + index,
                    "prompt": prompt,
                    "width_px": 256,
                    "height_px": 256,
                    "created_at": at + timedelta(seconds=index),
                }
                for index in range(4)
            ]
        session.execute(insert(Generation), requests)
        session.execute(insert(MadePicture), made)
        return {"actor": str(rows[len(rows) // 2]["id"]), "made": str(made[len(made) // 2]["id"])}


if __name__ == "__main__":
    main()
