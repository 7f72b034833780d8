#!/usr/bin/python3
"""A WebSocket peer on python3-websockets.

  websocket_peer.py server PORT          echoes on 127.0.0.1:PORT until its standard input ends; closes with 4001 when told "bye"
  websocket_peer.py client URI TEXT ...  sends each text and prints the reply as one line of JSON, at last the close code and reason
"""
import asyncio
import json
import sys

import websockets


async def echo(socket, path):
    async for message in socket:
        if message == "bye":
            await socket.close(4001, "as you wish")
            return
        await socket.send(f"{path}: {message}" if isinstance(message, str) else message)


async def serve(port):
    async with websockets.serve(echo, "127.0.0.1", port, max_size=None):
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def talk(uri, texts):
    async with websockets.connect(uri, max_size=None) as socket:
        for text in texts:
            await socket.send(text)
            try:
                print(json.dumps(await socket.recv()))
            except websockets.ConnectionClosed:
                break
    print(json.dumps([socket.close_code, socket.close_reason]))


if sys.argv[1] == "server":
    asyncio.run(serve(int(sys.argv[2])))
else:
    asyncio.run(talk(sys.argv[2], sys.argv[3:]))
