"""Map the broker's errors to gRPC statuses, in one table."""

from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from broker.errors import (
    BrokerError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    RequestIdReused,
    ResourceExhausted,
    StaleCall,
    StoreUnavailable,
    Unauthenticated,
    Unavailable,
    UploadBroken,
)

DOMAIN = "toolwarrant"
_MESSAGE_BYTES = 1_000
_FIELD_BYTES = 500

_CODES: tuple[tuple[type[BrokerError], int], ...] = (
    (InvalidArgument, code_pb2.INVALID_ARGUMENT),
    (Unauthenticated, code_pb2.UNAUTHENTICATED),
    (PermissionDenied, code_pb2.PERMISSION_DENIED),
    (NotFound, code_pb2.NOT_FOUND),
    (RequestIdReused, code_pb2.ALREADY_EXISTS),
    (FailedPrecondition, code_pb2.FAILED_PRECONDITION),
    (ResourceExhausted, code_pb2.RESOURCE_EXHAUSTED),
    (Unavailable, code_pb2.UNAVAILABLE),
    (StoreUnavailable, code_pb2.UNAVAILABLE),
    (StaleCall, code_pb2.ABORTED),
    (UploadBroken, code_pb2.ABORTED),
)


def status_of(error: BrokerError) -> status_pb2.Status:
    """Make the rich status of an error; one that is in no row is INTERNAL without its text."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return status_pb2.Status(
                code=code, message=_short(error.message), details=_details(error)
            )
    return internal_status()


def internal_status() -> status_pb2.Status:
    """Make the status of a fault of the broker's own; what it was stands in the log alone."""
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN)
    return status_pb2.Status(
        code=code_pb2.INTERNAL,
        message="the broker met a fault of its own: tell its operator the time of this call",
        details=[_packed(info)],
    )


def _details(error: BrokerError) -> list[any_pb2.Any]:
    details = [_packed(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN))]
    match error:
        case InvalidArgument():
            violation = error_details_pb2.BadRequest.FieldViolation(
                field=_short(error.field, _FIELD_BYTES), description=_short(error.description)
            )
            details.append(_packed(error_details_pb2.BadRequest(field_violations=[violation])))
        case FailedPrecondition():
            failed = error_details_pb2.PreconditionFailure.Violation(
                type=error.reason, subject=error.subject, description=error.message
            )
            details.append(_packed(error_details_pb2.PreconditionFailure(violations=[failed])))
        case ResourceExhausted():
            quota = error_details_pb2.QuotaFailure.Violation(
                subject=error.subject, description=error.message
            )
            details.append(_packed(error_details_pb2.QuotaFailure(violations=[quota])))
            details.append(_retry(error.retry_after_s))
        case Unavailable():
            details.append(_retry(error.retry_after_s))
        case StoreUnavailable():
            details.append(_retry(1.0))
        case _:
            pass
    return details


def _short(text: str, most_bytes: int = _MESSAGE_BYTES) -> str:
    """Cut a text that repeats what it was sent: a status above 8 KiB reaches no client."""
    data = text.encode("utf-8", "replace")
    if len(data) <= most_bytes:
        return text
    return f"{data[:most_bytes].decode('utf-8', 'ignore')}..."


def _retry(after_s: float) -> any_pb2.Any:
    delay = duration_pb2.Duration()
    delay.FromMilliseconds(max(1, int(after_s * 1000)))
    return _packed(error_details_pb2.RetryInfo(retry_delay=delay))


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
