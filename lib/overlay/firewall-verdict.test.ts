/** Following a packet through other people's rules, written in nft's syntax where our compiler knows it. */
import { describe, expect, test } from "vitest";
import { compileRule } from "../filter/language.ts";
import { parseAddress } from "../ip/address.ts";
import type { Element, Expression } from "../netlink/nftables/objects.ts";
import { NFPROTO_INET, NFPROTO_IPV4 } from "../netlink/nftables/objects.ts";
import { ACCEPTED, DROPPED, GOES_ON, type KnownPacket, outcomesOf } from "./firewall-verdict.ts";

const bytes = (text: string): Uint8Array => parseAddress(text)?.bytes ?? new Uint8Array(0);

const PACKET: KnownPacket = {
  family: NFPROTO_IPV4,
  iifname: "overlay1",
  iif: 7,
  oifname: "cni0",
  oif: 5,
  source: new Uint8Array(0),
  destination: bytes("10.244.1.2"),
  protocol: 6,
  port: -1,
  state: 8,
};

type Chains = Record<string, readonly (string | readonly Expression[])[]>;

/** The outcomes of the chain "main". */
function follow(
  chains: Chains,
  packet: Partial<KnownPacket> = {},
  sets: Record<string, readonly Element[]> = {},
): number {
  const rulesOf = (chain: string): Expression[][] =>
    (chains[chain] ?? []).map((rule) => (typeof rule === "string" ? compileRule(NFPROTO_INET, rule) : [...rule]));
  return outcomesOf({ rulesOf, elementsOf: (set) => sets[set] ?? null }, "main", { ...PACKET, ...packet });
}

const ACCEPT: Expression = { kind: "verdict", verdict: { code: 1, chain: "" } };
const REJECT: Expression = { kind: "unknown", name: "reject" };
const extension = (name: string, info = new Uint8Array(0), revision = 0): Expression => ({
  kind: "match",
  name,
  revision,
  info,
});

/** -m conntrack --ctstate, as iptables sends it. */
function conntrack(mask: number, inverted = 0): Expression {
  const info = new Uint8Array(168);
  new DataView(info.buffer).setUint16(146, 1, true);
  new DataView(info.buffer).setUint16(148, inverted, true);
  new DataView(info.buffer).setUint16(150, mask, true);
  return extension("conntrack", info, 3);
}

describe("a packet goes on", () => {
  test.each([
    [[]],
    [["iifname docker0 accept"]],
    [["oifname != cni0 drop"]],
    [["ct state established,related accept"]],
    [["ct status dnat accept"]],
    [["ct state invalid drop"]],
    [["ip daddr 10.88.0.0/16 accept"]],
    [["ip6 daddr fd00::/8 drop"]],
    [["udp dport 53 drop"]],
    [["mark & 0x4000 == 0x4000 accept"]],
    [["iif 1 accept"]],
    [[[extension("LOG")]]],
    [[[conntrack(6), ACCEPT]]],
    [[[conntrack(8, 1), REJECT]]],
    [["return", "drop"]],
    [["jump other"]],
  ])("behind %j", (main) => {
    expect(follow({ main, other: ["iifname eth0 accept", "return", "accept"] })).toBe(GOES_ON);
  });
});

describe("a packet is accepted", () => {
  test.each([
    [["accept"]],
    [["iifname overlay1 accept", "drop"]],
    [['oifname "cni*" counter accept']],
    [["ip daddr 10.244.0.0/16 accept"]],
    [["ip daddr 10.244.0.0/22 accept"]],
    [["ct state new accept"]],
    [["meta l4proto tcp accept"]],
    [[[extension("comment"), ACCEPT]]],
    [[[conntrack(8), ACCEPT]]],
    [["jump other", "drop"]],
    [["goto other", "drop"]],
  ])("by %j", (main) => {
    expect(follow({ main, other: ["iifname eth0 drop", "accept"] })).toBe(ACCEPTED);
  });
});

describe("a packet is dropped for certain", () => {
  test.each([
    [["drop"]],
    [["iifname docker0 accept", "drop"]],
    [[[REJECT]]],
    [[[extension("REJECT")]]],
    [["jump other"]],
    [["ip daddr 10.244.1.0/24 goto other", "accept"]],
  ])("by %j", (main) => {
    expect(follow({ main, other: ["drop"] })).toBe(DROPPED);
  });
});

describe("what is not known", () => {
  test("leaves every way open", () => {
    expect(follow({ main: ["ip saddr 10.0.0.0/8 accept", "drop"] })).toBe(ACCEPTED | DROPPED);
    expect(follow({ main: ["tcp dport 80 drop"] })).toBe(DROPPED | GOES_ON);
    expect(follow({ main: [[extension("addrtype"), ACCEPT], "drop"] })).toBe(ACCEPTED | DROPPED);
    expect(follow({ main: [[{ kind: "unknown", name: "limit" }, ACCEPT]] })).toBe(ACCEPTED | GOES_ON);
    expect(follow({ main: ["ip saddr @blocked drop"] })).toBe(DROPPED | GOES_ON);
    expect(follow({ main: [[extension("NFQUEUE")]] })).toBe(ACCEPTED | DROPPED | GOES_ON);
    expect(follow({ main: ["ip saddr 10.0.0.0/8 return", "accept"] })).toBe(ACCEPTED | GOES_ON);
  });

  test("of an endless ruleset is everything", () => {
    expect(follow({ main: ["jump main"] })).toBe(ACCEPTED | DROPPED | GOES_ON);
  });
});

describe("sets", () => {
  const state = (value: number, verdict: number | null): Element => ({
    key: new Uint8Array([value, 0, 0, 0]),
    data: null,
    verdict: verdict === null ? null : { code: verdict, chain: "" },
    comment: "",
  });

  test("of states are looked into", () => {
    const sets = { known: [state(2, null), state(4, null)], verdicts: [state(2, 1), state(8, 0)] };
    expect(follow({ main: ["ct state @known accept"] }, {}, sets)).toBe(GOES_ON);
    expect(follow({ main: ["ct state != @known accept"] }, {}, sets)).toBe(ACCEPTED);
    expect(follow({ main: ["ct state vmap @verdicts", "accept"] }, {}, sets)).toBe(DROPPED);
    expect(follow({ main: ["ct state vmap @verdicts", "accept"] }, { state: 64 }, sets)).toBe(ACCEPTED);
  });

  test("of addresses may hold ranges, and several fields are not followed", () => {
    const sets = { some: [{ key: bytes("10.244.1.0"), data: null, verdict: null, comment: "" }] };
    expect(follow({ main: ["ip daddr @some drop"] }, {}, sets)).toBe(DROPPED | GOES_ON);
    expect(follow({ main: ["ip daddr . iifname @some drop"] }, {}, sets)).toBe(DROPPED | GOES_ON);
  });
});
