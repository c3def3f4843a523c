/** Which connections go, and which questions are asked to find them, with a kernel that is a list of connections. */
import { beforeEach, describe, expect, test, vi } from "vitest";
import { type Address, formatAddress, parseAddress } from "../ip/address.ts";
import { EINVAL } from "../sys/errno.ts";
import type { Connection, ConnectionFilter } from "./connections.ts";
import { flushStale, flushTranslated, IPPROTO_TCP, IPPROTO_UDP, type PublishedPort } from "./conntrack.ts";
import { NetlinkError, type NetlinkSocket } from "./socket.ts";

const kernel = vi.hoisted(() => ({
  entries: 0,
  connections: [] as Connection[],
  /** The text of /proc/net/nf_conntrack; null if there is no such file. */
  proc: null as string | null,
  filters: [] as ConnectionFilter[],
  takesFilters: true,
}));

vi.mock("../host/directory.ts", () => ({ readLargeText: () => kernel.proc }));
vi.mock("./local.ts", () => ({
  areLocal: (_socket: unknown, addresses: Address[]) =>
    addresses.map((address) => ["10.6.0.1", "127.0.0.1", "fd06::1"].includes(formatAddress(address))),
}));
vi.mock("./socket.ts", async (original) => ({
  ...(await original<typeof import("./socket.ts")>()),
  NetlinkSocket: class {
    close(): void {}
  },
}));
vi.mock("./connections.ts", async (original) => ({
  ...(await original<typeof import("./connections.ts")>()),
  countEntries: () => kernel.entries,
  listConnections: (_socket: unknown, filter: ConnectionFilter, isWanted: (connection: Connection) => boolean) => {
    kernel.filters.push(filter);
    const filters = filter.protocol !== 0 || filter.replySource !== null || filter.translated;
    if (filters && !kernel.takesFilters) throw new NetlinkError(EINVAL, "", 0);
    /* As kernels before 5.8 do, which let everything through. */
    return kernel.connections.filter(isWanted);
  },
  removeConnections: (_socket: unknown, gone: Connection[]) => {
    const before = kernel.connections.length;
    kernel.connections = kernel.connections.filter((connection) => !gone.includes(connection));
    return before - kernel.connections.length;
  },
}));

const socket = null as unknown as NetlinkSocket;

function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === null) throw new Error(text);
  return parsed;
}

/** "udp 10.6.0.1 53 -> 10.5.0.2 5353": to which address and port, and where it goes. */
function connection(text: string): Connection {
  const [protocol = "", to = "", port = "", , real = "", realPort = ""] = text.split(" ");
  const source = address(to.includes(":") ? "fd06::2" : "10.6.0.2");
  return {
    protocol: protocol === "tcp" ? IPPROTO_TCP : IPPROTO_UDP,
    original: { source, destination: address(to), sourcePort: 4000, destinationPort: Number(port) },
    reply: { source: address(real), destination: source, sourcePort: Number(realPort), destinationPort: 4000 },
    zone: 0,
    id: null,
  };
}

function port(protocol: number, host: string, hostPort: number, pod: string, podPort: number): PublishedPort {
  return { protocol, hostAddress: parseAddress(host), hostPort, podAddress: address(pod), podPort };
}

function texts(): string[] {
  return kernel.connections.map(({ protocol, original, reply }) => {
    const name = protocol === IPPROTO_TCP ? "tcp" : "udp";
    const to = `${formatAddress(original.destination)} ${original.destinationPort}`;
    return `${name} ${to} -> ${formatAddress(reply.source)} ${reply.sourcePort}`;
  });
}

const ALL = [
  "udp 10.6.0.1 53 -> 10.6.0.1 53",
  "udp 127.0.0.1 53 -> 127.0.0.1 53",
  "udp 10.6.0.1 53 -> 10.5.0.9 5353",
  "udp 10.6.0.1 53 -> 10.5.0.2 5353",
  "udp 10.6.0.1 53 -> 10.5.0.2 54",
  "udp 10.9.9.9 53 -> 10.9.9.9 53",
  "udp 10.96.0.10 53 -> 10.5.0.9 5353",
  "udp 10.5.0.2 5353 -> 10.5.0.2 5353",
  "tcp 10.6.0.1 53 -> 10.6.0.1 53",
  "udp fd06::1 53 -> fd06::1 53",
  "udp fd06::1 53 -> fd05::2 5353",
  "udp fd07::1 53 -> fd07::1 53",
  "tcp 10.6.0.1 53 -> 10.5.0.9 5353",
];
const ANY4 = port(IPPROTO_UDP, "", 53, "10.5.0.2", 5353);
const ANY6 = port(IPPROTO_UDP, "", 53, "fd05::2", 5353);

beforeEach(() => {
  kernel.entries = 5000;
  kernel.connections = ALL.map(connection);
  kernel.proc = null;
  kernel.filters = [];
  kernel.takesFilters = true;
});

describe("what goes", () => {
  test.each<[string, PublishedPort[], number[]]>([
    ["connections to any address of this host that go elsewhere", [ANY4], [0, 1, 2, 4]],
    ["of the other family", [ANY6], [9]],
    ["of both", [ANY4, ANY6], [0, 1, 2, 4, 9]],
    ["to one address", [port(IPPROTO_UDP, "127.0.0.1", 53, "10.5.0.2", 5353)], [1]],
    ["to one address, whoever has it", [port(IPPROTO_UDP, "10.9.9.9", 53, "10.5.0.2", 5353)], [5]],
    ["of TCP only those that another pod has", [port(IPPROTO_TCP, "", 53, "10.5.0.2", 5353)], [12]],
    ["none to another port", [port(IPPROTO_UDP, "", 54, "10.5.0.2", 5353)], []],
    ["none that another of the ports leads to", [ANY4, port(IPPROTO_UDP, "10.6.0.1", 53, "10.5.0.2", 54)], [0, 1, 2]],
    ["nothing without ports", [], []],
  ])("when ports were published: %s", (_name, ports, gone) => {
    expect(flushStale(socket, ports)).toBe(gone.length);
    expect(texts()).toEqual(ALL.filter((_text, i) => !gone.includes(i)));
  });

  test.each<[string, PublishedPort[], number[]]>([
    ["those to the pod", [ANY4], [3]],
    ["of both families", [ANY4, ANY6], [3, 10]],
    ["whichever address they came in by", [port(IPPROTO_UDP, "127.0.0.1", 53, "10.5.0.2", 5353)], [3]],
    ["none to another pod", [port(IPPROTO_UDP, "", 53, "10.5.0.3", 5353)], []],
  ])("when ports are gone: %s", (_name, ports, gone) => {
    expect(flushTranslated(socket, ports)).toBe(gone.length);
    expect(texts()).toEqual(ALL.filter((_text, i) => !gone.includes(i)));
  });
});

describe("how it is looked for", () => {
  const asked = () => kernel.filters.map((f) => `${f.family} ${f.protocol} ${f.destinationPort} ${f.translated}`);
  const many = (count: number) =>
    Array.from({ length: count }, (_x, i) => port(IPPROTO_TCP, "", 8000 + i, "10.5.0.2", 80));

  test("not at all in an empty table", () => {
    kernel.entries = 0;
    expect(flushStale(socket, [ANY4]) + flushTranslated(socket, [ANY4])).toBe(0);
    expect(kernel.filters).toEqual([]);
  });

  test("in /proc if the table is small and the kernel offers that", () => {
    kernel.entries = 100;
    kernel.proc = "";
    flushStale(socket, [ANY4]);
    flushTranslated(socket, [ANY6]);
    expect(kernel.filters).toEqual([]);
    kernel.proc = null;
    flushStale(socket, [ANY4]);
    expect(asked()).toEqual(["4 17 53 false"]);
  });

  test("by port while the ports are few for the number of entries, and else at once", () => {
    flushStale(socket, [ANY4, ANY6, ANY4]);
    expect(asked()).toEqual(["4 17 53 false", "6 17 53 false"]);
    kernel.filters = [];
    flushStale(socket, many(20));
    expect(asked()).toEqual(["4 0 0 false"]);
    kernel.filters = [];
    kernel.entries = 100_000;
    flushStale(socket, many(20));
    expect(asked()).toHaveLength(20);
    kernel.filters = [];
    flushStale(socket, many(100).concat(ANY6));
    expect(asked()).toEqual(["0 0 0 false"]);
  });

  test("by the pod's address, which does not work for IPv6", () => {
    flushTranslated(socket, many(20).concat(ANY6));
    expect(asked()).toEqual(["4 0 0 true", "6 17 53 true"]);
    expect(kernel.filters[0]?.replySource).toEqual(address("10.5.0.2"));
  });

  test("everywhere if the kernel takes no filters", () => {
    kernel.takesFilters = false;
    expect(flushStale(socket, [ANY4, ANY6])).toBe(5);
    expect(asked()).toEqual(["4 17 53 false", "0 0 0 false"]);
  });
});
