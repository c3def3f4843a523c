/** Servers for the tests of TLS: good ones, and what stands between them and a client. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, type TLSSocket, type TlsOptions } from "node:tls";

/** A server that listens, on a port of its own. */
export interface Listening {
  readonly port: number;
  close(): Promise<void>;
}

/** A TLS server. @param serve gets each connection after the handshake */
export async function tlsServer(
  options: TlsOptions,
  serve: (socket: TLSSocket) => void,
  address = "127.0.0.1",
): Promise<Listening> {
  const server = createTlsServer(options, (socket) => {
    socket.on("error", () => {});
    serve(socket);
  });
  server.on("tlsClientError", () => {});
  return listening(server, address);
}

/** A server that gets bare connections. */
export async function tcpServer(serve: (socket: Socket) => void, address = "127.0.0.1"): Promise<Listening> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    serve(socket);
  });
  return listening(server, address);
}

async function listening(server: Server, address: string): Promise<Listening> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  server.listen(0, address);
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

/** Passes on what comes, both ways, byte by byte. */
export async function byteByByte(port: number): Promise<Listening> {
  return tcpServer((socket) => {
    const other = connect(port, "127.0.0.1");
    for (const [from, to] of [
      [socket, other],
      [other, socket],
    ] as const) {
      to.setNoDelay(true);
      from.on("error", () => {});
      from.on("data", (data: Buffer) => {
        for (const byte of data) to.write(Buffer.from([byte]));
      });
      from.on("end", () => to.end());
    }
  });
}

/** Passes on what comes, both ways, until `cut` is called: that gets the client's side of each connection. */
export async function cuttable(port: number): Promise<Listening & { cut(how: (socket: Socket) => void): void }> {
  const clients = new Set<Socket>();
  const proxy = await tcpServer((socket) => {
    const other = connect(port, "127.0.0.1");
    other.on("error", () => {});
    socket.pipe(other);
    other.pipe(socket);
    clients.add(socket);
  });
  return {
    ...proxy,
    cut(how) {
      for (const socket of clients) how(socket);
    },
  };
}
