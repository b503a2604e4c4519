"""The Fireworks REST API's resources as both sides of the wire read and write them.

Fields are snake_case here and camelCase in JSON. Unknown fields are kept (`model_extra`) and states are plain
strings, since the API may grow under a run. Field names and quirks: docs.fireworks.ai, OpenAPI 4.259.0.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

SUCCEEDED_JOB_STATES = frozenset({"JOB_STATE_COMPLETED", "JOB_STATE_EARLY_STOPPED"})
FAILED_JOB_STATES = frozenset({"JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED", "JOB_STATE_DELETED"})
TERMINAL_JOB_STATES = SUCCEEDED_JOB_STATES | FAILED_JOB_STATES
MAX_EXAMPLES = 3_000_000  # of one job, rows × epochs (docs: fine-tuning/dpo-fine-tuning)

_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_DURATION = re.compile(r"(-?\d+(?:\.\d+)?)s")


def is_resource_id(text: str) -> bool:
    """Whether text may be a resource's ID: 1 to 63 of a-z 0-9 -, a letter first, no - at the end."""
    return _ID.fullmatch(text) is not None


def resource_id(name: str) -> str:
    """The last part of a full name: accounts/a/models/m gives m; a bare ID stays as it is."""
    return name.rsplit("/", 1)[-1]


def full_name(account: str, collection: str, name: str) -> str:
    """accounts/<account>/<collection>/<id>, where name is an ID or already a full name."""
    return name if "/" in name else f"accounts/{account}/{collection}/{name}"


def _read_duration(value: Any) -> Any:
    """The wire says "3600s"; a bare number is seconds."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        return timedelta(seconds=float(match[1]))
    return value


def _write_duration(value: timedelta) -> str:
    seconds = value.total_seconds()
    return f"{int(seconds)}s" if seconds == int(seconds) else f"{seconds}s"


Int64 = Annotated[int, PlainSerializer(str, return_type=str, when_used="json")]  # JSON carries a string
Duration = Annotated[
    timedelta,
    BeforeValidator(_read_duration),
    PlainSerializer(_write_duration, return_type=str, when_used="json"),
]


class Wire(BaseModel):
    """A JSON object of the control plane: camelCase, unknown fields kept."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="allow", protected_namespaces=())

    def to_json(self) -> dict[str, Any]:
        """The JSON body: camelCase, int64 as strings, unset (None) fields left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @classmethod
    def parse(cls, body: Any) -> Self:
        return cls.model_validate(body)


class Status(Wire):
    """A resource's embedded status; `code` is an enum's name here, such as INVALID_ARGUMENT."""

    code: str = "OK"
    message: str = ""


class Account(Wire):
    name: str
    display_name: str = ""
    state: str = "READY"
    suspend_state: str = "UNSUSPENDED"


class Dataset(Wire):
    name: str = ""
    display_name: str | None = None
    state: str = "STATE_UNSPECIFIED"  # UPLOADING, READY
    status: Status | None = None
    example_count: Int64 | None = None  # the client must supply it: non-empty lines
    estimated_token_count: Int64 | None = None
    format: str = "CHAT"  # there is no DPO value: preference rows are CHAT, too
    user_uploaded: dict[str, Any] | None = None
    source_job_name: str | None = None
    create_time: datetime | None = None
    update_time: datetime | None = None


class TrainingConfig(Wire):
    output_model: str | None = None
    base_model: str | None = None  # either this or warm_start_from
    warm_start_from: str | None = None
    learning_rate: float | None = None
    epochs: int | None = None
    lora_rank: int | None = None
    lora_alpha: int | None = None
    lora_dropout: float | None = None
    lora_target_modules: list[str] | None = None
    max_context_length: int | None = None  # tokens, a multiple of 16
    batch_size_samples: int | None = None  # preference pairs an optimizer step
    learning_rate_warmup_steps: int | None = None
    optimizer_weight_decay: float | None = None
    lr_scheduler: dict[str, Any] | None = None  # {"constant": {}}, {"linear": {...}} or {"cosine": {...}}


class DpoLoss(Wire):
    beta: float | None = None  # 0 < beta < 0.5


class OrpoLoss(Wire):
    # the SDK's types lack orpo, the wire does not; "lambda" is a keyword in Python
    orpo_lambda: float | None = Field(None, alias="lambda")


class LossConfig(Wire):
    method: str  # always set: a lossConfig without it means GRPO
    dpo: DpoLoss | None = None
    orpo: OrpoLoss | None = None


class DpoJob(Wire):
    """A DPO or ORPO job. It has no progress, cost or metrics field: those come from the metrics file."""

    name: str = ""
    display_name: str | None = None
    dataset: str
    training_config: TrainingConfig = Field(default_factory=TrainingConfig)
    loss_config: LossConfig | None = None  # left out means DPO
    state: str = "JOB_STATE_UNSPECIFIED"
    status: Status | None = None
    create_time: datetime | None = None
    completed_time: datetime | None = None


class BaseModelDetails(Wire):
    parameter_count: Int64 | None = None
    moe: bool | None = None
    model_type: str | None = None
    default_precision: str | None = None  # BF16 allows LoRA addons, FP8 and FP4 do not


class PeftDetails(Wire):
    base_model: str
    r: int | None = None
    target_modules: list[str] | None = None


class Model(Wire):
    name: str = ""
    display_name: str | None = None
    kind: str = "KIND_UNSPECIFIED"  # HF_BASE_MODEL, HF_PEFT_ADDON, LIVE_MERGE, ...
    state: str = "STATE_UNSPECIFIED"  # UPLOADING, READY
    status: Status | None = None
    base_model_details: BaseModelDetails | None = None
    peft_details: PeftDetails | None = None
    context_length: int | None = None  # tokens
    training_context_length: int | None = None  # tokens
    supports_lora: bool | None = None
    supports_serverless: bool | None = None
    supervised_lora_tunable: bool | None = None  # the one that counts for DPO, with use_training_v2
    use_training_v2: bool | None = Field(None, alias="useTrainingV2")
    tunable: bool | None = None  # deprecated, and misleading
    hugging_face_url: str | None = None
    fine_tuning_job: str | None = None
    deployed_model_refs: list[dict[str, Any]] | None = None
    create_time: datetime | None = None
    update_time: datetime | None = None


class AutoscalingPolicy(Wire):
    scale_up_window: Duration | None = None
    scale_down_window: Duration | None = None
    scale_to_zero_window: Duration | None = None  # at least 5 minutes


class Deployment(Wire):
    name: str = ""
    display_name: str | None = None
    base_model: str  # a LoRA model's name here means a live merge
    deployment_shape: str | None = None
    accelerator_type: str | None = None
    accelerator_count: int | None = None
    precision: str | None = None
    min_replica_count: int | None = None
    max_replica_count: int | None = None
    replica_count: int | None = None
    desired_replica_count: int | None = None
    autoscaling_policy: AutoscalingPolicy | None = None
    enable_addons: bool | None = None
    state: str = "STATE_UNSPECIFIED"  # CREATING, READY, UPDATING, DELETING, FAILED, DELETED
    status: Status | None = None
    create_time: datetime | None = None
    update_time: datetime | None = None


class DeployedModel(Wire):
    """A LoRA adapter loaded onto a deployment."""

    name: str = ""
    display_name: str | None = None
    model: str
    deployment: str
    default: bool | None = None
    public: bool | None = None
    serverless: bool | None = None
    state: str = "STATE_UNSPECIFIED"  # DEPLOYING, DEPLOYED, UPDATING, UNDEPLOYING
    status: Status | None = None
    create_time: datetime | None = None


class CodeSnippets(Wire):
    language: str | None = None
    file_contents: dict[str, str] | None = None
    entry_file: str | None = None
    entry_func: str | None = None


class Criterion(Wire):
    type: str = "CODE_SNIPPETS"
    name: str | None = None
    description: str | None = None
    code_snippets: CodeSnippets | None = None


class Evaluator(Wire):
    name: str = ""
    display_name: str | None = None
    description: str | None = None
    entry_point: str | None = None  # path/to/file.py::function, as pytest names it
    requirements: str | None = None
    commit_hash: str | None = None
    default_dataset: str | None = None
    source: dict[str, Any] | None = None
    criteria: list[Criterion] | None = None
    state: str = "STATE_UNSPECIFIED"  # ACTIVE, BUILDING, BUILD_FAILED
    status: Status | None = None
    create_time: datetime | None = None
    update_time: datetime | None = None


class InferenceJobProgress(Wire):
    percent: int | None = None
    total_input_requests: int | None = None
    total_processed_requests: int | None = None
    successfully_processed_requests: int | None = None
    failed_requests: int | None = None
    output_rows: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class BatchInferenceJob(Wire):
    name: str = ""
    display_name: str | None = None
    model: str
    input_dataset_id: str
    output_dataset_id: str | None = None
    inference_parameters: dict[str, Any] | None = None
    state: str = "JOB_STATE_UNSPECIFIED"
    status: Status | None = None
    job_progress: InferenceJobProgress | None = None
    create_time: datetime | None = None


class Usage(BaseModel):
    """What a chat completion was billed for."""

    model_config = ConfigDict(extra="allow")

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class Message(BaseModel):
    model_config = ConfigDict(extra="allow")

    role: Literal["system", "user", "assistant", "tool"] | str
    content: str | list[dict[str, Any]] | None = None
    reasoning_content: str | None = None


class Choice(BaseModel):
    model_config = ConfigDict(extra="allow")

    index: int = 0
    message: Message
    finish_reason: str | None = None  # stop, length, tool_calls
    logprobs: dict[str, Any] | None = None


class ChatCompletion(BaseModel):
    """The inference API is snake_case, as OpenAI's."""

    model_config = ConfigDict(extra="allow")

    id: str = ""
    object: str = "chat.completion"
    created: int = 0
    model: str = ""
    choices: list[Choice]
    usage: Usage = Field(default_factory=Usage)
