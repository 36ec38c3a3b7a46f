"""Reads what is committed of a topic with Confluent's client, and decodes values whose schema is in the registry with Confluent's
and Google's libraries.

Prints one JSON object a line for each message: partition, row (the header lakeloader-row), key and value.
"""

import argparse
import base64
import datetime
import decimal
import json
import pathlib
import sys
import tempfile
import uuid

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.serialization import MessageField, SerializationContext


def plain(v):
    """A value as JSON has it."""
    if isinstance(v, dict):
        return {k: plain(x) for k, x in v.items()}
    if isinstance(v, list):
        return [plain(x) for x in v]
    if isinstance(v, bytes):
        return base64.b64encode(v).decode()
    if isinstance(v, datetime.datetime):
        if v.tzinfo is None:
            return v.isoformat()
        return v.astimezone(datetime.timezone.utc).replace(tzinfo=None).isoformat() + "Z"
    if isinstance(v, (datetime.date, datetime.time)):
        return v.isoformat()
    if isinstance(v, (decimal.Decimal, uuid.UUID)):
        return str(v)
    return v


def avro(registry):
    from confluent_kafka.schema_registry.avro import AvroDeserializer

    return AvroDeserializer(registry)


def protobuf(registry):
    """Decodes with Google's library and the schema that each value names. (Confluent's deserializer asks for the schema in a binary form that not every registry has.)"""
    from google.protobuf import json_format

    kinds = {}

    def decode(value, _):
        id = int.from_bytes(value[1:5], "big")
        if value[0] != 0 or value[5] != 0:
            sys.exit(f"the value {value!r} does not begin with a zero, the id of a schema, and a zero for its first message")
        if id not in kinds:
            kinds[id] = message_class(registry.get_schema(id).schema_str)
        return json_format.MessageToDict(kinds[id].FromString(value[6:]), preserving_proto_field_name=True)

    return decode


def message_class(text):
    """The class of the first message of a schema."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        at = pathlib.Path(folder)
        (at / "x.proto").write_text(text)
        include = pathlib.Path(protoc.__file__).parent / "_proto"
        if protoc.main(["protoc", f"-I{at}", f"-I{include}", "--include_imports", f"--descriptor_set_out={at}/set", "x.proto"]):
            sys.exit(f"protoc refuses the schema:\n{text}")
        files = descriptor_pb2.FileDescriptorSet.FromString((at / "set").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for f in files.file:
        pool.Add(f)
    found = pool.FindFileByName("x.proto").message_types_by_name
    return message_factory.GetMessageClass(next(iter(found.values())))


def messages(brokers, topic):
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": f"reader-{uuid.uuid4()}",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    parts = consumer.list_topics(topic, 30).topics[topic].partitions
    consumer.assign([TopicPartition(topic, p, 0) for p in parts])
    left = set(parts)
    while left:
        m = consumer.poll(30)
        if m is None:
            sys.exit(f"topic {topic}: nothing came for 30 s from partitions {sorted(left)}")
        if m.error() is None:
            yield m
        elif m.error().code() == KafkaError._PARTITION_EOF:
            left.discard(m.partition())
        else:
            raise KafkaException(m.error())
    consumer.close()


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--brokers", required=True)
    args.add_argument("--topic", required=True)
    args.add_argument("--registry")
    args.add_argument("--format", default="json", choices=["json", "avro", "protobuf"])
    args = args.parse_args()
    registry = SchemaRegistryClient({"url": args.registry}) if args.registry else None
    decode = {"json": lambda: lambda value, _: json.loads(value), "avro": lambda: avro(registry), "protobuf": lambda: protobuf(registry)}[args.format]()
    for m in messages(args.brokers, args.topic):
        value = decode(m.value(), SerializationContext(args.topic, MessageField.VALUE))
        headers = {k: (v or b"").decode() for k, v in m.headers() or []}
        key = None if m.key() is None else m.key().decode()
        print(json.dumps({"partition": m.partition(), "row": headers.get("lakeloader-row"), "key": key, "value": plain(value)}, ensure_ascii=False))


if __name__ == "__main__":
    main()
