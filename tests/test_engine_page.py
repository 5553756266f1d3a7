"""docs/engine.md is true: its blocks run one after the other, and its table is what `oneway check` says."""

import importlib.util
import re
from pathlib import Path

import pytest
from tiny import tiny_model

from oneway.models.tokens import word_tokenizer

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "engine.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("family", ["neox", "gpt2", "gemma3"])
def test_every_block_runs(family, tmp_path):
    names = ["Tiger Woods", "Babe Ruth", "Larry Bird", "Tom Brady"]
    tiny_model(family).save_pretrained(tmp_path)
    word_tokenizer(f"Fact: {name} plays the sport of golf" for name in names).save_pretrained(tmp_path)
    program = "\n".join(BLOCKS)
    assert program.count('"EleutherAI/pythia-70m"') == 1
    space: dict[str, object] = {}
    exec(program.replace('"EleutherAI/pythia-70m"', f'"{tmp_path}", device="cpu"'), space)
    tokens, engine = space["tokens"], space["engine"]
    assert tokens.shape == (4, 9)
    assert space["name"] == 4
    assert space["effects"].change.shape == (engine.form.heads + 2, 4)
    assert space["traced"].shape == (3, 9, 4)
    assert space["logprob"].shape == (4,)


def test_every_workload_is_shown_in_at_most_ten_lines():
    assert all(block.count("\n") <= 10 for block in BLOCKS)
    from oneway.engine import workloads

    for name in set(workloads.__all__) - {"ComponentEffects"}:
        assert f"workloads.{name}(" in PAGE


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_what_check_says():
    assert script("compatibility").with_table(PAGE) == PAGE, "run docs/compatibility.py"


def test_the_speeds_are_what_the_benchmarks_printed():
    assert script("speed").with_speeds(PAGE) == PAGE, "run docs/speed.py"
