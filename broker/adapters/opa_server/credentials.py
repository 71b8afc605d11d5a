"""Say how an OPA server and the broker prove to one another who they are."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from broker.core.secret import Secret
from broker.errors import PolicyUnavailable, SecretUnavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What each side shows the other; every part is optional.

    No part turns a check off: an https server always shows a certificate that holds for the host
    of its URL, signed by `ca_file` or else by one of the system's authorities.

    Args:
        ca_file: PEM of the authorities that may sign the server's certificate; no other then can.
        certificate: The broker's own, PEM, for a server that demands one.
        private_key: Of `certificate`.
        token: Gives the bearer token as it is now, so that a new one needs no restart.
    """

    ca_file: Path | None = None
    certificate: Path | None = None
    private_key: Path | None = None
    token: Callable[[], Secret] | None = field(default=None, repr=False)

    def tls(self) -> ssl.SSLContext:
        """Read the files.

        Raises:
            PolicyUnavailable: One cannot be read, or does not fit the others.
        """
        try:
            # Checks certificate and host name; with a file, the system's authorities are not read.
            context = ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            raise PolicyUnavailable(
                f"policy.opa_ca_file {self.ca_file} is no PEM of authorities: {_said(error)}"
            ) from error
        if self.certificate is not None and self.private_key is not None:
            try:
                # Without a password at hand OpenSSL would ask for one at the terminal.
                context.load_cert_chain(self.certificate, self.private_key, password=_no_password)
            except (OSError, ValueError) as error:
                raise PolicyUnavailable(
                    f"policy.opa_certificate {self.certificate} with policy.opa_private_key "
                    f"{self.private_key} is no unencrypted PEM pair: {_said(error)}"
                ) from error
        return context

    def headers(self) -> dict[str, str]:
        """Give what each request carries besides.

        Raises:
            PolicyUnavailable: The token cannot be had now.
        """
        if self.token is None:
            return {}
        try:
            value = self.token().value.decode("ascii")
        except SecretUnavailable as error:
            raise PolicyUnavailable(f"policy.opa_token: {error.description}") from error
        except UnicodeDecodeError:
            # Without its cause: that would quote the value.
            raise PolicyUnavailable("policy.opa_token is no token: not ASCII") from None
        if not value.isprintable():
            raise PolicyUnavailable("policy.opa_token is no token: it has control characters")
        return {"Authorization": f"Bearer {value}"}


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
