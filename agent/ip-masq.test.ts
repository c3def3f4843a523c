import { describe, expect, it } from "vitest";
import { CniError } from "../lib/errors.ts";
import { formatPrefixes } from "../lib/ip/address.ts";
import { readIpMasq } from "./ip-masq.ts";

const read = (text: string): string[] => formatPrefixes(readIpMasq(text, "/etc/config/ip-masq-agent"));
const PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
const LINK_LOCAL = ["169.254.0.0/16", "fe80::/10"];

function problem(text: string): string {
  try {
    read(text);
  } catch (error) {
    if (error instanceof CniError) return error.message;
    throw error;
  }
  return "";
}

describe("the configuration of ip-masq-agent", () => {
  it.each([
    ["", [...PRIVATE, ...LINK_LOCAL]],
    ["resyncInterval: 60s\n", [...PRIVATE, ...LINK_LOCAL]],
    ["nonMasqueradeCIDRs: []\n", LINK_LOCAL],
    [
      "nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n  - 100.64.0.0/10\nmasqLinkLocal: true\n",
      ["10.0.0.0/8", "100.64.0.0/10", "fe80::/10"],
    ],
    ['{"nonMasqueradeCIDRs": ["fd00::/8"], "masqLinkLocal": true, "masqLinkLocalIPv6": true}', ["fd00::/8"]],
  ])("%j", (text, expected) => {
    expect(read(text)).toEqual(expected);
  });

  it.each([
    ["nonMasqueradeCIDRs: 10.0.0.0/8\n", "nonMasqueradeCIDRs"],
    ["nonMasqueradeCIDRs: [10.0.0.0]\n", "/etc/config/ip-masq-agent: nonMasqueradeCIDRs[0]"],
    ["masqLinkLocal: perhaps\n", "masqLinkLocal"],
    ["- 10.0.0.0/8\n", "holds no settings of ip-masq-agent"],
    ["a: &b c\n", "/etc/config/ip-masq-agent cannot be read"],
    [
      `nonMasqueradeCIDRs: [${Array.from({ length: 65 }, (_, i) => `10.0.${i}.0/24`).join(", ")}]\n`,
      "has 65 nonMasqueradeCIDRs",
    ],
  ])("refuses %j", (text, expected) => {
    expect(problem(text)).toContain(expected);
  });
});
