"""Tables that share everything or nothing, by hand, and what a unit takes from both directions."""

import pytest
import torch

from oneway.anatomy.entries import alignment, edit, entries, leads, overlap
from oneway.models.architecture import Architecture
from oneway.models.transformer import initial_weights, logits

TINY = Architecture(
    vocab=8, context=2, layers=1, width=8, heads=2, mlp=16, unembedding="untied", init_std=0.5
)


def one_matrix() -> dict[str, torch.Tensor]:
    return {"W_U": torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0))}


def rows(weights):
    return weights["W_U"]


def columns(weights):
    return weights["W_U"].mT


def test_a_lead_is_the_logit_less_the_mean_of_the_others():
    table = torch.tensor([[[3.0, 1.0, 2.0], [0.0, 5.0, 1.0], [1.0, 1.0, 4.0]]])
    assert leads(table).tolist() == [[1.5, 4.5, 3.0]]


def test_a_matrix_that_is_read_along_rows_or_columns_is_shared():
    weights = one_matrix()
    aligned = alignment(weights, rows, columns)
    assert set(aligned) == {"W_U"}
    # By hand: g = e_ii less a third of the rest of its row, less the mean over facts; likewise h along the column.
    g = torch.stack([torch.eye(4)[i][:, None] * (torch.eye(4)[i] * 4 / 3 - 1 / 3) for i in range(4)])
    h = g.mT
    g, h = ((part - part.mean(0)).flatten(1) for part in (g, h))
    cosines = torch.nn.functional.normalize(g, dim=1) @ torch.nn.functional.normalize(h, dim=1).T
    expected = cosines.diagonal().mean() - (cosines.sum() - cosines.trace()) / 12
    assert torch.allclose(aligned["W_U"], expected.expand(2), atol=1e-5)
    # An edit moves one cell up and one down; less its row's mean a cell of the reverse keeps 3/4 of that.
    assert torch.allclose(edit(weights, "W_U", rows, columns), torch.full((2,), 0.75), atol=1e-5)


def test_two_matrices_share_nothing():
    weights = initial_weights(TINY, (1, 2)) | one_matrix() | {"W_E": torch.randn(2, 4, 4)}
    assert alignment(weights, rows, lambda w: w["W_E"]) == {}
    found = entries(weights, TINY, rows, lambda w: w["W_E"])
    assert (found.alignment.tolist(), found.edit.tolist(), found.matrix) == ([0, 0], [0, 0], "")


def test_what_matters_for_a_table_matters_for_itself_and_little_for_another():
    weights = initial_weights(TINY, (1, 2))
    prompts = torch.tensor([[[0, 1], [2, 1], [3, 1], [4, 1]]]).expand(2, -1, -1)

    def table(w):
        return logits(w, prompts, TINY)[:, :, -1, 4:]

    assert (overlap(weights, TINY, table, table) > 0.9).all()


def test_an_edit_that_no_step_brings_about_is_an_error():
    with pytest.raises(ValueError, match="could not be given another object"):
        edit(one_matrix(), "W_U", lambda w: torch.zeros(2, 4, 4) + 0 * w["W_U"], columns)
