"""Writes the finished LoRA where other tools can use it, with the facts they show and a model card.

Knows the run folder and the file formats; knows nothing about how the weights were found. Nothing here reads
the clock, so a resumed run exports the very bytes of an unbroken one.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

import greenroom
from greenroom.ml import key_formats, optimizer, safe
from greenroom.ml.config import TrainConfig
from greenroom.ml.families.card import Card
from greenroom.ml.key_formats import Lora
from greenroom.ml.select import Scores

FOLDER = "export"
THUMBNAIL_PX = 256
LEGACY_HASH_START, LEGACY_HASH_BYTES = 0x100000, 0x10000

# What kohya's trainer calls a base; Forge and A1111 tell the version by it.
KOHYA_VERSIONS = {
    "stable-diffusion-v1": "sd_v1",
    "stable-diffusion-xl-v1-base": "sdxl_base_v1-0",
    "stable-diffusion-3": "sd3",
    "flux-1-dev": "flux1",
}


# The part of kohya's trainer that writes such keys; some tools tell the family by it.
NETWORK_MODULES = {"flux1": "networks.lora_flux", "sd3": "networks.lora_sd3"}


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The written files, relative to the run folder; kohya is None where the base has no such format."""

    lora: str
    kohya: str | None
    card: str


def write(
    run_dir: Path,
    config: TrainConfig,
    card: Card,
    weights: Mapping[str, Tensor],
    *,
    base_sha256: str,
    steps: int,
    losses: Sequence[float],
    thumbnail: Path | None = None,
    scores: Scores | None = None,
    into: str = FOLDER,
) -> Exported:
    """Export the LoRA of a run: diffusers file, kohya file where the base has one, losses, and the card last.

    weights: peft's names as `get_peft_model_state_dict` gives them. steps: the step they are from.
    thumbnail: a picture drawn with them. scores: what they were measured to be. into: folder in the run's folder.

    The weights stay in float32: half the size would cost the promise that every tool draws our very picture.
    """
    folder = run_dir / into
    folder.mkdir(parents=True, exist_ok=True)
    lora = key_formats.from_peft(
        {name: tensor.detach().to("cpu").float() for name, tensor in weights.items()}, config.alpha
    )
    manifest = (run_dir / "manifest.json").read_bytes()
    pictures = len(json.loads(manifest)["pictures"])
    facts = metadata(
        config, card, base_sha256=base_sha256, steps=steps, pictures=pictures, thumbnail=_data_url(thumbnail)
    )

    if "kohya" not in card.key_formats:
        lora = key_formats.folded(
            lora
        )  # then this file is the one for other tools too, which know no alpha in it
    tensors, adapter = key_formats.to_diffusers(lora, card.denoiser)
    files = {"lora.safetensors": _write_lora(folder / "lora.safetensors", tensors, {**facts, **adapter})}
    if "kohya" in card.key_formats:
        kohya_facts = {**facts, "format": "pt"}
        files["lora-kohya.safetensors"] = _write_lora(
            folder / "lora-kohya.safetensors", key_formats.to_kohya(lora, card.id), kohya_facts
        )
    safe.replace(folder / "losses.json", json.dumps([round(loss, 6) for loss in losses]).encode())
    story = model_card(
        config,
        card,
        lora,
        files=files,
        base_sha256=base_sha256,
        manifest_sha256=hashlib.sha256(manifest).hexdigest(),
        steps=steps,
        pictures=pictures,
        losses=losses,
        scores=scores,
    )
    safe.replace(folder / "model-card.json", json.dumps(story, indent=2, ensure_ascii=False).encode())
    return Exported(
        lora=f"{into}/lora.safetensors",
        kohya=f"{into}/lora-kohya.safetensors" if "lora-kohya.safetensors" in files else None,
        card=f"{into}/model-card.json",
    )


def metadata(
    config: TrainConfig,
    card: Card,
    *,
    base_sha256: str,
    steps: int,
    pictures: int,
    thumbnail: str | None,
) -> dict[str, str]:
    """The header's texts: `modelspec.*` (Stability's ModelSpec 1.0.1) and `ss_*` (kohya's trainer).

    NOTE: captions are left out, although kohya writes them as tags: a shared weights file must not tell what
    a person wrote about their pictures. The trigger is enough for the tag list of A1111 and Forge.
    """
    side = config.resolution_px
    facts: dict[str, Any] = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{card.architecture}/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.implementation_version": f"greenroom/{greenroom.__version__}",
        "modelspec.title": config.name,
        "modelspec.resolution": f"{side}x{side}",
        "modelspec.trigger_phrase": config.trigger,
        "modelspec.usage_hint": f"Put {config.trigger} into the prompt.",
        "modelspec.description": f"A {config.kind} LoRA for {card.title}, trained on {pictures} pictures.",
        "modelspec.tags": config.kind,
        "modelspec.date": config.created_at,
        "modelspec.thumbnail": thumbnail,
        "ss_output_name": config.name,
        "ss_base_model_version": KOHYA_VERSIONS.get(card.architecture, card.architecture),
        "ss_v2": False,
        "ss_sd_model_name": card.title,
        "ss_sd_model_hash": base_sha256[:8],
        "ss_new_sd_model_hash": base_sha256,
        "ss_network_module": NETWORK_MODULES.get(card.id, "networks.lora"),
        "ss_network_dim": config.rank,
        "ss_network_alpha": config.alpha,
        "ss_network_dropout": config.dropout or None,
        "ss_tag_frequency": json.dumps({config.name: {config.trigger: pictures}}),
        "ss_num_train_images": pictures,
        "ss_resolution": f"({side}, {side})",
        "ss_steps": steps,
        "ss_max_train_steps": config.steps,
        "ss_epoch": -(-steps * config.batch_size // max(pictures, 1)),
        "ss_total_batch_size": config.batch_size,
        "ss_learning_rate": config.learning_rate,
        "ss_unet_lr": config.learning_rate,
        "ss_lr_scheduler": config.lr_schedule,
        "ss_lr_warmup_steps": config.warmup_steps,
        "ss_optimizer": optimizer.name_of(config),
        "ss_max_grad_norm": config.max_grad_norm,
        "ss_caption_dropout_rate": config.caption_dropout,
        "ss_min_snr_gamma": config.min_snr_gamma,
        "ss_gradient_checkpointing": config.gradient_checkpointing,
        "ss_seed": config.seed,
    }
    return {key: str(value) for key, value in facts.items() if value is not None}


def model_card(
    config: TrainConfig,
    card: Card,
    lora: Lora,
    *,
    files: Mapping[str, Mapping[str, Any]],
    base_sha256: str,
    manifest_sha256: str,
    steps: int,
    pictures: int,
    losses: Sequence[float],
    scores: Scores | None = None,
) -> dict[str, Any]:
    """What a person, or another program, wants to know about the LoRA, without any path or caption."""
    tail = list(losses[-50:])
    return {
        "format": 1,
        "name": config.name,
        "trigger": config.trigger,
        "kind": config.kind,
        "created_at": config.created_at,
        "base": {
            "family": card.id,
            "title": card.title,
            "licence": card.licence,
            "architecture": card.architecture,
            "sha256": base_sha256,
        },
        "how_to_use": _how_to_use(config, card, files),
        "training": {
            "steps": steps,
            "planned_steps": config.steps,
            "pictures": pictures,
            "resolution_px": config.resolution_px,
            "batch_size": config.batch_size,
            "learning_rate": config.learning_rate,
            "rank": config.rank,
            "alpha": config.alpha,
            "memory": {
                "gradient_checkpointing": config.gradient_checkpointing,
                "optimizer": config.optimizer,
                "base_precision": config.base_precision,
                "offload_encoders": config.offload_encoders,
            },
            "layers": len(lora.layers),
            "parameters": sum(tensor.numel() for tensor in lora.tensors.values()),
            "seed": config.seed,
            "loss_mean_of_last_50_steps": round(sum(tail) / len(tail), 6) if tail else None,
        },
        "scores": None if scores is None else scores.model_dump(mode="json"),
        "files": dict(files),
        "hashes": {
            "manifest": manifest_sha256,
            "config": config.identity(),
            "base": base_sha256,
            "code": code_sha256(),
        },
        "code_version": greenroom.__version__,
    }


@lru_cache(maxsize=1)
def code_sha256() -> str:
    """One hash over the sources of the torch side: says which code trained, also between two releases."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _write_lora(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> dict[str, Any]:
    """Write one file with its own hashes in the header; returns what the model card says about it."""
    data_hash = hashlib.sha256(_data(safe.serialize(tensors, {}))).hexdigest()
    complete = {
        **facts,
        "modelspec.hash_sha256": f"0x{data_hash}",
        "sshs_model_hash": data_hash,
        "sshs_legacy_hash": "0" * 8,
    }
    # The old hash covers 64 kB at 1 MB into the file: the header's length matters there, its digits do not.
    draft = safe.serialize(tensors, complete)
    window = draft[LEGACY_HASH_START : LEGACY_HASH_START + LEGACY_HASH_BYTES]
    complete["sshs_legacy_hash"] = hashlib.sha256(window).hexdigest()[:8]
    sha256 = safe.save(path, tensors, complete)
    return {"sha256": sha256, "bytes": len(draft), "tensors": len(tensors), "dtype": "float32"}


def _data(file: bytes) -> bytes:
    return file[8 + int.from_bytes(file[:8], "little") :]


def _how_to_use(config: TrainConfig, card: Card, files: Mapping[str, Any]) -> dict[str, Any]:
    side, steps = config.resolution_px, card.default_steps
    call = [
        f"prompt='{config.trigger}, …'",
        f"height={side}",
        f"width={side}",
        f"num_inference_steps={steps}",
        f"{card.guidance_argument}={card.default_guidance:g}",
    ]
    if card.guidance_argument == "true_cfg_scale":
        call.append("negative_prompt=' '")  # without one, such a pipeline does not guide at all
    use: dict[str, Any] = {
        "prompt": f"{config.trigger}, …",
        "weight": 1.0,
        "steps": steps,
        "guidance": card.default_guidance,
        "size": f"{side}x{side}",
        "diffusers": f"pipe.load_lora_weights('lora.safetensors'); pipe({', '.join(call)})",
    }
    if "lora-kohya.safetensors" in files:
        use["comfyui_a1111_forge"] = "Copy lora-kohya.safetensors into the tool's LoRA folder."
    elif math.frexp(config.alpha / config.rank)[0] != 0.5:  # else it is folded into the weights
        use["note"] = (
            "Tools that do not read diffusers' adapter metadata need the strength "
            f"{config.alpha / config.rank:g} where this card says weight 1."
        )
    return use


def _data_url(picture: Path | None) -> str | None:
    """A small JPEG inside the header, as galleries show it."""
    if picture is None:
        return None
    with Image.open(picture, formats=("PNG",)) as image:
        small = image.convert("RGB")
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
