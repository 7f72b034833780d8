#!/usr/bin/python3
"""The echo service of test/support/grpc-peers.ts in Python (gRPC's C core): the same methods and wishes, raw bytes, no protoc.

  grpc_peer.py server [--port N]             prints {"event": "listening", "port": N} and one line per call that has ended;
                                             runs until its standard input ends
  grpc_peer.py client ADDRESS METHOD [...]   prints one line per call: how it ended, and what came

Every line is one JSON object. METHOD is Unary, ServerStream, ClientStream or Duplex.
"""
import argparse
import base64
import hashlib
import json
import sys
import threading
import time
from concurrent import futures

import grpc

SERVICE = "remora.test.Echo"
LOCK = threading.Lock()
FAILURES = {}


def say(**line):
    with LOCK:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def plain(metadata):
    """Metadata as JSON: values of -bin keys in base64, repeated keys joined."""
    named = {}
    for key, value in metadata or ():
        text = base64.b64encode(value).decode() if key.endswith("-bin") else value
        named[key] = named[key] + "," + text if key in named else text
    return named


class Call:
    """One call as the server sees it."""

    def __init__(self, method, context):
        self.method = method
        self.context = context
        self.metadata = dict(context.invocation_metadata())
        left = context.time_remaining()
        # grpcio tells "no deadline" as a very long one.
        self.deadline_ms = None if left is None or left > 1e8 else left * 1000
        self.count = 0
        self.is_done = False
        self.is_cancelled = threading.Event()
        context.add_callback(self.ended)
        echoed = [(k, v) for k, v in self.metadata.items() if k.startswith("echo-")]
        if echoed or "want-headers" in self.metadata:
            context.send_initial_metadata(echoed)

    def ended(self):
        self.is_cancelled.set()
        outcome = "done" if self.is_done else "cancelled"
        metadata = plain(self.context.invocation_metadata())
        say(event="call", method=self.method, outcome=outcome, deadlineMs=self.deadline_ms, metadata=metadata, count=self.count)

    def finish(self):
        """The status that was wished for, with the trailers."""
        wants = self.metadata
        trailers = [(k, v) for k, v in wants.items() if k.startswith("trail-")]
        if self.deadline_ms is not None:
            trailers.append(("seen-deadline-ms", str(round(self.deadline_ms))))
        if "want-pushback" in wants:
            trailers.append(("grpc-retry-pushback-ms", wants["want-pushback"]))
        self.context.set_trailing_metadata(trailers)
        if "want-silence" in wants:
            self.is_cancelled.wait(60)
            return
        status = int(wants.get("want-status", "0"))
        self.is_done = True
        if status != 0 and self.still_fails():
            code = next(code for code in grpc.StatusCode if code.value[0] == status)
            self.context.set_code(code)
            self.context.set_details(wants.get("want-message") or wants.get("want-message-bin", b"").decode())
            return status

    def still_fails(self):
        """With fail-first: N, only the first N calls with this call-key fail."""
        if "fail-first" not in self.metadata:
            return True
        key = self.metadata.get("call-key", "")
        with LOCK:
            FAILURES[key] = FAILURES.get(key, 0) + 1
            return FAILURES[key] <= int(self.metadata["fail-first"])

    def received(self, messages):
        for message in messages:
            self.count += 1
            yield message


def unary(request, context):
    call = Call("Unary", context)
    call.count = 1
    return None if call.finish() else request


def server_stream(request, context):
    call = Call("ServerStream", context)
    call.count = 1
    count = int(call.metadata.get("want-count", "1"))
    size = call.metadata.get("want-size")
    message = request if size is None else bytes(i & 0xFF for i in range(int(size)))
    for _ in range(count):
        if call.is_cancelled.is_set():
            return
        yield message
    call.finish()


def client_stream(requests, context):
    call = Call("ClientStream", context)
    digest = hashlib.sha256()
    size = 0
    for message in call.received(requests):
        digest.update(message)
        size += len(message)
    summary = f"{call.count} {size} {digest.hexdigest()}".encode()
    return None if call.finish() else summary


def duplex(requests, context):
    call = Call("Duplex", context)
    for message in call.received(requests):
        yield message
    call.finish()


UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def serve(port):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=64), options=[*UNLIMITED, ("grpc.so_reuseport", 0)])
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
        "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
        "Duplex": grpc.stream_stream_rpc_method_handler(duplex),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    say(event="listening", port=bound)
    sys.stdin.read()
    server.stop(None)


def run_call(channel, options):
    path = f"/{SERVICE}/{options.method}"
    if options.size is None:
        messages = [text.encode() for text in options.message or [""]]
    else:
        messages = [bytes(i & 0xFF for i in range(options.size))] * options.count
    metadata = [split(pair) for pair in options.metadata or []]
    wishes = {"metadata": metadata, "timeout": options.deadline}
    started = time.monotonic()
    received = []
    if options.method == "Unary":
        call = channel.unary_unary(path).future(messages[0], **wishes)
        answers = one(call)
    elif options.method == "ServerStream":
        call = channel.unary_stream(path)(messages[0], **wishes)
        answers = call
    elif options.method == "ClientStream":
        call = channel.stream_unary(path).future(iter(messages), **wishes)
        answers = one(call)
    else:
        call = channel.stream_stream(path)(iter(messages), **wishes)
        answers = call
    if options.cancel_after_ms is not None:
        threading.Timer(options.cancel_after_ms / 1000, call.cancel).start()
    try:
        for answer in answers:
            received.append(answer)
            if options.cancel_after == len(received):
                call.cancel()
    except (grpc.RpcError, grpc.FutureCancelledError):
        pass
    digest = hashlib.sha256()
    for answer in received:
        digest.update(answer)
    say(
        status=call.code().value[0],
        details=call.details() or "",
        headers=plain(call.initial_metadata()),
        trailers=plain(call.trailing_metadata()),
        first=received[0].decode("latin1")[:200] if received else None,
        count=len(received),
        bytes=sum(map(len, received)),
        sha256=digest.hexdigest(),
        tookMs=(time.monotonic() - started) * 1000,
    )


def one(call):
    yield call.result()


def split(pair):
    key, value = pair.split("=", 1)
    return key, base64.b64decode(value) if key.endswith("-bin") else value


def main():
    parser = argparse.ArgumentParser()
    modes = parser.add_subparsers(dest="mode", required=True)
    server = modes.add_parser("server")
    server.add_argument("--port", type=int, default=0)
    client = modes.add_parser("client")
    client.add_argument("address")
    client.add_argument("method", choices=["Unary", "ServerStream", "ClientStream", "Duplex"])
    client.add_argument("--message", action="append", help="one message; may be repeated")
    client.add_argument("--size", type=int, help="in place of --message: bytes 0, 1, 2 ... 255, 0 ...")
    client.add_argument("--count", type=int, default=1, help="messages of --size bytes")
    client.add_argument("--metadata", action="append", help="key=value; base64 for -bin keys")
    client.add_argument("--deadline", type=float, help="seconds")
    client.add_argument("--cancel-after", type=int, help="messages received before the call is cancelled")
    client.add_argument("--cancel-after-ms", type=float)
    client.add_argument("--repeat", type=int, default=1, help="calls, one after the other, on one channel")
    client.add_argument("--authority", help="in place of the address")
    options = parser.parse_args()
    if options.mode == "server":
        return serve(options.port)
    channel_options = [*UNLIMITED, ("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0)]
    if options.authority is not None:
        channel_options.append(("grpc.default_authority", options.authority))
    with grpc.insecure_channel(options.address, channel_options) as channel:
        for _ in range(options.repeat):
            run_call(channel, options)


if __name__ == "__main__":
    main()
