"""A workload in another language, by another gRPC: takes its identity from the Workload API, and calls a mesh port with it.

usage: workload_peer.py SOCKET PORT AUDIENCE   (prints one line of JSON)
"""
import base64
import http.client
import json
import os
import socket
import ssl
import sys
import tempfile

import grpc

HEADER = (("workload.spiffe.io", "true"),)


def fields(data):
    """The length-delimited fields of a message: number -> values."""
    found, at = {}, 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        number = varint() >> 3
        size = varint()
        found.setdefault(number, []).append(data[at : at + size])
        at += size
    return found


def pem(label, der):
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN {label}-----\n{text}-----END {label}-----\n"


def certificates(der):
    """DER certificates, one after the other, as PEM."""
    texts = []
    while der:
        size = 4 + int.from_bytes(der[2:4], "big")  # all have more than 255 and less than 65536 bytes
        texts.append(pem("CERTIFICATE", der[:size]))
        der = der[size:]
    return "".join(texts)


def string(number, text):
    data = text.encode()
    return bytes([number << 3 | 2, len(data)]) + data


def call(kind, channel, method):
    same = lambda data: data
    return getattr(channel, kind)(f"/SpiffeWorkloadAPI/{method}", request_serializer=same, response_deserializer=same)


def main(path, port, audience):
    channel = grpc.insecure_channel(f"unix:{path}")
    stream = call("unary_stream", channel, "FetchX509SVID")(b"", metadata=HEADER, timeout=10)
    svid = fields(fields(next(stream))[1][0])
    stream.cancel()
    token = fields(call("unary_unary", channel, "FetchJWTSVID")(string(1, audience), metadata=HEADER, timeout=10))
    try:
        next(call("unary_stream", channel, "FetchX509SVID")(b"", timeout=10))
        unmarked = "answered"
    except grpc.RpcError as error:
        unmarked = error.code().name
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # a service is known by its SPIFFE id
    context.load_verify_locations(cadata=certificates(svid[4][0]))
    with tempfile.NamedTemporaryFile("w", suffix=".pem", dir=os.path.dirname(path)) as file:
        file.write(pem("PRIVATE KEY", svid[3][0]) + certificates(svid[2][0]))
        file.flush()
        context.load_cert_chain(file.name)
    with socket.create_connection(("127.0.0.1", int(port)), 10) as plain, context.wrap_socket(plain) as tls:
        names = [value for kind, value in tls.getpeercert()["subjectAltName"] if kind == "URI"]
        tls.sendall(b"GET /from-python HTTP/1.1\r\nhost: api\r\nconnection: close\r\n\r\n")
        response = http.client.HTTPResponse(tls)
        response.begin()
        body = json.loads(response.read())
    said = {"id": svid[1][0].decode(), "peer": names, "caller": body["caller"], "unmarked": unmarked}
    print(json.dumps({**said, "token": fields(token[1][0])[2][0].decode()}))


main(*sys.argv[1:])
