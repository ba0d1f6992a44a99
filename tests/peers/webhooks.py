"""Verification of signatures by the packages standardwebhooks and svix.

Reads JSON lines with the secret, the headers and the body of a request, and prints for each one
what both packages say: `ok`, or the error.
"""

import json
import sys

import standardwebhooks
import svix


def verdict(library, request):
    try:
        library.Webhook(request["secret"]).verify(request["body"], request["headers"])
        return "ok"
    except Exception as error:
        return type(error).__name__


for line in sys.stdin:
    request = json.loads(line)
    print(verdict(standardwebhooks, request), verdict(svix, request))
