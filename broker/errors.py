"""The one tree of errors that the broker raises.

BrokerError                     everything below; has a reason and a message for its reader
├── Refusal                     the caller's request cannot be served as it stands
│   ├── InvalidArgument         malformed; names the field
│   │   └── BundleInvalid       a policy bundle that is never taken; the active one stays
│   ├── Unauthenticated         no usable client certificate
│   ├── PermissionDenied        this identity may not use this RPC
│   ├── NotFound                no such thing, or not the caller's
│   ├── RequestIdReused         same request_id, another request
│   ├── FailedPrecondition      the thing is in another state than the request needs
│   │   └── BundleNotNewer      a policy bundle that is no step forward; the active one stays
│   ├── ResourceExhausted       over a rate or a limit; says when to retry
│   ├── UploadBroken            an upload came too slowly; nothing of it was kept
│   └── Unavailable             the broker cannot serve now; says when to retry
│       ├── ClockUntrusted      its machine's clock is not believed
│       └── HaltNotDurable      the halt counts, but the store has not taken it
├── StoreError                  the record could not be changed as asked
│   ├── StaleCall               another change came first: read again
│   ├── PremiseChanged          what the decision rested on changed: decide again
│   ├── DuplicateRequest        this agent's request_id is recorded already
│   ├── ShortIdTaken            draw another short id
│   ├── StaleLog                another head of the log came first
│   ├── StaleBundle             a bundle that is as new, or newer, is kept already
│   ├── QuotaSpent              the agent would keep more files than it may
│   └── StoreUnavailable        nothing was written; the store cannot take changes
├── PolicyError                 policy gave no usable decision: always a denial
│   ├── PolicyUndefined  PolicyInvalid  PolicyTimeout
│   ├── PolicyStale             the engine decided by another bundle than the active one
│   │   └── PolicyUnconfirmed   where bundles come from has not confirmed it for too long
│   └── PolicyUnavailable       the engine cannot be reached, or has no policy
│       └── CanaryWrong         it answers a call whose answer is known with another one
├── BundleSourceUnavailable     where bundles come from has none to give; the active one stays
├── SandboxError                the sandbox certainly never began the tool
│   └── RuntimeMissing          the Engine lacks the demanded runtime; another is never taken
├── SecretUnavailable           a secret's value cannot be had now; names the secret
├── EgressRefused               a tool may not connect there, or cannot; names the reason
├── ImageBuildFailed            a tool's image could not be built; names the remedy
├── CanonicalError              a value has no canonical JSON form
├── LogForked                   what readers were shown of the log is not in the record
│   └── StoreBehind             as the store is an older copy
├── WitnessError                a witness gave no cosignature that counts; says which
│   └── LogForkSuspected        a witness saw the log with another history, or a longer one
├── ReceiptInvalid              a receipt, key or proof does not verify; names the step
├── TokenUnavailable            the device that holds a key does not sign now
└── ConfigurationError          a file that the operator wrote is wrong; names file and line
    └── KeyRefused              the trust root does not let the broker sign with a key of its own
"""

from typing import Self


class BrokerError(Exception):
    """Something that the broker refuses or could not do.

    Args:
        message: For the person or agent who reads it; says what to do next; holds no secret.
        reason: UPPER_SNAKE, stable, goes into `google.rpc.ErrorInfo.reason` (AIP-193).
    """

    reason = "INTERNAL"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if reason is not None:
            self.reason = reason


class Refusal(BrokerError):
    """The caller's request cannot be served as it stands."""


class InvalidArgument(Refusal):
    """The request is malformed.

    Args:
        field: Path of the field, such as `arguments_json` or `arguments_json/code`.
    """

    reason = "INVALID_ARGUMENT"

    def __init__(self, field: str, message: str, *, reason: str | None = None) -> None:
        super().__init__(f"{field}: {message}", reason=reason)
        self.field = field
        self.description = message


class BundleInvalid(InvalidArgument):
    """A policy bundle is not taken, whatever is active; what was active still is.

    Its reason says why: BUNDLE_TOO_LARGE, BUNDLE_BROKEN, BUNDLE_UNSIGNED, ...
    """

    reason = "BUNDLE_BROKEN"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__("bundle", message, reason=reason)


class Unauthenticated(Refusal):
    """The caller showed no client certificate that names exactly one known identity."""

    reason = "UNAUTHENTICATED"


class PermissionDenied(Refusal):
    """This identity may not use this RPC, or not on this call."""

    reason = "ROLE_REQUIRED"


class NotFound(Refusal):
    """There is no such thing, or it belongs to somebody else: the answer is the same."""

    reason = "NOT_FOUND"


class RequestIdReused(Refusal):
    """The agent sent this request_id before, with another request."""

    reason = "REQUEST_ID_REUSED"


class FailedPrecondition(Refusal):
    """The thing is in another state than the request needs.

    Args:
        subject: What is in the wrong state, such as `calls/01J...`.
    """

    reason = "FAILED_PRECONDITION"

    def __init__(self, message: str, *, subject: str, reason: str) -> None:
        super().__init__(message, reason=reason)
        self.subject = subject


class BundleNotNewer(FailedPrecondition):
    """A policy bundle is no step forward from the active one, which stays."""

    reason = "BUNDLE_OLDER"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message, subject="policy.bundle", reason=reason or self.reason)


class ResourceExhausted(Refusal):
    """The caller is over a rate or a limit.

    Args:
        subject: Which quota, such as `agent:rate` or `agent:open_calls`.
        retry_after_s: Seconds until a retry can succeed, at least 0.
    """

    reason = "RATE_LIMITED"

    def __init__(self, message: str, *, subject: str, retry_after_s: float, reason: str) -> None:
        super().__init__(message, reason=reason)
        self.subject = subject
        self.retry_after_s = retry_after_s


class UploadBroken(Refusal):
    """An upload did not come to its end; nothing of it was kept: send it again."""

    reason = "UPLOAD_TOO_SLOW"


class Unavailable(Refusal):
    """The broker cannot serve this now; nothing was recorded.

    Args:
        retry_after_s: Seconds after which a retry is sensible.
    """

    reason = "UNAVAILABLE"

    def __init__(
        self, message: str, *, retry_after_s: float = 1.0, reason: str | None = None
    ) -> None:
        super().__init__(message, reason=reason)
        self.retry_after_s = retry_after_s


class ClockUntrusted(Unavailable):
    """The machine's clock is 60 s off elapsed time or behind the record, or a day ahead of it."""

    reason = "CLOCK_UNTRUSTED"

    def __init__(self) -> None:
        super().__init__(
            "the broker does not believe its machine's clock, so nothing is approved, begun or "
            "expired: the operator must set it right, or name the time (`resume --clock-now`)",
            retry_after_s=30.0,
        )


class HaltNotDurable(Unavailable):
    """The halt counts and its containers were killed, but the store has not taken it.

    Args:
        halt: Its name, `halts/<id>`.
    """

    reason = "HALT_NOT_DURABLE"

    def __init__(self, halt: str) -> None:
        super().__init__(
            f"{halt} is active, what ran under it was killed, but the store did not take it: do "
            "not restart the broker, free the store's disk; the broker goes on trying, and "
            "ListHalts says when it is durable",
            retry_after_s=5.0,
        )


class StoreError(BrokerError):
    """The record could not be changed as asked; nothing of the change was written."""

    reason = "STORE_ERROR"


class StaleCall(StoreError):
    """Another change to this call came first: read it again and decide again."""

    reason = "STALE_CALL"


class PremiseChanged(StoreError):
    """What the decision rested on is no longer so.

    Args:
        name: The premise that differs, such as `policy.bundle`.
    """

    reason = "PREMISE_CHANGED"

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} changed while the call was being decided: decide again")
        self.name = name


class DuplicateRequest(StoreError):
    """This agent's request_id is recorded already."""

    reason = "DUPLICATE_REQUEST"


class ShortIdTaken(StoreError):
    """Another call has this short id: draw another."""

    reason = "SHORT_ID_TAKEN"


class StaleLog(StoreError):
    """Another head of the log came first: read it again."""

    reason = "STALE_LOG"


class StaleBundle(StoreError):
    """A policy bundle that is as new, or newer, is kept already."""

    reason = "STALE_BUNDLE"


class QuotaSpent(StoreError):
    """The agent would keep more bytes of files than it may."""

    reason = "QUOTA_SPENT"


class StoreUnavailable(StoreError):
    """The store cannot take changes (disk full, locked, read-only, closed)."""

    reason = "STORE_UNAVAILABLE"


class PolicyError(BrokerError):
    """Policy gave no usable decision; the call is denied under `rule`."""

    reason = "POLICY_ERROR"
    rule = "broker.policy_unavailable"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        # It may quote an engine's words, in which half a surrogate pair could not be recorded.
        super().__init__(message.encode(errors="backslashreplace").decode(), reason=reason)


class PolicyUndefined(PolicyError):
    """The entry point has no value for this input."""

    reason = "POLICY_UNDEFINED"
    rule = "broker.policy_undefined"


class PolicyInvalid(PolicyError):
    """The engine failed on this input, or its answer is not a decision."""

    reason = "POLICY_INVALID"
    rule = "broker.policy_invalid"


class PolicyTimeout(PolicyError):
    """The engine did not answer before its deadline; the evaluation was stopped."""

    reason = "POLICY_TIMEOUT"
    rule = "broker.policy_timeout"


class PolicyUnavailable(PolicyError):
    """The engine cannot be reached or has no policy."""

    reason = "POLICY_UNAVAILABLE"
    rule = "broker.policy_unavailable"


class CanaryWrong(PolicyUnavailable):
    """The engine, or its policy, answers a call whose answer is known with another one."""

    reason = "POLICY_CANARY_WRONG"


class PolicyStale(PolicyError):
    """The engine decided with another bundle than the active one."""

    reason = "POLICY_STALE"
    rule = "broker.policy_stale"


class PolicyUnconfirmed(PolicyStale):
    """The source of bundles has not confirmed the active one for longer than it may."""

    reason = "POLICY_UNCONFIRMED"


class BundleSourceUnavailable(BrokerError):
    """Where bundles come from has none to give now; the active one stays."""

    reason = "BUNDLE_SOURCE_UNAVAILABLE"


class SandboxError(BrokerError):
    """The sandbox could not be made as demanded; the tool certainly never began."""

    reason = "SANDBOX_ERROR"


class RuntimeMissing(SandboxError):
    """The Engine does not have the runtime that policy or the tool demands; nothing ran.

    Args:
        runtime: The demanded one.
        there: Those that the Engine has.
    """

    reason = "SANDBOX_RUNTIME_UNKNOWN"

    def __init__(self, runtime: str, there: tuple[str, ...]) -> None:
        super().__init__(
            f"the Docker Engine has no runtime {runtime!r}, but {', '.join(there) or 'none'}: add "
            "it to the Engine's daemon.json; a weaker one is never taken instead"
        )


class SecretUnavailable(BrokerError):
    """A secret's value cannot be had; what needs it does not begin.

    Args:
        name: Which secret.
    """

    reason = "SECRET_UNAVAILABLE"

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"secret {name}: {message}")
        self.name = name
        self.description = message


class EgressRefused(BrokerError):
    """A tool may not connect to where it wants, or the place cannot be reached."""

    reason = "EGRESS_REFUSED"


class ImageBuildFailed(BrokerError):
    """A tool's image could not be built; nothing runs in it."""

    reason = "IMAGE_BUILD_FAILED"


class CanonicalError(BrokerError):
    """A value has no canonical JSON form (RFC 8785): NaN, a lone surrogate, a foreign type."""

    reason = "NOT_CANONICAL"


class LogForked(BrokerError):
    """The log that readers were shown is not the one in the record; the broker does not start."""

    reason = "LOG_FORKED"


class StoreBehind(LogForked):
    """Readers were shown more of this very log than the store has: it is an older copy."""

    reason = "STORE_BEHIND"


class WitnessError(BrokerError):
    """A witness gave no cosignature that counts.

    Args:
        witness: Its name in the configuration.
    """

    reason = "WITNESS_ANSWER_INVALID"

    def __init__(self, witness: str, message: str, *, reason: str | None = None) -> None:
        super().__init__(f"witness {witness} {message}", reason=reason)
        self.witness = witness


class LogForkSuspected(WitnessError):
    """A witness saw this log with another history, or a longer one, under its name and key."""

    reason = "LOG_FORK_SUSPECTED"


class ReceiptInvalid(BrokerError):
    """A receipt, trust root or proof does not verify.

    Args:
        step: Which step of the verification failed, such as `signature`.
    """

    reason = "RECEIPT_INVALID"

    def __init__(self, step: str, message: str) -> None:
        super().__init__(f"{step}: {message}")
        self.step = step
        self.description = message

    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]:
        # Entries are verified in other processes: as it is, an exception goes by its one message.
        return type(self), (self.step, self.description)


class TokenUnavailable(BrokerError):
    """The device that holds a key does not sign now; nothing was signed."""

    reason = "TOKEN_UNAVAILABLE"


class ConfigurationError(BrokerError):
    """A file that the operator wrote is wrong; the broker does not start.

    Args:
        file: Path as the operator knows it.
        line: 1-based line, or None where the fault is of the whole file.
    """

    reason = "CONFIGURATION_ERROR"

    def __init__(self, file: str, line: int | None, message: str) -> None:
        super().__init__(f"{file}:{line}: {message}" if line else f"{file}: {message}")
        self.file = file
        self.line = line


class KeyRefused(ConfigurationError):
    """The trust root does not let the broker sign with a key that it is to use; it does not start.

    Args:
        file: The trust root.
    """

    reason = "KEY_NOT_TRUSTED"

    def __init__(self, file: str, message: str, *, reason: str) -> None:
        super().__init__(file, None, message)
        self.reason = reason
