import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CniError } from "../errors.ts";
import { formatJson, parseJson } from "./json.ts";
import { EMPTY_DNS, encodeResult, type Result, resultInterface } from "./result.ts";
import { decodeResult } from "./result-decode.ts";
import { ALL_VERSIONS } from "./version.ts";

const decode = (value: unknown, version: string): Result =>
  decodeResult(parseJson(new TextEncoder().encode(JSON.stringify(value))), "prevResult", version);
const encode = (result: Result, version: string): unknown => JSON.parse(formatJson(encodeResult(result, version)));

function failure(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof CniError) return `${error.code} ${error.message}`;
    throw error;
  }
  return "no error";
}

/* The shapes of the specification's examples, with everything each version can say. */
const DNS = { nameservers: ["10.1.0.1", "fd00::53"], domain: "example", search: ["a.example"], options: ["ndots:5"] };
const OLDEST = {
  ip4: {
    ip: "10.1.0.5/16",
    gateway: "10.1.0.1",
    routes: [{ dst: "0.0.0.0/0" }, { dst: "10.9.0.0/24", gw: "10.1.0.9" }],
  },
  ip6: { ip: "fd00:1::5/64", gateway: "fd00:1::1", routes: [{ dst: "::/0", gw: "fd00:1::1" }] },
  dns: DNS,
};
const MIDDLE = {
  interfaces: [
    { name: "cni0", mac: "00:11:22:33:44:55" },
    { name: "eth0", mac: "99:88:77:66:55:44", sandbox: "/run/netns/blue" },
  ],
  ips: [
    { version: "4", interface: 0, address: "10.1.0.5/16", gateway: "10.1.0.1" },
    { version: "6", address: "fd00:1::5/64" },
  ],
  routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0", gw: "fd00:1::1" }],
  dns: DNS,
};
const NEWER = { ...MIDDLE, ips: MIDDLE.ips.map(({ version: _version, ...ip }) => ip) };
const NEWEST = {
  ...NEWER,
  interfaces: [
    { name: "cni0", mac: "00:11:22:33:44:55", mtu: 1450 },
    {
      name: "eth0",
      mac: "99:88:77:66:55:44",
      mtu: 1450,
      sandbox: "/run/netns/blue",
      socketPath: "/run/vhost",
      pciID: "0000:00:1f.6",
    },
  ],
  routes: [
    { dst: "0.0.0.0/0", gw: "10.1.0.1", mtu: 1400, advmss: 1360, priority: 100, table: 0, scope: 0 },
    { dst: "::/0", table: 254, scope: 253 },
  ],
};
const GOLDEN: Record<string, object> = {
  "0.1.0": OLDEST,
  "0.2.0": OLDEST,
  "0.3.0": MIDDLE,
  "0.3.1": MIDDLE,
  "0.4.0": MIDDLE,
  "1.0.0": NEWER,
  "1.1.0": NEWEST,
};

describe.each(ALL_VERSIONS)("a result of version %s", (version) => {
  const golden = { cniVersion: version, ...GOLDEN[version] };

  test("is read and printed as it was", () => {
    expect(encode(decode(golden, version), version)).toEqual(golden);
  });

  test("without cniVersion has the configuration's", () => {
    expect(encode(decode(GOLDEN[version], version), version)).toEqual(golden);
  });

  test("without addresses", () => {
    const empty: Result = { interfaces: [], ips: [], routes: [], dns: EMPTY_DNS };
    if (version === "0.1.0" || version === "0.2.0") {
      expect(failure(() => encodeResult(empty, version))).toBe("1 cannot convert: no valid IP addresses");
      return;
    }
    const dns = version.startsWith("1") ? {} : { dns: {} };
    expect(encode(empty, version)).toEqual({ cniVersion: version, ...dns });
  });

  test("tells what it can of the fullest result", () => {
    expect(encode(decode(NEWEST, "1.1.0"), version)).toEqual({
      ...golden,
      ...(version === "1.1.0" ? {} : withoutAttributes(version)),
    });
  });
});

/** The routes of NEWEST as older versions print them. */
function withoutAttributes(version: string): object {
  if (version !== "0.1.0" && version !== "0.2.0")
    return { routes: [{ dst: "0.0.0.0/0", gw: "10.1.0.1" }, { dst: "::/0" }] };
  return {
    ip4: { ip: "10.1.0.5/16", gateway: "10.1.0.1", routes: [{ dst: "0.0.0.0/0", gw: "10.1.0.1" }] },
    ip6: { ip: "fd00:1::5/64", routes: [{ dst: "::/0" }] },
  };
}

describe("what is easily lost", () => {
  test("interface index 0 is kept, an absent one stays absent", () => {
    const result = decode({ ips: [{ interface: 0, address: "10.0.0.2/24" }, { address: "10.0.0.3/24" }] }, "1.0.0");
    expect(result.ips.map((ip) => ip.interface)).toEqual([0, null]);
    expect(encode(result, "1.0.0")).toEqual({
      cniVersion: "1.0.0",
      ips: [{ interface: 0, address: "10.0.0.2/24" }, { address: "10.0.0.3/24" }],
    });
  });

  test("table 0 and scope 0 are kept, zero mtu, advmss and priority are not told", () => {
    const routes = [{ dst: "10.0.0.0/8", mtu: 0, advmss: 0, priority: 0, table: 0, scope: 0 }];
    expect(encode(decode({ routes }, "1.1.0"), "1.1.0")).toEqual({
      cniVersion: "1.1.0",
      routes: [{ dst: "10.0.0.0/8", table: 0, scope: 0 }],
    });
  });

  test("only the first address of a family survives in 0.2.0, whatever their order", () => {
    const ips = ["fd00::9/64", "10.0.0.2/24", "10.0.0.3/24", "fd00::2/64"].map((address) => ({ address }));
    expect(encode(decode({ ips }, "1.0.0"), "0.2.0")).toEqual({
      cniVersion: "0.2.0",
      ip4: { ip: "10.0.0.2/24" },
      ip6: { ip: "fd00::9/64" },
      dns: {},
    });
  });

  test("dns is always there below 1.0.0, and from then on only if it says something", () => {
    const result = decode({ ips: [{ address: "10.0.0.2/24" }] }, "1.0.0");
    for (const version of ALL_VERSIONS) {
      expect("dns" in (encode(result, version) as object), version).toBe(!version.startsWith("1"));
    }
  });

  test("an interface without MAC, MTU and namespace has a name only", () => {
    const result: Result = { interfaces: [resultInterface("cni0", "", 0, "")], ips: [], routes: [], dns: EMPTY_DNS };
    expect(encode(result, "1.1.0")).toEqual({ cniVersion: "1.1.0", interfaces: [{ name: "cni0" }] });
  });

  test("keys in any case, unknown ones ignored, null as absent, an empty gateway as none", () => {
    const value = { IPs: [{ Address: "10.0.0.2/24", gateway: "", interface: null, more: [1] }], dns: null, extra: {} };
    expect(encode(decode(value, "1.0.0"), "1.0.0")).toEqual({ cniVersion: "1.0.0", ips: [{ address: "10.0.0.2/24" }] });
  });
});

describe("refused", () => {
  test("whatever stands in a result, it is a result or an error of code 1 or 7", () => {
    /* Values that are often right, under names that are often right. */
    const text = fc.constantFrom("10.0.0.2/24", "fd00::2/64", "10.0.0.1", "::", "eth0", "", "0.0.0.0/0", "x");
    const leaf = fc.oneof(text, fc.integer({ min: -1, max: 300 }), fc.constant(null), fc.boolean());
    const key = fc.constantFrom(
      ...[
        "interfaces",
        "ips",
        "routes",
        "dns",
        "name",
        "address",
        "gateway",
        "interface",
        "dst",
        "gw",
        "table",
        "ip",
        "ip4",
        "ip6",
        "search",
      ],
    );
    const { node } = fc.letrec((tie) => ({
      node: fc.oneof(
        { maxDepth: 5 },
        leaf,
        fc.array(tie("node"), { maxLength: 3 }),
        fc.dictionary(key, tie("node"), { maxKeys: 5 }),
      ),
    }));
    const version = fc.constantFrom(...ALL_VERSIONS);
    fc.assert(
      fc.property(fc.dictionary(key, node), version, version, (value, from, to) => {
        try {
          const printed = encode(decode(value, from), to);
          expect(printed).toHaveProperty("cniVersion", to);
        } catch (error) {
          if (!(error instanceof CniError)) throw error;
          expect([1, 7]).toContain(error.code);
          expect(error.message).not.toBe("");
        }
      }),
      { numRuns: 5000 },
    );
  });

  test("a result of another group than the configuration's", () => {
    const groups = [
      ["0.1.0", "0.2.0"],
      ["0.3.0", "0.3.1", "0.4.0"],
      ["1.0.0", "1.1.0"],
    ];
    for (const config of ALL_VERSIONS) {
      for (const version of ALL_VERSIONS) {
        const group = groups.find((members) => members.includes(config)) ?? [];
        const expected = group.includes(version)
          ? "no error"
          : `1 result type supports [${group.join(" ")}] but unmarshalled CNIVersion is "${version}"`;
        expect(failure(() => decode({ cniVersion: version, ips: [] }, config))).toBe(expected);
      }
    }
    expect(failure(() => decode({ cniVersion: "9.8.7" }, "1.0.0"))).toMatch(/^1 result type supports \[1.0.0 1.1.0\]/);
  });

  test.each<[string, unknown, string]>([
    ["text", "x", '"prevResult": expected an object'],
    ["a list", [], '"prevResult": expected an object'],
    ["cniVersion as a number", { cniVersion: 1 }, '"prevResult.cniVersion": expected a string'],
    ["interfaces as an object", { interfaces: {} }, '"prevResult.interfaces": expected an array'],
    ["a name that is none", { interfaces: [{ name: 5 }] }, '"prevResult.interfaces[0].name": expected a string'],
    ["no address", { ips: [{}] }, '"prevResult.ips[0].address"'],
    ["an address without length", { ips: [{ address: "10.0.0.1" }] }, '"prevResult.ips[0].address"'],
    ["a wrong gateway", { ips: [{ address: "10.0.0.1/8", gateway: "x" }] }, '"prevResult.ips[0].gateway"'],
    ["an index as text", { ips: [{ address: "10.0.0.1/8", interface: "0" }] }, '"prevResult.ips[0].interface"'],
    ["a wrong destination", { routes: [{ dst: "::/129" }] }, '"prevResult.routes[0].dst"'],
    ["a table beyond 32 bits", { routes: [{ dst: "::/0", table: 4294967296 }] }, '"prevResult.routes[0].table"'],
    ["a wrong list of name servers", { dns: { nameservers: "1.1.1.1" } }, '"prevResult.dns.nameservers"'],
  ])("%s: code 7 and where it stands", (_name, value, message) => {
    expect(failure(() => decode(value, "1.1.0"))).toContain(`7 invalid value for ${message}`);
  });
});
