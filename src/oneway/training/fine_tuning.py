"""A Hugging Face checkpoint is taught more text: transformers' Trainer, all weights or LoRA (peft), resumable."""

import json
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast, Trainer, TrainerCallback, TrainingArguments

from oneway.evidence.atomic import write_files, write_text
from oneway.models.checkpoint import Checkpoint, quietly
from oneway.report.progress import Advance, progress

IGNORED = -100  # the label of a token whose loss does not count, as torch and transformers have it
WHOLE = "whole.json"  # written into a state of training last: a state without it was cut short
STATES = 2  # that are kept: the last whole one, and the one being written


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuning:
    """How a checkpoint is taught.

    `method`: all weights ("full"), or low-rank updates of the linear maps ("lora", of rank `rank`). `loss`: on every
    token of a text ("text"), or on what follows the prompt ("answer"). AdamW, `learning_rate` after a warm-up of a
    twentieth of the steps, falling linearly to 0. `save_every`: steps between states that a killed run goes on from.
    """

    method: Literal["full", "lora"] = "full"
    loss: Literal["text", "answer"] = "text"
    epochs: int = 10
    batch: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    rank: int = 16
    seed: int = 0
    save_every: int = 200

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that teach nothing."""
        for name in ("epochs", "batch", "rank", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise ValueError(f"learning_rate must be a positive number, not {self.learning_rate}")


@dataclass(frozen=True, slots=True)
class Lesson:
    """A text in tokens, and where its answer begins."""

    tokens: tuple[int, ...]
    answer: int


def lessons_of(
    tokenizer: PreTrainedTokenizerFast, examples: Sequence[tuple[str, str]], positions: int | None
) -> list[Lesson]:
    """Examples (prompt, completion) in tokens, closed by EOS where there is one.

    A token belongs to the answer where its text ends behind the prompt. Raises ValueError where a text is longer than
    the model's positions.
    """
    if not examples:
        raise ValueError("there is no text to teach")
    texts = [prompt + completion for prompt, completion in examples]
    encoded = tokenizer(texts, return_offsets_mapping=True)
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    found = []
    for (prompt, _), text, ids, offsets in zip(
        examples, texts, encoded["input_ids"], encoded["offset_mapping"], strict=True
    ):
        tokens = (*ids, *([] if ids[-1:] == end else end))
        if positions is not None and len(tokens) > positions:
            raise ValueError(
                f"{text[:60]!r} has {len(tokens)} tokens, more than the model's {positions} positions"
            )
        answer = next((at for at, (_, stop) in enumerate(offsets) if stop > len(prompt)), len(ids))
        found.append(Lesson(tokens, answer))
    return found


def fine_tune(
    checkpoint: Checkpoint, examples: Sequence[tuple[str, str]], out: Path, asked: FineTuning, workspace: Path
) -> list[dict[str, float]]:
    """Teach a copy of a checkpoint's model and write it to `out`; the loss in nats per target, by step.

    With "lora" `out` holds the adapter alone, which `load_checkpoint` merges into its base. States of training are kept
    in `workspace`; killed at any moment, the same call continues from the last whole one and ends with the same
    weights. The source is never written to. `config.json` (`adapter_config.json`) is written last.

    Raises ValueError as `lessons_of` does, MemoryError with what to do where a device's memory is exceeded, and
    FloatingPointError where the loss is no longer a number.
    """
    lessons = lessons_of(checkpoint.tokenizer, examples, checkpoint.positions)
    torch.manual_seed(asked.seed)  # LoRA's first weights
    with _memory_named(checkpoint.model.device, asked), progress("fine-tuning") as advance, quietly():
        model = _prepared(checkpoint.model, asked)
        trainer = _Trainer(
            model=model,
            args=_arguments(asked, workspace, checkpoint.model.device.type == "cpu"),
            train_dataset=_Lessons(lessons),
            data_collator=lambda rows: batch_of(rows, asked.loss),
            callbacks=[_Watch(advance)],
        )
        trainer.pop_callback(_printing())
        trainer.train(resume_from_checkpoint=_last_state(workspace))
    losses = [
        {"step": float(row["step"]), "loss": float(row["loss"])}
        for row in trainer.state.log_history
        if "loss" in row
    ]
    _save(model.to("cpu"), checkpoint, out, asked)
    return losses


def batch_of(lessons: Sequence[Lesson], loss: str) -> dict[str, Tensor]:
    """Padded on the right; a label is its own token, or IGNORED at padding and, for the answer's loss, before it."""
    length = max(len(lesson.tokens) for lesson in lessons)
    tokens = torch.zeros(len(lessons), length, dtype=torch.long)
    labels = torch.full_like(tokens, IGNORED)
    mask = torch.zeros_like(tokens)
    for row, lesson in enumerate(lessons):
        size, first = len(lesson.tokens), lesson.answer if loss == "answer" else 0
        tokens[row, :size] = torch.tensor(lesson.tokens)
        labels[row, first:size] = tokens[row, first:size]
        mask[row, :size] = 1
    return {"input_ids": tokens, "labels": labels, "attention_mask": mask}


@contextmanager
def _memory_named(device: torch.device, asked: FineTuning) -> Iterator[None]:
    """Whatever says that memory is full, as a MemoryError: torch has a class of error for a GPU's, not for a CPU's."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        known = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not known and "can't allocate memory" not in str(error):
            raise
        raise MemoryError(
            f"teaching {asked.batch} texts at once does not fit in the memory of {device}: make room, or in another "
            "folder give a smaller batch (--batch) or teach low-rank updates (--method lora)"
        ) from error


class _Trainer(Trainer):
    """transformers' own, but that a state is read with the names under which it was written.

    Some families are saved under other names than they have in memory (GPT-NeoX's `lm_head` as `embed_out`), and
    Trainer 5.23 passes over what it does not find: a resumed run went on with the head it had begun with.
    """

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        model = self.model if model is None else model
        if not isinstance(model, PreTrainedModel):  # an adapter
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        saved = type(model).from_pretrained(resume_from_checkpoint, local_files_only=True)
        model.load_state_dict(saved.state_dict())


class _Lessons(torch.utils.data.Dataset[Lesson]):
    def __init__(self, lessons: Sequence[Lesson]) -> None:
        self.lessons = lessons

    def __len__(self) -> int:
        return len(self.lessons)

    def __getitem__(self, index: int) -> Lesson:
        return self.lessons[index]


class _Watch(TrainerCallback):
    """Progress, a stop where the loss is no number, and the mark of a state that is whole."""

    def __init__(self, advance: Advance) -> None:
        self.advance = advance

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.advance(state.global_step, state.max_steps)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            raise FloatingPointError(
                f"the loss is {logs['loss']} at step {state.global_step}: give a lower learning rate"
            )

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        write_text(folder / WHOLE, json.dumps({"step": state.global_step}))


def _printing() -> type[TrainerCallback]:
    from transformers.trainer_callback import PrinterCallback

    return PrinterCallback


def _prepared(model: PreTrainedModel, asked: FineTuning) -> Any:
    import copy

    taught = copy.deepcopy(model).float().train()  # the source in memory stays as it is
    for parameter in taught.parameters():
        parameter.requires_grad_(True)
    if asked.method == "full":
        return taught
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=asked.rank,
        lora_alpha=2 * asked.rank,
        lora_dropout=0.0,
        target_modules="all-linear",
    )
    with warnings.catch_warnings():  # peft remarks that GPT-2 keeps its matrices transposed
        warnings.simplefilter("ignore")
        return get_peft_model(taught, lora)


def _arguments(asked: FineTuning, workspace: Path, on_cpu: bool) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(workspace),
        per_device_train_batch_size=asked.batch,
        num_train_epochs=asked.epochs,
        learning_rate=asked.learning_rate,
        weight_decay=asked.weight_decay,
        lr_scheduler_type="linear",
        warmup_steps=0.05,
        max_grad_norm=1.0,
        seed=asked.seed,
        data_seed=asked.seed,
        save_strategy="steps",
        save_steps=asked.save_every,
        save_total_limit=STATES,
        logging_steps=10,
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        use_cpu=on_cpu,
        remove_unused_columns=False,
        dataloader_pin_memory=not on_cpu,
    )


def _last_state(workspace: Path) -> str | None:
    """The last whole state; what was cut short while it was written is removed."""
    whole: dict[int, Path] = {}
    for folder in workspace.glob("checkpoint-*"):
        if (folder / WHOLE).is_file():
            whole[int(folder.name.split("-")[1])] = folder
        else:
            rmtree(folder)
    return str(whole[max(whole)]) if whole else None


def _save(model: Any, checkpoint: Checkpoint, out: Path, asked: FineTuning) -> None:
    def write(folder: Path) -> None:
        model.eval().save_pretrained(folder)
        checkpoint.tokenizer.save_pretrained(folder)
        with suppress(FileNotFoundError):
            (folder / "README.md").unlink()  # peft's stub of a model card
        write_text(folder / "fine_tuning.json", json.dumps(asdict(asked), indent=2))

    with quietly():
        write_files(out, write, last="config.json" if asked.method == "full" else "adapter_config.json")
