"""The engine: any checkpoint of a known family opened, every site read and written, only the work that is needed.

engine = open_model("EleutherAI/pythia-70m")         # a directory, a hub name, or a (model, tokenizer) pair
tokens = engine.tokens(["Fact: Tiger Woods plays the sport of", ...])
site = Site("resid_post", layer=3, position=4)
engine.run(tokens, [site])[site]                     # [batch d_model]
engine.run(tokens, [Site("logits", position=-1)], [Patch(Site("z", layer=2, head=1), Zero())])
heads = [Patch(Site("z", layer, head, 4), Mean()) for layer in range(6) for head in range(8)]
engine.effects(tokens, heads, LogitDifference(right=…, wrong=…)).change    # [intervention batch]
"""

from oneway.engine.effects import Budget
from oneway.engine.engine import Engine
from oneway.engine.opened import Effects, Opened
from oneway.engine.opening import open_model, prove_model
from oneway.engine.patch import Frozen, Mean, Patch, Path, Resample, Without, Zero
from oneway.engine.proof import NotProven, Proof
from oneway.engine.readout import AllLogits, LogitDifference, Logits, LogProbability, Readout, Residual
from oneway.engine.settle import PatchError
from oneway.engine.site import Kind, Site, SiteError

__all__ = [
    "AllLogits",
    "Budget",
    "Effects",
    "Engine",
    "Frozen",
    "Kind",
    "LogProbability",
    "LogitDifference",
    "Logits",
    "Mean",
    "NotProven",
    "Opened",
    "Patch",
    "PatchError",
    "Path",
    "Proof",
    "Readout",
    "Resample",
    "Residual",
    "Site",
    "SiteError",
    "Without",
    "Zero",
    "open_model",
    "prove_model",
]
