"""Fetches a base from the Hugging Face hub into a folder. Knows no database and loads no weights.

Only safetensors and the small text files beside them are fetched; a download that broke off goes on where it
stopped. NOTE: never run against the hub itself by the tests, which speak to a server of their own.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from greenroom.errors import BadBase, BaseMissing, UnsafeFile, WrongUse

_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_TEXTS = {".json", ".txt", ".model", ".jinja"}
_PICKLES = {".bin", ".pt", ".ckpt", ".pth"}
_LEFT_OUT = {"safety_checker", "feature_extractor"}


def is_repo_id(source: str) -> bool:
    """True for text such as Qwen/Qwen-Image that is no file or folder here."""
    return _REPO_ID.fullmatch(source) is not None and not Path(source).expanduser().exists()


def fetch(repo_id: str, folder: Path, *, token: str = "", endpoint: str | None = None) -> Path:
    """Download the diffusers base `repo_id` into `folder` and return it.

    token: for gated bases; empty takes the one of `hf auth login`, where there is one.
    Raises BadBase (no such base, or its licence was not accepted), UnsafeFile (pickles only) or BaseMissing
    (the hub cannot be reached).
    """
    try:
        from huggingface_hub import HfApi, snapshot_download
        from huggingface_hub.errors import (  # type: ignore[attr-defined]
            GatedRepoError,
            HTTPError,  # its HTTP library's own, whichever that is: httpx in version 1, httpx2 in 2
            LocalEntryNotFoundError,
            OfflineModeIsEnabled,
            RepositoryNotFoundError,
        )
    except ImportError as error:
        raise WrongUse(
            "Fetching from the hub needs the package huggingface_hub. Install greenroom[ml]."
        ) from error
    try:
        siblings = HfApi(endpoint=endpoint, token=token or None).model_info(repo_id).siblings or []
        snapshot_download(
            repo_id,
            local_dir=folder,
            allow_patterns=wanted([each.rfilename for each in siblings], repo_id),
            token=token or None,
            endpoint=endpoint,
        )
    except GatedRepoError as error:
        raise BadBase(
            f"{repo_id} is gated: its licence was not accepted, or no token was given. Accept it at "
            f"https://huggingface.co/{repo_id}, set HF_TOKEN to a token of that account, and try again."
        ) from error
    except RepositoryNotFoundError as error:
        raise BadBase(
            f"The hub has no base {repo_id}, or it is private. Check the spelling, or set HF_TOKEN."
        ) from error
    except OfflineModeIsEnabled as error:
        raise BaseMissing(
            f"{repo_id} was not fetched: HF_HUB_OFFLINE is set. Unset it, or name a folder on this machine."
        ) from error
    except (LocalEntryNotFoundError, HTTPError, OSError) as error:
        said = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise BaseMissing(
            f"{repo_id} could not be fetched from the hub: {said.rstrip('.')}. Check the connection and the free "
            "space, and give the same command again: it goes on where it stopped."
        ) from error
    return folder


def wanted(files: list[str], repo_id: str) -> list[str]:
    """Those of a hub repository's files that a base needs: of weights the plain ones, else the fp16 ones."""
    if "model_index.json" not in files:
        raise BadBase(
            f"{repo_id} is not in diffusers' layout: it has no model_index.json. "
            "Look for the repository that its page names for diffusers."
        )
    paths = [PurePosixPath(file) for file in files]
    parts = [path for path in paths if len(path.parts) == 2 and path.parts[0] not in _LEFT_OUT]
    chosen = ["model_index.json"]
    for name in sorted({path.parts[0] for path in parts}):
        inside = [path for path in parts if path.parts[0] == name]
        weights = [path for path in inside if path.suffix == ".safetensors"]
        plain = [path for path in weights if "." not in path.stem]
        half = [path for path in weights if path.stem.endswith(".fp16") or ".fp16-" in path.stem]
        if not plain + half and any(path.suffix in _PICKLES for path in inside):
            raise UnsafeFile(
                f"{repo_id} has the weights of its {name} as pickles only, which can run code. "
                "Look for a version with safetensors."
            )
        chosen += map(str, plain or half)
        chosen += [str(path) for path in inside if path.suffix in _TEXTS]
    return chosen
