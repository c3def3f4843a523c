/** The overlay's rules: what they say, and that the compiler understands them. */
import { describe, expect, test } from "vitest";
import { compileRule } from "../filter/language.ts";
import { type Prefix, parsePrefix } from "../ip/address.ts";
import { NFPROTO_INET } from "../netlink/nftables/objects.ts";
import { filterChains, filterComment, filterTable, needsFilter } from "./filter-rules.ts";
import type { OverlaySettings } from "./settings.ts";

const prefix = (text: string): Prefix => parsePrefix(text) as Prefix;

const SETTINGS: OverlaySettings = {
  network: "net",
  vni: 7,
  port: 4789,
  datapath: "classic",
  underlay: "",
  podCidrs: [prefix("10.244.1.0/24"), prefix("fd44:0:0:1::/64")],
  source: { inline: null, file: "/peers", directory: "" },
  directRouting: false,
  mtu: 0,
  checksumOffload: null,
  pathMtuDiscovery: false,
  peersOnly: true,
  masquerade: true,
  exempt: [prefix("10.244.0.0/16"), prefix("fd44::/48")],
  text: "",
  record: "{}",
};

const rulesOf = (settings: OverlaySettings): Record<string, readonly string[]> =>
  Object.fromEntries(filterChains(settings).map((chain) => [chain.name, chain.rules]));

describe("the overlay's rules", () => {
  test("drop strangers' packets, skip conntrack, and translate only what leaves the cluster", () => {
    expect(filterTable(SETTINGS)).toBe("podwire_overlay7");
    expect(rulesOf(SETTINGS)).toEqual({
      prerouting: [
        "udp dport 4789 fib daddr type local ip saddr != @peers4 drop",
        "udp dport 4789 fib daddr type local ip6 saddr != @peers6 drop",
        "udp dport 4789 fib daddr type local notrack",
      ],
      output: ["udp dport 4789 notrack"],
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
    for (const rules of Object.values(rulesOf(SETTINGS))) {
      for (const rule of rules) expect(compileRule(NFPROTO_INET, rule).length, rule).toBeGreaterThan(1);
    }
  });

  test("are as many as are asked for", () => {
    expect(rulesOf({ ...SETTINGS, peersOnly: false }).prerouting).toHaveLength(1);
    expect(rulesOf({ ...SETTINGS, masquerade: false }).postrouting).toBeUndefined();
    expect(needsFilter({ ...SETTINGS, masquerade: false, peersOnly: false })).toBe(false);
  });

  test("have a comment that changes with them and is short enough for nft", () => {
    expect(filterComment(SETTINGS)).toMatch(/^podwire overlay [0-9a-f]{16} net$/);
    expect(filterComment(SETTINGS)).not.toBe(filterComment({ ...SETTINGS, port: 8472 }));
    expect(filterComment({ ...SETTINGS, network: "n".repeat(200) }).length).toBeLessThan(128);
  });
});
