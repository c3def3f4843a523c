import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Call } from "../../lib/cni/plugin.ts";
import { CniError } from "../../lib/errors.ts";
import { configuredCall } from "../../testbed/configured-call.ts";
import { describeMapping, readMappingsForRemoval, readPortmapConfig } from "./config.ts";

const callWith = (config: Record<string, unknown>): Call => configuredCall("portmap", config);

const read = (config: Record<string, unknown>) => readPortmapConfig(callWith(config));
const withMappings = (...portMappings: unknown[]) => ({ runtimeConfig: { portMappings } });
const shown = (...portMappings: unknown[]) => read(withMappings(...portMappings)).mappings.map(describeMapping);
const port = (hostPort: number, containerPort: number, hostIP?: string, protocol?: string) => ({
  hostPort,
  containerPort,
  ...(hostIP === undefined ? {} : { hostIP }),
  ...(protocol === undefined ? {} : { protocol }),
});

function failure(config: Record<string, unknown>): CniError {
  try {
    read(config);
  } catch (error) {
    if (error instanceof CniError) return error;
    throw error;
  }
  throw new Error(`accepted: ${JSON.stringify(config)}`);
}

describe("options", () => {
  test("of an empty configuration", () => {
    expect(read({})).toEqual({
      backend: "",
      snat: true,
      masqAll: false,
      markMasqBit: 13,
      externalSetMarkChain: "",
      conditions4: [],
      conditions6: [],
      lastWins: false,
      mappings: [],
    });
  });

  test.each<[string, Record<string, unknown>, Record<string, unknown>]>([
    ["all set", { snat: false, masqAll: true, markMasqBit: 0 }, { snat: false, masqAll: true, markMasqBit: 0 }],
    ["the highest bit", { markMasqBit: 31 }, { markMasqBit: 31 }],
    ["a backend", { backend: "nftables" }, { backend: "nftables" }],
    ["the other", { backend: "iptables" }, { backend: "iptables" }],
    ["an empty backend is none", { backend: "" }, { backend: "" }],
    ["an external chain is iptables", { externalSetMarkChain: "KUBE-MARK-MASQ" }, { backend: "iptables" }],
    ["an empty chain is none", { externalSetMarkChain: "", markMasqBit: 5 }, { backend: "", markMasqBit: 5 }],
    ["iptables conditions", { conditionsV4: ["-s", "10.0.0.0/8"] }, { backend: "iptables", conditions6: [] }],
    ["negated ones", { conditionsV6: ["!", "-s", "fd00::/8"] }, { backend: "iptables" }],
    [
      "nftables conditions",
      { conditionsV4: ["ip", "saddr", "10.0.0.0/8"] },
      { backend: "nftables", conditions4: ["ip", "saddr", "10.0.0.0/8"] },
    ],
    [
      "nftables conditions in one text",
      { conditionsV6: ["ip6 saddr != { fd00::/8,", "fe80::/10 }"] },
      { conditions6: ["ip6", "saddr", "!=", "{", "fd00::/8,", "fe80::/10", "}"] },
    ],
    [
      "an argument of iptables stays whole",
      { conditionsV4: ["-m", "comment", "--comment", "a b"] },
      { conditions4: ["-m", "comment", "--comment", "a b"] },
    ],
    ["conflicts", { conflicts: "last-wins" }, { lastWins: true }],
    ["the default by name", { conflicts: "refuse" }, { lastWins: false }],
    ["names in any case", { SNAT: false, masqall: true }, { snat: false, masqAll: true }],
    ["null is absent", { markMasqBit: null, conditionsV4: null, backend: null }, { markMasqBit: 13, backend: "" }],
  ])("%s", (_name, config, expected) => {
    expect(read(config)).toMatchObject(expected);
  });

  test.each<[Record<string, unknown>, string]>([
    [{ backend: "ipvs" }, '"backend": unrecognized backend "ipvs": expected "nftables" or "iptables"'],
    [{ backend: 1 }, '"backend": expected a string, found the number 1'],
    [{ markMasqBit: 32 }, '"markMasqBit": MasqMarkBit must be between 0 and 31, found 32'],
    [{ markMasqBit: -1 }, '"markMasqBit": MasqMarkBit must be between 0 and 31, found -1'],
    [
      { markMasqBit: 13, externalSetMarkChain: "X" },
      '"markMasqBit": Cannot specify externalSetMarkChain and markMasqBit',
    ],
    [{ externalSetMarkChain: "A B" }, '"externalSetMarkChain": "A B" cannot be the name of an iptables chain'],
    [{ externalSetMarkChain: "-A" }, '"externalSetMarkChain": "-A" cannot be the name of an iptables chain'],
    [
      { externalSetMarkChain: "A".repeat(29) },
      `"externalSetMarkChain": "${"A".repeat(29)}" cannot be the name of an iptables chain`,
    ],
    [
      { backend: "nftables", externalSetMarkChain: "X", conditionsV4: ["-a", "b"], conditionsV6: ["-c"] },
      '"externalSetMarkChain": nftables backend was requested but configuration contains iptables-specific options ' +
        "[externalSetMarkChain conditionsV4 conditionsV6]",
    ],
    [
      { backend: "iptables", conditionsV4: ["ip", "saddr"], conditionsV6: ["ip6", "saddr"] },
      '"conditionsV4": iptables backend was requested but configuration contains nftables-specific options ' +
        "[conditionsV4 conditionsV6]",
    ],
    [
      { conditionsV4: ["-s", "10.0.0.1"], conditionsV6: ["ip6", "saddr"] },
      '"conditionsV6": iptables backend was requested but configuration contains nftables-specific options ' +
        "[conditionsV6] (conditionsV4 asks for it)",
    ],
    [{ conditionsV4: "ip saddr" }, '"conditionsV4": expected an array, found the string "ip saddr"'],
    [{ conditionsV4: ["ip", ""] }, '"conditionsV4[1]": is empty'],
    [{ conditionsV6: ["  "] }, '"conditionsV6[0]": is empty'],
    [{ conditionsV4: ["-s", "x\nCOMMIT"] }, '"conditionsV4[1]": holds a control character'],
    [{ conflicts: "first" }, '"conflicts": unrecognized "first": expected "refuse" or "last-wins"'],
  ])("%j is refused", (config, message) => {
    expect(failure(config)).toMatchObject({ code: 7, message: `invalid value for ${message}` });
  });
});

describe("port mappings", () => {
  test("are read with everything that may be left out", () => {
    expect(read(withMappings(port(8080, 80))).mappings).toEqual([
      { index: 0, protocol: "tcp", hostPort: 8080, containerPort: 80, hostIp: null, family: 0 },
    ]);
  });

  test.each<[string, unknown[], string[]]>([
    [
      "protocols in any case",
      [port(1, 2, "", "UDP"), port(1, 2, "", "Sctp"), port(1, 2, "", "")],
      ["udp *:1", "sctp *:1", "tcp *:1"],
    ],
    ["the limits", [port(65535, 65535), port(1, 1)], ["tcp *:65535", "tcp *:1"]],
    ["any address of one family", [port(1, 2, "0.0.0.0"), port(1, 3, "::")], ["tcp 0.0.0.0:1", "tcp [::]:1"]],
    ["one address", [port(1, 2, "127.0.0.1"), port(1, 3, "FD00::0:1")], ["tcp 127.0.0.1:1", "tcp [fd00::1]:1"]],
    ["an IPv4 address in IPv6 clothes", [port(1, 2, "::ffff:10.0.0.1")], ["tcp 10.0.0.1:1"]],
    ["an address beside all of them", [port(1, 2, "10.0.0.1"), port(1, 3)], ["tcp 10.0.0.1:1", "tcp *:1"]],
    ["duplicates", [port(1, 2), port(1, 2), port(5, 2), port(1, 2, "", "TCP")], ["tcp *:1", "tcp *:5"]],
    ["a family twice", [port(1, 2), port(1, 2, "::")], ["tcp *:1"]],
    ["the rest of what one family has", [port(1, 2, "0.0.0.0"), port(1, 2)], ["tcp 0.0.0.0:1", "tcp [::]:1"]],
    ["an address twice", [port(1, 2, "fd00::1"), port(1, 2, "fd00:0::1")], ["tcp [fd00::1]:1"]],
  ])("%s", (_name, mappings, expected) => {
    expect(shown(...mappings).map((text) => text.split(" to ")[0])).toEqual(expected);
  });

  test.each<[unknown, string]>([
    [{ hostPort: 0, containerPort: 80 }, 'hostPort": Invalid host port number: 0 (must be between 1 and 65535)'],
    [{ containerPort: 80 }, 'hostPort": Invalid host port number: 0 (must be between 1 and 65535)'],
    [port(70000, 80), 'hostPort": Invalid host port number: 70000 (must be between 1 and 65535)'],
    [port(-1, 80), 'hostPort": Invalid host port number: -1 (must be between 1 and 65535)'],
    [port(80, 0), 'containerPort": Invalid container port number: 0 (must be between 1 and 65535)'],
    [port(80, 65536), 'containerPort": Invalid container port number: 65536 (must be between 1 and 65535)'],
    [{ hostPort: "80", containerPort: 80 }, 'hostPort": expected a whole number, found the string "80"'],
    [{ hostPort: 80.5, containerPort: 80 }, 'hostPort": expected a whole number, found 80.5'],
    [port(80, 80, "", "icmp"), 'protocol": unknown protocol "icmp": expected tcp, udp or sctp'],
    [port(80, 80, "10.0.0.256"), 'hostIP": "10.0.0.256" is not an IP address'],
    [port(80, 80, "010.0.0.1"), 'hostIP": "010.0.0.1" is not an IP address'],
    [port(80, 80, "10.0.0.1/24"), 'hostIP": "10.0.0.1/24" is not an IP address'],
    [port(80, 80, "fe80::1%eth0"), 'hostIP": "fe80::1%eth0" is not an IP address'],
    [port(80, 80, "224.0.0.1"), 'hostIP": 224.0.0.1 is a multicast, reserved or broadcast address'],
    [port(80, 80, "255.255.255.255"), 'hostIP": 255.255.255.255 is a multicast, reserved or broadcast address'],
    [port(80, 80, "ff02::1"), 'hostIP": ff02::1 is a multicast, reserved or broadcast address'],
    [
      port(1, 3, "10.0.0.1", "TCP"),
      'hostPort": tcp 10.0.0.1:1 to container port 3 is also asked for by portMappings[1] as tcp 10.0.0.1:1 to container port 2',
    ],
    [
      port(9, 3, "::"),
      'hostPort": tcp [::]:9 to container port 3 is also asked for by portMappings[0] as tcp *:9 to container port 9',
    ],
  ])("%j is refused with its index", (mapping, message) => {
    const error = failure(withMappings(port(9, 9), port(1, 2, "10.0.0.1"), mapping));
    expect(error).toMatchObject({ code: 7, message: `invalid value for "runtimeConfig.portMappings[2].${message}` });
  });

  test("of the wrong shape are refused", () => {
    expect(failure({ runtimeConfig: { portMappings: {} } }).message).toBe(
      'invalid value for "runtimeConfig.portMappings": expected an array, found an object',
    );
    expect(failure(withMappings(port(1, 2), 5)).message).toBe(
      'invalid value for "runtimeConfig.portMappings[1]": expected an object, found the number 5',
    );
  });

  test("never hold a protocol, address and port twice", () => {
    const mapping = fc.record({
      hostPort: fc.integer({ min: 1, max: 3 }),
      containerPort: fc.constant(80),
      hostIP: fc.constantFrom("", "0.0.0.0", "::", "10.0.0.1", "fd00::1"),
    });
    fc.assert(
      fc.property(fc.array(mapping), (mappings) => {
        const keys = read(withMappings(...mappings)).mappings.flatMap(({ hostPort, hostIp, family }) =>
          (family === 0 ? [4, 6] : [family]).map((version) => `${hostPort} ${hostIp?.bytes.join(".")} ${version}`),
        );
        const asked = mappings.flatMap(({ hostPort, hostIP }) =>
          hostIP === "" ? [`${hostPort} 0.0.0.0`, `${hostPort} ::`] : [`${hostPort} ${hostIP}`],
        );
        expect(new Set(keys).size).toBe(keys.length);
        expect(keys.length).toBe(new Set(asked).size);
      }),
    );
  });
});

describe("for removal", () => {
  test.each<[string, Record<string, unknown>, number[]]>([
    ["none", {}, []],
    ["a runtimeConfig that is no object", { runtimeConfig: 7 }, []],
    ["mappings that are no list", { runtimeConfig: { portMappings: 7 } }, []],
    [
      "only what is sound",
      { backend: "x", ...withMappings(port(80, 80), port(0, 1), port(81, 1, "x"), port(82, 1)) },
      [80, 82],
    ],
  ])("%s", (_name, config, expected) => {
    expect(readMappingsForRemoval(callWith(config)).map((mapping) => mapping.hostPort)).toEqual(expected);
  });
});
