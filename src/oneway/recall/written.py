"""What a model says when it is let write: for answers that it reaches only through something else that it writes."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import polars as pl
import torch

from oneway.facts import Direction, FactTable
from oneway.facts.rendering import questions, sentence, statement
from oneway.models.checkpoint import Checkpoint
from oneway.models.placement import entry
from oneway.report.progress import progress

AT_ONCE = 64  # texts that are continued together


def written(checkpoint: Checkpoint, prompts: Sequence[str], most: int) -> list[str]:
    """What a model puts behind each prompt, greedily, up to its end-of-text token or `most` tokens.

    Prompts of equal length are continued together, so that nothing is padded. Raises ValueError for a prompt that is
    empty or fills the model's positions.
    """
    encoded: list[list[int]] = checkpoint.tokenizer(list(prompts))["input_ids"]
    limit = checkpoint.positions or max(map(len, encoded), default=0) + most
    if bad := [p for p, ids in zip(prompts, encoded, strict=True) if not 0 < len(ids) < limit]:
        raise ValueError(f"behind {bad[0][:60]!r} nothing can be written: it is empty or fills the context")
    found = [""] * len(prompts)
    with progress("writing") as advance:
        for done, rows in _batches(encoded):
            length = len(encoded[rows[0]])
            texts = _continued(checkpoint, [encoded[row] for row in rows], min(most, limit - length))
            for row, text in zip(rows, texts, strict=True):
                found[row] = text
            advance(done, len(prompts))
    return found


def ask_in_writing(checkpoint: Checkpoint, table: FactTable, cue: str, most: int) -> pl.DataFrame:
    """Every reverse question of a table with a cue behind it; a row a fact and template.

    The columns: fact, template, prompt, text (what was written), right. The answer is the name with which the text
    ends; of a question with several right ones any will do. A text that does not end within `most` tokens is wrong.
    """
    asked = list(questions(table, (Direction.REVERSE,)))
    right: dict[tuple[str, int, str], list[str]] = defaultdict(list)
    for question in asked:
        fact = table.facts[question.fact_index]
        template = table.relations[fact.relation].reverse[question.template_index]
        told = statement(sentence(template, fact.subject, fact.object))
        right[question.prompt, question.template_index, question.relation].append(
            told.removeprefix(question.prompt)
        )
    texts = written(checkpoint, [question.prompt + cue for question in asked], most)
    rows = [
        {
            "fact": question.fact_index,
            "template": question.template_index,
            "prompt": question.prompt + cue,
            "text": text,
            "right": any(
                text.endswith(answer)
                for answer in right[question.prompt, question.template_index, question.relation]
            ),
        }
        for question, text in zip(asked, texts, strict=True)
    ]
    return pl.DataFrame(rows)


def _batches(encoded: Sequence[Sequence[int]]) -> Iterator[tuple[int, list[int]]]:
    """Rows of equal length, AT_ONCE or fewer, and how many rows there were up to then."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for row, ids in enumerate(encoded):
        by_length[len(ids)].append(row)
    done = 0
    for rows in by_length.values():
        for at in range(0, len(rows), AT_ONCE):
            some = rows[at : at + AT_ONCE]
            done += len(some)
            yield done, some


@torch.inference_mode()
def _continued(checkpoint: Checkpoint, prompts: Sequence[Sequence[int]], most: int) -> list[str]:
    tokens = torch.tensor(prompts, device=entry(checkpoint.model))
    end = checkpoint.tokenizer.eos_token_id
    out = checkpoint.model.generate(
        input_ids=tokens,
        attention_mask=torch.ones_like(tokens),
        do_sample=False,
        max_new_tokens=most,
        eos_token_id=end,
        pad_token_id=0 if end is None else end,
    )
    new = out[:, tokens.shape[1] :].tolist()
    ended = [ids[: ids.index(end)] if end in ids else ids for ids in new]
    return checkpoint.tokenizer.batch_decode(ended)
