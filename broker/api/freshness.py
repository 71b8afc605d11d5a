"""Write how fresh policy is."""

from google.protobuf.timestamp_pb2 import Timestamp

from broker.api.wire import timestamp
from broker.freshness import PolicyFreshness
from broker.v1 import policy_pb2


def freshness_value(freshness: PolicyFreshness | None) -> policy_pb2.PolicyFreshness.ValueType:
    """Give the enum's value; unspecified where bundles come from nowhere by themselves."""
    if freshness is None:
        return policy_pb2.POLICY_FRESHNESS_UNSPECIFIED
    return policy_pb2.PolicyFreshness.Value(f"POLICY_FRESHNESS_{freshness.state.name}")


def confirmed(freshness: PolicyFreshness | None) -> Timestamp | None:
    """Give when the active bundle was last confirmed; None where nobody knows of any time."""
    return timestamp(freshness.confirmed_at) if freshness else None
