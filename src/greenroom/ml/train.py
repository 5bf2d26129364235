"""Trains the LoRA of one run folder: `python -m greenroom.ml.train RUN_DIR`.

The stages stand below in order: preflight, cache, train, export. The same command again goes on where it was;
what it does at each step depends on the config and the step's number alone, so a run that was killed ends
with the very bytes of an unbroken one. Knows folders and JSON; no records of actors, no database and no web.
"""

from __future__ import annotations

import errno
import gc
import math
import random
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from greenroom.errors import BadInput, Cancelled, GreenroomError, OutOfMemory, RunFailed, StorageError
from greenroom.ml import (
    checkpoint,
    data,
    export,
    families,
    generate,
    lora,
    measure,
    place,
    preflight,
    samples,
    select,
)
from greenroom.ml import optimizer as optimizers
from greenroom.ml.checkpoint import Checkpoint, Identity
from greenroom.ml.clock import Clock
from greenroom.ml.config import TrainConfig, read_train
from greenroom.ml.events import Chosen, Done, Failed, Journal, Measured, Note, Saved, private_stdout
from greenroom.ml.families import variants
from greenroom.ml.families.estimate import Fit
from greenroom.ml.families.loading import check_folder
from greenroom.ml.families.loading import identity as base_identity

LOSS_WINDOW = 25
"""The loss that is told is the mean of so many steps; single ones jump with the noise level drawn."""


def train(run_dir: Path, journal: Journal, stop: threading.Event) -> Done:
    """Train to the last step, or raise: Cancelled, after saving, when `stop` is set; else what went wrong."""
    tell = journal.tell
    clock = Clock()

    # ---- preflight: is everything there, does it fit, was there a run before?
    tell(clock.progress("preflight", 0, 1))
    config = _read_config(run_dir)
    family = families.get(config.base_family)
    source = Path(config.base_source)
    pictures = data.read_manifest(run_dir)
    check_folder(source, family.card)
    identity = Identity(dataset=data.identity(pictures), config=config.identity(), base=base_identity(source))
    begun, complaints = checkpoint.newest(run_dir, identity)
    for complaint in complaints:
        tell(Note(text=complaint))
    on, warning = preflight.settle(run_dir, config)
    for caution in (warning, variants.of(family.card, source).warning):
        if caution:
            tell(Note(text=caution))
    preflight.check_package(config)
    fit, on = preflight.settle_memory(run_dir, source, family.card, config, on)
    config = fit.config  # with the rungs of the memory ladder, which the identity above does not know
    preflight.check_disk(run_dir, fit.need, config)
    tell(Note(text=_in_words(config, on, len(pictures), fit, begun)))
    tell(clock.progress("preflight", 1, 1))

    # ---- cache: the encoders run once over each picture and caption, and are let go
    pipe, encoders = place.load(family, source, config, on.device, on.dtype)
    denoiser = family.denoiser(pipe)

    def on_picture(done: int, of: int) -> None:
        _raise_if(stop)
        tell(clock.progress("cache", done, of))

    cache = data.cache(
        run_dir, pictures, config, family=family, pipe=pipe, key=f"{identity} {on}", device=on.device,
        on_step=on_picture,
    )  # fmt: skip
    encoders.release()

    # ---- train
    clock.plan(config, begun.state["seconds"] if begun else 0.0)
    weights = lora.attach(denoiser, family.card, config)
    parameters = list(weights.values())
    optimizer = optimizers.make(weights, config)
    average = lora.snapshot(weights) if config.ema_decay else None
    losses: list[float] = []
    if begun:
        checkpoint.thaw(begun, weights, optimizer, average)
        losses = list(begun.state["losses"])
    if config.gradient_checkpointing:
        denoiser.enable_gradient_checkpointing()  # type: ignore[operator]
    denoiser.train()
    bench, word = measure.bench(run_dir, config, family, pipe, pictures)
    if word:
        tell(Note(text=word))
    apart = set(measure.held_out(pictures, config))
    mine = [index for index in range(len(pictures)) if index not in apart]
    shapes = [tuple(cache.latents[index].shape) for index in mine]
    order = data.plan(shapes, config.batch_size, config.steps, config.seed)

    def save(step: int) -> None:
        state = {"losses": losses, "seconds": clock.seconds()}
        folder = checkpoint.save(
            run_dir,
            checkpoint.freeze(step, weights, optimizer, average, state),
            identity,
            config.keep_checkpoints,
        )
        tell(Saved(step=step, folder=folder.relative_to(run_dir).as_posix()))
        journal.sync()

    def sample(step: int) -> None:
        missing = samples.missing(run_dir, config, step)
        if not missing:
            return
        with clock.sampling(), encoders.present(), lora.swapped(weights, average):
            for index in missing:
                request = samples.request_of(config, family.card, index)
                (picture,) = generate.draw(family, pipe, request, lambda _done, _of: _raise_if(stop))
                tell(samples.keep(run_dir, step, index, request, picture))

    def score(step: int) -> None:
        if bench is None or step in {one.step for one in measure.read(run_dir)}:
            return
        tell(clock.progress("select", step, config.steps))
        with (
            clock.sampling(also=bool(config.sample_prompts)),
            encoders.present(),
            lora.swapped(weights, average),
        ):
            scores = bench.measure(step, weights, lambda: _raise_if(stop))
        if scores is not None:
            sheet = measure.sheet_file(run_dir, step).relative_to(run_dir).as_posix()
            tell(Measured(step=step, scores=scores, sheet=sheet))

    def is_checkpoint(step: int) -> bool:
        return step % config.checkpoint_every == 0 or step == config.steps

    def measured(until: int) -> list[select.Scores]:
        return [one for one in measure.read(run_dir) if one.step <= until] if bench else []

    def helps(done: int) -> bool:
        return not (config.early_stop and select.is_over(measured(done)))

    if begun and is_checkpoint(begun.step):
        sample(begun.step)  # the pictures that the run before did not come to draw
        score(begun.step)
    unread: list[Tensor] = []
    for step in range(len(losses), config.steps if helps(len(losses)) else len(losses)):
        dice = random.Random(f"{config.seed}/step/{step}")
        batch = [mine[index] for index in order[step]]
        views = [
            cache.mirrored if config.flip_augment and dice.random() < 0.5 else cache.latents for _ in batch
        ]
        latents = torch.stack([view[index] for view, index in zip(views, batch, strict=True)])
        prompts = [cache.empty if dice.random() < config.caption_dropout else cache.prompts[i] for i in batch]
        if config.dropout:
            torch.manual_seed(dice.getrandbits(63))
        noise = torch.Generator(on.device).manual_seed(dice.getrandbits(63))

        cells = None
        if cache.weights:
            seen = zip(views, batch, strict=True)
            cells = torch.stack(
                [
                    cache.weights[i].flip(-1) if view is cache.mirrored else cache.weights[i]
                    for view, i in seen
                ]
            )

        loss = family.loss(pipe, latents, prompts, config, noise, cells)
        loss.backward()
        if cache.class_latents:
            kept = torch.stack([dice.choice(cache.class_latents) for _ in batch])
            known = [cache.class_prompt] * len(batch)
            (config.prior_weight * family.loss(pipe, kept, known, config, noise)).backward()
        nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        optimizer.step()
        optimizer.zero_grad()
        if average is not None and config.ema_decay:
            lora.follow(average, weights, config.ema_decay, step)
        unread.append(loss.detach())

        done = step + 1
        is_due = is_checkpoint(done) or stop.is_set()
        clock.step_done()
        if is_due or clock.ticks():
            losses += _read_losses(unread, done)  # NOTE: on a GPU this waits for it, hence not at every step
            tell(clock.progress("train", done, config.steps, _mean(losses[-LOSS_WINDOW:])))
        if is_due:
            save(done)
            _raise_if(stop)
            sample(done)
            score(done)
            if not helps(done):
                tell(Note(text=f"More steps no longer help, so the training ends at step {done}."))
                break
    last = len(losses)

    # ---- select and export: the best measured step's weights, without measures the last one's
    scored = measured(last)
    chosen = select.choose(scored)

    def write(step: int, into: str) -> export.Exported:
        own = average if average is not None else lora.snapshot(weights)
        return export.write(
            run_dir,
            config,
            family.card,
            own if step == last else measure.chosen_weights(run_dir, step),
            base_sha256=identity.base,
            steps=step,
            losses=losses[:step],
            thumbnail=samples.file_of(run_dir, step, 0) if config.sample_prompts else None,
            scores=next((one for one in scored if one.step == step), None),
            into=into,
        )

    if chosen:
        choice = {one: f"kept/step-{one:06d}" for one in select.best(scored, config.keep_checkpoints)}
        for one, folder in choice.items():
            write(one, folder)
        tell(Chosen(step=chosen.step, kept=choice))
    tell(clock.progress("export", 0, 1))
    best = chosen.step if chosen else last
    written = write(best, export.FOLDER)
    tell(clock.progress("export", 1, 1))
    return Done(
        lora=written.lora,
        kohya=written.kohya,
        steps=last,
        seconds=clock.seconds(),
        chosen_step=best if chosen else None,
    )


def learning_rate(config: TrainConfig, step: int) -> float:
    """The rate of step `step`, counted from 0."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / (config.warmup_steps + 1)
    share = (step - config.warmup_steps) / (config.steps - config.warmup_steps)
    if config.lr_schedule == "linear":
        return config.learning_rate * (1 - share)
    if config.lr_schedule == "cosine":
        return config.learning_rate * (1 + math.cos(math.pi * share)) / 2
    return config.learning_rate


def train_or_climb(run_dir: Path, journal: Journal, stop: threading.Event) -> Done:
    """Train; when memory runs out, go on from the last checkpoint with the next rung of the memory ladder.

    Raises what `train` raises, and what `preflight.climb` does at the ladder's end. The rungs are few, so it ends.
    """
    while True:
        try:
            return train(run_dir, journal, stop)
        except Exception as error:
            if isinstance(error, GreenroomError) or not isinstance(_known(error), OutOfMemory):
                raise
            rung = preflight.climb(run_dir)
        # NOTE: after the except block, whose exception holds the whole failed try in memory.
        journal.tell(Note(text=f"Memory ran out. Going on from the last checkpoint with {rung.words}."))
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def main(arguments: Sequence[str]) -> int:
    """The process: 0 done, 2 wrong use, 3 bad input, 4 failed, 130 stopped. Events go to stdout."""
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("usage: python -m greenroom.ml.train RUN_DIR (a folder with config.json)", file=sys.stderr)
        return 2
    run_dir = Path(arguments[0])
    stop = threading.Event()
    for which in (signal.SIGTERM, signal.SIGINT):
        signal.signal(which, lambda *_: stop.set())
    try:
        journal = Journal(run_dir / "events.jsonl", private_stdout())
    except OSError as error:
        print(f"{run_dir} cannot be written: {error.strerror}. Choose a folder that can.", file=sys.stderr)
        return StorageError.exit_code
    try:
        journal.tell(train_or_climb(run_dir, journal, stop))
        return 0
    except Exception as error:  # noqa: BLE001 - the process's edge: whatever happened is told as an event
        known = _known(error)
        if known is not error:
            traceback.print_exc()
        journal.tell(Failed(code=known.code, message=str(known)))
        return known.exit_code
    finally:
        journal.sync()
        journal.close()


def _read_config(run_dir: Path) -> TrainConfig:
    try:
        return read_train(run_dir)
    except OSError as error:
        raise BadInput(
            f"{run_dir / 'config.json'} cannot be read: {error.strerror}. Start the training again."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BadInput(
            f"The run's config.json is wrong: {place}: {first['msg']}. Correct it and start again."
        ) from error


def _in_words(
    config: TrainConfig,
    on: preflight.Settled,
    pictures: int,
    fit: Fit,
    begun: Checkpoint | None,
) -> str:
    start = (
        f"Going on after step {begun.step} of {config.steps}" if begun else f"Training {config.steps} steps"
    )
    flips = (
        "half of the samples are mirrored"
        if config.flip_augment
        else "no picture is mirrored, since characters are not symmetric"
        if config.kind == "character"
        else "no picture is mirrored"
    )
    measures = (
        f" (with {' and '.join(rung.words for rung in fit.rungs)}, so that it fits)" if fit.rungs else ""
    )
    return (
        f"{start} on {pictures} pictures; {on.device.type}, {str(on.dtype).removeprefix('torch.')}, "
        f"{on.threads} threads, about {fit.need.total / 1e9:.1f} GB of memory{measures}; {flips}."
    )


def _raise_if(stop: threading.Event) -> None:
    if stop.is_set():
        raise Cancelled("The training was stopped. The same command again goes on from the last checkpoint.")


def _read_losses(unread: list[Tensor], done: int) -> list[float]:
    losses = [float(loss) for loss in unread]
    unread.clear()
    for index, loss in enumerate(losses):
        if not math.isfinite(loss):
            step = done - len(losses) + index + 1
            raise RunFailed(
                f"The loss became {loss} at step {step}: the training broke down, and the checkpoints "
                "before it are kept. Train again with a lower learning rate."
            )
    return losses


def _mean(losses: Sequence[float]) -> float:
    return sum(losses) / len(losses)


def _known(error: Exception) -> GreenroomError:
    """The error of our tree that says what happened."""
    if isinstance(error, GreenroomError):
        return error
    # NOTE: torch's CPU allocator raises a plain RuntimeError.
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error):
        return OutOfMemory(
            "Memory ran out; the last checkpoint is kept. Choose a smaller batch or a lower resolution, or close "
            "other programs."
        )
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}:
        return StorageError(
            f"The run's folder cannot be written: {error.strerror}. The last checkpoint is kept; make room "
            "and start the same training again."
        )
    what = str(error).splitlines()[0] if str(error) else "no message"
    return RunFailed(
        f"The training broke off ({type(error).__name__}: {what}). The last checkpoint is kept; start again."
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
