"""The scores of heads that look a fixed number of tokens back."""

import numpy as np
import pytest

from oneway.compiler.attention import LEAD, learned, rotary


@pytest.mark.parametrize("found", [learned(31, 512), rotary(64, 512)], ids=["learned", "rotary"])
def test_all_other_distances_score_two_leads_less(found) -> None:
    scores = np.cos(np.outer(np.arange(-511, 512), found.frequencies)) @ found.weights
    peak = scores[511]
    assert peak == pytest.approx(found.peak)
    others = np.delete(scores, 511)
    assert others.max() == pytest.approx(peak - 2 * LEAD, rel=1e-3)
