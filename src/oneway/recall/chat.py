"""Questions put as a chat: the tokenizer's own template around the prompt, on request."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from transformers import PreTrainedTokenizerFast

Mode = Literal["off", "user", "assistant"]
INSTRUCTION = "Complete the sentence."


class ChatError(ValueError):
    """A tokenizer without a chat template, or with one that does not take its turns."""


@dataclass(frozen=True)
class Chat:
    """What stands around a prompt and its answer.

    "user": the prompt is the user's turn, and the answer, without its leading space, opens the assistant's.
    "assistant": `instruction` is the user's turn; the assistant's begins with the prompt, and the answer follows.
    Where the template itself puts white space before what the assistant says (Llama 2), it stays there.
    """

    tokenizer: PreTrainedTokenizerFast
    mode: Literal["user", "assistant"]
    instruction: str

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerFast, mode: Mode, instruction: str, name: str) -> "Chat | None":
        """The chat that a config asks for, None where it asks for none; `name` is the model's.

        Raises ChatError where the tokenizer has no template, or where its template takes no user's turn.
        """
        if mode == "off":
            return None
        if not tokenizer.chat_template:
            raise ChatError(
                f"{name} has no chat template, so it cannot be asked as a chat: leave --chat off, or put its "
                "template (chat_template.jinja) beside the tokenizer"
            )
        chat = cls(tokenizer, mode, instruction)
        try:
            # What the library makes of the template, unknown variables and wrong syntax included.
            chat._lead  # noqa: B018 (renders both turns)
        except Exception as error:
            raise ChatError(
                f"the chat template of {name} does not take a user's turn and an answer: {error}"
            ) from None
        return chat

    def prompts(self, prompts: Sequence[str]) -> list[tuple[str, int]]:
        """Each prompt's text up to the answer, the assistant's turn opened; and where in it the prompt begins."""
        if self.mode == "assistant":
            opening = self._opened(self.instruction) + self._lead
            return [(opening + prompt, len(opening)) for prompt in prompts]
        shown = [self._opened(prompt) for prompt in prompts]
        # A template may take white space off a turn; should it rewrite the turn, the whole text counts as prompt.
        return [
            (text, max(0, text.rfind(prompt.strip()))) for text, prompt in zip(shown, prompts, strict=True)
        ]

    def answer(self, prompt: str, answer: str) -> str:
        """The answer as it follows the prompt's text."""
        if self.mode == "user":
            return self._lead + answer.removeprefix(" ")
        return answer if prompt else answer.removeprefix(" ")

    @cached_property
    def _lead(self) -> str:
        """The white space that the template puts between the opening of the assistant's turn and what it says."""
        opened, said = self._opened("x"), "y"
        conversation = [{"role": "user", "content": "x"}, {"role": "assistant", "content": said}]
        whole = str(self.tokenizer.apply_chat_template(conversation, tokenize=False))
        lead, found, _ = whole.removeprefix(opened).partition(said)
        return lead if whole.startswith(opened) and found and not lead.strip() else ""

    def _opened(self, turn: str) -> str:
        """The user's turn, and the opening of the assistant's."""
        conversation = [{"role": "user", "content": turn}]
        return str(
            self.tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        )

    def record(self, prompt: str, answer: str) -> dict[str, Any]:
        """What a record says of it: the template's hash, and one question as the model reads it."""
        template = self.tokenizer.get_chat_template()
        ((shown, _),) = self.prompts([prompt])
        return {
            "template_sha256": hashlib.sha256(template.encode()).hexdigest(),
            "example": {"context": shown, "answer": self.answer(prompt, answer)},
        }
