"""Asks the tools of an observer with the official client, in both ways to begin a conversation.

Arguments: `http URL TOKEN`, or `stdio COMMAND ARGUMENTS…`. Prints a line of JSON for each way.
"""

import asyncio
import json
import sys

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

KNOWN = "3e83e8f191d886d8"


def server():
    kind, first, *rest = sys.argv[1:]
    if kind == "stdio":
        return StdioServerParameters(command=first, args=rest)
    headers = {"Authorization": f"Bearer {rest[0]}"}
    return streamable_http_client(first, http_client=httpx2.AsyncClient(headers=headers))


async def ask(mode):
    async with Client(server(), mode=mode) as client:
        tools = await client.list_tools()
        history = await client.call_tool("history", {"sig_hash": KNOWN})
        wrong = await client.call_tool("problems", {"limit": 0})
        return {
            "protocol": client.protocol_version,
            "tools": [tool.name for tool in tools.tools],
            "history": [bool(history.is_error), history.content[0].text],
            "wrong": [bool(wrong.is_error), wrong.content[0].text],
        }


for mode in ("auto", "legacy"):
    print(json.dumps(asyncio.run(ask(mode))), flush=True)
