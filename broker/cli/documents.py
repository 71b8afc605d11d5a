"""Turn messages of `broker.v1` into plain JSON values."""

import base64
from collections.abc import Iterable
from typing import cast

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]


def plain(message: Message) -> dict[str, Plain]:
    """Write a message with all its fields, under their names in the proto.

    Enum values stand without their prefix, times as RFC 3339, durations as seconds, 64-bit
    integers as numbers, bytes as base64; what is unset and has no default is null.
    """
    fields = cast("Iterable[FieldDescriptor]", message.DESCRIPTOR.fields)
    return {field.name: _field(message, field) for field in fields}


def enum_name(enum: EnumDescriptor, number: int) -> str:
    """Name an enum's value without its prefix; the number where this program knows no name."""
    value = enum.values_by_number.get(number)
    if value is None:
        return str(number)
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return value.name.removeprefix(prefix)


def time_text(moment: Timestamp) -> str:
    """Write a time as RFC 3339 in UTC, to the millisecond."""
    return moment.ToDatetime().isoformat(timespec="milliseconds") + "Z"


def _field(message: Message, field: FieldDescriptor) -> Plain:
    value = getattr(message, field.name)
    if field.is_repeated:
        if field.message_type and field.message_type.GetOptions().map_entry:
            kind = field.message_type.fields_by_name["value"]
            return {str(key): _value(kind, value[key]) for key in value}
        return [_value(field, item) for item in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _value(field, value)


def _value(field: FieldDescriptor, value: object) -> Plain:
    if isinstance(value, Timestamp):
        return time_text(value)
    if isinstance(value, Duration):
        return value.ToNanoseconds() / 1e9
    if isinstance(value, Message):
        return plain(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if field.enum_type is not None:
        return enum_name(field.enum_type, cast("int", value))
    return cast("Plain", value)
