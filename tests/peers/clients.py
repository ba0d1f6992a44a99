"""Sends bodies that are refused, and a good event after each, with common HTTP clients.

Arguments: the URL of the observer, and the sizes of the bodies in bytes. Prints a line for each
client and size: the status of each refusal and of each event.
"""

import asyncio
import json
import subprocess
import sys
import urllib.error
import urllib.request

import aiohttp
import httpx
import requests

URL = sys.argv[1] + "/event"
SIZES = [int(size) for size in sys.argv[2:]]
ROUNDS = 3
EVENT = json.dumps({"source": "job", "event_kind": "ok", "ok": True})
PLAIN, JSON = {"Content-Type": "text/plain"}, {"Content-Type": "application/json"}


def report(client, size, statuses):
    print(client, size, *statuses, flush=True)


def with_session(client, session, status_of):
    for size in SIZES:
        statuses = []
        for _ in range(ROUNDS):
            statuses.append(status_of(session.post(URL, b"x" * size, headers=PLAIN)))
            statuses.append(status_of(session.post(URL, EVENT, headers=JSON)))
        report(client, size, statuses)


class Httpx:
    """Session of httpx, whose body is a named argument."""

    def __init__(self):
        self.client = httpx.Client(timeout=30)

    def post(self, url, body, headers):
        return self.client.post(url, content=body, headers=headers)


class Urllib:
    """urllib, which opens a connection for each request."""

    @staticmethod
    def post(url, body, headers):
        body = body.encode() if isinstance(body, str) else body
        request = urllib.request.Request(url, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status
        except urllib.error.HTTPError as error:
            return error.code


async def with_aiohttp():
    async with aiohttp.ClientSession() as session:
        for size in SIZES:
            statuses = []
            for _ in range(ROUNDS):
                for body, headers in ((b"x" * size, PLAIN), (EVENT, JSON)):
                    async with session.post(URL, data=body, headers=headers) as response:
                        await response.read()
                        statuses.append(response.status)
            report("aiohttp", size, statuses)


NODE = """
const [url, rounds, ...sizes] = process.argv.slice(1);
const post = async (body, type) => {
  const response = await fetch(url, { method: 'POST', body, headers: { 'content-type': type } });
  await response.text();
  return response.status;
};
const event = JSON.stringify({ source: 'job', event_kind: 'ok', ok: true });
for (const size of sizes) {
  const statuses = [];
  for (let round = 0; round < Number(rounds); round++) {
    statuses.push(await post('x'.repeat(Number(size)), 'text/plain'));
    statuses.push(await post(event, 'application/json'));
  }
  console.log('node', size, ...statuses);
}
"""


def main():
    with_session("requests", requests.Session(), lambda response: response.status_code)
    with_session("httpx", Httpx(), lambda response: response.status_code)
    with_session("urllib", Urllib(), lambda status: status)
    asyncio.run(with_aiohttp())
    sizes = [str(size) for size in SIZES]
    node = ["node", "--input-type=module", "-e", NODE, "--", URL, str(ROUNDS), *sizes]
    try:
        subprocess.run(node, check=True, timeout=120)
    except FileNotFoundError:
        pass


main()
