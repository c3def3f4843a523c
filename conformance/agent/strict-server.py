"""A TLS server that refuses clients without a good certificate by an alert, as OpenSSL does and Node does not.

strict-server.py VERSION CERTIFICATE KEY CA     VERSION as in ssl.TLSVersion; prints its port
"""

import socket
import ssl
import sys

version, certificate, key, ca = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
context.load_verify_locations(ca)
context.verify_mode = ssl.CERT_REQUIRED
context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    try:
        with context.wrap_socket(connection, server_side=True) as session:
            session.recv(100)
            session.sendall(b"hello")
            session.unwrap()
    except OSError:
        connection.close()
