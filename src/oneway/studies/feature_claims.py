"""What the study `features` claims, and by which rules it is judged.

The rules were written after two seeds of development (0 and 1) and before any of the records' seeds was run.
"""

from oneway.evidence import Claim, Measured

POSTS = "Fact Finding (Nanda et al. 2023), post 1 and its comments"
SHARP, HALF, MORE, SURE = 0.75, 0.5, 0.05, 0.9
_MISSED = 0.1


def _told(m: Measured) -> bool:
    """A probe reads the sport off the stream, so that a latent could."""
    return m["probe_middle"].low > SURE


CLAIMS = (
    Claim(
        id="F19.sharp-layer",
        text="There is no layer at which the attribute appears sharply in the latents.",
        source=f"{POSTS}: expected: no",
        rule="Read is the largest rise from one layer to the next of the mean AUC of the sports' best latents, over "
        "the whole rise from the embedding to the best layer. Control: that AUC is above 0.9 at its best layer (lower "
        "bound), and below 0.65 with shuffled labels (upper bound). Supports: upper bound "
        f"below {SHARP}. Refutes: lower bound above {SHARP}.",
        control=lambda m: m["sport_auc_best"].low > SURE and m["sport_auc_shuffled"].high < 0.65,
        supports=lambda m: m["sharpest"].high < SHARP,
        refutes=lambda m: m["sharpest"].low > SHARP,
        reads=("sharpest", "sport_auc_best", "sport_auc_shuffled", "sharpest_probe"),
    ),
    Claim(
        id="F19.name-latents",
        text="On the last token of a name, latents stand for first names and surnames.",
        source=POSTS,
        rule="Read is the share of first names and surnames that a latent stands for, at the layer where it is "
        "largest. Control: at the embedding the surnames' best latents have a mean AUC above 0.9 (lower bound). "
        f"Supports: lower bound above {HALF}. Refutes: upper bound below {HALF}.",
        control=lambda m: m["surname_auc_embedding"].low > SURE,
        supports=lambda m: m["names_found"].low > HALF,
        refutes=lambda m: m["names_found"].high < HALF,
        reads=("names_found", "surname_auc_embedding", "first_name_auc_middle", "surname_auc_middle"),
    ),
    Claim(
        id="F19.attribute-latents",
        text="In the middle of the model every sport has a latent.",
        source=POSTS,
        rule="Control: a trained probe reads the sport there (lower bound above 0.9). Supports: lower bound of the "
        f"share of the sports that a latent stands for above {HALF}. Refutes: upper bound below {HALF}.",
        control=_told,
        supports=lambda m: m["sport_found_middle"].low > HALF,
        refutes=lambda m: m["sport_found_middle"].high < HALF,
        reads=("sport_found_middle", "probe_middle", "sport_found_untrained", "sport_found_shuffled"),
    ),
    Claim(
        id="F19.untrained",
        text="A trained dictionary tells more of the attribute than an untrained one.",
        source="Heap et al. 2025 (arXiv 2501.17727), who find alike latents in random transformers; the claim is ours",
        rule="Control: a trained probe reads the sport (lower bound above 0.9). Supports: lower bound of the gain in "
        f"the mean AUC of the sports' best latents, in the middle of the model, above {MORE}. Refutes: upper bound "
        f"below {MORE}.",
        control=_told,
        supports=lambda m: m["sport_auc_gain"].low > MORE,
        refutes=lambda m: m["sport_auc_gain"].high < MORE,
        reads=("sport_auc_gain", "sport_auc_middle", "sport_auc_untrained", "probe_middle"),
    ),
    Claim(
        id="F19.entity-latents",
        text="With more latents than athletes, most athletes have a latent of their own.",
        source=POSTS,
        rule="Control: where every fact has a neuron of its own by construction, the dictionary of the compiled model "
        f"finds more than half of the neurons (lower bound). Supports: lower bound of the share of the athletes that a "
        f"latent of the widest dictionary stands for above {HALF}. Refutes: upper bound below {HALF}.",
        control=lambda m: m["planted_mlp_recall"].low > HALF,
        supports=lambda m: m["entity_found_widest"].low > HALF,
        refutes=lambda m: m["entity_found_widest"].high < HALF,
        reads=("entity_found_widest", "entity_found_mlp", "entity_found_shuffled", "planted_mlp_recall"),
    ),
    Claim(
        id="F19.ablated-latents",
        text="Without the direction of a sport's latent on the name, that sport's answers move.",
        source=POSTS,
        rule="Control: another athlete's stream put there moves more than half of the answers (lower bound). Supports: "
        "lower bound of the share of that sport's answers that change, less the share that a random direction of the "
        f"same size changes, above {_MISSED}. Refutes: upper bound below {_MISSED}.",
        control=lambda m: m["moved"].low > HALF,
        supports=lambda m: m["sport_moved_gain"].low > _MISSED,
        refutes=lambda m: m["sport_moved_gain"].high < _MISSED,
        reads=("sport_moved_gain", "sport_moved_own", "sport_moved_others", "moved", "entity_moved_own"),
    ),
    Claim(
        id="F19.missed",
        text="What a dictionary leaves out of the middle of the model costs next to nothing of the loss.",
        source="Gao et al. 2024 (arXiv 2406.04093), section 4, on downstream loss; the line is ours",
        rule="Control: with the mean in its place the right answer has less than 0.6 of the probability (e to minus "
        "the mean loss, upper bound), and the dictionary leaves out more than a hundredth of the variance on names "
        "(upper bound of what is explained below 0.99). Supports: lower bound of the loss recovered above 0.9. "
        "Refutes: upper bound below 0.9.",
        control=lambda m: m["right_mean"].high < 0.6 and m["variance_names"].high < 0.99,
        supports=lambda m: m["recovered"].low > SURE,
        refutes=lambda m: m["recovered"].high < SURE,
        reads=("recovered", "right_mean", "variance_names", "variance_text", "extra_loss"),
    ),
    Claim(
        id="F19.linear-relation",
        text="The sport is an affine function of the stream on the last token of the name.",
        source="Hernandez et al. 2023 (arXiv 2308.09124); Fact Finding, post 1",
        rule="Control: another athlete's stream put there moves more than half of the answers (lower bound), and the "
        "most frequent sport is that of fewer than half (upper bound). Supports: lower bound of the map's faithfulness "
        "in the middle of the model, on athletes it was not fitted on, above 0.6, the source's line. Refutes: upper "
        "bound below 0.6.",
        control=lambda m: m["moved"].low > HALF and m["chance"].high < HALF,
        supports=lambda m: m["faithful_middle"].low > 0.6,
        refutes=lambda m: m["faithful_middle"].high < 0.6,
        reads=("faithful_middle", "causal_middle", "moved", "chance"),
    ),
    Claim(
        id="F19.planted-neurons",
        text="With a neuron per fact and twice as many latents, a dictionary of the hidden layer finds the neurons.",
        source="The compiler; the claim is ours",
        rule="Control: an untrained dictionary finds fewer than a tenth of them (upper bound). Supports: lower bounds "
        f"of precision and recall above {SURE}. Refutes: the upper bound of either below {SURE}.",
        control=lambda m: m["planted_mlp_recall_untrained"].high < 0.1,
        supports=lambda m: min(m["planted_mlp_recall"].low, m["planted_mlp_precision"].low) > SURE,
        refutes=lambda m: min(m["planted_mlp_recall"].high, m["planted_mlp_precision"].high) < SURE,
        reads=("planted_mlp_recall", "planted_mlp_precision", "planted_mlp_recall_untrained"),
    ),
    Claim(
        id="F19.planted-codes",
        text="With twice as many latents, a dictionary of the residual stream finds the codes of words and answers.",
        source="The compiler; the claim is ours",
        rule="Control: an untrained dictionary finds fewer than a tenth of them (upper bound), and the trained one "
        f"explains more than 0.9 of the variance (lower bound). Supports: lower bounds of precision and recall "
        f"above {SURE}. Refutes: the upper bound of either below {SURE}.",
        control=lambda m: (
            m["planted_residual_recall_untrained"].high < 0.1 and m["planted_residual_variance"].low > SURE
        ),
        supports=lambda m: min(m["planted_residual_recall"].low, m["planted_residual_precision"].low) > SURE,
        refutes=lambda m: min(m["planted_residual_recall"].high, m["planted_residual_precision"].high) < SURE,
        reads=(
            "planted_residual_recall",
            "planted_residual_precision",
            "planted_residual_recall_untrained",
            "planted_residual_variance",
        ),
    ),
)
