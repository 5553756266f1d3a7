"""Examples as lines of JSON, as the common tools for fine-tuning take them.

`text` ({"text"}): language modelling in TRL's SFTTrainer, Axolotl (`completion`) and transformers' examples.
`prompt-completion` ({"prompt", "completion"}): SFTTrainer, which puts the loss on the completion, and fine-tuning
services. `chat` ({"messages"}): SFTTrainer, Axolotl (`chat_template`), LLaMA-Factory (`sharegpt`) and services that
take conversations; prompt and completion are the turns of user and assistant.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from oneway.remedies.example import Example


def _text(example: Example) -> dict[str, Any]:
    return {"text": example.prompt + example.completion}


def _prompt_completion(example: Example) -> dict[str, Any]:
    return {"prompt": example.prompt, "completion": example.completion}


def _chat(example: Example) -> dict[str, Any]:
    turns = (("user", example.prompt), ("assistant", example.completion.lstrip(" ")))
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


FORMATS: Mapping[str, Callable[[Example], dict[str, Any]]] = {
    "text": _text,
    "prompt-completion": _prompt_completion,
    "chat": _chat,
}


def line(example: Example, form: str) -> str:
    """One line; characters outside ASCII as they are, half a surrogate pair escaped, as UTF-8 cannot say it."""
    written = json.dumps(FORMATS[form](example), ensure_ascii=False)
    try:
        written.encode()
    except UnicodeEncodeError:
        written = json.dumps(FORMATS[form](example))
    return written + "\n"
