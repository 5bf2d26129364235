"""What one training or one drawing is told to do. Knows no torch, so that the command line starts fast."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]

# What may differ between a run and its resumption, because no weight depends on it.
_CHANGES_NO_WEIGHT = {
    "base_source",  # the base is known by its bytes, not by its path: see families.loading.identity
    "checkpoint_every",
    "created_at",
    "device",  # another one is told: see preflight.settle
    "keep_checkpoints",
    "max_memory_gb",
    "memory_ladder",  # which rungs a run took is kept in its run.json
    "name",
    "sample_prompts",
    "sample_seed",
    "sample_steps",
}


# Younger than the first release: where they are as they always were, a run that began before them can go on.
_YOUNGER = {
    "optimizer",
    "base_precision",
    "offload_encoders",
    "prior_weight",
    "class_noun",
    "class_pictures",
    "background_weight",
    "measure",
    "early_stop",
}

Device = Literal["auto", "cuda", "mps", "cpu"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainConfig(_Frozen):
    """Every hyper-parameter of one LoRA training. A recipe is a TOML file of these."""

    name: str = Field(min_length=1)
    trigger: str = Field(min_length=1)
    kind: Literal["character", "style"] = "character"
    base_family: str
    base_source: str
    """Path of a local diffusers folder."""

    resolution_px: Annotated[int, Field(ge=32, le=4096)]
    """Side of the square whose area every bucket keeps."""

    steps: Positive
    batch_size: Annotated[int, Field(ge=1, le=256)] = 4
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the rate goes on after the warm-up: stays, or falls to zero at the last step."""

    rank: Annotated[int, Field(ge=1, le=1024)] = 16
    alpha: Annotated[float, Field(gt=0)] = 16.0
    """The LoRA is scaled by alpha / rank."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the LoRA's inputs dropped in training."""

    caption_dropout: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of samples trained with the empty prompt, so that guidance keeps its meaning."""

    min_snr_gamma: Annotated[float, Field(gt=0)] | None = None
    """For epsilon and v bases: Hang et al. 2023, arXiv:2303.09556; 5 is usual. Null = no weighting."""

    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    flip_augment: bool = False
    """Mirror half of the samples. Off: characters are not symmetric (partings, scars, writing)."""

    prior_weight: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Weight of the loss on class pictures, which keeps bystanders from taking the actor's face; 0 = without."""

    class_noun: str = ""
    """What the actor is one of, such as "a woman"; the base draws the class pictures from it."""

    class_pictures: Annotated[int, Field(ge=1, le=1000)] = 24
    """How many class pictures are drawn, once, before the training."""

    background_weight: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Weight of the loss outside of a picture's mask or box, where the manifest has one; 1 = alike everywhere."""

    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    checkpoint_every: Positive = 100
    keep_checkpoints: Positive = 4
    sample_prompts: tuple[str, ...] = ()
    sample_seed: Seed = 0
    sample_steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Denoising steps of the sample pictures. Null = the base's own number, as users' pictures have."""

    measure: bool = False
    """Score every checkpoint, on pictures that are kept out of a large enough set, and export the best one."""

    early_stop: bool = True
    """Of a measured run: end it when more steps no longer help."""

    seed: Seed = 0
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    device: Device = "auto"
    """Where to train; "auto" takes a GPU where there is one."""

    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them: a fraction of the memory, a third to a half slower."""

    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    """adamw8bit keeps AdamW's moments in 8 bits (Dettmers et al. 2022, arXiv:2110.02861)."""

    base_precision: Literal["full", "nf4"] = "full"
    """nf4 keeps the matrices of the frozen base in 4 bits (Dettmers et al. 2023, arXiv:2305.14314)."""

    offload_encoders: bool = False
    """Keep only the network at work on the GPU; the others wait in the computer's memory."""

    memory_ladder: bool = True
    """Take such measures by itself, one after the other, when the run would not fit without."""

    max_memory_gb: Annotated[float, Field(gt=0)] | None = None
    """Refuse to start when the run is estimated to need more. Null = what the device has free."""

    created_at: str | None = None
    """When the training was asked for, ISO 8601; the exported file has it in place of the clock's time."""

    @model_validator(mode="after")
    def _warmup_ends_before_the_run(self) -> Self:
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps ({self.warmup_steps}) must be fewer than steps ({self.steps})")
        return self

    @model_validator(mode="after")
    def _a_class_has_a_name(self) -> Self:
        if self.prior_weight and not self.class_noun.strip():
            raise ValueError('prior_weight needs class_noun, such as "a woman"')
        return self

    def identity(self) -> str:
        """sha256 over everything that the trained weights depend on; a resumed run must have the same."""
        facts = self.model_dump(mode="json", exclude=_CHANGES_NO_WEIGHT)
        for name in _YOUNGER:
            if facts[name] == type(self).model_fields[name].default:
                del facts[name]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class LoraUse(_Frozen):
    """One trained actor in a drawing."""

    file: str
    weight: Annotated[float, Field(ge=-4, le=4)] = 1.0
    trigger: str = ""


class GenerateConfig(_Frozen):
    """One drawing request: `count` pictures of one prompt; picture i is drawn from seed + i."""

    base_family: str
    base_source: str
    prompt: str
    negative: str = ""
    loras: tuple[LoraUse, ...] = ()
    count: Annotated[int, Field(ge=1, le=256)] = 1
    seed: Seed = 0
    width_px: Annotated[int, Field(ge=32, le=4096)]
    height_px: Annotated[int, Field(ge=32, le=4096)]
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Null = the base's own number of steps."""

    guidance: Annotated[float, Field(ge=0, le=100)] | None = None
    """Null = the base's own guidance."""

    device: Device = "auto"
    """Where to draw; "auto" takes a GPU where there is one."""

    out_dir: str = ""
    actors: tuple[dict[str, str], ...] = ()
    """What the studio knows of the actors (id, name, trigger, version); copied to the picture's metadata."""


def read_train(run_dir: Path) -> TrainConfig:
    """The config of a run folder; pydantic's ValidationError names what is wrong with it."""
    return TrainConfig.model_validate_json((run_dir / "config.json").read_bytes())
