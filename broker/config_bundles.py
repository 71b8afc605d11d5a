"""Define the settings of where bundles come from while the broker runs."""

from datetime import timedelta
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from broker.config_sections import Section
from broker.config_types import (
    OptionalBundleUrl,
    OptionalPath,
    OptionalSecretUri,
)
from broker.core.address import is_closed_way
from broker.core.freshness import FreshnessRule


class BundlesSection(Section):
    """Where new policy bundles come from while the broker runs."""

    folder: OptionalPath = Field(
        default=None,
        description=(
            "A folder that is watched: a file renamed to bundle.tar.gz in it is taken. Empty: none."
        ),
    )
    url: OptionalBundleUrl = Field(
        default="",
        description=(
            "A bundle on an OPA bundle server, in the place of a folder: "
            "https://policy.example.org/bundles/broker.tar.gz. Empty: none."
        ),
    )
    token: OptionalSecretUri = Field(
        default="",
        description=(
            "Where the server's bearer token is: file:PATH, credential:NAME or env:VARIABLE, as in "
            "[secrets]; no tool can be given it. Empty: none."
        ),
    )
    ca_file: OptionalPath = Field(
        default=None,
        description="PEM of the server's certificate authorities; empty: the system's.",
    )
    interval_s: float = Field(
        default=30, ge=0.1, le=86_400, description="Time between two looks, in seconds."
    )
    timeout_s: float = Field(
        default=10,
        gt=0,
        le=300,
        description="Longest time for one look with its retries, in seconds; the start waits.",
    )
    stale_after_s: int = Field(
        default=900,
        ge=1,
        le=31_536_000,
        description=(
            "When folder or server have not confirmed the active bundle for so long, it is stale: "
            "an alarm, in seconds."
        ),
    )
    refuse_after_s: int = Field(
        default=0,
        ge=0,
        le=31_536_000,
        description=(
            "When they have not for so long, every call is denied (broker.policy_stale) until they "
            "do; 0: calls are decided by the last bundle, however old."
        ),
    )

    @property
    def is_set(self) -> bool:
        """Tell whether bundles come from anywhere."""
        return self.folder is not None or bool(self.url)

    @property
    def rule(self) -> FreshnessRule:
        """How long the active bundle may go unconfirmed."""
        refuse_after = timedelta(seconds=self.refuse_after_s) if self.refuse_after_s else None
        return FreshnessRule(
            stale_after=timedelta(seconds=self.stale_after_s), refuse_after=refuse_after
        )

    @model_validator(mode="after")
    def _one_source(self) -> "BundlesSection":
        if self.folder is not None and self.url:
            raise ValueError("folder and url are two sources: leave one of them empty")
        if self.ca_file is not None and not self.url.startswith("https://"):
            raise ValueError("ca_file is for a url that begins with https://")
        if self.token and not self.url:
            raise ValueError("token is for a url: name that, or leave token empty")
        if self.token and not _is_private(self.url):
            raise ValueError(
                "token would be sent in the clear: use a url that begins with https://"
            )
        return self

    @model_validator(mode="after")
    def _times_in_order(self) -> "BundlesSection":
        if self.refuse_after_s and not self.is_set:
            raise ValueError(
                "refuse_after_s needs folder or url: without one nothing could confirm a bundle"
            )
        if not self.is_set:
            return self
        if self.stale_after_s <= self.interval_s + self.timeout_s:
            raise ValueError(
                "stale_after_s must be more than interval_s and timeout_s together: one slow "
                "look would be an alarm"
            )
        if 0 < self.refuse_after_s < self.stale_after_s:
            raise ValueError(
                "refuse_after_s must be 0 or at least stale_after_s: the alarm comes first"
            )
        return self


def _is_private(url: str) -> bool:
    parts = urlsplit(url)
    return is_closed_way(parts.scheme, parts.hostname)
