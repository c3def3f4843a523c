/**
 * What the tests of nf_tables share: the objects that the commands of captured.json stand for, and the bytes. That file
 * holds what nft(8) 1.0.6 sends and what Linux 6.18 answers, as `strace -e write=all` and `-e read=all` showed them, by
 * command; process and sequence numbers are 0 there. The commands were run one after the other in an empty network
 * namespace.
 */
import { expect } from "vitest";
import { splitMessages } from "../message-reader.ts";
import { MessageWriter } from "../message-writer.ts";
import type { Batch } from "../netfilter.ts";
import { NLM_F_REQUEST } from "../netlink.ts";
import type { NetlinkSocket } from "../socket.ts";
import captured from "./captured.json" with { type: "json" };
import {
  type Chain,
  type Element,
  type Expression,
  type Field,
  NF_ACCEPT,
  NF_DROP,
  NFPROTO_BRIDGE,
  NFPROTO_INET,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFT_GOTO,
  NFT_JUMP,
  NFT_REG_1,
  NFT_REG_VERDICT,
  NFT_REG32_00,
  NFT_RETURN,
  type NftHook,
  type NftSet,
  type Rule,
  TYPE_ETHER_ADDR,
  TYPE_IFNAME,
  TYPE_INET_PROTO,
  TYPE_INET_SERVICE,
  TYPE_IPV4_ADDR,
  TYPE_IPV6_ADDR,
  TYPE_MARK,
  TYPE_VERDICT,
} from "./objects.ts";

export const table = "podwire";

const IPV4: Field = { type: TYPE_IPV4_ADDR, length: 4 };
const IPV6: Field = { type: TYPE_IPV6_ADDR, length: 16 };
const MAC: Field = { type: TYPE_ETHER_ADDR, length: 6 };
const PROTO: Field = { type: TYPE_INET_PROTO, length: 1 };
const PORT: Field = { type: TYPE_INET_SERVICE, length: 2 };
const MARK: Field = { type: TYPE_MARK, length: 4 };
const IFNAME: Field = { type: TYPE_IFNAME, length: 16 };
const VERDICT: Field = { type: TYPE_VERDICT, length: 0 };

const set = (name: string, key: Field[], data: Field[] = []): NftSet => ({
  family: NFPROTO_INET,
  table,
  name,
  key,
  data,
});
export const LOCALNET = set("localnet", [IFNAME]);
export const MARKS = set("marks", [MARK]);
const MACS = set("macs", [IFNAME, MAC]);
const HOSTPORTS4 = set("hostports4", [PROTO, PORT], [IPV4, PORT]);
export const MASQUERADE4 = set("masquerade4", [IPV4], [VERDICT]);

export const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.replaceAll(" ", ""), "hex"));
export const name = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.padEnd(16, "\0")));
export const element = (key: Uint8Array, more: Partial<Element> = {}): Element => ({
  key,
  data: null,
  verdict: null,
  comment: "",
  ...more,
});

const meta = (key: number, register = NFT_REG_1): Expression => ({ kind: "meta", key, register });
const payload = (base: number, offset: number, length: number, register = NFT_REG_1): Expression => ({
  kind: "payload",
  base,
  offset,
  length,
  register,
});
const cmp = (data: Uint8Array, op = 0): Expression => ({ kind: "cmp", source: NFT_REG_1, op, data });
const bitwise = (mask: Uint8Array): Expression => ({
  kind: "bitwise",
  source: NFT_REG_1,
  register: NFT_REG_1,
  mask,
  xor: new Uint8Array(mask.length),
});
const lookup = (of: NftSet, register: number | null, inverted = false): Expression => ({
  kind: "lookup",
  set: of.name,
  source: NFT_REG_1,
  register,
  inverted,
});
const verdict = (code: number, chain = ""): Expression => ({ kind: "verdict", verdict: { code, chain } });
const load = (register: number, data: Uint8Array): Expression => ({ kind: "immediate", register, data });
const dnat = (family: number, port: number | null): Expression => ({
  kind: "nat",
  type: 1,
  family,
  address: NFT_REG_1,
  port,
  flags: 0,
});
const isIPv4 = [meta(15), cmp(hex("02"))];
const isIPv6 = [meta(15), cmp(hex("0a"))];

export const rule = (chain: string, expressions: Expression[], comment = ""): Rule => ({
  family: NFPROTO_INET,
  table,
  chain,
  expressions,
  comment,
  handle: 0n,
});

/** By command, in the order in which they were given. */
export const RULES: Record<string, Rule> = {
  'add rule inet podwire raw iifname "veth0" counter accept': rule("raw", [
    meta(6),
    cmp(name("veth0")),
    { kind: "counter" },
    verdict(NF_ACCEPT),
  ]),
  'add rule inet podwire raw iifname @localnet ip daddr 127.0.0.0/9 drop comment "no martians"': rule(
    "raw",
    [
      meta(6),
      lookup(LOCALNET, null),
      ...isIPv4,
      payload(1, 16, 4),
      bitwise(hex("ff800000")),
      cmp(hex("7f000000")),
      verdict(NF_DROP),
    ],
    "no martians",
  ),
  "add rule inet podwire raw meta mark != 0x2000 goto m": rule("raw", [
    meta(3),
    cmp(hex("00200000"), 1),
    verdict(NFT_GOTO, "m"),
  ]),
  "add rule inet podwire raw th dport != 1000-2000 return": rule("raw", [
    payload(2, 2, 2),
    { kind: "range", source: NFT_REG_1, op: 1, from: hex("03e8"), to: hex("07d0") },
    verdict(NFT_RETURN),
  ]),
  "add rule inet podwire raw th dport 1000-2000 jump m": rule("raw", [
    payload(2, 2, 2),
    cmp(hex("03e8"), 5),
    cmp(hex("07d0"), 3),
    verdict(NFT_JUMP, "m"),
  ]),
  "add rule inet podwire raw meta mark != @marks drop": rule("raw", [
    meta(3),
    lookup(MARKS, null, true),
    verdict(NF_DROP),
  ]),
  "add rule inet podwire raw ct status dnat accept": rule("raw", [
    { kind: "ct", key: 2, direction: null, register: NFT_REG_1 },
    bitwise(hex("20000000")),
    cmp(hex("00000000"), 1),
    verdict(NF_ACCEPT),
  ]),
  "add rule inet podwire raw meta l4proto tcp ct original proto-dst 80 drop": rule("raw", [
    meta(16),
    cmp(hex("06")),
    { kind: "ct", key: 12, direction: 0, register: NFT_REG_1 },
    cmp(hex("0050")),
    verdict(NF_DROP),
  ]),
  "add rule inet podwire raw meta mark & 0x2000 == 0x2000 accept": rule("raw", [
    meta(3),
    bitwise(hex("00200000")),
    cmp(hex("00200000")),
    verdict(NF_ACCEPT),
  ]),
  "add rule inet podwire raw ip saddr vmap @masquerade4": rule("raw", [
    ...isIPv4,
    payload(1, 12, 4),
    lookup(MASQUERADE4, NFT_REG_VERDICT),
  ]),
  "add rule inet podwire n masquerade fully-random": rule("n", [{ kind: "masq", flags: 0x10 }]),
  "add rule inet podwire n masquerade": rule("n", [{ kind: "masq", flags: 0 }]),
  "add rule inet podwire prerouting fib daddr type local dnat ip to meta l4proto . th dport map @hostports4": rule(
    "prerouting",
    [
      { kind: "fib", result: 3, flags: 2, register: NFT_REG_1 },
      cmp(hex("02000000")),
      meta(16),
      payload(2, 2, 2, NFT_REG32_00 + 1),
      lookup(HOSTPORTS4, NFT_REG_1),
      dnat(NFPROTO_IPV4, NFT_REG32_00 + 1),
    ],
  ),
  "add rule inet podwire prerouting ip protocol tcp dnat ip to 10.1.0.5:80": rule("prerouting", [
    ...isIPv4,
    payload(1, 9, 1),
    cmp(hex("06")),
    load(NFT_REG_1, hex("0a010005")),
    load(2, hex("0050")),
    dnat(NFPROTO_IPV4, 2),
  ]),
  "add rule inet podwire prerouting ip6 daddr fd00::1 dnat ip6 to fd00::5": rule("prerouting", [
    ...isIPv6,
    payload(1, 24, 16),
    cmp(hex("fd000000 00000000 00000000 00000001")),
    load(NFT_REG_1, hex("fd000000 00000000 00000000 00000005")),
    dnat(NFPROTO_IPV6, null),
  ]),
  "add rule inet podwire m iifname . ether saddr != @macs drop": rule("m", [
    meta(8),
    cmp(hex("0100")),
    meta(6),
    payload(0, 6, 6, 2),
    lookup(MACS, null, true),
    verdict(NF_DROP),
  ]),
};

const chain = (chainName: string, hook: NftHook | null, family = NFPROTO_INET): Chain => ({
  family,
  table,
  name: chainName,
  hook,
  policy: NF_ACCEPT,
  uses: 0,
});

export const CHAINS: Record<string, Chain> = {
  "add chain inet podwire m": chain("m", null),
  "add chain inet podwire n": chain("n", null),
  "add chain inet podwire prerouting { type nat hook prerouting priority dstnat + 1; policy accept; }": chain(
    "prerouting",
    { type: "nat", hook: 0, priority: -99 },
  ),
  "add chain inet podwire raw { type filter hook prerouting priority raw; policy accept; }": chain("raw", {
    type: "filter",
    hook: 0,
    priority: -300,
  }),
  "add chain bridge podwire prerouting { type filter hook prerouting priority -300; policy accept; }": chain(
    "prerouting",
    { type: "filter", hook: 0, priority: -300 },
    NFPROTO_BRIDGE,
  ),
};

export const SETS: Record<string, NftSet> = {
  "add set inet podwire localnet { type ifname; }": LOCALNET,
  "add set inet podwire marks { type mark; }": MARKS,
  "add set inet podwire macs { type ifname . ether_addr; }": MACS,
  "add set inet podwire hairpin6 { type ipv6_addr . ipv6_addr; }": set("hairpin6", [IPV6, IPV6]),
  "add map inet podwire hostports4 { type inet_proto . inet_service : ipv4_addr . inet_service; }": HOSTPORTS4,
  "add map inet podwire hostip_hostports6 { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }":
    set("hostip_hostports6", [IPV6, PROTO, PORT], [IPV6, PORT]),
  "add map inet podwire masquerade4 { type ipv4_addr : verdict; }": MASQUERADE4,
  "add map inet podwire conditional4 { type inet_proto . inet_service : verdict; }": set(
    "conditional4",
    [PROTO, PORT],
    [VERDICT],
  ),
  "add map inet podwire tomark { type ether_addr : mark; }": set("tomark", [MAC], [MARK]),
};

export const ELEMENTS: Record<string, readonly [NftSet, readonly Element[]]> = {
  'add element inet podwire localnet { "eth0", "cni-podwire0" comment "ours" }': [
    LOCALNET,
    [element(name("eth0")), element(name("cni-podwire0"), { comment: "ours" })],
  ],
  "add element inet podwire marks { 0x2000 }": [MARKS, [element(hex("00200000"))]],
  'add element inet podwire macs { "veth0" . 02:00:00:00:00:01 }': [
    MACS,
    [element(new Uint8Array([...name("veth0"), ...hex("020000000001 0000")]))],
  ],
  'add element inet podwire hostports4 { tcp . 8080 comment "0123abcd net pod eth0" : 10.1.0.5 . 80, udp . 53 : 10.1.0.6 . 5353 }':
    [
      HOSTPORTS4,
      [
        element(hex("06000000 1f900000"), { data: hex("0a010005 00500000"), comment: "0123abcd net pod eth0" }),
        element(hex("11000000 00350000"), { data: hex("0a010006 14e90000") }),
      ],
    ],
  'add element inet podwire masquerade4 { 10.1.0.5 comment "k" : goto m, 10.1.0.6 : jump m, 10.1.0.7 : drop, 10.1.0.8 : return }':
    [
      MASQUERADE4,
      [
        element(hex("0a010005"), { verdict: { code: NFT_GOTO, chain: "m" }, comment: "k" }),
        element(hex("0a010006"), { verdict: { code: NFT_JUMP, chain: "m" } }),
        element(hex("0a010007"), { verdict: { code: NF_DROP, chain: "" } }),
        element(hex("0a010008"), { verdict: { code: NFT_RETURN, chain: "" } }),
      ],
    ],
};

/** The one message that nft sends for a command. */
export function sent(command: string): Buffer {
  const messages = (captured.sent as Record<string, string[]>)[command] ?? [];
  expect(messages).toHaveLength(1);
  return Buffer.from(messages[0] ?? "", "hex");
}

/** The one request that an encoder writes into a batch. */
export function written(encode: (batch: Batch) => void): Buffer {
  const writer = new MessageWriter();
  const batch = {
    length: 0,
    request(type: number, flags: number): MessageWriter {
      writer.begin(type, flags | NLM_F_REQUEST);
      return writer;
    },
  };
  encode(batch as unknown as Batch);
  expect(writer.count).toBe(1);
  return Buffer.from(writer.bytes);
}

/** The one query that an encoder writes. */
export function asked(encode: (socket: NetlinkSocket) => void): Buffer {
  const writer = new MessageWriter();
  const socket = {
    query(type: number): MessageWriter {
      writer.begin(type, NLM_F_REQUEST);
      return writer;
    },
  };
  encode(socket as unknown as NetlinkSocket);
  expect(writer.count).toBe(1);
  return Buffer.from(writer.bytes);
}

/** The messages with which the kernel answers a command, of one type. */
export function answered(command: string, type: number): Buffer[] {
  const messages = (captured.answered as Record<string, string[]>)[command] ?? [];
  return messages.map((text) => Buffer.from(text, "hex")).filter((message) => message.readUInt16LE(4) === type);
}

/** What follows the netlink header of a message. */
export function bodyOf(message: Buffer): Uint8Array {
  return splitMessages(new Uint8Array(message))[0]?.body ?? new Uint8Array();
}
