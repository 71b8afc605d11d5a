"""Find what keeps a configured broker from working."""

import os
import shutil
import socket
import stat
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import requests
from docker import APIClient
from docker.errors import DockerException, ImageNotFound

from broker import shipped
from broker.adapters.file_signer import FileSigner
from broker.adapters.image_lock import read_image_lock
from broker.adapters.pki import key_fault, pair_fault, read_certificate
from broker.adapters.secret_sources import ConfiguredSecrets
from broker.adapters.tool_files import read_catalog
from broker.config import Config
from broker.config_sections import ReceiptsSection
from broker.config_types import is_services_own
from broker.core.catalog import Tool
from broker.core.trust_root import KeyRole, TrustRoot
from broker.errors import (
    ConfigurationError,
    KeyRefused,
    ReceiptInvalid,
    SecretUnavailable,
    TokenUnavailable,
)
from broker.finding import Finding, Level, fail, ok, warn
from broker.isolation import isolation
from broker.keyring import ADD_LOG_KEY, check_key, read_log_signer
from broker.outstanding import unsigned_certificate, unsigned_root
from broker.policy_findings import policy_findings
from broker.secret_ring import check_declared
from broker.store_findings import log_findings
from broker.supply_findings import supply
from broker.verify.trust_root import open_trust_root
from broker.witness_ring import read_addresses, read_witnesses

_EXPIRY_WARNING = timedelta(days=14)
_ENGINE_TIMEOUT_S = 10
_CONNECT_TIMEOUT_S = 2
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_NEW_SET = "make a new set in another folder with `toolwarrant init`"
_WITNESSES = "witnesses"
_PIN = "build and pin them: `toolwarrant tools build --pin`"


def diagnose(config: Config, now: datetime) -> list[Finding]:
    """Check everything that the configuration names. Blocking: seconds.

    Args:
        now: Aware UTC, to judge certificates.
    """
    return [
        *_certificates(config, now),
        *_receipts(config),
        *_identities(config),
        *_witnesses(config),
        *_secrets(config),
        *_store(config),
        *log_findings(config.store.path),
        *_tools(config),
        *_engine(config),
        *_egress(config),
        *policy_findings(config),
        *supply(config, os.environ, now),
        *_ports(config),
    ]


def _certificates(config: Config, now: datetime) -> Iterator[Finding]:
    server = config.server
    try:
        certificate, key = (file.read_bytes() for file in (server.certificate, server.private_key))
    except OSError as error:
        said = f"{error.filename}: {error.strerror}"
        remedy = unsigned_certificate(config) or f"mend [server], or {_NEW_SET}"
        yield fail("certificates", said, remedy)
        return
    if fault := key_fault(certificate, key):
        yield fail("server certificate", fault, f"mend [server], or {_NEW_SET}")
    yield _private(server.private_key, "server key")
    yield _certificate("client CA", server.client_ca, now)
    yield _certificate("server certificate", server.certificate, now)
    for file in sorted((config.folder / "pki").glob("*.key")):
        pair = file.with_suffix(".crt")
        if file == server.private_key or not pair.exists():
            continue
        yield _pair(file, pair, server.client_ca, now)
        if (private := _private(file, f"key of {file.stem}")).level is not Level.OK:
            yield private


def _certificate(subject: str, file: Path, now: datetime) -> Finding:
    try:
        facts = read_certificate(file.read_bytes(), str(file))
    except (OSError, ConfigurationError) as error:
        return fail(subject, str(error), _NEW_SET)
    until = facts.not_after.date().isoformat()
    if not facts.not_before <= now < facts.not_after:
        said = f"{file} is valid from {facts.not_before.isoformat()} until {until}"
        return fail(subject, said, f"check this machine's clock, or {_NEW_SET}")
    if facts.not_after - now < _EXPIRY_WARNING:
        return warn(subject, f"{file} expires on {until}", _NEW_SET)
    return ok(subject, f"valid until {until}{', development' if facts.is_development else ''}")


def _pair(key: Path, certificate: Path, ca: Path, now: datetime) -> Finding:
    finding = _certificate(f"pair {key.stem}", certificate, now)
    if finding.level is Level.FAIL:
        return finding
    try:
        texts = certificate.read_bytes(), key.read_bytes()
        if fault := key_fault(*texts):
            return fail(finding.subject, fault, _NEW_SET)
        # No more than a doubt: a CA in between may have signed it.
        if fault := pair_fault(*texts, ca.read_bytes()):
            return warn(finding.subject, f"{fault} {ca}", _NEW_SET)
    except OSError as error:
        said = f"{error.filename}: {error.strerror}"
        return fail(finding.subject, said, _NEW_SET)
    return finding


def _private(file: Path, subject: str) -> Finding:
    try:
        facts = file.stat()
    except OSError as error:
        return fail(subject, f"{file}: {error.strerror}", _NEW_SET)
    if facts.st_mode & _OTHERS:
        mode = f"{stat.S_IMODE(facts.st_mode):04o}"
        said = f"{file} has mode {mode}: others can read it"
        return fail(subject, said, f"chmod 600 {file}; was it read? {_NEW_SET}")
    return ok(subject, "readable by its owner alone")


def _receipts(config: Config) -> Iterator[Finding]:
    receipts = config.receipts
    try:
        signer = FileSigner(receipts.key)
        root = open_trust_root(receipts.trust_root.read_bytes())
    except (ConfigurationError, ReceiptInvalid, OSError) as error:
        remedy = unsigned_root(receipts.trust_root) or f"mend [receipts], or {_NEW_SET}"
        yield fail("receipt key", str(error), remedy)
        return
    try:
        check_key(receipts.trust_root, root, KeyRole.RECEIPT, signer, "no receipt would be valid")
    except KeyRefused as error:
        remedy = _remedy(error, "receipts.key")
        yield fail("trust root", f"{error} ({error.reason})", remedy)
    else:
        yield ok("receipt key", f"{signer.key_id}, in the trust root")
    yield _log_key(receipts, root)
    if receipts.development:
        remedy = "for production: own certificates and keys, then receipts.development = false"
        yield warn("keys", "this is a development set", remedy)


def _remedy(error: KeyRefused, setting: str) -> str:
    """Say what to do of a key; nothing lets one that ended or is withdrawn sign again."""
    if error.reason in ("KEY_ENDED", "KEY_WITHDRAWN"):
        return f"name the key that follows it by {setting}"
    return f"put the key into the trust root, or name the one in use by {setting}"


def _identities(config: Config) -> Iterator[Finding]:
    if not config.identities:
        remedy = f'add one table for each certificate to {config.file}: [identities."NAME"]'
        yield warn("identities", "nobody may call: there are none", remedy)


def _log_key(receipts: ReceiptsSection, root: TrustRoot) -> Finding:
    try:
        signer = read_log_signer(receipts, root)
    except KeyRefused as error:
        remedy = _remedy(error, "receipts.log_key")
        said = f"{error} ({error.reason})"
        return fail("log key", said, remedy)
    except TokenUnavailable as error:
        remedy = "plug the token in, mend its PIN's file, or receipts.log_key"
        return fail("log key", str(error), remedy)
    except (ConfigurationError, OSError) as error:
        return fail("log key", str(error), ADD_LOG_KEY)
    return ok("log key", f"{signer.key_id}, in the trust root")


def _witnesses(config: Config) -> Iterator[Finding]:
    receipts = config.receipts
    if not config.witnesses:
        said = "none: who has the log's key could show others another log"
        is_fine = config.receipts.development
        yield (
            ok("witnesses", said) if is_fine else warn("witnesses", said, "[witnesses] names some")
        )
        return
    try:
        read_witnesses(config, open_trust_root(receipts.trust_root.read_bytes()))
        read_addresses(config)
    except (ConfigurationError, ReceiptInvalid, OSError) as error:
        yield fail(_WITNESSES, str(error), "mend [witnesses], or the trust root")
        return
    for name, entry in config.witnesses.items():
        parts = urlsplit(entry.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if _is_taken(f"{parts.hostname}:{port}"):
            yield ok(f"witness {name}", f"{entry.url} answers, its key is in the trust root")
        else:
            said = f"{entry.url} cannot be reached from here: it cosigns nothing until it can"
            yield warn(f"witness {name}", said, "mend the URL, or ask its operator")


def _secrets(config: Config) -> Iterator[Finding]:
    # Of a copy: what is read here is to stay where the broker finds it.
    secrets = ConfiguredSecrets(config.secrets, dict(os.environ))
    secrets.close()
    faults = 0
    for name, uri in config.secrets.items():
        try:
            secrets.read_now(name)
        except SecretUnavailable as error:
            faults += 1
            yield _unreadable(config, name, uri, error)
    if config.secrets and not faults:
        yield ok("secrets", f"{len(config.secrets)} can be read")


def _unreadable(config: Config, name: str, uri: str, error: SecretUnavailable) -> Finding:
    """Judge a secret that cannot be read here; a service has an environment of its own."""
    subject = f"secret {name}"
    if is_services_own(uri):
        remedy = "run doctor as the service runs, or see whether the service has it"
        return warn(subject, f"cannot be told here: {error.description}", remedy)
    remedy = f"mend it, or secrets.{name} in {config.file}"
    return fail(subject, error.description, remedy)


def _store(config: Config) -> Iterator[Finding]:
    path = config.store.path
    folder = path.parent
    if not folder.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        said = f"{path} cannot be written"
        yield fail("store", said, "mend the folder's rights, or [store] path")
        return
    free_mib = shutil.disk_usage(folder).free >> 20
    if free_mib < 512:
        said = f"{folder} has {free_mib} MiB left"
        yield warn("store", said, "make room: a full disk stops every call")
    else:
        yield ok("store", f"{path}, {free_mib} MiB free")


def _tools(config: Config) -> Iterator[Finding]:
    try:
        tools = read_catalog(config.sandbox.tools_dir or shipped.tools_dir()).tools
    except ConfigurationError as error:
        yield fail("tools", str(error), "`toolwarrant tools validate`")
        return
    yield ok("tools", ", ".join(f"{tool.name}@{tool.version}" for tool in tools))
    try:
        check_declared(config, tools)
    except ConfigurationError as error:
        remedy = "name the secret in [secrets], or take it out of the tool's definition"
        yield fail("tools' secrets", str(error), remedy)
    for tool in tools:
        if lacking := sorted(set(tool.optional_secrets) - set(config.secrets)):
            said = (
                f"{tool.name} without {', '.join(lacking)}: a call that is granted one cannot run"
            )
            yield ok("tools' secrets", f"{said} until [secrets] names it")


def _known_tools(config: Config) -> Sequence[Tool]:
    """Give the catalogue's tools; none where it cannot be read, which `_tools` tells."""
    try:
        return read_catalog(config.sandbox.tools_dir or shipped.tools_dir()).tools
    except ConfigurationError:
        return ()


def _engine(config: Config) -> Iterator[Finding]:
    url = config.sandbox.docker_url
    try:
        engine = APIClient(base_url=url, version="auto", timeout=_ENGINE_TIMEOUT_S)
    except (DockerException, requests.RequestException) as error:
        remedy = "start the Docker Engine, join its group, or mend [sandbox] docker_url"
        yield fail("Docker Engine", f"{url}: {error}", remedy)
        return
    try:
        yield from _said_of_itself(config, engine)
        yield from _images(config, engine)
    except (DockerException, requests.RequestException) as error:
        yield fail("Docker Engine", f"{url}: {error}", "restart the Docker Engine")
    finally:
        engine.close()


def _said_of_itself(config: Config, engine: APIClient) -> Iterator[Finding]:
    said = cast("Mapping[str, object]", engine.info())
    cgroup = f"cgroup v{said.get('CgroupVersion', '?')}, {said.get('CgroupDriver', '?')}"
    yield ok("Docker Engine", f"{said.get('ServerVersion')}, {cgroup}")
    demands = {tool.name: tool.runtime for tool in _known_tools(config)}
    yield from isolation(said, config.sandbox.runtimes, demands)
    # Without these the Engine takes a limit and quietly does not keep it.
    for fact, limit in (("MemoryLimit", "memory"), ("PidsLimit", "pids"), ("CpuCfsQuota", "cpu")):
        if said.get(fact) is False:
            remedy = "turn the cgroup controller on in the kernel's command line"
            yield fail(f"{limit} limit", "the Engine cannot keep it", remedy)
    if said.get("SwapLimit") is False:
        remedy = "boot with swapaccount=1, or turn swap off: tools could swap beyond their memory"
        yield warn("swap limit", "the Engine cannot keep it", remedy)


def _images(config: Config, engine: APIClient) -> Iterator[Finding]:
    lock = config.sandbox.images_lock
    try:
        pins = read_image_lock(lock)
    except ConfigurationError as error:
        yield fail("images", str(error), _PIN)
        return
    wanted = sorted({tool.image for tool in _known_tools(config)})
    faults = [
        f"{name} is {fault}" for name in wanted if (fault := _image_fault(engine, pins.get(name)))
    ]
    if not wanted:
        return
    if faults:
        yield fail("images", f"{lock}: {', '.join(faults)}", _PIN)
    else:
        yield ok("images", f"{len(wanted)} pinned and present")


def _image_fault(engine: APIClient, image: str | None) -> str:
    if image is None:
        return "not pinned"
    try:
        engine.inspect_image(image)
    except ImageNotFound:
        return "not in the Engine"
    return ""


def _egress(config: Config) -> Iterator[Finding]:
    folder, ca = config.egress.state_dir, config.egress.ca_file
    if folder.exists() and folder.stat().st_mode & _OTHERS:
        said = f"{folder} is open to others: no call that needs egress can run"
        yield fail("egress sockets", said, f"chmod 700 {folder}, or another folder")
    else:
        yield ok("egress sockets", f"{folder}, the broker's own")
    if ca is not None and not ca.is_file():
        said = f"{ca} is no file"
        yield fail("egress authorities", said, "mend [egress] ca_file")


def _ports(config: Config) -> Iterator[Finding]:
    for subject, address in (("port", config.server.listen), ("metrics", config.metrics.listen)):
        if not address:
            yield ok(subject, "off")
        elif _is_taken(address):
            said = f"something listens on {address} already"
            remedy = "fine where it is this broker; else stop it, or choose another address"
            yield warn(subject, said, remedy)
        else:
            yield ok(subject, f"{address} is free")


def _is_taken(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False
