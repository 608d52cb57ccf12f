"""Files over HTTP (XEP-0363).

    xmpp_upload.py NAME PLAIN_ADDRESS TLS_ADDRESS HTTP_ADDRESS [ARGUMENT…]
"""

import http.client
import sys
import time
import urllib.parse

from xmpp_raw import login

name, plain, tls, web = sys.argv[1:5]
arguments = sys.argv[5:]
UPLOAD = "urn:xmpp:http:upload:0"
INFO = "http://jabber.org/protocol/disco#info"


def equal(seen, expected, what=""):
    if seen != expected:
        sys.exit(f"{what}: {seen!r} where {expected!r} was expected")


def slot(stream, filename, size, kind="image/png"):
    return stream.iq("get", f"<request xmlns='{UPLOAD}' filename='{filename}' size='{size}' content-type='{kind}'/>", "one.test")


def urls(answer):
    equal(answer.get("type"), "result", answer)
    found = answer.find("slot")
    return found.find("put").get("url"), found.find("get").get("url")


def ask(method, url, body=None, **headers):
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(web, timeout=10)
    named = {k.replace("_", "-"): v for k, v in headers.items()}
    connection.request(method, parts.path, body, {"Host": parts.hostname, **named})
    response = connection.getresponse()
    return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()


def condition(answer):
    equal(answer.get("type"), "error", answer)
    return answer.find("error").children[0].name


def bare():
    alice = login(plain, "alice@one.test", "secret-alice", "x")
    info = alice.iq("get", f"<query xmlns='{INFO}'/>", "one.test").find("query")
    assert UPLOAD in [f.get("var") for f in info.all("feature")]
    form = info.find("x")
    equal(form.all("field")[1].find("value").text, str(100 * 1024 + 16))
    equal(condition(slot(alice, "big.png", 100 * 1024 + 17)), "not-acceptable")
    equal(condition(slot(alice, "../x", 5)), "bad-request")
    equal(condition(slot(alice, "x", 0)), "bad-request")
    picture = bytes(range(256)) * 300
    put, get = urls(slot(alice, "a picture.png", len(picture)))
    assert put.endswith("/a%20picture.png"), put
    equal(ask("GET", get)[0], 404, "nothing is there yet")
    # No other size, and once.
    equal(ask("PUT", put, picture + b"x")[0], 413)
    equal(ask("PUT", put, picture)[0], 201)
    equal(ask("PUT", put, picture)[0], 403)
    status, headers, body = ask("GET", get)
    equal((status, body), (200, picture))
    equal((headers["content-type"], headers["x-content-type-options"], headers["access-control-allow-origin"]), ("image/png", "nosniff", "*"))
    assert "sandbox" in headers["content-security-policy"]
    status, headers, body = ask("GET", get, Range="bytes=10-19")
    equal((status, body, headers["content-range"]), (206, picture[10:20], f"bytes 10-19/{len(picture)}"))
    status, headers, body = ask("HEAD", get)
    equal((status, body, headers["content-length"]), (200, b"", str(len(picture))))
    equal(ask("GET", get, If_None_Match=headers["etag"])[0], 304)
    equal(ask("OPTIONS", put)[0], 204)
    equal(ask("DELETE", get)[0], 405)
    equal(ask("GET", get.replace(get.split("/")[-2], "0" * 64))[0], 404)
    # One at a time fills a slot.
    put, get = urls(slot(alice, "slow.png", 10))
    slow = http.client.HTTPConnection(web, timeout=10)
    slow.putrequest("PUT", urllib.parse.urlsplit(put).path, skip_host=True)
    slow.putheader("Host", "files.one.test")
    slow.putheader("Content-Length", "10")
    slow.endheaders(b"12345")
    deadline = time.monotonic() + 10
    while (status := ask("PUT", put, b"x" * 9)[0]) != 409:
        # Another length is refused before it is known that the slot is being filled.
        equal(status, 413)
        assert time.monotonic() < deadline
    slow.send(b"67890")
    equal(slow.getresponse().status, 201)
    equal(ask("GET", get)[2], b"1234567890")
    # What could run in a browser does not.
    for kind in ("text/html", "image/svg+xml", "image/SVG+XML", "image/x+xml", "application/javascript"):
        script = b"<script>alert(1)</script>"
        put, get = urls(slot(alice, "evil.html", len(script), kind))
        equal(ask("PUT", put, script)[0], 201)
        headers = ask("GET", get)[1]
        equal((headers["content-type"], headers["content-disposition"]), ("application/octet-stream", "attachment"), kind)
    # No more than an account may have.
    while slot(alice, "more", 50_000).get("type") == "result":
        pass
    equal(condition(slot(alice, "more", 50_000)), "resource-constraint")
    bob = login(plain, "bob@one.test", "secret-bob", "y")
    put, get = urls(slot(bob, "kept", 4, "text/plain"))
    equal(ask("PUT", put, b"kept")[0], 201)
    print(get)


def seen():
    """After a kill."""
    status, headers, body = ask("GET", arguments[0])
    equal((status, headers["content-type"], body), (200, "text/plain; charset=utf-8", b"kept"))


globals()[name]()
