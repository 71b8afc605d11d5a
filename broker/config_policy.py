"""Define the settings of the policy engine."""

from typing import Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, model_validator

from broker.config_sections import Section
from broker.config_types import OptionalPath, OptionalSecretUri
from broker.core.address import is_this_machine


class PolicySection(Section):
    """What decides each call."""

    engine: Literal["wasm", "opa"] = Field(
        default="wasm", description='"wasm": inside the broker; "opa": an OPA server.'
    )
    bundle: OptionalPath = Field(
        default=None,
        description=(
            "Compiled, signed policy bundle (.tar.gz) to start with; empty: the shipped one. What "
            "was activated since goes on deciding, unless this one has a higher number."
        ),
    )
    unsigned_bundle: bool = Field(
        default=False,
        description=(
            "Take `bundle` although no policy key signed it: whoever can write that file then "
            "decides every call. What is activated while the broker runs is always signed."
        ),
    )
    opa_url: str = Field(
        default="",
        description=(
            'With engine "opa": an OPA server of yours that has the bundle, https://host:port, '
            "unix:///path, or http:// on this machine; empty: the broker starts its own."
        ),
    )
    opa_ca_file: OptionalPath = Field(
        default=None,
        description=(
            "PEM of the authorities that may sign that server's certificate, and no others then; "
            "empty: the system's. Certificate and host name are always checked."
        ),
    )
    opa_certificate: OptionalPath = Field(
        default=None,
        description="The broker's certificate for that server, PEM, where it demands one.",
    )
    opa_private_key: OptionalPath = Field(
        default=None, description="Its private key, PEM, readable by the broker alone (mode 0600)."
    )
    opa_token: OptionalSecretUri = Field(
        default="",
        description=(
            "Where the bearer token for that server is: file:PATH (read at each use), "
            "credential:NAME or env:VARIABLE; empty: none is sent."
        ),
    )
    opa_binary: OptionalPath = Field(
        default=None,
        description='With engine "opa" and no opa_url: the opa program; empty: from PATH.',
    )
    timeout_s: float = Field(
        default=1.0,
        gt=0,
        le=60,
        description="Longest time for one decision, in seconds; after it the call is denied.",
    )

    @model_validator(mode="after")
    def _one_opa(self) -> "PolicySection":
        if self.opa_url and not self.opa_url.startswith(("http://", "https://", "unix:///")):
            raise ValueError('opa_url must be a URL such as "http://127.0.0.1:8181"')
        if self.opa_url and self.opa_binary is not None:
            raise ValueError("opa_binary must be empty where opa_url names a server")
        if self.engine == "wasm" and (self.opa_url or self.opa_binary is not None):
            raise ValueError('opa_url and opa_binary need engine = "opa"; leave them empty')
        return self

    @model_validator(mode="after")
    def _proven(self) -> "PolicySection":
        """See that nobody between broker and server could decide, or read the token."""
        url = _split(self.opa_url)
        if url.scheme == "http" and not is_this_machine(url.hostname):
            raise ValueError(
                "opa_url must be https:// to another machine: who stands between could allow "
                "every call"
            )
        files = (self.opa_ca_file, self.opa_certificate, self.opa_private_key)
        if any(files) and url.scheme != "https":
            raise ValueError(
                "opa_ca_file, opa_certificate and opa_private_key need an opa_url with https://"
            )
        if bool(self.opa_certificate) != bool(self.opa_private_key):
            raise ValueError("opa_certificate and opa_private_key go together: name both")
        if self.opa_token and not self.opa_url:
            raise ValueError("opa_token needs an opa_url")
        return self


def _split(url: str) -> SplitResult:
    """Take apart the URL of an OPA server.

    Raises:
        ValueError: It has parts that would be left out, or lacks its port.
    """
    parts = urlsplit(url)
    if parts.scheme in ("http", "https") and (
        parts.hostname is None
        or parts.port is None
        or parts.netloc.count("@")
        or parts.path.strip("/")
        or parts.query
        or parts.fragment
    ):
        raise ValueError(
            'opa_url must have host and port alone, such as "https://opa.example.org:8181"'
        )
    return parts
