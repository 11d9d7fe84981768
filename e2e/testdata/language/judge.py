"""Dagster's own reading of requests, for the test TestLanguage.

Reads messages from stdin and answers each on stdout. A message is a JSON text behind its length in four bytes. The first
is {"introspection": document}, answered with Dagster's schema and versions; all others are {"cases": [case, ...]}.

What reads the requests here is the installed dagster_webserver with its real schema, routes and validation. Only the
functions behind the root fields are replaced: they write down that they were called, and with what, and do nothing.
"""

import asyncio
import base64
import gc
import inspect
import json
import re
import struct
import sys
from contextlib import nullcontext
from urllib.parse import unquote

import graphql
from dagster import __version__ as dagster_version
from dagster_webserver.webserver import DagsterWebserver
from graphql.language import ast
from graphql.type import introspection
from graphql.utilities import coerce_input_value


class Recorder:
    """What one request made Dagster do."""

    def __init__(self):
        self.ran = []
        self.meaning = None
        self.refused = ""
        self.partly = False  # some field's arguments were refused when its turn came


recorder = Recorder()


class Webserver(DagsterWebserver):
    def _make_request_context(self, conn):
        return nullcontext(object())

    make_request_context = _make_request_context  # its name in 1.10

    async def execute_graphql_request(self, request, query, variables, operation_name):
        # As the original, without its thread: one request is judged at a time.
        return await self.gen_graphql_response(
            request_context=object(), query=query, variables=variables, operation_name=operation_name
        )


class Anything:
    """Stands for a literal in the place of a scalar that takes any value.

    What Dagster makes of one is its own: variables, enum values and large numbers in it become null.
    """

    def __eq__(self, other):
        return True

    __hash__ = None

    def __repr__(self):
        return "<literal>"


# What runs


def record(kind, info, arguments):
    recorder.ran.append({
        "type": kind, "name": info.field_name, "key": info.path.key, "arguments": dict(arguments),
    })


def replace_resolvers(schema):
    """Makes every root field record itself and be null, so that those after it run too."""
    roots = {schema.query_type: "query", schema.mutation_type: "mutation", schema.subscription_type: "subscription"}
    for root, kind in roots.items():
        for field in root.fields.values():
            field.type = graphql.get_nullable_type(field.type)
            field.resolve = resolver(kind)
            if kind == "subscription":
                field.subscribe = subscriber
    for name in ("SchemaMetaFieldDef", "TypeMetaFieldDef", "TypeNameMetaFieldDef"):
        meta = getattr(introspection, name)
        if name == "TypeNameMetaFieldDef":
            meta.resolve = typename(meta.resolve, roots)
        else:
            meta.type = graphql.get_nullable_type(meta.type)
            meta.resolve = resolver("query")
    for scalar in ("GenericScalar", "RunConfigData", "JsonSchema"):
        if scalar in schema.type_map:
            schema.type_map[scalar].parse_literal = lambda *_: Anything()
    schema.type_map["ID"].parse_literal = identifier(schema.type_map["ID"].parse_literal)


def identifier(parse_literal):
    """An ID that is written as a number is what it would be in JSON: -0 is 0."""

    def parse(node, variables=None):
        return str(int(node.value)) if isinstance(node, ast.IntValueNode) else parse_literal(node, variables)

    return parse


def resolver(kind):
    def resolve(_parent, info, **arguments):
        record(kind, info, arguments)

    return resolve


def typename(original, roots):
    def resolve(parent, info, **arguments):
        if info.path.prev is None:
            record(roots.get(info.parent_type, "other"), info, arguments)
        return original(parent, info, **arguments)

    return resolve


async def subscriber(_parent, info, **arguments):
    """One event, so that what Dagster executes for an event is seen as well."""
    record("subscription", info, arguments)
    yield None


# What a document means


def meaning(document, operation_name):
    """The operation that runs and the fragments that it reaches, as text without places and spellings."""
    operations, fragments = [], {}
    for definition in document.definitions:
        if isinstance(definition, ast.OperationDefinitionNode):
            operations.append(definition)
        elif isinstance(definition, ast.FragmentDefinitionNode):
            fragments[definition.name.value] = definition
    chosen = [o for o in operations if operation_name is None or (o.name and o.name.value == operation_name)]
    parts, todo, seen = [], [chosen[0]], set()
    while todo:
        spreads = []
        parts.append(dump(todo.pop(), spreads))
        for name in spreads:
            if name not in seen and name in fragments:
                seen.add(name)
                todo.append(fragments[name])
    return "\n".join(sorted(parts))


# Descriptions are not executed, and a string means the same in either spelling.
SILENT = {"loc", "block", "description"}


def dump(node, spreads):
    if isinstance(node, ast.FragmentSpreadNode):
        spreads.append(node.name.value)
    if isinstance(node, (list, tuple)):
        return "[" + ",".join(dump(child, spreads) for child in node) + "]"
    if not isinstance(node, ast.Node):
        return repr(node)
    fields = ((key, getattr(node, key, None)) for key in node.keys if key not in SILENT)
    if isinstance(node, ast.FieldNode) and node.alias and node.alias.value == node.name.value:
        fields = ((key, value) for key, value in fields if key != "alias")
    return node.kind + "(" + ",".join(f"{k}={dump(v, spreads)}" for k, v in fields if v not in (None, (), [])) + ")"


def watch(execute):
    def watched(schema, document, *args, **kwargs):
        # None is no name, and an empty one names nothing; only then does Dagster refuse.
        name = kwargs.get("operation_name", args[3] if len(args) > 3 else None)
        try:
            recorder.meaning = meaning(document, name)
        except (IndexError, RecursionError):
            recorder.meaning = None
        return execute(schema, document, *args, **kwargs)

    return watched


def validate_once(validate):
    """The same document is validated once: what is forwarded often is what was sent, and validation takes the most time."""
    valid = None

    def once(schema, document, *args, **kwargs):
        nonlocal valid
        try:
            text = dump(document, [])
        except RecursionError:
            return validate(schema, document, *args, **kwargs)
        if text == valid:
            return []
        errors = validate(schema, document, *args, **kwargs)
        if not errors:
            valid = text
        return errors

    return once


def replace_steps():
    """Puts the functions above in the place of the originals, wherever this version of Dagster calls them from."""
    steps = {"execute": watch, "subscribe": watch, "validate": validate_once}
    for name in ("dagster_webserver.graphql", "graphene.types.schema", "graphql.graphql", "graphql.execution.subscribe"):
        module = sys.modules[name]
        for step, wrapper in steps.items():
            # subscribe of its own module is the whole, which others have been given already.
            if inspect.isfunction(getattr(module, step, None)) and (name, step) != ("graphql.execution.subscribe", "subscribe"):
                setattr(module, step, wrapper(getattr(module, step)))


# Requests


def unpack(request):
    return request["method"], request["target"].encode("latin-1"), [
        (k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in request["headers"]
    ], base64.b64decode(request["body"])


async def run_http(app, request):
    method, target, headers, body = unpack(request)
    path, _, query = target.partition(b"?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": unquote(path.decode("ascii")), "raw_path": path, "query_string": query, "root_path": "",
        "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 3000), "state": {},
    }
    received, answered = [{"type": "http.request", "body": body, "more_body": False}], []

    async def receive():
        return received.pop() if received else {"type": "http.disconnect"}

    async def send(message):
        answered.append(message)

    await app(scope, receive, send)
    body = b"".join(m.get("body", b"") for m in answered if m["type"] == "http.response.body")
    return str(answered[0]["status"]), body


async def run_frame(app, frame):
    scope = {
        "type": "websocket", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "ws", "path": "/graphql",
        "raw_path": b"/graphql", "query_string": b"", "root_path": "", "headers": [], "subprotocols": ["graphql-ws"],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 3000), "state": {},
    }
    received = [{"type": "websocket.receive", "text": base64.b64decode(frame).decode()}, {"type": "websocket.connect"}]
    answered, me = [], asyncio.current_task()

    async def receive():
        if received:
            return received.pop()
        running = asyncio.all_tasks() - {me}
        if running:
            await asyncio.wait(running)
        return {"type": "websocket.disconnect", "code": 1000}

    async def send(message):
        answered.append(message)

    await app(scope, receive, send)
    texts = [m["text"] for m in answered if m["type"] == "websocket.send"]
    return "ws", "".join(texts).encode()


async def run(app, way, request):
    """Runs one request and returns what was recorded, or why nothing was."""
    global recorder
    recorder = Recorder()
    try:
        status, body = await (run_http if way == "http" else run_frame)(app, request)
    except Exception as error:  # noqa: BLE001, what uvicorn would log and answer with 500
        status, body = "error", told(error).encode()
    recorder.partly = b'"errors"' in body
    if not recorder.ran:
        recorder.refused = status + " " + kind_of(body.decode("utf-8", "replace"))
    return recorder


def told(error):
    """An error in words. str() of graphql-core 3.2.6's own errors fails for some places in a document."""
    return f"{type(error).__name__}: {getattr(error, 'message', error.args)}"


def kind_of(answer):
    """The kind of a refusal, without the names in it."""
    try:
        found = json.loads(answer)
        errors = found.get("errors") or [found.get("payload") or {}]
        answer = errors[0].get("message", answer)
    except (ValueError, AttributeError, IndexError, KeyError):
        pass
    return re.sub(r"'[^']*'|\"[^\"]*\"|\d+|(?<=:\n).*", "_", answer.split("\n")[0])[:120]


# The answer


def evaluated(schema, kind, judged):
    """The arguments that our side judged, put through the schema as if they were variables."""
    root = {"query": schema.query_type, "mutation": schema.mutation_type, "subscription": schema.subscription_type}[kind]
    field = {"__type": introspection.TypeMetaFieldDef, "__schema": introspection.SchemaMetaFieldDef,
             "__typename": introspection.TypeNameMetaFieldDef}.get(judged["name"]) or root.fields.get(judged["name"])
    values, given = {}, json.loads(judged["arguments"])
    for name, argument in field.args.items():
        out = argument.out_name or name
        if name in given:
            values[out] = coerce_input_value(given[name], argument.type)
        elif argument.default_value is not graphql.Undefined:
            values[out] = argument.default_value
    return values


def compare(schema, case, forwarded, raw):
    """What our side said of the arguments, and what the client's own request means, beside what is forwarded."""
    problems = []
    judged = {f["key"]: f for f in case["judged"]["fields"]}
    for call in forwarded.ran:
        ours = judged.get(call["key"])
        if ours is None or ours["name"] != call["name"] or call["type"] != case["judged"]["type"]:
            continue  # the Go side compares what ran
        try:
            wanted = evaluated(schema, call["type"], ours)
        except Exception as error:  # noqa: BLE001, a finding like any other
            wanted = told(error)
        if wanted != call["arguments"]:
            problems.append(f"arguments of {call['key']}: judged {wanted!r}, ran with {call['arguments']!r}")
    if forwarded.ran and forwarded.meaning is None:
        problems.append("this judge missed the document that ran")
    if raw.ran and forwarded.ran and said(raw) != said(forwarded):
        problems.append("what the client sent means " + " and what is forwarded ".join(difference(said(raw), said(forwarded))))
    return problems


def said(r):
    return f"{r.ran} {r.meaning}"


def difference(one, other):
    """The surroundings of the first difference."""
    at = next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
    return [f"...{text[max(0, at - 100):at + 100]}..." for text in (one, other)]


def outcome(r):
    return {
        "ran": [{k: call[k] for k in ("type", "name", "key")} for call in r.ran],
        "refused": r.refused, "partly": r.partly,
    }


async def judge(app, schema, case):
    raw = await run(app, case["way"], case["raw"])
    answer = {"raw": outcome(raw)}
    if case.get("forwarded") is not None:
        forwarded = await run(app, case["way"], case["forwarded"])
        answer["forwarded"] = outcome(forwarded)
        if case.get("judged"):
            answer["problems"] = compare(schema, case, forwarded, raw)
    return answer


def read():
    length = sys.stdin.buffer.read(4)
    if len(length) < 4:
        return None
    return json.loads(sys.stdin.buffer.read(struct.unpack(">I", length)[0]))


def write(message, out):
    data = json.dumps(message).encode()
    out.write(struct.pack(">I", len(data)) + data)
    out.flush()


async def main(out):
    server = Webserver(process_context=None)
    graphene = getattr(server, "_graphene_schema", None) or server._graphql_schema  # the latter is its name in 1.10
    schema = graphene.graphql_schema
    answer = await graphene.execute_async(read()["introspection"])
    write({"data": answer.data, "versions": f"dagster {dagster_version}, graphql-core {graphql.__version__}"}, out)
    replace_resolvers(schema)
    replace_steps()
    app = server.create_asgi_app()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    while (message := read()) is not None:
        write({"answers": [await judge(app, schema, case) for case in message["cases"]]}, out)


if __name__ == "__main__":
    # What a library prints must not get between the messages.
    replies, sys.stdout = sys.stdout.buffer, sys.stderr
    asyncio.run(main(replies))
