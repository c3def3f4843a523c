"""Servers and clients in many network namespaces, in one process: what traffic.ts starts and talks to.

A line of JSON on standard input is a request, a line on standard output its answer; both carry the same "id". A socket
stays in the namespace it was opened in, so one process serves a whole laboratory, and no attempt costs a start.
"""
import ctypes
import errno
import fcntl
import json
import os
import queue
import selectors
import socket
import struct
import sys
import threading
import time

CLONE_NEWNET = 0x40000000
IPPROTO_SCTP = 132
IP_PKTINFO = 8
SIOCGIFINDEX = 0x8933
libc = ctypes.CDLL(None, use_errno=True)

home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def socket_in(path, family, kind, protocol=0):
    """A socket of the network namespace at a path. The thread goes home again: staying would keep the namespace alive."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns " + path)
        try:
            return socket.socket(family, kind, protocol)
        finally:
            if libc.setns(home, CLONE_NEWNET) != 0:
                os.abort()
    finally:
        os.close(fd)


def plain(address):
    """An address without zone and, if it is an IPv4 one in IPv6's clothes, without these."""
    address = address.split("%")[0]
    return address[7:] if address.startswith("::ffff:") and "." in address else address


# SCTP by hand, over raw sockets, so that mappings can be tried on kernels without SCTP sockets: an INIT asks, the
# INIT ACK that answers carries the text in a parameter (RFC 9260, sections 3.1, 3.3.2 and 3.3.3).

CRC_TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    CRC_TABLE.append(byte)


def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value = CRC_TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def sctp_packet(source, destination, tag, chunk_type, text):
    parameter = text.encode()
    parameter = struct.pack("!HH", 0x8008, 4 + len(parameter)) + parameter + bytes(-len(parameter) % 4)
    body = struct.pack("!IIHHI", 0x01020304, 65535, 1, 1, 1) + parameter
    chunk = struct.pack("!BBH", chunk_type, 0, 4 + len(body)) + body
    packet = struct.pack("!HHII", source, destination, tag, 0) + chunk
    return packet[:8] + struct.pack("<I", crc32c(packet)) + packet[12:]


def sctp_read(packet, family):
    """(source port, destination port, chunk type, text), or None."""
    if family == socket.AF_INET:
        packet = packet[(packet[0] & 15) * 4 :]
    if len(packet) < 36:
        return None
    source, destination = struct.unpack("!HH", packet[:4])
    (length,) = struct.unpack("!H", packet[34:36])
    return source, destination, packet[12], packet[36 : 32 + length].decode()


class Server:
    """A socket that answers everybody with its label and the address it saw."""

    def __init__(self, request):
        self.netns, self.label, self.protocol = request["netns"], request["label"], request["protocol"]
        self.port, self.seen = request["port"], []
        address = request.get("address") or "::"
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        if self.protocol == "sctp":
            family = socket.AF_INET6 if request.get("family") == 6 else socket.AF_INET
            self.socket = socket_in(self.netns, family, socket.SOCK_RAW, IPPROTO_SCTP)
        else:
            kind = socket.SOCK_STREAM if self.protocol == "tcp" else socket.SOCK_DGRAM
            self.socket = socket_in(self.netns, family, kind)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1 if request.get("only6") else 0)
            self.socket.bind((address, self.port))
            if self.protocol == "tcp":
                self.socket.listen(1024)
        if request.get("group"):
            self.join(request["group"], request["link"])
        if self.protocol != "tcp" and family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        elif self.protocol != "tcp":
            self.socket.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        self.family = family
        self.socket.setblocking(False)

    def join(self, group, link):
        """Makes the host listen to a multicast group; what comes is recorded, and nobody answers it."""
        with socket_in(self.netns, socket.AF_PACKET, socket.SOCK_RAW) as there:
            index = struct.unpack("i", fcntl.ioctl(there, SIOCGIFINDEX, struct.pack("16si12x", link.encode(), 0))[16:20])[0]
        if ":" in group:
            member = socket.inet_pton(socket.AF_INET6, group) + struct.pack("i", index)
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
        else:
            member = socket.inet_aton(group) + bytes(4) + struct.pack("i", index)
            self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)

    def serve(self):
        try:
            if self.protocol == "tcp":
                connection, peer = self.socket.accept()
                with connection:
                    connection.setblocking(True)
                    connection.settimeout(0.5)
                    connection.send(self.answer(peer[0], ""))
                return
            data, ancillary, _, peer = self.socket.recvmsg(65536, 256)
            # The answer comes from the address that was asked, also where that is not the host's first.
            source = [self.from_address(*item) for item in ancillary]
            if self.protocol == "udp":
                self.socket.sendmsg([self.answer(peer[0], data.decode(errors="replace"))], source, 0, peer)
                return
            packet = sctp_read(data, self.family)
            if packet is not None and packet[1] == self.port and packet[2] == 1:
                answer = self.answer(peer[0], packet[3]).decode()
                reply = sctp_packet(self.port, packet[0], 0x01020304, 2, answer)
                self.socket.sendmsg([reply], source, 0, (peer[0], 0))
        except OSError:
            return

    @staticmethod
    def from_address(level, kind, data):
        """What the kernel told of the address that was asked (struct in_pktinfo, in6_pktinfo), to be sent from it."""
        if level == socket.IPPROTO_IPV6:
            return level, kind, data[:16] + bytes(4)
        return level, kind, bytes(4) + data[8:12] + bytes(4)

    def answer(self, peer, text):
        self.seen.append([plain(peer), text])
        return f"{self.label} saw {plain(peer)}".encode()


selector = selectors.DefaultSelector()
servers = []
lock = threading.Lock()
wake_start, wake_end = os.pipe()


def serve(request):
    server = Server(request)
    with lock:
        servers.append(server)
        selector.register(server.socket, selectors.EVENT_READ, server)
    os.write(wake_end, b"x")
    return {}


def close(request):
    """Closes the servers of a namespace: an open socket would keep a deleted namespace alive."""
    with lock:
        for server in [server for server in servers if server.netns == request["netns"]]:
            selector.unregister(server.socket)
            server.socket.close()
            servers.remove(server)
    return {}


def seen(request):
    """What the servers of a namespace with a label saw since they were last asked: [peer, text] each."""
    with lock:
        mine = [server for server in servers if server.netns == request["netns"] and server.label == request["label"]]
        result = [entry for server in mine for entry in server.seen]
        for server in mine:
            server.seen = []
    return {"seen": result}


def ask(request):
    """Connects, or sends one datagram; the outcome is what the server said, or how it failed."""
    protocol, address, port = request["protocol"], request["address"], request["port"]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kinds = {"tcp": (socket.SOCK_STREAM, 0), "udp": (socket.SOCK_DGRAM, 0), "sctp": (socket.SOCK_RAW, IPPROTO_SCTP)}
    kind, number = kinds[protocol]
    text = request.get("text") or "hello"
    with socket_in(request["netns"], family, kind, number) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.settimeout(request["timeoutMs"] / 1000)
        if request.get("source") or request.get("sourcePort"):
            client.bind((request.get("source") or "", 0 if protocol == "sctp" else request.get("sourcePort") or 0))
        if protocol == "tcp":
            # A connection that is reset at once leaves no TIME_WAIT, which would hold the port for a minute.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.connect((address, port))
            return {"outcome": client.recv(4096).decode() or "closed"}
        if protocol == "udp":
            client.connect((address, port))
            client.send(text.encode())
            return {"outcome": client.recv(4096).decode()}
        own = request.get("sourcePort") or 32768 + int.from_bytes(os.urandom(2), "big") // 4
        deadline = time.monotonic() + request["timeoutMs"] / 1000
        client.sendto(sctp_packet(own, port, 0, 1, text), (address, 0))
        while time.monotonic() < deadline:
            client.settimeout(max(0.001, deadline - time.monotonic()))
            data, peer = client.recvfrom(65536)
            packet = sctp_read(data, family)
            if packet is not None and packet[:3] == (port, own, 2) and plain(peer[0]) == plain(address):
                return {"outcome": packet[3]}
        return {"outcome": "timeout"}


def guarded_ask(request):
    try:
        return ask(request)
    except (socket.timeout, TimeoutError):
        return {"outcome": "timeout"}
    except OSError as error:
        if error.errno in (errno.ECONNREFUSED, errno.ECONNRESET):
            return {"outcome": "refused"}
        if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EINVAL, errno.EADDRNOTAVAIL):
            return {"outcome": "unreachable"}
        raise


connections = {}


def connect(request):
    """Makes a TCP connection to a listener that is closed as soon as it has it: what a process that is being drained has."""
    family = socket.AF_INET6 if ":" in request["address"] else socket.AF_INET
    with socket_in(request["server"], family, socket.SOCK_STREAM) as listener:
        listener.bind(("", request["port"]))
        listener.listen()
        client = socket_in(request["netns"], family, socket.SOCK_STREAM)
        client.settimeout(request["timeoutMs"] / 1000)
        client.connect((request["address"], request["port"]))
        served, _ = listener.accept()
    served.settimeout(request["timeoutMs"] / 1000)
    connections[request["name"]] = client, served
    return {}


def exchange(request):
    """Whether a connection still carries data both ways."""
    client, served = connections[request["name"]]
    try:
        for sender, receiver in ((client, served), (served, client)):
            sender.send(b"hello")
            if receiver.recv(4096) != b"hello":
                return {"outcome": "closed"}
        return {"outcome": "alive"}
    except TimeoutError:
        return {"outcome": "timeout"}
    except ConnectionError as error:
        return {"outcome": type(error).__name__}


def send(request):
    """Puts frames on a link as they are: hexadecimal text, Ethernet header and all."""
    with socket_in(request["netns"], socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((request["link"], 0))
        for frame in request["frames"]:
            wire.send(bytes.fromhex(frame))
    return {}


OPERATIONS = {"serve": serve, "close": close, "seen": seen, "ask": guarded_ask, "send": send}
OPERATIONS |= {"connect": connect, "exchange": exchange}
requests = queue.SimpleQueue()
output = threading.Lock()


def work():
    while True:
        request = requests.get()
        try:
            answer = OPERATIONS[request["op"]](request)
        except Exception as error:  # the caller learns of it and decides
            answer = {"error": f"{type(error).__name__}: {error}"}
        with output:
            print(json.dumps({"id": request["id"], **answer}), flush=True)


def serve_forever():
    """Answers everybody. Sockets are watched together with a pipe that tells of new ones."""
    selector.register(wake_start, selectors.EVENT_READ, None)
    while True:
        for key, _ in selector.select(1):
            if key.data is None:
                os.read(wake_start, 4096)
                continue
            with lock:
                if key.data in servers:
                    key.data.serve()


threading.Thread(target=serve_forever, daemon=True).start()
for _ in range(64):
    threading.Thread(target=work, daemon=True).start()
for line in sys.stdin:
    requests.put(json.loads(line))
