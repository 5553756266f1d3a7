"""Writes the table of docs/engine.md: what `oneway check` says of a small random checkpoint of each variant.

python docs/compatibility.py
"""

import sys
from pathlib import Path

from oneway.engine.opening import opened_checkpoint
from oneway.engine.proof import Proof, prove
from oneway.models.checkpoint import Checkpoint
from oneway.models.tokens import word_tokenizer

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))  # the tests' tiny models
from tiny import MODELS, OTHERS, tiny_model  # noqa: E402

PAGE = HERE / "engine.md"
START, END = "<!-- compatibility: written by docs/compatibility.py -->\n", "<!-- end of compatibility -->"
VARIANTS = {
    "gpt2": "GPT-2",
    "gpt2-by-layer": "GPT-2, scores scaled by layer, untied unembedding",
    "neox": "GPT-NeoX (Pythia), parallel blocks, rotary on a part of each head",
    "neox-sequential": "GPT-NeoX, sequential blocks, rotary on whole heads, no attention biases",
    "llama3": "Llama 3, grouped queries, scaled rotary positions",
    "llama-biases": "Llama, biases, tied unembedding",
    "mistral": "Mistral, sliding window",
    "qwen2": "Qwen 2",
    "qwen3": "Qwen 3, norms of queries and keys, windows in some layers",
    "gemma3": "Gemma 3, norms before and after, local and global layers, capped logits",
    "gemma3-multimodal": "Gemma 3 of texts and images: its text model",
    "phi": "Phi, by its own code with hooks",
    "opt": "OPT, by its own code with hooks",
}


def proofs() -> dict[str, Proof]:
    """Every variant opened and proved, by its name."""
    found = {}
    for name in (*MODELS, *OTHERS):
        model = tiny_model(name)
        opened = opened_checkpoint(Checkpoint(model, word_tokenizer(["a b"]), name))
        found[name] = prove(opened, model)
    return found


def table() -> str:
    """The table, in Markdown."""
    rows = ["| checkpoint | proved | sites | not offered |", "|---|---|---|---|"]
    for name, proof in proofs().items():
        cannot = "; ".join(proof.cannot[1:])  # the first says that it is run by its own code
        sites = "all 17" if len(proof.sites) == 17 else ", ".join(f"`{kind}`" for kind in proof.sites)
        rows.append(
            f"| {VARIANTS[name]} | {'yes' if proof.holds else '**no**'} | {sites} | {cannot or '–'} |"
        )
    return "\n".join(rows) + "\n"


def with_table(page: str) -> str:
    """The page with its table written anew."""
    before, rest = page.split(START)
    return before + START + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
