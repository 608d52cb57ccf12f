"""Says of each document, one a line in hexadecimal, whether expat takes it: 1 or 0."""

import sys
import xml.parsers.expat


def accepts(document):
    # The separator is no XML character, so no namespace can hold it.
    parser = xml.parsers.expat.ParserCreate("utf-8", "\x01")
    try:
        parser.Parse(document, True)
        return True
    except xml.parsers.expat.ExpatError:
        return False


# All of it first: who wrote the documents reads no answer until it is done.
for line in sys.stdin.read().splitlines():
    print(int(accepts(bytes.fromhex(line.strip()))))
