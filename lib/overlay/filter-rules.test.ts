/** The overlay's rules: what they say, and that the compiler understands them. */
import { describe, expect, test } from "vitest";
import { compileRule } from "../filter/language.ts";
import { type Prefix, parsePrefix } from "../ip/address.ts";
import { NFPROTO_INET } from "../netlink/nftables/objects.ts";
import { filterTable, type Judged, needsFilter, overlayTable } from "./filter-rules.ts";
import type { OverlaySettings } from "./settings.ts";
import { FileSource } from "./sources/file.ts";

const prefix = (text: string): Prefix => parsePrefix(text) as Prefix;

const SETTINGS: OverlaySettings = {
  network: "net",
  vni: 7,
  port: 4789,
  datapath: "classic",
  underlay: "",
  podCidrs: [prefix("10.244.1.0/24"), prefix("fd44:0:0:1::/64")],
  source: new FileSource("peersFile", "/peers"),
  directRouting: false,
  mtu: 0,
  checksumOffload: null,
  pathMtuDiscovery: false,
  peersOnly: true,
  notrack: true,
  firewall: false,
  masquerade: true,
  exempt: [prefix("10.244.0.0/16"), prefix("fd44::/48")],
  record: "{}",
};

const rulesOf = (settings: OverlaySettings, judged: Judged = "vni"): Record<string, readonly string[]> =>
  Object.fromEntries(
    overlayTable(settings, judged)
      .content()
      .chains.map((chain) => [chain.name, chain.rules]),
  );

const comment = (settings: OverlaySettings): string => overlayTable(settings, "vni").comment;

describe("the overlay's rules", () => {
  test("drop strangers' packets, skip conntrack, and translate only what leaves the cluster", () => {
    expect(filterTable(SETTINGS)).toBe("podwire_overlay7");
    expect(rulesOf(SETTINGS)).toEqual({
      prerouting: [
        "iifname != overlay7 ip daddr 10.244.1.0/24 fib saddr oifname overlay7 drop",
        "ip saddr 10.244.1.0/24 ip daddr 10.244.1.0/24 fib saddr . iif oif missing drop",
        "iifname != overlay7 ip6 daddr fd44:0:0:1::/64 fib saddr oifname overlay7 drop",
        "ip6 saddr fd44:0:0:1::/64 ip6 daddr fd44:0:0:1::/64 fib saddr . iif oif missing drop",
        "udp dport 4789 @th,96,24 != 7 accept",
        "udp dport 4789 ip saddr @peers4 fib saddr . iif oif missing drop",
        "udp dport 4789 ip6 saddr @peers6 fib saddr . iif oif missing drop",
        "udp dport 4789 fib daddr type local notrack",
      ],
      input: [
        "udp dport 4789 @th,96,24 != 7 accept",
        "udp dport 4789 ip saddr != @peers4 drop",
        "udp dport 4789 ip6 saddr != @peers6 drop",
        "udp dport 4789 ct status dnat drop",
      ],
      forward: [
        "udp dport 4789 @th,96,24 != 7 accept",
        "udp dport 4789 ct status dnat drop",
        "udp dport 4789 ip daddr @peers4 ip saddr != @peers4 drop",
        "udp dport 4789 ip6 daddr @peers6 ip6 saddr != @peers6 drop",
        "udp dport 4789 ip daddr 10.244.0.0/16 accept",
        "udp dport 4789 ip6 daddr fd44::/48 accept",
        "udp dport 4789 ip saddr 10.244.1.0/24 drop",
        "udp dport 4789 ip6 saddr fd44:0:0:1::/64 drop",
      ],
      output: ["udp dport 4789 @th,96,24 7 notrack"],
      postrouting: [
        "ip daddr 224.0.0.0/4 return",
        "ip6 daddr ff00::/8 return",
        "ip daddr 10.244.0.0/16 return",
        "ip6 daddr fd44::/48 return",
        "ip saddr 10.244.1.0/24 fib daddr type != local masquerade fully-random",
        "ip6 saddr fd44:0:0:1::/64 fib daddr type != local masquerade fully-random",
      ],
    });
  });

  test("are what the compiler understands", () => {
    for (const rules of Object.values(rulesOf({ ...SETTINGS, underlay: "eth1" }))) {
      for (const rule of rules) expect(compileRule(NFPROTO_INET, rule).length, rule).toBeGreaterThan(1);
    }
  });

  test("are as many as are asked for", () => {
    expect(rulesOf({ ...SETTINGS, peersOnly: false })).toEqual({
      prerouting: ["udp dport 4789 @th,96,24 != 7 accept", "udp dport 4789 fib daddr type local notrack"],
      output: ["udp dport 4789 @th,96,24 7 notrack"],
      postrouting: expect.any(Array),
    });
    expect(Object.keys(rulesOf({ ...SETTINGS, peersOnly: false, notrack: false }))).toEqual(["postrouting"]);
    expect(JSON.stringify(rulesOf({ ...SETTINGS, notrack: false }))).not.toContain("notrack");
    expect(rulesOf({ ...SETTINGS, masquerade: false }).postrouting).toBeUndefined();
    expect(needsFilter({ ...SETTINGS, masquerade: false, peersOnly: false })).toBe(false);
  });

  test("ask for connections only where these are tracked anyway: to ask makes the kernel track them", () => {
    expect(JSON.stringify(rulesOf({ ...SETTINGS, masquerade: false }))).not.toContain("ct ");
  });

  test("judge the whole port where the device takes every VNI", () => {
    expect(JSON.stringify(rulesOf(SETTINGS, "port"))).not.toContain("@th");
  });

  test("let peers come by a link that is named, whatever the routes say", () => {
    const about = (underlay: string): string[] =>
      (rulesOf({ ...SETTINGS, underlay }).prerouting ?? []).filter((rule) => rule.includes("ip saddr @peers4"));
    expect(about("eth1")).toEqual(["udp dport 4789 iifname != eth1 ip saddr @peers4 fib saddr . iif oif missing drop"]);
    const strict = ["udp dport 4789 ip saddr @peers4 fib saddr . iif oif missing drop"];
    for (const other of ["", "192.0.2.1", "fd00::1", "a{b", "@x", "a,b"]) expect(about(other)).toEqual(strict);
  });

  test("have a comment that changes with them and is short enough for nft", () => {
    expect(comment(SETTINGS)).toMatch(/^podwire overlay [0-9a-f]{16} net$/);
    expect(comment(SETTINGS)).not.toBe(comment({ ...SETTINGS, port: 8472 }));
    expect(comment({ ...SETTINGS, network: "n".repeat(200) }).length).toBeLessThan(128);
  });
});
