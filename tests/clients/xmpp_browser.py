"""A web client in a browser, and somebody it talks with.

    xmpp_browser.py PAGE PLAIN_ADDRESS TLS_ADDRESS HTTPS_ADDRESS DIRECTORY EXPECTED_SERVICE

PAGE is at the site that HTTPS_ADDRESS serves; to the browser that is port 443 of one.test. What it
says on its console is printed where the conversation fails.
"""

import subprocess
import sys

from xmpp_raw import login

page, plain, _, https, directory, service = sys.argv[1:7]
LIMIT = 60
bob = login(plain, "bob@one.test", "secret-bob", "y")


def converse():
    def said(text, kind):
        return bob.wait(lambda e: e.name == "message" and e.body() == text and e.get("type") == kind, LIMIT)

    said(f"connected through {service}", "chat")
    if page == "xmppjs.html":
        bob.message("alice@one.test", "come again")
        said("connected again", "chat")
    bob.message("alice@one.test", "ask \u00e4\U0001f600 <&>")
    said("answer \u00e4\U0001f600 <&>", "chat")
    # A second one, so that the connection has been used both ways.
    bob.message("alice@one.test", "ask again")
    said("answer again", "chat")
    if page == "converse.html":
        bob.send("<presence to='den@rooms.one.test/bob'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
        bob.wait(lambda e: e.name == "presence" and e.get("from") == "den@rooms.one.test/browser", LIMIT)
        bob.wait(lambda e: e.name == "message" and e.find("subject"), LIMIT)
        bob.message("den@rooms.one.test", "ask the room", "groupchat")
        answer = said("answer the room", "groupchat")
        assert answer.get("from") == "den@rooms.one.test/browser", answer


with open(f"{directory}/console", "w+") as console:
    browser = subprocess.Popen(
        [
            "chromium",
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--ignore-certificate-errors",
            "--enable-logging=stderr",
            "--v=0",
            f"--user-data-dir={directory}/profile",
            f"--host-resolver-rules=MAP one.test:443 {https}, MAP * ~NOTFOUND",
            "--remote-debugging-port=0",
            f"https://one.test/{page}",
        ],
        stdin=subprocess.DEVNULL,
        stdout=console,
        stderr=console,
    )
    try:
        converse()
    except BaseException:
        console.seek(0)
        print(console.read()[-8000:])
        raise
    finally:
        browser.kill()
        browser.wait()
