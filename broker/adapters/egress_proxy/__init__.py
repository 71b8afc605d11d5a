"""Let containers without a network reach listed places through sockets of their own."""

from broker.adapters.egress_proxy.bounds import Bounds
from broker.adapters.egress_proxy.proxy import EgressProxy
from broker.adapters.egress_proxy.resolver import SystemResolver

__all__ = ["Bounds", "EgressProxy", "SystemResolver"]
