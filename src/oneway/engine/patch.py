"""Interventions as data: what is put where. Nothing stays in the model."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from oneway.engine.site import Site


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of the site's own values over all prompts of the call."""


MEAN = Mean()


@dataclass(frozen=True, slots=True)
class Zero:
    """Zero."""


@dataclass(frozen=True, slots=True)
class Resample:
    """The site's value in another prompt of the call: prompt i gets that of prompt `source[i]`."""

    source: Sequence[int]


@dataclass(frozen=True, slots=True)
class Frozen:
    """The site's own value in a run without interventions: an attention pattern kept while its inputs change."""


@dataclass(frozen=True, slots=True)
class Without:
    """A pattern without some keys (positions, from 0): no attention there, the rest scaled to sum to 1.

    The same as if their scores were −∞. Source: Geva et al. 2023, Dissecting Recall of Factual Associations.
    """

    keys: Sequence[int]


Value = Tensor | Mean | Zero | Resample | Frozen | Without


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """Put `value` at `site`: a tensor that broadcasts to the site's shape (see `Site`), or a form of it."""

    site: Site
    value: Value


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """Change what `receiver` reads from the residual stream as if `sender` had been patched, and nothing else.

    The receiver's input becomes resid + (what the sender writes when patched − what it writes), with everything
    between the two as in a run without interventions; what the receiver then computes is patched in. Receivers
    are q, k, v (of a head or of all), mlp_in, mlp_pre, mlp_post, mlp_out, attn_out, final_norm and logits; senders
    write to the residual stream: embedding, z, head_out, attn_out, mlp_pre, mlp_post, mlp_out.

    Source: Goldowsky-Dill et al. 2023, Localizing Model Behavior with Path Patching; Wang et al. 2022 (IOI), App. B.
    """

    sender: Patch
    receiver: Site


Intervention = Patch | Path | tuple[Patch | Path, ...]


def parts(intervention: Intervention) -> tuple[Patch | Path, ...]:
    """The patches and paths of one intervention."""
    return intervention if isinstance(intervention, tuple) else (intervention,)
