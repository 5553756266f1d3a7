"""F1–F16 and N1 as claims with their rules: of one model, or of several seeds, the same.

Written before any model was dissected with them. A rule reads estimates by the names that the steps of
`oneway.anatomy` give them; what could not be measured has no interval, and its claim is inconclusive.
"""

from oneway.evidence import Claim, Measured

POST_2 = "Fact Finding (Nanda et al. 2023), post 2"
POST_3 = "Fact Finding (Nanda et al. 2023), post 3"
THREAD = "Nanda 2023, thread on asymmetric lookup"


def _reads_at_head(m: Measured) -> bool:
    """The control of everything that asks what is left of the lookup: there is one to read."""
    return m["F4.trained"].low > m["F4.chance"].mean + 0.1


CLAIMS = (
    Claim(
        id="F1",
        text="A few heads say the answer.",
        source=f"{POST_2}: a sparse set, first of all L16H20 and L21H9",
        rule="Control: the right answer leads (lower bound of the log-odds above 0). Supports: a tenth of "
        "the heads (one to six), chosen on half of the facts, have more than half of all heads' "
        "positive direct effect on the other half (lower bound). Refutes: upper bound below half.",
        control=lambda m: m["F1.log_odds"].low > 0 and m["F1.even"].mean < 0.5,
        supports=lambda m: m["F1.share"].low > 0.5,
        refutes=lambda m: m["F1.share"].high < 0.5,
        reads=("F1.log_odds", "F1.share", "F1.even"),
    ),
    Claim(
        id="F1.agreement",
        text="Direct effects foretell what ablating a component at the last position does.",
        source=f"{POST_2}: direct effect by path patching",
        rule="Control: the right answer leads. Supports: lower bound of the rank correlation over "
        "components above 0.6. Refutes: upper bound below 0.3.",
        control=lambda m: m["F1.log_odds"].low > 0,
        supports=lambda m: m["F1.agreement"].low > 0.6,
        refutes=lambda m: m["F1.agreement"].high < 0.3,
        reads=("F1.log_odds", "F1.agreement"),
    ),
    Claim(
        id="F2",
        text="The head that says the answer looks at the name's last token, or rests.",
        source=f"{POST_2}: the final name token, else BOS or a newline",
        rule="Control: even attention would give the name's last token less than 0.25. Supports: attention "
        "to the name's last token or a resting position above 0.7 and to the name's last token above "
        "0.25 (lower bounds). Refutes: upper bound of either below its level.",
        control=lambda m: m["F2.even"].mean < 0.25,
        supports=lambda m: m["F2.on_name_or_resting"].low > 0.7 and m["F2.on_name"].low > 0.25,
        refutes=lambda m: m["F2.on_name_or_resting"].high < 0.7 or m["F2.on_name"].high < 0.25,
        reads=("F2.even", "F2.on_name", "F2.on_name_or_resting"),
    ),
    Claim(
        id="F2.otherwise",
        text="It says the answer also when another attribute is asked for.",
        source="Chughtai et al. 2024 (arXiv 2402.07321), cited in Fact Finding, post 2",
        rule="Control: it says the answer when asked (lower bound above 0). Supports: asked for something "
        "else its effect has a lower bound above a tenth of that. Refutes: upper bound below a tenth "
        "of it.",
        control=lambda m: m["F2.said"].low > 0,
        supports=lambda m: m["F2.said_otherwise"].low > 0.1 * m["F2.said"].mean,
        refutes=lambda m: m["F2.said_otherwise"].high < 0.1 * m["F2.said"].mean,
        reads=("F2.said", "F2.said_otherwise"),
    ),
    Claim(
        id="F3",
        text="That head reads MLP outputs on the name's last token.",
        source=f"{POST_2}: L16H20 reads MLPs before it",
        rule="Control: the right answer leads. Supports: MLPs have more than half of the positive effect of "
        "what it reads (lower bound). Refutes: upper bound below half.",
        control=lambda m: m["F1.log_odds"].low > 0,
        supports=lambda m: m["F3.mlps"].low > 0.5,
        refutes=lambda m: m["F3.mlps"].high < 0.5,
        reads=("F1.log_odds", "F3.mlps"),
    ),
    Claim(
        id="F3.composition",
        text="Later extracting heads read what the first one wrote on the name's last token.",
        source=f"{POST_2}: V-composition of heads 2 to 6 with L16H20",
        rule="Control: the right answer leads. Supports: the first head has more than a fifth of the "
        "positive effect of what later ones read (lower bound). Refutes: upper bound below a fifth.",
        control=lambda m: m["F1.log_odds"].low > 0,
        supports=lambda m: m["F3.composition"].low > 0.2,
        refutes=lambda m: m["F3.composition"].high < 0.2,
        reads=("F1.log_odds", "F3.composition"),
    ),
    Claim(
        id="F4",
        text="The weights of one head and the unembedding read the answer off the name's last token.",
        source=f"{POST_2}: 98% with L16H20, of athletes whom the model knows",
        rule="Control: a trained probe reads it too (lower bound 0.1 above chance), and none trained on "
        "shuffled answers (upper bound below 0.1 above chance). Supports: lower bound of the accuracy "
        "at or above 0.9. Refutes: upper bound below 0.9.",
        control=lambda m: _reads_at_head(m) and m["F4.shuffled"].high < m["F4.chance"].mean + 0.1,
        supports=lambda m: m["F4.probe"].low >= 0.9,
        refutes=lambda m: m["F4.probe"].high < 0.9,
        reads=("F4.probe", "F4.trained", "F4.shuffled", "F4.chance"),
    ),
    Claim(
        id="F4.causal",
        text="What the probe reads is what the model uses: another athlete's in its place is answered.",
        source=f"{POST_2}: patching the probe's subspace",
        rule="Control: the whole stream of another athlete is followed by more than half (lower bound). "
        "Supports: the probe's subspace alone is followed by more than half of as many (lower bound), "
        "a random one of as many dimensions by less than half of that (upper bound). Refutes: the "
        "subspace by less than half of as many (upper bound).",
        control=lambda m: m["F4.follows_all"].low > 0.5,
        supports=lambda m: (
            m["F4.follows"].low > 0.5 * m["F4.follows_all"].mean
            and m["F4.follows_random"].high < 0.5 * m["F4.follows"].mean
        ),
        refutes=lambda m: m["F4.follows"].high < 0.5 * m["F4.follows_all"].mean,
        reads=("F4.follows", "F4.follows_all", "F4.follows_random"),
    ),
    Claim(
        id="F5",
        text="A quarter of the layers is enough for nearly all that a probe will read.",
        source=f"{POST_2}: about 90% by layer 6 of 32, a plateau by layer 8",
        rule="Control: a trained probe reads the answer where the head does (0.1 above chance). Supports: "
        "after a quarter of the layers it reads at most 0.1 less (upper bound). Refutes: lower bound "
        "of what is missing above 0.1.",
        control=_reads_at_head,
        supports=lambda m: m["F5.lost_at_quarter"].high <= 0.1,
        refutes=lambda m: m["F5.lost_at_quarter"].low > 0.1,
        reads=("F4.trained", "F4.chance", "F5.lost_at_quarter"),
    ),
    Claim(
        id="F5.half",
        text="Half of the layers are enough.",
        source=f"{POST_2}: the looser form of the same, for models with few layers",
        rule="As F5, after half of the layers.",
        control=_reads_at_head,
        supports=lambda m: m["F5.lost_at_half"].high <= 0.1,
        refutes=lambda m: m["F5.lost_at_half"].low > 0.1,
        reads=("F4.trained", "F4.chance", "F5.lost_at_half"),
    ),
    Claim(
        id="F6",
        text="The lookup does not need the context.",
        source=f"{POST_2}: little drop on the name alone",
        rule="Control: a trained probe reads the answer in context (0.1 above chance). Supports: on the "
        "name alone a probe reads at most 0.05 less (upper bound). Refutes: lower bound of the loss "
        "above 0.05.",
        control=_reads_at_head,
        supports=lambda m: m["F6.lost"].high <= 0.05,
        refutes=lambda m: m["F6.lost"].low > 0.05,
        reads=("F4.trained", "F4.chance", "F6.lost"),
    ),
    Claim(
        id="F7",
        text="Attention on the name above the first two layers does not matter for the lookup.",
        source=f"{POST_2}: mean-ablating attention from layer 2 costs little",
        rule="Control: without any attention there most is lost (upper bound of what is right below 0.75). "
        "Supports: without attention from layer 2 at least 0.85 is right (lower bound). Refutes: upper "
        "bound below 0.85.",
        control=lambda m: m["F7.no_attention"].high < 0.75,
        supports=lambda m: m["F7.left"].low >= 0.85,
        refutes=lambda m: m["F7.left"].high < 0.85,
        reads=("F7.no_attention", "F7.left"),
    ),
    Claim(
        id="F7.early-heads",
        text="The heads that matter on the name are in the first two layers.",
        source=f"{POST_2}: layers 0 and 1 hold them",
        rule="Control: without any attention there most is lost (upper bound below 0.75). Supports: heads "
        "of the first two layers have more than half of the positive total effect there (lower bound). "
        "Refutes: upper bound below.",
        control=lambda m: m["F7.no_attention"].high < 0.75,
        supports=lambda m: m["F7.early_heads"].low > 0.5,
        refutes=lambda m: m["F7.early_heads"].high < 0.5,
        reads=("F7.no_attention", "F7.early_heads"),
    ),
    Claim(
        id="F7.mlps-on-name",
        text="It is the MLPs on the name's last token that look the answer up, not those at the last "
        "position.",
        source=f"{POST_2}, and the caveat that attention or the last position may do part of it",
        rule="Control: nothing taken away, at least 0.9 is right (lower bound). Supports: without the MLPs "
        "on the name less than 0.75 is right (upper bound) and without those at the last position more "
        "than without those (lower bound above the other's upper bound). Refutes: without the MLPs on "
        "the name at least 0.75 is right (lower bound).",
        control=lambda m: m["F7.clean"].low >= 0.9,
        supports=lambda m: (
            m["F7.name_mlps_removed"].high < 0.75
            and m["F7.last_mlps_removed"].low > m["F7.name_mlps_removed"].high
        ),
        refutes=lambda m: m["F7.name_mlps_removed"].low >= 0.75,
        reads=("F7.clean", "F7.name_mlps_removed", "F7.last_mlps_removed"),
    ),
    Claim(
        id="F8",
        text="The lookup is a function of the sum of what each token of the name brings.",
        source=f"{POST_2}: 86% with patterns frozen in the first layers, no context and no attention above",
        rule="Control: a trained probe reads the answer (0.1 above chance). Supports: on the name alone, "
        "with patterns of the first two layers at their mean and no attention above, the trained probe "
        "reads at least 0.8 (lower bound). Refutes: upper bound below 0.8.",
        control=_reads_at_head,
        supports=lambda m: m["F8.sum"].low >= 0.8,
        refutes=lambda m: m["F8.sum"].high < 0.8,
        reads=("F4.trained", "F4.chance", "F8.sum"),
    ),
    Claim(
        id="F8.search",
        text="A search finds an effective model with at most half of the parts.",
        source=f"{POST_2}: the reduction, made there by hand",
        rule="Control: a trained probe reads the answer (0.1 above chance). Supports: what the search "
        "leaves reads at least 0.8 on facts that it did not choose by (lower bound), and it took away "
        "at least half of the parts. Refutes: upper bound below 0.8.",
        control=_reads_at_head,
        supports=lambda m: m["F8.effective"].low >= 0.8 and m["F8.taken_share"].mean >= 0.5,
        refutes=lambda m: m["F8.effective"].high < 0.8,
        reads=("F4.trained", "F4.chance", "F8.effective", "F8.taken_share"),
    ),
    Claim(
        id="F9",
        text="MLPs compose: the paths between them matter.",
        source=f"{POST_3}: significant drops",
        rule="Control: the probe reads the answer (lower bound above 0.8), and without all these MLPs loses "
        "more than 0.1 (lower bound). Supports: without the paths between them it loses more than 0.05 "
        "(lower bound). Refutes: upper bound below 0.05.",
        control=lambda m: m["F9.clean"].low > 0.8 and m["F9.together"].low > 0.1,
        supports=lambda m: m["F9.all_paths"].low > 0.05,
        refutes=lambda m: m["F9.all_paths"].high < 0.05,
        reads=("F9.clean", "F9.together", "F9.all_paths"),
    ),
    Claim(
        id="F9.from-first-mlp",
        text="Most is lost by the paths out of the first of these MLPs.",
        source=f"{POST_3}: paths out of MLP 2",
        rule="Control: as F9, and the paths matter (lower bound of the loss above 0). Supports: its paths "
        "cost more than those out of any other MLP (lower bound of the difference above 0). Refutes: "
        "upper bound below 0.",
        control=lambda m: m["F9.clean"].low > 0.8 and m["F9.all_paths"].low > 0,
        supports=lambda m: m["F9.from_first"].low > 0,
        refutes=lambda m: m["F9.from_first"].high < 0,
        reads=("F9.clean", "F9.all_paths", "F9.from_first"),
    ),
    Claim(
        id="F9.parallel",
        text="The rival: these MLPs do the same thing in parallel.",
        source=f"{POST_3}, a reader's comment",
        rule="Control: without all of them the probe loses more than 0.1 (lower bound). Supports: without "
        "the paths between them it loses less than 0.05, and without any one of them too (upper "
        "bounds). Refutes: either loses more (lower bounds).",
        control=lambda m: m["F9.together"].low > 0.1,
        supports=lambda m: m["F9.all_paths"].high < 0.05 and m["F9.alone"].high < 0.05,
        refutes=lambda m: m["F9.all_paths"].low > 0.05 or m["F9.alone"].low > 0.05,
        reads=("F9.together", "F9.all_paths", "F9.alone"),
    ),
    Claim(
        id="F10",
        text="Different facts of one entity are not kept in the same neurons.",
        source=f"{POST_3}: correlations near zero",
        rule="Control: the same fact in other words finds the same neurons (lower bound of the correlation "
        "above 0.3). Supports: other facts of the entity correlate within ±0.1. Refutes: lower bound "
        "above 0.1.",
        control=lambda m: m["F10.same_fact"].low > 0.3,
        supports=lambda m: m["F10.other_fact"].low > -0.1 and m["F10.other_fact"].high < 0.1,
        refutes=lambda m: m["F10.other_fact"].low > 0.1,
        reads=("F10.same_fact", "F10.other_fact"),
    ),
    Claim(
        id="F11",
        text="Most of the AND that reaches the output was made by earlier neurons.",
        source=f"{POST_3}: a median ratio of 23%",
        rule="Control: most names have a positive excess at the probe (lower bound above half). Supports: "
        "upper bound of the median ratio below half. Refutes: lower bound above half.",
        control=lambda m: m["F11.positive"].low > 0.5,
        supports=lambda m: m["F11.ratio"].high < 0.5,
        refutes=lambda m: m["F11.ratio"].low > 0.5,
        reads=("F11.positive", "F11.ratio"),
    ),
    Claim(
        id="F12",
        text="A single neuron tells an answer, and its loss is felt.",
        source=f"{POST_3}: L5N6045, AUC 89.3%, loss from 0.167 to 0.284",
        rule="Control: a trained probe reads the answer (0.1 above chance). Supports: AUC, on facts that it "
        "was not chosen by, above 0.75 and ablating it adds to the loss (lower bounds above 0.75 and "
        "0). Refutes: upper bound of the AUC below 0.75, or of the added loss below 0.",
        control=_reads_at_head,
        supports=lambda m: m["F12.auc"].low > 0.75 and m["F12.loss_added"].low > 0,
        refutes=lambda m: m["F12.auc"].high < 0.75 or m["F12.loss_added"].high < 0,
        reads=("F4.trained", "F4.chance", "F12.auc", "F12.loss_added"),
    ),
    Claim(
        id="F12.not-boosting",
        text="It does more than boost a signal that is there.",
        source=f"{POST_3}: 83% AUC without the three directions",
        rule="Control: it tells the answer (lower bound of the AUC above 0.6). Supports: without the "
        "directions of its output, of the head and of the answer it keeps more than half of its AUC "
        "above one half (lower bound). Refutes: upper bound below.",
        control=lambda m: m["F12.auc"].low > 0.6,
        supports=lambda m: m["F12.auc_after"].low > 0.5 + (m["F12.auc"].mean - 0.5) / 2,
        refutes=lambda m: m["F12.auc_after"].high < 0.5 + (m["F12.auc"].mean - 0.5) / 2,
        reads=("F12.auc", "F12.auc_after"),
    ),
    Claim(
        id="F13",
        text="What a probe reads rises smoothly through the lookup.",
        source=f"{POST_3}: from 50% of the summed tokens, no jump from chance",
        rule="Control: at the end it reads 0.2 above chance (lower bound). Supports: the summed tokens are "
        "above chance (lower bound) and no step has more than two thirds of the rise (upper bound). "
        "Refutes: the summed tokens at chance (upper bound at most 0.05 above) and one step more than "
        "two thirds (lower bound).",
        control=lambda m: m["F13.end"].low > m["F13.chance"].mean + 0.2,
        supports=lambda m: m["F13.summed"].low > m["F13.chance"].mean and m["F13.jump"].high < 2 / 3,
        refutes=lambda m: m["F13.summed"].high <= m["F13.chance"].mean + 0.05 and m["F13.jump"].low > 2 / 3,
        reads=("F13.summed", "F13.chance", "F13.end", "F13.jump"),
    ),
    Claim(
        id="F14",
        text="MLPs write more for known names than for unknown ones.",
        source=f"{POST_3}: larger norms, already at MLP 1",
        rule="Control: a trained probe reads the answer (0.1 above chance). Supports: lower bound of the "
        "ratio of norms, a mean over the lookup's MLPs, above 1. Refutes: upper bound below 1.",
        control=_reads_at_head,
        supports=lambda m: m["F14.ratio"].low > 1,
        refutes=lambda m: m["F14.ratio"].high < 1,
        reads=("F4.trained", "F4.chance", "F14.ratio"),
    ),
    Claim(
        id="F15",
        text="Early MLPs break linear structure, more than random weights do.",
        source=f"{POST_3}: 60–70% broken, 20–40% with shuffled weights",
        rule="Control: a trained probe reads the answer (0.1 above chance). Supports: more than half broken "
        "(lower bound) and more than with shuffled weights (lower bound above the other's upper "
        "bound). Refutes: less than half (upper bound), or no more than with shuffled weights (upper "
        "bound below the other's lower bound).",
        control=_reads_at_head,
        supports=lambda m: m["F15.mlps"].low > 0.5 and m["F15.mlps"].low > m["F15.mlps_shuffled"].high,
        refutes=lambda m: m["F15.mlps"].high < 0.5 or m["F15.mlps"].high < m["F15.mlps_shuffled"].low,
        reads=("F4.trained", "F4.chance", "F15.mlps", "F15.mlps_shuffled"),
    ),
    Claim(
        id="F16",
        text="The orthogonal remainder misleads: names that hold nothing of their own give the same.",
        source=f"{POST_3}: a test that its authors withdrew",
        rule="Control: the remainder seems to tell the answer (lower bound of the AUC above half). "
        "Supports: what it tells beyond the simulated null has an interval that holds 0. Refutes: "
        "lower bound above 0.",
        control=lambda m: m["F16.auc"].low > 0.5,
        supports=lambda m: m["F16.beyond_null"].low <= 0 <= m["F16.beyond_null"].high,
        refutes=lambda m: m["F16.beyond_null"].low > 0,
        reads=("F16.auc", "F16.beyond_null"),
    ),
    Claim(
        id="N1.previous-token.head",
        text="A head brings the name's earlier part to its last token.",
        source=THREAD,
        rule="Control: the right answer leads. Supports: the head that matters most there looks at the "
        "earlier parts with more than 0.25, and another name's value in its place costs more than a "
        "tenth of the log-odds (lower bounds). Refutes: upper bound of either below its level.",
        control=lambda m: m["N1.log_odds"].low > 0,
        supports=lambda m: (
            m["N1.carrier_attention"].low > 0.25 and m["N1.carrier_effect"].low > 0.1 * m["N1.log_odds"].mean
        ),
        refutes=lambda m: (
            m["N1.carrier_attention"].high < 0.25 or m["N1.carrier_effect"].high < 0.1 * m["N1.log_odds"].mean
        ),
        reads=("N1.log_odds", "N1.carrier_attention", "N1.carrier_effect"),
    ),
    Claim(
        id="N1.previous-token.subspace",
        text="The earlier part has a subspace of its own on the last token.",
        source=THREAD,
        rule="Control: another name in a random subspace of as many dimensions leaves at least 0.75 right "
        "(lower bound). Supports: another name in the subspace that the first part spans leaves less "
        "than 0.75 (upper bound). Refutes: lower bound at or above 0.75.",
        control=lambda m: m["N1.keeps_random"].low >= 0.75,
        supports=lambda m: m["N1.keeps_subspace"].high < 0.75,
        refutes=lambda m: m["N1.keeps_subspace"].low >= 0.75,
        reads=("N1.keeps_random", "N1.keeps_subspace"),
    ),
    Claim(
        id="N1.conjunction",
        text="Neurons that fire on both parts of a name carry the lookup.",
        source=THREAD,
        rule="Control: as many other neurons of the same layers ablated leave at least 0.75 right (lower "
        "bound). Supports: the twentieth of the neurons that makes most of the AND ablated leaves at "
        "least 0.1 less than without the others (from lower to upper bound). Refutes: at most 0.1 less "
        "(from upper to lower bound).",
        control=lambda m: m["N1.without_other_neurons"].low >= 0.75,
        supports=lambda m: m["N1.without_other_neurons"].low - m["N1.without_and_neurons"].high >= 0.1,
        refutes=lambda m: m["N1.without_other_neurons"].high - m["N1.without_and_neurons"].low < 0.1,
        reads=("N1.without_and_neurons", "N1.without_other_neurons"),
    ),
    Claim(
        id="N1.next-output",
        text="The next word of the answer is kept on the name's last token too.",
        source=THREAD,
        rule="Control: the second token of the answer is known of enough facts to be asked. Supports: with "
        "another name's stream there before the middle layer more than half of the second tokens "
        "follow it (lower bound). Refutes: upper bound below half.",
        control=lambda m: m["N1.next_output"].n >= 20,
        supports=lambda m: m["N1.next_output"].low > 0.5,
        refutes=lambda m: m["N1.next_output"].high < 0.5,
        reads=("N1.next_output",),
    ),
    Claim(
        id="N1.next-output.then",
        text="And so is the one after it.",
        source=THREAD,
        rule="As N1.next-output, of the third token.",
        control=lambda m: m["N1.next_next_output"].n >= 20,
        supports=lambda m: m["N1.next_next_output"].low > 0.5,
        refutes=lambda m: m["N1.next_next_output"].high < 0.5,
        reads=("N1.next_next_output",),
    ),
    Claim(
        id="N1.next-output.neurons",
        text="The neurons that write an answer's first token write its second.",
        source=THREAD,
        rule="Control: the second token is known of enough facts. Supports: lower bound of the correlation "
        "of a neuron's effects on the two above 0.3. Refutes: upper bound below 0.3.",
        control=lambda m: m["N1.same_neurons"].n >= 2,
        supports=lambda m: m["N1.same_neurons"].low > 0.3,
        refutes=lambda m: m["N1.same_neurons"].high < 0.3,
        reads=("N1.same_neurons",),
    ),
    Claim(
        id="N1.next-output.movers",
        text="Late heads move the next output along once the first is out: they look at the name, and "
        "without them it is lost.",
        source=THREAD,
        rule="Control: the second token is known of enough facts. Supports: another fact's values in the "
        "heads that say it cost more than half of its log-odds, and the first of them looks at the "
        "name with more than 0.25 (lower bounds). Refutes: upper bound of either below its level.",
        control=lambda m: m["N1.movers_cost"].n >= 20,
        supports=lambda m: m["N1.movers_cost"].low > 0.5 and m["N1.movers_look"].low > 0.25,
        refutes=lambda m: m["N1.movers_cost"].high < 0.5 or m["N1.movers_look"].high < 0.25,
        reads=("N1.movers_cost", "N1.movers_look"),
    ),
)
