"""The API's own description, and that nothing that fits or breaks it makes the server fail."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import schemathesis
from schemathesis.python import asgi
from starlette.testclient import TestClient

from greenroom.settings import Settings

if TYPE_CHECKING:
    from conftest import World

BASE = "http://127.0.0.1:8000/api/v1"


def test_every_operation_is_described_with_examples(api: TestClient) -> None:
    told = api.get("/openapi.json").json()
    assert told["servers"] == [{"url": "/api/v1"}]
    assert len(told["paths"]) > 45
    for path, operations in told["paths"].items():
        for method, operation in operations.items():
            where = f"{method.upper()} {path}"
            assert operation.get("description"), where
            answer = operation["responses"]["4XX"]["content"]
            assert list(answer) == ["application/problem+json"], where
            for content in operation.get("requestBody", {}).get("content", {}).values():
                assert "examples" in json.dumps(_resolved(told, content["schema"])) or "binary" in json.dumps(
                    content["schema"]
                ), where


def _resolved(told: dict[str, Any], schema: dict[str, Any]) -> Any:
    named = [schema, *schema.get("anyOf", [])]
    return [
        told["components"]["schemas"][one["$ref"].rsplit("/", 1)[1]] if "$ref" in one else one
        for one in named
    ]


@pytest.mark.slow  # some 200 requests, made up from the description
def test_nothing_made_up_from_the_description_makes_the_server_fail(home: Settings, world: World) -> None:
    from greenroom.web import app

    studio = app.create(home, hosts={"127.0.0.1:8000", asgi.HOST})
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", studio)
    known = {f"{name}_id": getattr(world, name) for name in ("actor", "picture", "training", "generation")}
    asked = 0
    with asgi.get_client(studio) as client:
        for result in schema.get_all_operations():
            operation = result.ok()
            for mode in schemathesis.GenerationMode:

                @hypothesis.settings(
                    max_examples=2,
                    deadline=None,
                    database=None,
                    derandomize=True,
                    phases=[hypothesis.Phase.generate],
                    suppress_health_check=list(hypothesis.HealthCheck),
                )
                @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
                def ask(case: schemathesis.Case) -> None:
                    nonlocal asked
                    asked += 1
                    if asked % 2:
                        # Half of the requests are about something that is there.
                        for name in case.path_parameters:
                            case.path_parameters[name] = known.get(name, case.path_parameters[name])
                    answer = case.call(base_url=BASE, session=client, timeout=300)
                    assert answer.status_code < 500, (case.as_curl_command(), answer.text)

                try:
                    ask()
                except hypothesis.errors.Unsatisfiable:
                    continue  # an operation without parameters has no wrong ones
    assert asked > 150


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 500_000,
        b'{"name": ' + b"1" * 50_000 + b"}",
        b'{"kind": "character", "name": "\\ud800", "trigger": "KIA_09"}',
        b"\xff\xfe",
        b"null",
        b'{"a": 1e999}',
        b"",
    ],
)
def test_odd_json_is_refused(api: TestClient, body: bytes) -> None:
    answer = api.post("/actors", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_form_is_no_json(api: TestClient) -> None:
    sent = b'{"kind": "character", "name": "Mio", "trigger": "MIO_01"}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = api.post("/actors", content=sent, headers={"content-type": kind})
        assert answer.status_code == 422


def test_errors_before_the_api_are_problems_too(api: TestClient) -> None:
    foreign = api.get("/actors", headers={"host": "evil.test"})
    assert (foreign.status_code, foreign.json()["code"]) == (421, "WrongHost")
    crossed = api.delete("/trash", headers={"origin": "http://evil.test"})
    assert (crossed.status_code, crossed.json()["code"]) == (403, "NotAllowed")
    large = api.post("/actors", content=b"x" * 1_000_001)
    assert (large.status_code, large.json()["code"]) == (413, "TooLarge")
    lost = api.get("/nothing-here")
    assert (lost.status_code, lost.headers["content-type"]) == (404, "application/problem+json")
    assert lost.headers["x-content-type-options"] == "nosniff"
    assert api.request("OPTIONS", "/actors").status_code == 405
    assert api.put("/actors", json={}).status_code == 405
