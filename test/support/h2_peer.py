#!/usr/bin/python3
"""An HTTP/2 server on python3-h2, without TLS: answers each request with its head as JSON, its body, and trailers.

  h2_peer.py PORT     serves 127.0.0.1:PORT until its standard input ends
"""
import json
import socket
import sys
import threading

import h2.config
import h2.connection
import h2.events
import h2.exceptions


class Connection:
    def __init__(self, sock):
        self.sock = sock
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="latin1"))
        self.heads = {}
        self.bodies = {}
        # What flow control has not let out yet.
        self.waiting = {}

    def run(self):
        self.h2.initiate_connection()
        self.flush()
        while True:
            data = self.sock.recv(65536)
            if not data:
                return
            for event in self.h2.receive_data(data):
                self.handle(event)
            for stream in list(self.waiting):
                self.send(stream)
            self.flush()

    def handle(self, event):
        if isinstance(event, h2.events.RequestReceived):
            self.heads[event.stream_id] = event.headers
            self.bodies[event.stream_id] = b""
        elif isinstance(event, h2.events.DataReceived):
            self.bodies[event.stream_id] += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.answer(event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self.waiting.pop(event.stream_id, None)

    def answer(self, stream):
        head, body = self.heads.pop(stream), self.bodies.pop(stream)
        self.h2.send_headers(stream, [(":status", "200"), ("x-head", json.dumps(head)), ("trailer", "x-size")])
        self.waiting[stream] = [body, len(body)]
        self.send(stream)

    def send(self, stream):
        body, size = self.waiting[stream]
        while body:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room == 0:
                self.waiting[stream][0] = body
                return
            self.h2.send_data(stream, body[:room])
            body = body[room:]
        del self.waiting[stream]
        self.h2.send_headers(stream, [("x-size", str(size))], end_stream=True)

    def flush(self):
        self.sock.sendall(self.h2.data_to_send())


def serve(sock):
    try:
        with sock:
            Connection(sock).run()
    except (OSError, h2.exceptions.ProtocolError) as error:
        print(f"connection: {error!r}", file=sys.stderr)


def accept(server):
    while True:
        sock, _ = server.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(sock,), daemon=True).start()


listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
threading.Thread(target=accept, args=(listening,), daemon=True).start()
sys.stdin.read()
