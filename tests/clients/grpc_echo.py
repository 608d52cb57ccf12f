"""gRPC without generated code: messages are bytes.

    grpc_echo.py serve PORT
    grpc_echo.py ask PORT       prints what the calls gave, as JSON
"""

import json
import queue
import sys
from concurrent import futures

import grpc

NAME = "echo.Echo"


def unary(request, context):
    return b"echo: " + request


def stream(request, context):
    for number in range(5):
        yield request + b" %d" % number


def both(requests, context):
    for request in requests:
        yield b"and " + request


def fail(request, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "nothing here")


def serve(port):
    server = grpc.server(futures.ThreadPoolExecutor(8))
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
        "Both": grpc.stream_stream_rpc_method_handler(both),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


def ask(port):
    told = {}
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        timeout = 20
        told["unary"] = channel.unary_unary(f"/{NAME}/Unary")(b"hello", timeout=timeout).decode()
        call = channel.unary_stream(f"/{NAME}/Stream")
        told["stream"] = [piece.decode() for piece in call(b"piece", timeout=timeout)]
        # Each message goes only after the answer to the one before has come.
        answered = queue.Queue()

        def messages():
            for message in (b"one", b"two", b"three"):
                yield message
                answered.get(timeout=timeout)

        told["both"] = []
        for piece in channel.stream_stream(f"/{NAME}/Both")(messages(), timeout=timeout):
            told["both"].append(piece.decode())
            answered.put(True)
        try:
            channel.unary_unary(f"/{NAME}/Fail")(b"", timeout=timeout)
        except grpc.RpcError as error:
            told["failure"] = f"{error.code().name}: {error.details()}"
        large = channel.unary_unary(f"/{NAME}/Unary")(b"x" * (1 << 20), timeout=timeout)
        told["large"] = len(large) - len(b"echo: ")
    print(json.dumps(told))


if __name__ == "__main__":
    {"serve": serve, "ask": ask}[sys.argv[1]](int(sys.argv[2]))
