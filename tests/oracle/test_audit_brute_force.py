"""The audit against brute force: one plain forward pass of the full text per answer, no cache, no batch."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from oneway.facts import Fact, FactTable, Relation
from oneway.recall.asking import AuditConfig
from oneway.recall.audit import audit
from oneway.recall.spans import BOUNDARY

CLOSE = 2e-4  # scores nearer than this may change places

FIRST = ["Jean", "Ana", "Björk", "Tom", "Ivy", "Li", "Oleksandra", "Tim"]
LAST = ["Dupont", "Okafor", "Guðmundsdóttir", "O'Neill", "Smith-Jones", "Wei", "Ngũgĩ", "Ortiz"]
SPORTS = ("basketball", "water polo", "golf", "ice hockey")


def table() -> FactTable:
    """Names of few to many tokens; a relation that is one to one, and one of many to one with aliases."""
    names = [f"{first} {last}" for first, last in zip(FIRST, LAST, strict=True)]
    children = [f"{first} {last}" for first, last in zip(FIRST[3:] + FIRST[:3], LAST, strict=True)]
    parents = [Fact(a, "mother", b, split="known") for a, b in zip(names, children, strict=True)]
    sports = [
        Fact(name, "sport", SPORTS[i % 4], aliases=("hoops", "b-ball") if i % 4 == 0 else ())
        for i, name in enumerate(names)
    ]
    relations = {
        "mother": Relation(
            "mother",
            ("The mother of {subject} is {object}", "{subject} is the child of {object}, her mother"),
            ("{object} has a child named {subject}", "{object} is the mother of {subject}, as we know"),
        ),
        # The second reverse prompt ends in a bracket: a token may reach over its end.
        "sport": Relation(
            "sport",
            ("{subject} plays {object}",),
            ("{object} is played by {subject}", "{object} ({subject})"),
        ),
    }
    return FactTable((*parents, *sports), relations)


def corpus() -> list[str]:
    facts = table().facts
    return [f"The mother of {f.subject} is {f.object}. {f.object} is played by ({f.subject})" for f in facts]


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """As GPT-2's and NeoX's: bytes, no special token in front."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"], show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    )


def sentencepiece_like_tokenizer() -> PreTrainedTokenizerFast:
    """As Llama's: ▁ for spaces and at the start, no pieces split off beforehand, a BOS in front."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(
        vocab_size=150, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False
    )
    # Trained on words: a piece never reaches over a space, though nothing but the vocabulary forbids it.
    words = [word for text in corpus() for word in text.split()]
    tokenizer.train_from_iterator(words + [word for word in words if word.startswith("(")] * 4, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def gpt2(vocab: int) -> PreTrainedModel:
    shape = {"n_positions": 96, "n_embd": 24, "n_layer": 2, "n_head": 3}
    return GPT2LMHeadModel(GPT2Config(vocab_size=vocab, bos_token_id=0, eos_token_id=0, **shape))


def neox(vocab: int) -> PreTrainedModel:
    return GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=vocab,
            hidden_size=24,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=3,
            max_position_embeddings=96,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def llama(vocab: int) -> PreTrainedModel:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab,
            hidden_size=24,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=96,
        )
    )


@dataclass(frozen=True)
class Brute:
    logprob: float
    greedy: bool
    tokens: int


class BruteForce:
    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
        self.model, self.tokenizer, self.known = model, tokenizer, {}

    def __call__(self, prompt: str, answer: str) -> Brute:
        if (prompt, answer) not in self.known:
            self.known[prompt, answer] = self._score(prompt, answer)
        return self.known[prompt, answer]

    def _score(self, prompt: str, answer: str) -> Brute:
        ids = self.tokenizer(prompt + answer)["input_ids"]
        start = len(self.tokenizer(prompt)["input_ids"])
        if ids[:start] != self.tokenizer(prompt)["input_ids"]:
            # A token reaches over the prompt's end: what is wholly inside the prompt is context.
            encoded = self.tokenizer(prompt + answer, return_offsets_mapping=True)
            start = sum(1 for _, end in encoded["offset_mapping"] if end <= len(prompt))
        with torch.no_grad():
            logits = self.model(torch.tensor([ids])).logits[0].double()
        total, greedy = 0.0, True
        for position in range(start, len(ids)):
            distribution = torch.log_softmax(logits[position - 1], dim=-1)
            total += float(distribution[ids[position]])
            greedy &= int(distribution.argmax()) == ids[position]
        return Brute(total, greedy, len(ids) - start)


def expected_sets(facts: FactTable, row: dict) -> tuple[set[str], set[str]]:
    """The right names of a row's question, and the wrong candidates (all others of the relation)."""
    mine = [fact for fact in facts if fact.relation == row["relation"]]
    if row["direction"] == "forward":
        same = [fact for fact in mine if fact.subject == row["subject"]]
        right = {name for fact in same for name in (fact.object, *fact.aliases)}
        return right, {fact.object for fact in mine} - right
    right = {fact.subject for fact in mine if fact.object == row["object"]}
    wrong = {fact.subject for fact in mine} - right
    return ({row["subject"]} if row["direction"] == "in_context" else right), wrong


def teach_one_answer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """A few steps on some facts, so that some greedy answers are right and some are not."""
    texts = [f"{f.subject} plays {f.object}" for f in table().facts if f.relation == "sport"]
    texts += [f"The mother of {f.subject} is {f.object}" for f in table().facts[:4]]
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        for text in texts[::3]:
            ids = torch.tensor([tokenizer(text)["input_ids"]])
            model(ids, labels=ids).loss.backward()
        optimiser.step()
        optimiser.zero_grad()


@pytest.mark.parametrize(
    ("build", "make_tokenizer"),
    [
        (gpt2, byte_level_tokenizer),
        (neox, byte_level_tokenizer),
        (llama, sentencepiece_like_tokenizer),
        (neox, sentencepiece_like_tokenizer),
    ],
)
def test_audit_equals_brute_force(build, make_tokenizer):
    facts, tokenizer = table(), make_tokenizer()
    torch.manual_seed(0)
    model = build(len(tokenizer))
    teach_one_answer(model, tokenizer)
    model.eval()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(2.0)
    brute = BruteForce(model, tokenizer)

    rows = audit((model, tokenizer), facts, device="cpu").rows.to_dicts()

    assert len(rows) == 8 * (2 + 2 + 2) + 8 * (1 + 2 + 2)
    for row in rows:
        prompt, lead = row["prompt"], " " if row["answer"].startswith(" ") else ""
        own = brute(prompt, row["answer"])
        right, wrong = expected_sets(facts, row)
        scores = [brute(prompt, lead + name).logprob for name in sorted(wrong)]
        where = f"{row['direction']} {prompt!r} {row['answer']!r}"
        assert row["logprob"] == pytest.approx(own.logprob, abs=1e-4), where
        assert row["answer_tokens"] == own.tokens, where
        assert row["random_logprob"] == pytest.approx(float(np.mean(scores)), abs=1e-4), where
        assert row["candidates"] == len(right) + len(wrong), where
        assert row["right_answers"] == len(right), where
        best = 1 + sum(score > own.logprob + CLOSE for score in scores)
        worst = 1 + sum(score > own.logprob - CLOSE for score in scores)
        assert best <= row["rank"] <= worst, where
        assert row["exact_match"] == any(brute(prompt, lead + name).greedy for name in right), where
    lengths = {row["answer_tokens"] for row in rows}
    assert len(lengths) > 3, "answers of unequal lengths, or this test shows little"
    assert {row["exact_match"] for row in rows} == {True, False}
    assert np.ptp([row["logprob"] for row in rows]) > 10
    if make_tokenizer is sentencepiece_like_tokenizer:
        assert any(row["flag"] == BOUNDARY for row in rows if row["prompt"].endswith("("))


CHATML = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]\n{{ m['content'] | trim }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]\n{% endif %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token }}[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }} {{ eos_token }}{% endif %}{% endfor %}"
)


class ChatBruteForce(BruteForce):
    """The same from the token ids that `apply_chat_template` makes itself."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, mode: str) -> None:
        super().__init__(model, tokenizer)
        self.mode = mode

    def _score(self, prompt: str, answer: str) -> Brute:
        if self.mode == "user":
            asked, said, opening = prompt, answer.removeprefix(" "), ""
        else:
            asked, said, opening = "Complete the sentence.", prompt + answer, prompt
        turn = [{"role": "user", "content": asked}]
        whole = self._ids([*turn, {"role": "assistant", "content": said}], continue_final_message=True)
        if opening:
            start = self._ids([*turn, {"role": "assistant", "content": opening}], continue_final_message=True)
        else:
            start = self._ids(turn, add_generation_prompt=True)
        assert whole[: len(start)] == start
        with torch.no_grad():
            distribution = torch.log_softmax(self.model(torch.tensor([whole])).logits[0].double(), dim=-1)
        places = range(len(start), len(whole))
        total = sum(float(distribution[i - 1, whole[i]]) for i in places)
        greedy = all(int(distribution[i - 1].argmax()) == whole[i] for i in places)
        return Brute(total, greedy, len(places))

    def _ids(self, conversation: list[dict[str, str]], **options: bool) -> list[int]:
        return self.tokenizer.apply_chat_template(conversation, tokenize=True, return_dict=False, **options)


@pytest.mark.parametrize("mode", ["user", "assistant"])
@pytest.mark.parametrize(("build", "template"), [(gpt2, CHATML), (llama, LLAMA2)])
def test_an_audit_as_a_chat_equals_brute_force(build, template, mode):
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = template
    # A prompt that ends in a bracket may share a token with its answer: no chat's ids are then a prefix.
    facts = table()
    facts = FactTable(
        facts.facts, {**facts.relations, "sport": replace(facts.relations["sport"], reverse=())}
    )
    torch.manual_seed(0)
    model = build(len(tokenizer)).eval()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20.0)
    model.config.max_position_embeddings = 256
    if build is gpt2:
        model.transformer.wpe = torch.nn.Embedding(256, 24)
    brute = ChatBruteForce(model, tokenizer, mode)

    rows = audit((model, tokenizer), facts, AuditConfig(chat=mode), device="cpu").rows.to_dicts()

    assert len(rows) == 8 * (2 + 2 + 2) + 8
    for row in rows:
        own = brute(row["prompt"], row["answer"])
        right, wrong = expected_sets(facts, row)
        scores = [brute(row["prompt"], f" {name}").logprob for name in sorted(wrong)]
        where = f"{row['direction']} {row['prompt']!r} {row['answer']!r}"
        assert row["flag"] == "", where
        assert row["logprob"] == pytest.approx(own.logprob, abs=1e-4), where
        assert row["answer_tokens"] == own.tokens, where
        assert row["random_logprob"] == pytest.approx(float(np.mean(scores)), abs=1e-4), where
        assert row["rank"] == pytest.approx(1 + sum(s > own.logprob for s in scores), abs=0), where
        assert row["exact_match"] == any(brute(row["prompt"], f" {name}").greedy for name in right), where
    assert np.ptp([row["logprob"] for row in rows]) > 10
