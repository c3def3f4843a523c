import { describe, expect, test } from "vitest";
import { formatAddress } from "../ip/address.ts";
import { endsListening, type Listener, parseSctpTable, parseSocketTable } from "./listeners.ts";

const shown = (listeners: Listener[]) => listeners.map(({ address, inode }) => `${formatAddress(address)} ${inode}`);

/* As Linux 6.18 prints them, trailing spaces taken away. */
const TCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 48301 1 0000000000000000 100 0 0 10 0
   1: 0201A8C0:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 48302 1 0000000000000000 100 0 0 10 0
   2: 0100007F:0052 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 48310 1 0000000000000000 20 4 30 10 -1
   3: 00000000:0052 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 48303 1 0000000000000000 100 0 0 10 0
`;
const TCP6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:0051 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 48311 1 0000000000000000 100 0 0 10 0
   1: B80D01200000000000000000010000FE:0051 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 48312 1 0000000000000000 100 0 0 10 0
   2: 0000000000000000FFFF00000100007F:0053 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 48313 1 0000000000000000 100 0 0 10 0
`;
const UDP = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  340: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 48320 2 0000000000000000 0
 8551: 0100007F:0035 0100007F:1234 01 00000000:00000000 00:00000000 00000000     0        0 48321 2 0000000000000000 0
`;
const SCTP = ` ENDPT     SOCK   STY SST HBKT LPORT   UID INODE LADDRS
       0        0 2   10  10   9899      0 51234 127.0.0.1 10.0.0.5 0000:0000:0000:0000:0000:0000:0000:0001
       0        0 2   7   11   9900      0 51235 0.0.0.0
`;

describe("the kernel's tables of sockets", () => {
  test.each<[string, string, number, number, string[]]>([
    ["a listening socket", TCP, 10, 80, ["127.0.0.1 48301"]],
    ["the address in the right order", TCP, 10, 8080, ["192.168.1.2 48302"]],
    ["not a connection from that port", TCP, 10, 82, ["0.0.0.0 48303"]],
    ["not the remote port", TCP, 1, 80, []],
    ["IPv6", TCP6, 10, 81, [":: 48311", "2001:db8::fe00:1 48312"]],
    ["IPv4 through IPv6", TCP6, 10, 83, ["127.0.0.1 48313"]],
    ["UDP without a peer", UDP, 7, 53, ["0.0.0.0 48320"]],
    ["a table cut in the middle of a line", TCP.slice(0, -20), 10, 82, []],
    ["no table", "", 10, 80, []],
  ])("%s", (_name, table, state, port, expected) => {
    expect(shown(parseSocketTable(table, state, port))).toEqual(expected);
  });

  test("SCTP's addresses of one socket", () => {
    expect(shown(parseSctpTable(SCTP, 9899))).toEqual(["127.0.0.1 51234", "10.0.0.5 51234", "::1 51234"]);
    expect(parseSctpTable(SCTP, 9900)).toEqual([]);
  });

  test("of TCP are read on as long as the part that was read ends with sockets that listen", () => {
    expect(endsListening(TCP)).toBe(true);
    expect(endsListening(TCP.split("\n").slice(0, 4).join("\n").concat("\n"))).toBe(false);
    expect(endsListening(TCP.slice(0, -20))).toBe(false);
  });
});
