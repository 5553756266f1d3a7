"""Chat templates: what stands around the prompt, whose special tokens count, and what a record says."""

import pytest
import torch
from tokenizers import processors
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from oneway.facts import Fact, FactTable, Relation
from oneway.models.tokens import bpe_tokenizer
from oneway.recall.asking import AuditConfig
from oneway.recall.audit import audit
from oneway.recall.chat import INSTRUCTION, Chat, ChatError
from oneway.recall.spans import SPECIAL, Split, Splitter

CHATML = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MOTHER = Relation(
    "mother", ("The mother of {subject} is {object}",), ("{object} is the mother of {subject}",)
)
TABLE = FactTable(
    (Fact("Ann Lee", "mother", "May Wu"), Fact("Bea Roe", "mother", "Ida Orr")), {"mother": MOTHER}
)
OPENED = "<bos><|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


def chat_tokenizer(template: str | None = CHATML) -> PreTrainedTokenizerFast:
    tokenizer = bpe_tokenizer(
        [f"{f.subject} {f.object} user assistant Complete the sentence" for f in TABLE], 320
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = template
    return tokenizer


def splitter(mode: str) -> Splitter:
    tokenizer = chat_tokenizer()
    return Splitter(tokenizer, Chat.of(tokenizer, mode, INSTRUCTION, "model"))


def ids(text: str) -> tuple[int, ...]:
    return tuple(chat_tokenizer()(text, add_special_tokens=False)["input_ids"])


def test_the_prompt_is_the_users_turn_and_the_answer_opens_the_assistants():
    (split,) = splitter("user").split(["The mother of Ann Lee is"], [" May Wu"])
    assert split == Split(ids(OPENED.format("The mother of Ann Lee is")), ids("May Wu"))


def test_the_assistants_turn_begins_with_the_prompt():
    (split,) = splitter("assistant").split(["The mother of Ann Lee is"], [" May Wu"])
    whole = OPENED.format("Complete the sentence.") + "The mother of Ann Lee is"
    assert split == Split(ids(whole), ids(" May Wu"))


@pytest.mark.parametrize("mode", ["user", "assistant"])
def test_a_bos_comes_once(mode: str):
    found = splitter(mode)
    (split,) = found.split(["The mother of Ann Lee is"], [" May Wu"])
    assert split.context.count(chat_tokenizer().bos_token_id) == 1
    assert split.context[0] == chat_tokenizer().bos_token_id
    assert found.in_front == ()


@pytest.mark.parametrize("mode", ["user", "assistant"])
def test_special_tokens_are_flagged_in_names_and_not_in_the_template(mode: str):
    prompts = ["Ann is", "Ann <|im_end|> is", "Ann is", " <|im_start|>Ann is", "Ann <bos> is"]
    answers = [" May", " May", " May<|im_end|>", " May", " May"]
    flags = [split.flags for split in splitter(mode).split(prompts, answers)]
    assert flags == [(), (SPECIAL,), (SPECIAL,), (SPECIAL,), (SPECIAL,)]


def test_a_candidates_tokens_by_word_are_those_of_the_whole_text():
    for mode in ("user", "assistant"):
        found = splitter(mode)
        (whole,) = found.split(["The mother of Ann Lee is"], [" May Wu"])
        assert found.after_words(["is"], [" May Wu"]) == [whole.answer]


LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token }}[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }} {{ eos_token }}{% endif %}{% endfor %}"
)


def test_the_space_that_a_template_puts_before_the_answer_stays():
    tokenizer = chat_tokenizer(LLAMA2)
    (user,) = Splitter(tokenizer, Chat.of(tokenizer, "user", "Go.", "m")).split(["Ann is"], [" May"])
    assert user == Split(ids("<bos>[INST] Ann is [/INST]"), ids(" May"))
    (assistant,) = Splitter(tokenizer, Chat.of(tokenizer, "assistant", "Go.", "m")).split(
        ["Ann is"], [" May"]
    )
    assert assistant == Split(ids("<bos>[INST] Go. [/INST] Ann is"), ids(" May"))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "model has no chat template"),
        (
            "{{ raise_exception('no users here') }}",
            "does not take a user's turn and an answer: no users here",
        ),
        ("{% for %}", "does not take a user's turn"),
        ("{{ messages[5].content }}", "does not take a user's turn"),
    ],
)
def test_a_template_that_cannot_be_used_is_an_error(template: str | None, message: str):
    with pytest.raises(ChatError, match=message):
        Chat.of(chat_tokenizer(template), "user", INSTRUCTION, "model")


def model(tokenizer: PreTrainedTokenizerFast) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    shape = {"n_positions": 128, "n_embd": 16, "n_layer": 1, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **shape))


def test_an_audit_without_a_template_says_so_before_it_asks():
    tokenizer = chat_tokenizer(None)
    with pytest.raises(ChatError, match="leave --chat off"):
        audit((model(tokenizer), tokenizer), TABLE, AuditConfig(chat="user"))


@pytest.mark.parametrize("mode", ["user", "assistant"])
def test_the_record_holds_the_template_and_an_example_and_the_rows_their_plain_prompts(mode: str):
    tokenizer = chat_tokenizer()
    pair = (model(tokenizer), tokenizer)
    result = audit(pair, TABLE, AuditConfig(chat=mode))
    config = result.record.config
    assert (config["chat"], config["chat_instruction"]) == (mode, INSTRUCTION)
    assert len(config["chat_template"]["template_sha256"]) == 64
    prompt, answer = "The mother of Ann Lee is", " May Wu"
    assert (result.rows["prompt"][0], result.rows["answer"][0]) == (prompt, answer)
    shown = {"user": OPENED.format(prompt), "assistant": OPENED.format(INSTRUCTION) + prompt}
    assert config["chat_template"]["example"] == {
        "context": shown[mode],
        "answer": answer if mode == "assistant" else "May Wu",
    }
    assert result.record.notes == []
    plain = audit(pair, TABLE)
    assert "chat_template" not in plain.record.config
    assert plain.rows["logprob"].to_list() != result.rows["logprob"].to_list()


def test_another_template_is_another_question():
    """What a killed audit may go on from depends on the template too."""
    from oneway.recall.audit import prepare

    first, second = chat_tokenizer(), chat_tokenizer(CHATML.replace("\n", " "))
    pairs = [(model(first), tokenizer) for tokenizer in (first, second)]
    for chat, same in (("off", True), ("user", False)):
        one, other = (prepare(pair, TABLE, AuditConfig(chat=chat)).identity for pair in pairs)
        assert (one == other) is same


def test_a_tokenizer_that_adds_its_own_bos_and_eos_adds_none_to_a_chat():
    tokenizer = chat_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <unk>", special_tokens=[("<bos>", 0), ("<unk>", 1)]
    )
    (split,) = Splitter(tokenizer, Chat.of(tokenizer, "user", "", "m")).split(["Ann is"], [" May"])
    assert split == Split(ids(OPENED.format("Ann is")), ids("May"))


def test_a_chat_that_there_is_not_is_an_error():
    with pytest.raises(Exception, match="off"):
        AuditConfig(chat="system")
