"""The requests of OpenAI's API, and the fields that others have added to it.

Knows fields and their ranges. Must not know what is done with them. A field that is not here is ignored, as clients
send many; one that would change the answer and cannot be honoured is refused. Source of names and ranges:
https://platform.openai.com/docs/api-reference (chat, completions); top_k, min_p, repetition_penalty and
chat_template_kwargs as vLLM and llama.cpp have them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

__all__ = ["ChatRequest", "CompletionRequest", "Message", "Tool", "UnloadRequest"]

Text = Annotated[str, Field(max_length=4 << 20)]
ModelName = Annotated[str, Field(min_length=1, max_length=300)]
Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]


class FieldError(ValueError):
    """A field that does not go with the others; `param` is its name."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


class Given(BaseModel):
    """What a client sends: types are not converted, unknown fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class TextPart(Given):
    """A part of a message. Images, sound and files are not understood."""

    type: Literal["text"]
    text: Text


class FunctionCall(Given):
    """A call that an earlier answer made; `arguments` is JSON in a string."""

    name: str
    arguments: Text


class CallOfTool(Given):
    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class Message(Given):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | Annotated[list[TextPart], Field(max_length=1000)] | None = None
    name: str | None = None
    tool_calls: Annotated[list[CallOfTool], Field(max_length=128)] | None = None
    tool_call_id: str | None = None
    reasoning_content: Text | None = None

    @model_validator(mode="after")
    def _whole(self) -> Message:
        if self.content is None and not (self.role == "assistant" and (self.tool_calls or self.reasoning_content)):
            raise ValueError(f"a message of role {self.role!r} needs content")
        if self.role == "tool" and self.tool_call_id is None:
            raise ValueError("a message of role 'tool' needs tool_call_id")
        return self


class Function(Given):
    """A function that the model may call; `parameters` is a JSON schema."""

    name: Name
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Given):
    type: Literal["function"]
    function: Function


class NamedFunction(Given):
    name: Name


class NamedTool(Given):
    """The one function that has to be called."""

    type: Literal["function"]
    function: NamedFunction


class JsonSchema(Given):
    name: Name
    description: Text | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class ResponseFormat(Given):
    """text; json_object, any object; json_schema, what a schema allows."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _whole(self) -> ResponseFormat:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("json_schema is missing")
        return self


class StreamOptions(Given):
    include_usage: bool = False


def _strings(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_StopString = Annotated[str, Field(min_length=1, max_length=1024)]
StopStrings = Annotated[
    Annotated[list[_StopString], Field(max_length=64)] | None,
    BeforeValidator(_strings, json_schema_input_type=_StopString | list[_StopString] | None),
]


class Sampled(Given):
    """How tokens are chosen. What is left out, the model's generation_config.json says; without one, greedy."""

    model: ModelName | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1 << 31)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=1 << 31)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: (
        Annotated[
            dict[Annotated[str, Field(pattern=r"^[0-9]{1,9}$")], Annotated[float, Field(ge=-100, le=100)]],
            Field(max_length=1024),
        ]
        | None
    ) = None
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] | None = None
    stop: StopStrings = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    user: str | None = None

    @model_validator(mode="after")
    def _streamed(self) -> Sampled:
        if self.stream_options is not None and not self.stream:
            raise FieldError("stream_options", "stream_options is only for stream: true")
        return self

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def choices(self) -> int:
        return self.n or 1


class ChatRequest(Sampled):
    """The body of POST /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=10_000)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=1 << 31)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    chat_template_kwargs: Annotated[dict[str, Any], Field(max_length=64)] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    modalities: list[Literal["text"]] | None = None
    functions: None = None
    function_call: None = None

    @model_validator(mode="after")
    def _fits(self) -> ChatRequest:
        if self.top_logprobs is not None and not self.logprobs:
            raise FieldError("top_logprobs", "top_logprobs is only for logprobs: true")
        _check_tools(self.tools or [], self.tool_choice)
        if self.forces_call and self.response_format is not None and self.response_format.type != "text":
            message = "response_format and a tool_choice that forces a call exclude each other"
            raise FieldError("response_format", message)
        if wrong := {"messages", "tools", "add_generation_prompt"} & set(self.chat_template_kwargs or {}):
            raise FieldError(
                "chat_template_kwargs", f"chat_template_kwargs cannot hold {min(wrong)!r}: the template has its own"
            )
        return self

    @property
    def forces_call(self) -> bool:
        """Whether the answer has to be a call."""
        return self.tool_choice == "required" or isinstance(self.tool_choice, NamedTool)

    @property
    def most_tokens(self) -> int | None:
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    @property
    def most_logprobs(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None


def _check_tools(tools: Sequence[Tool], choice: Any) -> None:
    names = [tool.function.name for tool in tools]
    if len(set(names)) != len(names):
        raise FieldError("tools", "two tools have the same name")
    if choice not in (None, "none") and not names:
        raise FieldError("tool_choice", "tool_choice is only for requests with tools")
    if isinstance(choice, NamedTool) and choice.function.name not in names:
        raise FieldError("tool_choice", f"tool_choice names {choice.function.name!r}, which is not one of the tools")


TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=1 << 20)]


class CompletionRequest(Sampled):
    """The body of POST /v1/completions. `prompt` is a text or a list of token ids, or several of either."""

    prompt: (
        Text
        | TokenIds
        | Annotated[list[Text], Field(min_length=1, max_length=128)]
        | Annotated[list[TokenIds], Field(min_length=1, max_length=128)]
    )
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None
    best_of: Annotated[int, Field(ge=1, le=128)] | None = None
    suffix: None = None

    @model_validator(mode="after")
    def _fits(self) -> CompletionRequest:
        if self.best_of is not None and self.best_of != self.choices:
            raise FieldError("best_of", "best_of is not supported: leave it out, and ask for n")
        if self.echo and self.logprobs is not None:
            raise FieldError("echo", "echo with logprobs is not supported")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        """The prompts, one after the other."""
        if isinstance(self.prompt, list) and isinstance(self.prompt[0], (str, list)):
            return list(self.prompt)
        return [self.prompt]


class UnloadRequest(Given):
    """The body of POST /api/unload."""

    model: ModelName
