"""Draws the pictures of one request, once or as a warm server that keeps the base loaded.

    python -m greenroom.ml.generate REQUEST.json      one request
    python -m greenroom.ml.generate --serve           a request on each line of stdin

A request is a GenerateConfig as JSON. The answer is one JSON event a line on stdout: progress, note, picture,
and at the end of each request done or failed.
Knows folders and JSON; nothing about actors' records, the database or the web.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal

import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

import greenroom
from greenroom.errors import (
    BadPrompt,
    Cancelled,
    GreenroomError,
    OutOfMemory,
    RunFailed,
    WrongUse,
    summarise,
)
from greenroom.ml import pictures, preflight
from greenroom.ml.config import GenerateConfig
from greenroom.ml.events import Failed, Note, Phase, Progress, private_stdout
from greenroom.ml.families import Family, OnStep, variants
from greenroom.ml.pictures import ActorUsed, BaseUsed, Made
from greenroom.ml.warm import WarmBase

MAX_REQUEST_BYTES = 1024 * 1024
LAST_SEED = 2**63

# What other programs call diffusers' schedulers.
SAMPLERS = {
    "UniPCMultistepScheduler": "UniPC",
    "PNDMScheduler": "PLMS",
    "DDIMScheduler": "DDIM",
    "EulerDiscreteScheduler": "Euler",
    "EulerAncestralDiscreteScheduler": "Euler a",
    "DPMSolverMultistepScheduler": "DPM++ 2M",
}


class Picture(BaseModel):
    """A picture was drawn and lies whole at `file`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    event: Literal["picture"] = "picture"
    file: str
    seed: int
    index: int


class Drawn(BaseModel):
    """The request is finished."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    event: Literal["done"] = "done"
    files: tuple[str, ...]
    seconds: float


Tell = Callable[[BaseModel], None]


def draw(family: Family, pipe: Any, request: GenerateConfig, on_step: OnStep) -> list[Image.Image]:
    """The request's pictures, with whatever LoRAs are attached to the pipe; picture i is drawn from seed + i.

    Training samples and users' pictures both come from here, so a sample never differs from the result. A
    picture depends on its seed and not on its neighbours: the family draws one after the other.
    """
    check_size(family, request)
    request = variants.settled(family.card, request)
    with as_for_users(family, pipe):
        return family.generate(pipe, request, on_step)


@contextlib.contextmanager
def as_for_users(family: Family, pipe: Any) -> Iterator[None]:
    """For the length of the block, a base in training computes what it will for a user, and the same each time.

    The random numbers of the training go on afterwards as if nothing had been drawn.
    """
    # NOTE: not inference_mode: Z-Image keeps its rotary table from the first use, and training needs it.
    with _as_loaded(family.denoiser(pipe)), _deterministic(), torch.no_grad(), torch.random.fork_rng():
        yield


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    """For the length of the block, the same numbers give the same sums each time."""
    options: Any = torch.utils.deterministic
    was, filled = torch.get_deterministic_debug_mode(), options.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    options.fill_uninitialized_memory = False  # would cost time and change nothing
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(was)
        options.fill_uninitialized_memory = filled


@contextlib.contextmanager
def _as_loaded(denoiser: nn.Module) -> Iterator[None]:
    """For the length of the block, a denoiser in training computes as it will with its LoRA from a file.

    That is without dropout, and with the LoRA in the base's number format: diffusers rounds it on loading.
    """
    was_training = denoiser.training
    base_dtype = next(
        each.dtype
        for name, each in denoiser.named_parameters()
        if ".lora_" not in name and each.is_floating_point()  # a quantised base has bytes as well
    )
    exact = {
        each: each.data
        for name, each in denoiser.named_parameters()
        if ".lora_" in name and each.dtype != base_dtype
    }
    denoiser.eval()
    try:
        for parameter in exact:
            parameter.data = parameter.data.to(base_dtype)
        yield
    finally:
        for parameter, data in exact.items():
            parameter.data = data
        denoiser.train(was_training)


def check_size(family: Family, request: GenerateConfig) -> None:
    """Raise BadPrompt when the base cannot draw that size."""
    multiple = family.card.size_multiple_px
    for word, size in (("width", request.width_px), ("height", request.height_px)):
        if size % multiple:
            nearest = max(multiple, round(size / multiple) * multiple)
            raise BadPrompt(
                f"The {word} of {size} px does not suit {family.card.title}, "
                f"which draws in steps of {multiple} px. Use {nearest}."
            )


def make(base: WarmBase, request: GenerateConfig, tell: Tell) -> list[Path]:
    """Draw the request's pictures into its out_dir, each written whole with the request in it."""
    started = time.monotonic()
    family = base.family
    check_size(family, request)
    if not request.out_dir:
        raise WrongUse("The request has no out_dir. Say in which folder the pictures should be.")
    folder = Path(request.out_dir)
    request = variants.settled(family.card, request)
    hashes = base.cast(request.loras)
    _warn_of_long_prompt(base, request, tell)
    steps = request.steps or family.card.default_steps

    files: list[Path] = []
    for index in range(request.count):
        one = request.model_copy(update={"seed": (request.seed + index) % LAST_SEED, "count": 1})

        def on_step(step: int, _total: int, before: int = index * steps) -> None:
            tell(_progress("draw", before + step, request.count * steps, started))

        (image,) = draw(family, base.pipe, one, on_step)
        file = folder / f"{index:03d}-{one.seed}.png"
        pictures.write(file, image, record(base, one, hashes))
        files.append(file)
        tell(Picture(file=str(file), seed=one.seed, index=index))
    tell(Drawn(files=tuple(map(str, files)), seconds=round(time.monotonic() - started, 3)))
    return files


def record(base: WarmBase, request: GenerateConfig, lora_hashes: list[str]) -> Made:
    """What a picture says about itself. `request` is that of the one picture: count 1, its own seed."""
    card = base.family.card
    own = variants.of(card, base.source)
    scheduler = type(base.pipe.scheduler).__name__
    return Made(
        software=f"greenroom {greenroom.__version__}",
        base=BaseUsed(family=card.id, name=own.name, sha256=base.identity),
        prompt=request.prompt,
        negative=request.negative,
        actors=tuple(
            ActorUsed(trigger=use.trigger or Path(use.file).stem, weight=use.weight, sha256=sha256)
            for use, sha256 in zip(request.loras, lora_hashes, strict=True)
        ),
        cast=request.actors,
        seed=request.seed,
        width_px=request.width_px,
        height_px=request.height_px,
        steps=request.steps or own.steps,
        guidance=own.guidance if request.guidance is None else request.guidance,
        sampler=SAMPLERS.get(scheduler, scheduler),
        dtype=str(base.dtype).removeprefix("torch."),
    )


class Server:
    """Answers requests one after the other and keeps the last base warm between them."""

    def __init__(self, tell: Tell) -> None:
        self.tell = tell
        self._base: WarmBase | None = None

    def answer(self, text: str | bytes) -> GreenroomError | None:
        """Draw one request; what went wrong is told as an event, and returned."""
        request: GenerateConfig | None = None
        try:
            request = _parse(text)
            make(self._warm(request), request, self.tell)
        except Cancelled as error:
            self._fail(error)
            raise
        except GreenroomError as error:
            return self._fail(error)
        except Exception as error:  # noqa: BLE001 - the process's edge: one bad request must not end the server
            traceback.print_exc()
            self._base = None  # half a cast may be attached to it
            if request is not None and _is_out_of_memory(error):
                size = f"{request.width_px}x{request.height_px}"
                return self._fail(
                    OutOfMemory(f"There is too little memory for pictures of {size}. Ask for smaller ones.")
                )
            return self._fail(
                RunFailed(f"The drawing broke off ({summarise(error)}). The log has the details; try again.")
            )
        return None

    def _warm(self, request: GenerateConfig) -> WarmBase:
        source = Path(request.base_source)
        base = self._base
        on = preflight.device(request.device)
        if base is None or (base.family.card.id, base.source, base.device) != (
            request.base_family,
            source,
            on,
        ):
            self._base = None  # the old one goes first: two bases may not fit into memory
            started = time.monotonic()
            self.tell(_progress("load", 0, 1, started))
            base = self._base = WarmBase(request.base_family, source, device=on)
            self.tell(_progress("load", 1, 1, started))
        return base

    def _fail(self, error: GreenroomError) -> GreenroomError:
        self.tell(Failed(code=error.code, message=str(error)))
        return error


def serve(server: Server, lines: IO[bytes]) -> None:
    """Answer each line until the input ends."""
    while line := lines.readline(MAX_REQUEST_BYTES + 1):
        if line.strip():
            server.answer(line)


def main(arguments: list[str]) -> int:
    """The command; returns the exit code: 0 done, 2 wrong use, 3 bad input, 4 failed, 130 stopped."""
    if len(arguments) != 1:
        print("usage: python -m greenroom.ml.generate REQUEST.json | --serve", file=sys.stderr)
        return WrongUse.exit_code
    request: bytes | None = None
    if arguments[0] != "--serve":
        try:
            request = Path(arguments[0]).read_bytes()
        except OSError as error:
            print(f"The request {arguments[0]} cannot be read: {error.strerror}.", file=sys.stderr)
            return WrongUse.exit_code
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or a GPU's sums differ from run to run
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    server = Server(_teller(private_stdout()))
    try:
        if request is None:
            serve(server, sys.stdin.buffer)
            return 0
        failure = server.answer(request)
        return failure.exit_code if failure else 0
    except Cancelled as cancelled:
        return cancelled.exit_code


def _parse(text: str | bytes) -> GenerateConfig:
    if len(text) > MAX_REQUEST_BYTES:
        raise BadPrompt(f"The request is longer than {MAX_REQUEST_BYTES:,} bytes. Shorten the prompt.")
    try:
        return GenerateConfig.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the request"
        raise BadPrompt(f"The request cannot be drawn: {place}: {first['msg']}.") from error


def _is_out_of_memory(error: Exception) -> bool:
    # torch has no class of its own for a CPU that is full
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _warn_of_long_prompt(base: WarmBase, request: GenerateConfig, tell: Tell) -> None:
    limit = base.family.card.text_max_tokens
    length = len(base.pipe.tokenizer(request.prompt).input_ids)
    if length > limit:
        tell(
            Note(
                text=f"The prompt has {length} tokens; the base reads the first {limit} and ignores the rest."
            )
        )


def _progress(phase: Phase, step: int, total: int, started: float) -> Progress:
    seconds = time.monotonic() - started
    left = seconds / step * (total - step) if step else None
    return Progress(
        phase=phase,
        step=step,
        total_steps=total,
        seconds=round(seconds, 3),
        seconds_left=None if left is None else round(left, 3),
    )


def _teller(stream: IO[str]) -> Tell:
    def tell(event: BaseModel) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody listens; the pictures are still wanted
            stream.write(event.model_dump_json() + "\n")
            stream.flush()

    return tell


def _stop(number: int, _frame: Any) -> None:
    raise Cancelled(f"The drawing was stopped ({signal.Signals(number).name}).")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
