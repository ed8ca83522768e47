"""What is sent to webhooks, for `/openapi.json`. `store.webhooks.events` makes it; nothing calls these handlers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Response
from pydantic import BaseModel, ConfigDict

from tintype.web.declared import without_defaults
from tintype.web.query import Absent
from tintype.web.wire import Id, Url

router = APIRouter(tags=["webhooks"])


class Sent(BaseModel):
    """A part of a message."""

    model_config = ConfigDict(use_attribute_docstrings=True, json_schema_extra=without_defaults)


class SentImage(Sent):
    """An image of a request that has ended."""

    url: Url
    seed: str


class SentMetrics(Sent):
    """What a request has cost."""

    cost: float
    """Dollars."""
    inference_time: float
    """Seconds of the model's work."""


class EndedRequest(Sent):
    """A request that has ended."""

    request_id: Id
    model: str
    status_url: Url
    response_url: Url
    mode: Literal["test"] | Absent = None
    """Of a test key's request."""


class CompletedRequest(EndedRequest):
    """A request that has made its images."""

    status: Literal["COMPLETED"]
    output: Url
    """The first image's address."""
    images: list[SentImage]
    metrics: SentMetrics
    warnings: list[str] | Absent = None
    error: None


class FailedRequest(EndedRequest):
    """A request that failed, was refused or was cancelled, and cost nothing."""

    status: Literal["FAILED"]
    error: str


class WebhookMessage(Sent):
    """The body of a message."""

    timestamp: datetime
    """When the request ended."""


class CompletedMessage(WebhookMessage):
    """A request has completed."""

    type: Literal["REQUEST_COMPLETED"]
    data: CompletedRequest


class FailedMessage(WebhookMessage):
    """A request has failed."""

    type: Literal["REQUEST_FAILED"]
    data: FailedRequest


#: Headers of the Standard Webhooks specification.
MessageId = Annotated[str, Header(description="The message's id, the same at every attempt")]
MessageTime = Annotated[int, Header(description="When this attempt was signed, in unix seconds")]
Signatures = Annotated[
    str,
    Header(
        description="`v1,` and the base64 of the HMAC-SHA256 over id, timestamp and body, with dots between them, by "
        "the webhook's secret; within a day of a rotation two of them, separated by a space"
    ),
]
ANSWER: dict[str, Any] = {
    "response_class": Response,
    "response_description": "Any 2xx within 10 seconds; else it is sent again, and after a 410 the webhook is disabled",
}


@router.post("REQUEST_COMPLETED", operation_id="requestCompleted", summary="A request has completed", **ANSWER)
def completed(
    message: CompletedMessage, webhook_id: MessageId, webhook_timestamp: MessageTime, webhook_signature: Signatures
) -> None:
    """Sent to webhooks that asked for it, and to the address in a submit's X-Webhook-URL."""


@router.post("REQUEST_FAILED", operation_id="requestFailed", summary="A request has failed", **ANSWER)
def failed(
    message: FailedMessage, webhook_id: MessageId, webhook_timestamp: MessageTime, webhook_signature: Signatures
) -> None:
    """Sent to webhooks that asked for it, and to the address in a submit's X-Webhook-URL."""
