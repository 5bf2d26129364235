"""API keys: made (the secret is shown once), listed and revoked. For owners."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from greenroom.db.models import Account, ApiKey, KeyScope
from greenroom.studio import keys
from greenroom.web.api.common import Id, Page, Sent, Told
from greenroom.web.edge import settings_of, studio

router = APIRouter(tags=["keys"])


class Key(Told):
    """An API key, without its secret."""

    id: str = Field(examples=["key_t5w9xk2m7qvn"])
    name: str = Field(examples=["render farm"])
    scope: KeyScope
    hint: str = Field(description="The first letters of the secret.", examples=["gr_Zk3pQ"])
    created_at: datetime
    last_used_at: datetime | None


class NewKey(Sent):
    """What a key is for."""

    name: str = Field(min_length=1, max_length=100, examples=["render farm"])
    scope: KeyScope = Field(default=KeyScope.READ, examples=["read"])


class KeyWithSecret(Key):
    """A key at the moment it was made: the only time that its secret is shown."""

    secret: str = Field(examples=["gr_Zk3pQ…"])


@router.get("/keys")
def list_keys(request: Request) -> Page[Key]:
    """The keys of the workspace that are in force, newest first."""
    with studio(settings_of(request)) as open_:
        open_.require_owner()
        return Page[Key](items=[_told(key) for key in keys.list_(open_.session, open_.workspace)])


@router.post("/keys", status_code=201)
def create_key(request: Request, new: NewKey) -> KeyWithSecret:
    """A new key. Keep its secret: it is never shown again. (No Idempotency-Key: its answer is not kept.)"""
    with studio(settings_of(request)) as open_:
        open_.require_owner()
        account_id = open_.visitor.account_id
        account = open_.session.get(Account, account_id) if account_id else None
        key, secret = keys.create(
            open_.session, open_.workspace, name=new.name, scope=new.scope, account=account
        )
        return KeyWithSecret(**_told(key).model_dump(), secret=secret)


@router.delete("/keys/{key_id}", status_code=204)
def revoke_key(request: Request, key_id: Id) -> Response:
    """End a key at once and for good."""
    with studio(settings_of(request)) as open_:
        open_.require_owner()
        keys.revoke(open_.session, keys.find(open_.session, open_.workspace, key_id))
    return Response(status_code=204)


def _told(key: ApiKey) -> Key:
    return Key(
        id=key.id,
        name=key.name,
        scope=key.scope,
        hint=key.hint,
        created_at=key.created_at,
        last_used_at=key.last_used_at,
    )
