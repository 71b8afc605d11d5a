"""Find the witnesses that the configuration names among the keys that readers trust."""

import ssl
from contextlib import AsyncExitStack

from broker.adapters.witness_http import HttpWitnesses, WitnessAddress
from broker.config import Config, WitnessEntry, fault_in
from broker.core.signed_note import COSIGNATURE_V1, read_verifier_key
from broker.core.trust_root import KeyRole, TrustedKey, TrustRoot
from broker.core.witness import Witness
from broker.errors import ReceiptInvalid
from broker.log import Log
from broker.ports import Clock, LogRecord, Telemetry
from broker.tasks import Tasks
from broker.verify.signature import is_signed
from broker.witnessing import Witnessing


def read_witnesses(config: Config, root: TrustRoot) -> list[Witness]:
    """Find each witness's key in the trust root.

    Raises:
        ConfigurationError: No reader with this trust root would count a witness, two of them are
            one, or more are wanted than there are; names file and line.
    """
    found = {name: _witness(config, root, name) for name in config.witnesses}
    keys = [witness.key.key_id for witness in found.values()]
    for name, witness in found.items():
        if keys.count(witness.key.key_id) > 1:
            raise fault_in(
                config, ("witnesses", name, "key"), "is another witness's, too: keep one"
            )
    if config.witness_quorum > len(found):
        raise fault_in(
            config,
            ("receipts", "witness_quorum"),
            f"is more than the {len(found)} of [witnesses]: name more, or ask for fewer",
        )
    return list(found.values())


def read_addresses(config: Config) -> dict[str, WitnessAddress]:
    """Give where each witness answers, by its name.

    Raises:
        ConfigurationError: A file of authorities cannot be used; names file and line.
    """
    for name, entry in config.witnesses.items():
        try:
            if entry.ca_file is not None:
                ssl.create_default_context(cafile=str(entry.ca_file))
        except OSError as error:
            raise fault_in(
                config, ("witnesses", name, "ca_file"), "cannot be read, or holds no certificate"
            ) from error
    return {
        name: WitnessAddress(url=entry.url, ca_file=entry.ca_file)
        for name, entry in config.witnesses.items()
    }


async def open_witnessing(
    config: Config,
    root: TrustRoot,
    log: Log,
    record: LogRecord,
    *,
    clock: Clock,
    telemetry: Telemetry,
    stack: AsyncExitStack,
) -> Witnessing:
    """Take up the log's witnesses; where there are any, ask them until the broker stops.

    Raises:
        ConfigurationError: As `read_witnesses` with `read_addresses`.
    """
    gateway = await HttpWitnesses.open(read_addresses(config))
    stack.push_async_callback(gateway.close)
    witnesses = read_witnesses(config, root)
    witnessing = Witnessing(
        log,
        record,
        gateway,
        witnesses,
        quorum=config.witness_quorum,
        is_signed=is_signed,
        clock=clock,
        telemetry=telemetry,
    )
    await witnessing.open()
    if witnesses:
        tasks = Tasks()
        stack.push_async_callback(tasks.cancel)
        tasks.start(witnessing.run())
    return witnessing


def _witness(config: Config, root: TrustRoot, name: str) -> Witness:
    entry = config.witnesses[name]
    key, signs_as = _key(config, root, name, entry)
    if key is None:
        raise fault_in(
            config,
            ("witnesses", name, "key"),
            f"{config.receipts.trust_root} has no such active key of role witness, or gives it "
            "another name: no reader would count its cosignatures; `toolwarrant receipts "
            "witness-key` writes the entry to add",
        )
    return Witness(name=name, key=key, signs_as=signs_as)


def _key(
    config: Config, root: TrustRoot, name: str, entry: WitnessEntry
) -> tuple[TrustedKey | None, str | None]:
    trusted = [key for key in root.of_role(KeyRole.WITNESS) if key.is_unbounded and key.ed25519_key]
    if "+" not in entry.key:
        found = next((key for key in trusted if key.key_id == entry.key), None)
        return found, (found.name or None) if found else None
    try:
        signs_as, public_key = read_verifier_key(entry.key, COSIGNATURE_V1)
    except ReceiptInvalid as error:
        raise fault_in(
            config, ("witnesses", name, "key"), f"is no verifier key of a witness: {error}"
        ) from error
    named = [key for key in trusted if key.name in ("", signs_as)]
    return next((key for key in named if key.ed25519_key == public_key), None), signs_as
