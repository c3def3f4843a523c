/**
 * The compiler against nft 1.0.6: captured.json holds rules with what `nft --debug=netlink add rule` printed for them, and
 * rules that it refused.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type Expression,
  NFPROTO_BRIDGE,
  NFPROTO_INET,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
} from "../netlink/nftables/objects.ts";
import captured from "./captured.json" with { type: "json" };
import { formatVerdict } from "./elements.ts";
import { compileConditions, compileRule, compileRules } from "./language.ts";
import { selectorNamed, selectorNames } from "./selectors.ts";
import { LanguageError } from "./values.ts";

const FAMILIES: Record<string, number> = {
  inet: NFPROTO_INET,
  ip: NFPROTO_IPV4,
  ip6: NFPROTO_IPV6,
  bridge: NFPROTO_BRIDGE,
};
const META_KEYS: Record<number, string> = { 1: "protocol", 3: "mark", 4: "iif", 5: "oif", 6: "iifname", 7: "oifname" };
Object.assign(META_KEYS, { 8: "iiftype", 10: "skuid", 11: "skgid", 15: "nfproto", 16: "l4proto", 19: "pkttype" });
Object.assign(META_KEYS, { 21: "iifgroup", 22: "oifgroup" });
const CT_KEYS = ["state", "direction", "status", "mark"];
const COMPARISONS = ["eq", "neq", "lt", "lte", "gt", "gte"];
const FIB_FLAGS: Record<number, string> = { 1: "saddr", 2: "daddr", 9: "saddr . iif", 10: "daddr . iif" };
const FIB_PRESENT = 32;
const FIB_RESULTS = ["", "oif", "oifname", "type"];

/** Bytes as libnftnl prints them: words in the machine's order. */
function words(bytes: Uint8Array): string {
  const padded = Buffer.concat([bytes, Buffer.alloc(3)]);
  return Array.from({ length: Math.ceil(bytes.length / 4) }, (_, i) => hex(padded.readUInt32LE(i * 4), 8)).join(" ");
}

function hex(value: number, width: number): string {
  return `0x${value.toString(16).padStart(width, "0")}`;
}

/** An expression as `nft --debug=netlink` shows it. */
function format(e: Expression): string {
  switch (e.kind) {
    case "meta":
      return `meta load ${META_KEYS[e.key]} => reg ${e.register}`;
    case "meta-set":
      return `meta set ${META_KEYS[e.key]} with reg ${e.source}`;
    case "payload":
      return `payload load ${e.length}b @ ${["link", "network", "transport"][e.base]} header + ${e.offset} => reg ${e.register}`;
    case "bitwise":
      return `bitwise reg ${e.register} = ( reg ${e.source} & ${words(e.mask)} ) ^ ${words(e.xor)}`;
    case "cmp":
      return `cmp ${COMPARISONS[e.op]} reg ${e.source} ${words(e.data)}`;
    case "range":
      return `range ${COMPARISONS[e.op]} reg ${e.source} ${words(e.from)} ${words(e.to)}`;
    case "lookup":
      return `lookup reg ${e.source} set ${e.set}${e.register === null ? "" : ` dreg ${e.register}`}${e.inverted ? " 0x1" : ""}`;
    case "verdict":
      return `immediate reg 0 ${formatVerdict(e.verdict).replace(" ", " -> ")}`;
    case "fib":
      return `fib ${FIB_FLAGS[e.flags & ~FIB_PRESENT]} ${FIB_RESULTS[e.result]}${e.flags & FIB_PRESENT ? " present" : ""} => reg ${e.register}`;
    case "ct":
      return `ct load ${CT_KEYS[e.key]} => reg ${e.register}`;
    case "nat":
      return `nat dnat ${e.family === NFPROTO_IPV4 ? "ip" : "ip6"} addr_min reg ${e.address} proto_min reg ${e.port}`;
    case "masq":
      return e.flags === 0 ? "masq" : `masq flags ${hex(e.flags, 0)}`;
    case "notrack":
      return "notrack";
    case "counter":
      return "counter pkts 0 bytes 0";
    default:
      return e.kind;
  }
}

function show(expressions: readonly Expression[]): string {
  return expressions.map((e) => `[ ${format(e)} ]`).join(" ");
}

/** "inet ip saddr ..." as [family, text]. */
function parted(rule: string): [number, string] {
  const space = rule.indexOf(" ");
  return [FAMILIES[rule.slice(0, space)] ?? 0, rule.slice(space + 1)];
}

function errorOf(run: () => unknown): LanguageError {
  try {
    run();
  } catch (error) {
    if (error instanceof LanguageError) return error;
    throw error;
  }
  throw new Error("it was accepted");
}

describe("compileRule", () => {
  test.each(Object.entries(captured.made))("%s", (rule, expected) => {
    expect(show(compileRule(...parted(rule)))).toBe(expected);
  });

  test.each(captured.refused)("like nft refuses %s", (rule) => {
    expect(errorOf(() => compileRule(...parted(rule))).message).not.toBe("");
  });

  test("a comparison is as long as what was loaded", () => {
    const metaLengths: Record<number, number> = { 1: 2, 8: 2, 15: 1, 16: 1, 19: 1 };
    for (const rule of Object.keys(captured.made)) {
      let length = 0;
      for (const e of compileRule(...parted(rule))) {
        if (e.kind === "payload") length = e.length;
        if (e.kind === "meta") length = [6, 7].includes(e.key) ? 16 : (metaLengths[e.key] ?? 4);
        if (e.kind === "ct") length = e.key === 1 ? 1 : 4;
        if (e.kind === "fib") length = { 1: 4, 2: 16, 3: 4 }[e.result] ?? 0;
        if (e.kind === "cmp") expect(e.data.length, rule).toBe(rule.includes("*") ? e.data.length : length);
        if (e.kind === "bitwise") expect([e.mask.length, e.xor.length], rule).toEqual([length, length]);
      }
    }
  });

  test("every selector of the table can be written", () => {
    for (const name of selectorNames()) {
      const family = name.startsWith("arp") ? NFPROTO_BRIDGE : NFPROTO_INET;
      expect(selectorNamed(name)?.name).toBe(name);
      expect(compileRule(family, `${name} != @set`).length).toBeGreaterThan(1);
    }
  });
});

describe("lists", () => {
  test("alternatives are all combinations", () => {
    const rules = compileRules(NFPROTO_INET, "ip saddr { 10.0.0.1, 10.0.0.0/8 } tcp dport {80,443} goto x");
    const expected = ["10.0.0.1", "10.0.0.0/8"].flatMap((saddr) =>
      ["80", "443"].map((dport) => compileRule(NFPROTO_INET, `ip saddr ${saddr} tcp dport ${dport} goto x`)),
    );
    expect(new Set(rules.map(show))).toEqual(new Set(expected.map(show)));
    expect(rules).toHaveLength(4);
  });

  test("exclusions follow each other in one rule", () => {
    expect(compileRule(NFPROTO_INET, "tcp dport != { 80, 90-100, }")).toEqual(
      compileRule(NFPROTO_INET, "tcp dport != 80 tcp dport != 90-100"),
    );
  });

  test("flags in a list are compared as a whole, as nft's sets do", () => {
    expect(compileRules(NFPROTO_INET, "ct status { snat, dnat }")).toEqual([
      compileRule(NFPROTO_INET, "ct status == snat"),
      compileRule(NFPROTO_INET, "ct status == dnat"),
    ]);
  });

  test("there is an end to them", () => {
    const list = (count: number) => `tcp dport { ${Array.from({ length: count }, (_, i) => i + 1).join(", ")} }`;
    expect(compileRules(NFPROTO_INET, list(64))).toHaveLength(64);
    expect(() => compileRules(NFPROTO_INET, list(65))).toThrow("65 combinations");
    expect(() => compileRules(NFPROTO_INET, `${list(9)} ${list(9)}`)).toThrow("81 combinations");
    expect(() => compileRules(NFPROTO_INET, list(100).replace("{", "!= {"))).toThrow("too long");
    expect(() => compileRule(NFPROTO_INET, list(2))).toThrow("2 rules");
  });
});

describe("compileConditions", () => {
  test("takes tokens as they stand in configurations", () => {
    const tokens = ["iifname", "!=", '"eth1"', "ip", "saddr", "10.0.0.0/8"];
    expect(compileConditions(NFPROTO_INET, tokens)).toEqual([
      compileRule(NFPROTO_INET, "iifname != eth1 ip saddr 10.0.0.0/8"),
    ]);
    expect(compileConditions(NFPROTO_INET, [])).toEqual([[]]);
    expect(compileConditions(NFPROTO_INET, ["tcp", "dport", "{", "80,", "443", "}"])).toHaveLength(2);
  });

  test.each([
    [["ip", "ttl", "64"], '"ip ttl"', "ip saddr"],
    [["tcp", "dport", "65536"], '"65536"', "16 bits"],
    [["ip", "saddr", "010.0.0.1"], '"010.0.0.1"', "10.1.0.5"],
    [["meta", "l4proto", "tpc"], '"tpc"', "tcp=6"],
    [["ip", "saddr", "1.1.1.1", "accept"], '"accept"', "matches only"],
    [["masquerade"], '"masquerade"', "matches only"],
    [["ip", "saddr", "@other"], '"@other"', "{ a, b }"],
    [["ip", "saddr", "vmap", "@other"], '"@other"', "{ a, b }"],
    [["meta", "nfproto", "ipv4", "ip6", "saddr", "::1"], '"ip6"', ""],
    [["-s", "10.0.0.1"], '"-s 10.0.0.1"', "ip saddr"],
    [["ip", "saddr"], "end", "ip saddr"],
  ])("names what is wrong with %j", (tokens, message, details) => {
    const error = errorOf(() => compileConditions(NFPROTO_INET, tokens));
    expect(error.message).toContain(message);
    expect(error.details).toContain(details);
  });

  test("refuses with nothing but its own error", () => {
    const known = [...selectorNames().flatMap((name) => name.split(" ")), "==", "!=", "&", "{", "}", ",", ".", "@x"];
    known.push(
      "10.0.0.1",
      "10.0.0.0/9",
      "::1",
      "fe80::/10",
      "80",
      "0x1f",
      "1-5",
      "eth*",
      "new,established",
      "tcp",
      "vmap",
    );
    const token = fc.oneof(
      { weight: 6, arbitrary: fc.constantFrom(...known) },
      { weight: 1, arbitrary: fc.string() },
      { weight: 1, arbitrary: fc.string({ unit: fc.constantFrom(..."@th,0128./:*-=x") }) },
    );
    fc.assert(
      fc.property(fc.array(token, { maxLength: 12 }), fc.constantFrom(...Object.values(FAMILIES)), (tokens, family) => {
        try {
          compileConditions(family, tokens);
        } catch (error) {
          expect(error).toBeInstanceOf(LanguageError);
        }
      }),
      { numRuns: 3000 },
    );
  });
});
