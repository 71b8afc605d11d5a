"""Open the policy engine that the configuration names."""

import asyncio
import os
import shutil
from collections.abc import Iterator, MutableMapping
from functools import partial

from broker.adapters.opa_server import Credentials, OpaServerEngine
from broker.adapters.opa_wasm import WasmEngine
from broker.adapters.pki import key_fault
from broker.adapters.secret_sources import ConfiguredSecrets
from broker.config_policy import PolicySection
from broker.config_types import is_services_own
from broker.core.bundle import Bundle
from broker.errors import PolicyError
from broker.finding import Finding, fail, ok, warn
from broker.ports import PolicyEngine

_NAME = "opa_token"


async def open_policy_engine(
    policy: PolicySection, bundle: Bundle, environment: MutableMapping[str, str]
) -> PolicyEngine:
    """Start or reach the engine; it has answered the canary then.

    Args:
        environment: The broker's own; loses the variable that holds the token.

    Raises:
        PolicyError: There is no engine that answers as it must.
    """
    if policy.engine == "wasm":
        # Compiling takes a processor for a while, and calls may go on meanwhile.
        return await asyncio.to_thread(WasmEngine, bundle, timeout_s=policy.timeout_s)
    if policy.opa_url:
        return await OpaServerEngine.connect(
            policy.opa_url,
            bundle,
            timeout_s=policy.timeout_s,
            credentials=_credentials(policy, environment),
        )
    opa = str(policy.opa_binary or "opa")
    return await OpaServerEngine.spawn(opa, bundle, timeout_s=policy.timeout_s)


def engine_findings(policy: PolicySection, bundle: Bundle | None) -> Iterator[Finding]:
    """Judge the engine for `doctor`: it is started, or asked, as at the start. Blocking.

    Args:
        bundle: None where it cannot be read: no server can then have it.
    """
    subject = "policy engine"
    if policy.engine == "wasm":
        yield _own(policy, bundle, "wasm, inside the broker")
    elif policy.opa_url:
        yield from _key(policy)
        if bundle is not None:
            yield _external(policy, bundle)
    elif found := shutil.which(str(policy.opa_binary or "opa")):
        yield _own(policy, bundle, f"opa, {found}")
    else:
        remedy = 'install opa, name it in [policy] opa_binary, or use engine = "wasm"'
        yield fail(subject, "there is no opa program", remedy)


def _credentials(policy: PolicySection, environment: MutableMapping[str, str]) -> Credentials:
    token = None
    if policy.opa_token:
        secrets = ConfiguredSecrets({_NAME: policy.opa_token}, environment)
        token = partial(secrets.read_now, _NAME)
    return Credentials(
        ca_file=policy.opa_ca_file,
        certificate=policy.opa_certificate,
        private_key=policy.opa_private_key,
        token=token,
    )


def _own(policy: PolicySection, bundle: Bundle | None, said: str) -> Finding:
    subject = "policy engine"
    try:
        if bundle is not None:
            asyncio.run(_ask(policy, bundle))
    except (PolicyError, OSError) as error:
        reason = error.reason if isinstance(error, PolicyError) else "OSError"
        remedy = "a start is refused: mend the policy, build it anew, name it by [policy] bundle"
        cause = str(error).partition("\n")[0]
        return fail(subject, f"{said}, does not load the bundle: {reason}: {cause}", remedy)
    return ok(subject, said)


async def _ask(policy: PolicySection, bundle: Bundle) -> None:
    # Of a copy: what is read here is to stay where the broker finds it.
    engine = await open_policy_engine(policy, bundle, dict(os.environ))
    await engine.close()


def _external(policy: PolicySection, bundle: Bundle) -> Finding:
    subject = "policy engine"
    if is_services_own(policy.opa_token):
        said = f"opa at {policy.opa_url}, whose token only the service has: not asked"
        return warn(subject, said, "run doctor as the service runs, or look at GetServerInfo")

    try:
        asyncio.run(_ask(policy, bundle))
    except PolicyError as error:
        said = f"opa at {policy.opa_url}: {error.reason}: {error.message}"
        return fail(subject, said, "no call is decided before it answers: mend it, or [policy]")
    return ok(subject, f"opa at {policy.opa_url}, answers with {bundle.revision}")


def _key(policy: PolicySection) -> Iterator[Finding]:
    """Judge the broker's own pair for the server."""
    certificate, key = policy.opa_certificate, policy.opa_private_key
    if certificate is None or key is None:
        return
    remedy = "mend [policy] opa_certificate and opa_private_key"
    try:
        fault = key_fault(certificate.read_bytes(), key.read_bytes())
        others = key.stat().st_mode & 0o077
    except OSError as error:
        yield fail("OPA client key", f"{error.filename}: {error.strerror}", remedy)
        return
    if fault:
        yield fail("OPA client key", f"{key}: {fault}", remedy)
    if others:
        yield fail("OPA client key", f"{key}: others can read it", f"chmod 600 {key}; was it read?")
