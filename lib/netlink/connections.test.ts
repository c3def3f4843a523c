/** The codec of connections against what Linux 6.18 answers and what conntrack(8) 1.4.7 sends, as strace showed it. */
import { describe, expect, test } from "vitest";
import { formatAddress, parseAddress } from "../ip/address.ts";
import {
  type Connection,
  type ConnectionFilter,
  decodeConnection,
  NO_FILTER,
  parseConnections,
  writeDeleteConnection,
  writeFilter,
} from "./connections.ts";
import { MessageWriter } from "./message-writer.ts";
import type { NetlinkSocket } from "./socket.ts";

const bytes = (hex: string) => new Uint8Array(Buffer.from(hex.replaceAll(/\s/g, ""), "hex"));

/* 10.6.0.2:4000 to 10.6.0.1:53, translated to 10.5.0.2:5353; UDP. Behind the netlink header. */
const TUPLE4 = `
  34000180 14000180 08000100 0a060002 08000200 0a060001
  1c000280 05000100 11000000 06000200 0fa00000 06000300 00350000`;
const ANSWER4 = `
  02000000 ${TUPLE4}
  34000280 14000180 08000100 0a050002 08000200 0a060002
  1c000280 05000100 11000000 06000200 14e90000 06000300 0fa00000
  08000300 000001a8 08000800 00000000 08000c00 8b667308 08000b00 00000001 08000700 0000001d`;
/* [fd06::2]:4003 to [fd06::1]:53, translated to [fd05::2]:5353; UDP. */
const TUPLE6 = `
  4c000180 2c000180 14000300 fd06000000000000 0000000000000002 14000400 fd06000000000000 0000000000000001
  1c000280 05000100 11000000 06000200 0fa30000 06000300 00350000`;
const ANSWER6 = `
  0a000000 ${TUPLE6}
  4c000280 2c000180 14000300 fd05000000000000 0000000000000002 14000400 fd06000000000000 0000000000000002
  1c000280 05000100 11000000 06000200 14e90000 06000300 0fa30000
  08000300 000001a8 08000800 00000000 08000c00 c3e42ef4 08000b00 00000002 08000700 0000001d`;
const ICMP = `
  02000000 34000180 14000180 08000100 0a060002 08000200 0a060001
  1c000280 05000100 01000000 06000400 00010000 05000500 08000000 05000600 00000000`;

const TEXT = `ipv6     10 udp      17 29 src=fd06:0000:0000:0000:0000:0000:0000:0002 dst=fd06:0000:0000:0000:0000:0000:0000:0001 sport=4003 dport=53 [UNREPLIED] src=fd05:0000:0000:0000:0000:0000:0000:0002 dst=fd06:0000:0000:0000:0000:0000:0000:0002 sport=5353 dport=4003 mark=0 zone=0 use=3
ipv4     2 udp      17 29 src=10.6.0.2 dst=10.6.0.1 sport=4000 dport=53 [UNREPLIED] src=10.5.0.2 dst=10.6.0.2 sport=5353 dport=4000 mark=0 zone=0 use=2
ipv4     2 icmp     1 29 src=10.6.0.2 dst=10.6.0.1 type=8 code=0 id=1 src=10.6.0.1 dst=10.6.0.2 type=0 code=0 id=1 mark=0 zone=0 use=2
ipv4     2 tcp      6 431999 ESTABLISHED src=10.6.0.2 dst=10.6.0.1 sport=4000 dport=8080 packets=5 bytes=300 src=10.6.0.1 dst=10.6.0.2 sport=8080 dport=4000 packets=4 bytes=250 [ASSURED] mark=0 zone=7 use=2
ipv4     2 tcp      6 10 CLOSE src=10.6.0.2 dst=10.6.0.1 sport=4000 dport=530 src=10.6.0.1 dst=10.6.0.2 sport=530 dport=4000 mark=0 zone=0 use=2
`;

function shown(connection: Connection | null): string {
  if (connection === null) return "null";
  const { protocol, original, reply, zone } = connection;
  const tuple = (t: Connection["original"]) =>
    `${formatAddress(t.source)} ${t.sourcePort} > ${formatAddress(t.destination)} ${t.destinationPort}`;
  return `${protocol}: ${tuple(original)}, ${tuple(reply)}, zone ${zone}`;
}

const V4 = "17: 10.6.0.2 4000 > 10.6.0.1 53, 10.5.0.2 5353 > 10.6.0.2 4000, zone 0";
const V6 = "17: fd06::2 4003 > fd06::1 53, fd05::2 5353 > fd06::2 4003, zone 0";
const TCP = "6: 10.6.0.2 4000 > 10.6.0.1 8080, 10.6.0.1 8080 > 10.6.0.2 4000, zone 7";

/** What a function writes behind the netlink header. */
function written(write: (writer: MessageWriter) => void): string {
  const writer = new MessageWriter();
  writer.begin(0x101, 0);
  write(writer);
  return Buffer.from(writer.bytes.subarray(16)).toString("hex");
}

function deletion(connection: Connection | null): string {
  if (connection === null) throw new Error("no connection");
  const writer = new MessageWriter();
  const socket = {
    request(type: number, flags: number): MessageWriter {
      writer.begin(type, flags);
      return writer;
    },
  };
  writeDeleteConnection(socket as unknown as NetlinkSocket, connection);
  return Buffer.from(writer.bytes.subarray(16)).toString("hex");
}

describe("an entry", () => {
  test("is read as the kernel tells it", () => {
    expect(shown(decodeConnection(bytes(ANSWER4)))).toBe(V4);
    expect(shown(decodeConnection(bytes(ANSWER6)))).toBe(V6);
    expect(decodeConnection(bytes(ANSWER4))?.id).toEqual(bytes("8b667308"));
    expect(decodeConnection(bytes(ICMP))).toBeNull();
  });

  test("is read from /proc", () => {
    expect(parseConnections(TEXT, [53]).map(shown)).toEqual([V6, V4]);
    expect(parseConnections(TEXT, [8080, 54]).map(shown)).toEqual([TCP]);
    expect(parseConnections(TEXT, [])).toEqual([]);
    expect(parseConnections(`ipv4 2 udp 17 29 src=x dst=10.6.0.1 sport=1 dport=53 src=`, [53])).toEqual([]);
  });

  test("is removed by its original tuple, which is written as conntrack(8) writes it, and its number", () => {
    const squeeze = (text: string) => text.replaceAll(/\s/g, "");
    expect(deletion(decodeConnection(bytes(ANSWER4)))).toBe(squeeze(`02000000 ${TUPLE4} 08000c00 8b667308`));
    expect(deletion(decodeConnection(bytes(ANSWER6)))).toBe(squeeze(`0a000000 ${TUPLE6} 08000c00 c3e42ef4`));
    expect(deletion(parseConnections(TEXT, [8080])[0] ?? null)).toMatch(
      /1f900000060012000007$|1f90000006001200000700*$/,
    );
  });
});

test.each<[string, Partial<ConnectionFilter>, string]>([
  ["everything", {}, "00000000"],
  ["a family", { family: 6 }, "0a000000"],
  ["what is translated", { translated: true }, "00000000 08000300 00000020 08001a00 00000020"],
  [
    "a port",
    { family: 4, protocol: 17, destinationPort: 53 },
    "02000000 18000180 14000280 05000100 11000000 06000300 00350000 0c001980 08000100 28000000",
  ],
  [
    "a pod",
    { family: 4, replySource: parseAddress("10.5.0.2") },
    "02000000 10000280 0c000180 08000100 0a050002 0c001980 08000200 01000000",
  ],
])("a listing of %s", (_name, filter, expected) => {
  expect(written((writer) => writeFilter(writer, { ...NO_FILTER, ...filter }))).toBe(expected.replaceAll(" ", ""));
});
