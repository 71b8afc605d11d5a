"""Turn a failed RPC into an error that says what to do."""

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from broker.errors import BrokerError

UNREACHABLE = "BROKER_UNREACHABLE"
"""Reason of an RPC that no broker answered."""


class ClientError(BrokerError):
    """The broker refused the request, or did not answer.

    A denial by policy is no error: it is a call with the state DENIED.

    Args:
        code: The status code of gRPC.
        reason: UPPER_SNAKE, stable; `BROKER_UNREACHABLE` where no broker answered.
        message: For people; says what to do next.
        retry_after_s: Seconds after which the broker says a retry can succeed; None: it did not.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, reason=reason)
        self.code = code
        self.retry_after_s = retry_after_s


def client_error(error: grpc.RpcError, target: str) -> ClientError:
    """Decode the rich status of a failed RPC.

    Args:
        target: Where the broker was looked for, for the message.

    Source: AIP-193, google.rpc.Status in `grpc-status-details-bin`.
    """
    # Errors of a channel are calls too; the stubs call that impossible.
    call: object = error
    if not isinstance(call, grpc.Call):
        return ClientError(grpc.StatusCode.UNKNOWN, "UNKNOWN", f"the call failed: {error}")
    code, details = call.code(), call.details() or ""
    reason, retry_after_s = _rich(call)
    if reason:
        return ClientError(code, reason, details, retry_after_s)
    if code is grpc.StatusCode.UNAVAILABLE:
        return ClientError(code, UNREACHABLE, _unreachable(details, target), retry_after_s)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        message = "no answer in time; a call that was recorded goes on: look with `calls list`"
        return ClientError(code, code.name, message)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        message = "this broker does not know this request: it is older than the client"
        return ClientError(code, code.name, message)
    return ClientError(code, code.name, details or code.name, retry_after_s)


def _rich(error: grpc.Call) -> tuple[str, float | None]:
    try:
        status = rpc_status.from_call(error)
    except ValueError:
        # A status that contradicts its own details is not worth believing.
        return "", None
    reason, retry_after_s = "", None
    for detail in status.details if status else ():
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return reason, retry_after_s


def _unreachable(details: str, target: str) -> str:
    if any(word in details for word in ("SSL", "TLS", "certificate", "handshak")):
        return (
            f"{target} refused the connection's certificates ({details}): "
            "use the pki folder of this broker's own `init`; `toolwarrant doctor` checks it"
        )
    if any(words in details for words in ("Socket closed", "reset by peer", "Broken pipe")):
        return (
            f"{target} closed the connection ({details}): a broker does so where the certificate "
            "expired or is of another CA, or where it stops: `toolwarrant doctor` checks it"
        )
    return (
        f"no broker answers at {target} ({details}): start it with `toolwarrant serve`, "
        "or name another configuration with --config"
    )
