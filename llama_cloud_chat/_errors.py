"""What can go wrong, as one tree.

    ChatError
    ├── ConfigurationError          a bad argument or setting; raised before any request
    │   └── PromptTooLongError          what is asked does not fit into a prompt
    ├── APIConnectionError          the service could not be reached, or the connection broke
    │   └── APITimeoutError         it took longer than the timeouts allow
    ├── APIStatusError              the service answered with an error status
    │   ├── AuthenticationError         401
    │   ├── PermissionDeniedError       403
    │   ├── NotFoundError               404
    │   ├── ConflictError               409
    │   ├── UnprocessableEntityError    422
    │   ├── RateLimitError              429
    │   └── InternalServerError         5xx
    ├── ProtocolError               what came back is not this API
    ├── SessionBusyError            another turn holds the session and nobody reads it
    ├── TurnFailedError             the agent ended its turn with an error
    ├── StreamInterruptedError      the stream ended before the turn did and could not be recovered
    └── StructuredOutputError       the agent's answer does not fit the schema that was asked for

Every error can be pickled. No message holds a key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._turn.turn import Turn


class ChatError(Exception):
    """The base of every error this package raises.

    Attributes:
        message: What happened and what to do next, without secrets.
        is_retryable: Whether trying the same again can help, and cannot ask a question twice.
    """

    is_retryable: bool = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ConfigurationError(ChatError):
    """A setting or an argument cannot work; no request was sent."""


class PromptTooLongError(ConfigurationError):
    """What is asked, with what must be told along, does not fit into a prompt.

    Attributes:
        length: How many characters it holds.
        limit: How many the service takes.
    """

    def __init__(self, message: str, *, length: int = 0, limit: int = 0) -> None:
        super().__init__(message)
        self.length = length
        self.limit = limit


class APIConnectionError(ChatError):
    """The service could not be reached, or the connection broke before an answer came."""

    is_retryable = True


class APITimeoutError(APIConnectionError):
    """The service took longer than the timeouts allow."""


class APIStatusError(ChatError):
    """The service answered with an error status.

    Attributes:
        status_code: The HTTP status.
        body: The answer's body, as JSON if it was JSON, else as text.
        request_id: What the service calls this request, for its support; None if it did not say.
    """

    def __init__(self, message: str, *, status_code: int = 0, body: Any = None, request_id: str | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.body = body
        self.request_id = request_id


class AuthenticationError(APIStatusError):
    """401: the API key is missing, wrong or revoked."""


class PermissionDeniedError(APIStatusError):
    """403: the API key may not do this."""


class NotFoundError(APIStatusError):
    """404: no such session, attachment or operation, at least not for this project."""


class ConflictError(APIStatusError):
    """409: the session is in a state that does not allow this."""

    is_retryable = True


class UnprocessableEntityError(APIStatusError):
    """422: the service does not accept the arguments."""


class RateLimitError(APIStatusError):
    """429: too many requests, or the quota is used up."""

    is_retryable = True


class InternalServerError(APIStatusError):
    """5xx: the service failed."""

    is_retryable = True


class ProtocolError(ChatError):
    """What came back is not this API: malformed, oversized, or of another content type.

    Attributes:
        turn: What was received of the turn until then; None outside a stream.
    """

    turn: Turn | None = None


class SessionBusyError(ChatError):
    """Another turn of the same session is open and is not being read, so waiting for it would hang."""

    is_retryable = True


class TurnFailedError(ChatError):
    """The agent itself ended its turn with an error.

    Attributes:
        turn: The turn with everything that was received; `turn.error` is the agent's reason.
    """

    def __init__(self, message: str, turn: Turn | None = None) -> None:
        super().__init__(message)
        self.turn = turn


class StreamInterruptedError(ChatError):
    """A stream ended before its turn did, and the session's history could not fill the gap.

    Attributes:
        turn: What was received until then.
    """

    def __init__(self, message: str, turn: Turn | None = None) -> None:
        super().__init__(message)
        self.turn = turn


class StructuredOutputError(ChatError):
    """The agent's answer does not fit the schema that was asked for.

    Attributes:
        reason: What is wrong with it, in a few words.
        field: The field that is wrong, as a path such as `authors[0].name`; None if it is the answer as a whole.
        answer: The text of the answer, as it came.
    """

    def __init__(self, message: str, *, reason: str = "", field: str | None = None, answer: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.field = field
        self.answer = answer


_BY_STATUS: dict[int, type[APIStatusError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}


def error_class_for(status_code: int) -> type[APIStatusError]:
    """Return the class that stands for `status_code`."""
    if status_code >= 500:
        return InternalServerError
    return _BY_STATUS.get(status_code, APIStatusError)
