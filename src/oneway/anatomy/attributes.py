"""The attributes rate: how much of what is known of an entity can be read off its last token, layer by layer.

Source: Geva et al. 2023, Dissecting Recall of Factual Associations in Auto-Regressive Language Models (arXiv
2304.14767), Sec. 5. Deviation: an entity's attributes are its answers in the table, not words of its encyclopaedia
article.
"""

from collections import defaultdict

import polars as pl
import torch

from oneway.anatomy.asked import Asked
from oneway.anatomy.intervals import interval_table
from oneway.anatomy.probes import norm, streams
from oneway.engine import Engine
from oneway.facts import FactTable

TOP = 50


def attributes_rate(engine: Engine, asked: Asked, table: FactTable, *, top: int = TOP) -> pl.DataFrame:
    """The share of an entity's attributes (the first tokens of its answers in the table) among the likeliest `top`
    tokens when the stream on the name's last token is read as if it were the last: final norm and unembedding.

    Beside it ("another entity's") the same with the attributes of another entity: what any name would call up. One row
    a layer (−1: the embedding) and kind, the mean over entities with its interval.
    """
    tokenizer = engine.tokenizer
    assert tokenizer is not None
    first: dict[str, int] = {}
    mine: dict[str, set[int]] = defaultdict(set)
    for fact in table:
        if fact.object not in first:
            first[fact.object] = tokenizer(" " + fact.object, add_special_tokens=False)["input_ids"][0]
        mine[fact.subject].add(first[fact.object])
    wanted = [mine[fact.subject] for fact in asked.facts]
    other = wanted[1:] + wanted[:1]
    weights, rows = engine.weights, []
    count = min(top, weights.W_U.shape[1])
    for stream in streams(engine, asked.tokens, asked.final):
        normed = norm(stream, weights.ln_f_w, weights.ln_f_b, engine.form)
        likely = [
            set(one)
            for part in normed.split(256)
            for one in (part @ weights.W_U).topk(count).indices.tolist()
        ]
        rows.append(
            [
                [len(has & said) / len(has) for has, said in zip(of, likely, strict=True)]
                for of in (wanted, other)
            ]
        )
    found = interval_table(torch.tensor(rows).transpose(0, 1), ("kind", "layer"), "rate")
    kinds = {0: "its own", 1: "another entity's"}
    return found.with_columns(
        pl.col("kind").replace_strict(kinds, return_dtype=pl.String), layer=pl.col("layer") - 1
    )
