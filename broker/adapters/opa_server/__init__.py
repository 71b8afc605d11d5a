"""Evaluate policy on an OPA server."""

from broker.adapters.opa_server.child import OpaChild
from broker.adapters.opa_server.credentials import Credentials
from broker.adapters.opa_server.engine import OpaServerEngine

__all__ = ["Credentials", "OpaChild", "OpaServerEngine"]
