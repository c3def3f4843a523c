import { describe, expect, test } from "vitest";
import type { Call } from "../../lib/cni/plugin.ts";
import { CniError } from "../../lib/errors.ts";
import { parsePrefix } from "../../lib/ip/address.ts";
import { formatMac } from "../../lib/ip/mac.ts";
import { configuredCall } from "../../testbed/configured-call.ts";
import { readBridgeConfig } from "./config.ts";

const callWith = (config: Record<string, unknown>, args = ""): Call =>
  configuredCall("bridge", config, { CNI_ARGS: args });

const read = (config: Record<string, unknown>, args = "") => readBridgeConfig(callWith(config, args));

function failure(config: Record<string, unknown>, args = ""): CniError {
  try {
    read(config, args);
  } catch (error) {
    if (error instanceof CniError) return error;
    throw error;
  }
  throw new Error(`accepted: ${JSON.stringify(config)}`);
}

const range = (first: number, last = first) => ({ first, last, pvid: false, untagged: false });

describe("defaults", () => {
  test("an empty configuration", () => {
    expect(read({})).toEqual({
      bridge: "cni0",
      isGateway: false,
      isDefaultGateway: false,
      forceAddress: false,
      mtu: 0,
      hairpinMode: false,
      promiscMode: false,
      vlan: 0,
      vlanTrunk: [],
      filtersVlans: false,
      preserveDefaultVlan: false,
      groupForwardMask: 0,
      duplicateAddressDetection: false,
      disableContainerInterface: false,
      portIsolation: false,
      ipMasq: false,
      ipMasqBackend: "",
      nonMasqueradeCidrs: [],
      macSpoofCheck: false,
      ipSpoofCheck: false,
      mac: null,
      ipam: "",
      dns: null,
    });
  });

  test.each([
    ["an empty bridge name", { bridge: "" }, { bridge: "cni0" }],
    ["null means absent", { bridge: null, mtu: null, vlanTrunk: null, ipam: null }, { bridge: "cni0", mtu: 0 }],
    ["names in any case, as in the reference suite", { ISGATEWAY: true, Mtu: 1400 }, { isGateway: true, mtu: 1400 }],
    ["isDefaultGateway implies isGateway", { isDefaultGateway: true, isGateway: false }, { isGateway: true }],
    ["what was asked for and is off", { ipMasq: false, macspoofchk: false }, { ipMasq: false }],
    [
      "the packet filter's options",
      { ipMasq: true, ipMasqBackend: "nftables", nonMasqueradeCIDRs: ["10.0.0.0/8"], macspoofchk: true },
      { ipMasq: true, ipMasqBackend: "nftables", nonMasqueradeCidrs: [parsePrefix("10.0.0.0/8")], macSpoofCheck: true },
    ],
    [
      "all the switches",
      { forceAddress: true, hairpinMode: true, portIsolation: true, enabledad: true, preserveDefaultVlan: true },
      {
        forceAddress: true,
        hairpinMode: true,
        portIsolation: true,
        duplicateAddressDetection: true,
        preserveDefaultVlan: true,
      },
    ],
    ["the smallest and the largest MTU", { mtu: 68 }, { mtu: 68 }],
    ["the largest MTU", { mtu: 65535 }, { mtu: 65535 }],
    ["the largest VLAN", { vlan: 4094 }, { vlan: 4094, filtersVlans: true }],
    ["VLAN 0 is none", { vlan: 0 }, { vlan: 0, filtersVlans: false }],
    ["an empty trunk makes the bridge filter", { vlanTrunk: [] }, { vlanTrunk: [], filtersVlans: true }],
    ["an empty trunk entry says nothing", { vlanTrunk: [{}] }, { vlanTrunk: [], filtersVlans: true }],
    [
      "a trunk",
      { vlanTrunk: [{ id: 7 }, { minID: 10, maxID: 20 }, { minID: 5, maxID: 5, id: 6 }] },
      { vlanTrunk: [range(7), range(10, 20), range(5), range(6)] },
    ],
    ["dns of one key", { dns: { domain: "x" } }, { dns: { nameservers: [], domain: "x", search: [], options: [] } }],
    ["dns of no key", { dns: {} }, { dns: null }],
    ["ipam", { ipam: { type: "host-local" } }, { ipam: "host-local" }],
    ["a name of 15 bytes", { bridge: "a23456789012345" }, { bridge: "a23456789012345" }],
  ])("%s", (_name, config, expected) => {
    expect(read(config)).toMatchObject(expected);
  });
});

describe("the Ethernet address", () => {
  const [first, second, third] = ["02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"];
  test.each([
    [{ runtimeConfig: { mac: first }, args: { cni: { mac: second } } }, `MAC=${third}`, first],
    [{ args: { cni: { mac: second } } }, `MAC=${third}`, second],
    [{ runtimeConfig: { mac: "" }, args: { cni: { mac: "" } } }, `MAC=${third}`, third],
    [{}, `IP=10.0.0.5;MAC=${third};GATEWAY=10.0.0.1`, third],
    [{}, `K8S_POD_NAME=x;IgnoreUnknown=1;MAC=${third}`, third],
    [{ runtimeConfig: { mac: "02-00-00-00-00-0A" } }, "", "02:00:00:00:00:0a"],
  ])("%j and CNI_ARGS %j", (config, args, expected) => {
    expect(formatMac(read(config, args).mac ?? new Uint8Array())).toBe(expected);
  });

  test("an empty one is none", () => {
    expect(read({ runtimeConfig: { mac: "" } }, "MAC=").mac).toBeNull();
  });
});

describe("errors name the field", () => {
  test.each<[Record<string, unknown>, number, string]>([
    [{ bridge: 5 }, 7, 'invalid value for "bridge": expected a string, found the number 5'],
    [{ bridge: "a234567890123456" }, 7, 'invalid value for "bridge": "a234567890123456": interface name is too long'],
    [{ bridge: ".." }, 7, 'invalid value for "bridge": "..": interface name is . or ..'],
    [
      { bridge: "a/b" },
      7,
      'invalid value for "bridge": "a/b": interface name contains / or : or whitespace characters',
    ],
    [{ isGateway: "true" }, 7, 'invalid value for "isGateway": expected true or false, found the string "true"'],
    [{ isDefaultGateway: 1 }, 7, 'invalid value for "isDefaultGateway": expected true or false, found the number 1'],
    [{ forceAddress: [] }, 7, 'invalid value for "forceAddress": expected true or false, found an array'],
    [{ hairpinMode: {} }, 7, 'invalid value for "hairpinMode": expected true or false, found an object'],
    [
      { hairpinMode: true, promiscMode: true },
      7,
      'invalid value for "promiscMode": cannot set hairpin mode and promiscuous mode at the same time',
    ],
    [{ mtu: "1400" }, 7, 'invalid value for "mtu": expected a whole number, found the string "1400"'],
    [{ mtu: 1400.5 }, 7, 'invalid value for "mtu": expected a whole number, found 1400.5'],
    [{ mtu: -1 }, 7, 'invalid value for "mtu": -1 is not between 0 and 65535'],
    [{ mtu: 65536 }, 7, 'invalid value for "mtu": 65536 is not between 0 and 65535'],
    [{ mtu: 67 }, 7, 'invalid value for "mtu": 67 is not between 68 and 65535'],
    [{ vlan: -1 }, 7, 'invalid value for "vlan": invalid VLAN ID -1 (must be between 0 and 4094)'],
    [{ vlan: 4095 }, 7, 'invalid value for "vlan": invalid VLAN ID 4095 (must be between 0 and 4094)'],
    [{ vlanTrunk: { id: 1 } }, 7, 'invalid value for "vlanTrunk": expected an array, found an object'],
    [{ vlanTrunk: [1] }, 7, 'invalid value for "vlanTrunk[0]": expected an object, found the number 1'],
    [
      { vlanTrunk: [{ id: 1 }, { id: 0 }] },
      7,
      'invalid value for "vlanTrunk[1].id": incorrect trunk id parameter: 0 is not between 1 and 4094',
    ],
    [
      { vlanTrunk: [{ id: 4095 }] },
      7,
      'invalid value for "vlanTrunk[0].id": incorrect trunk id parameter: 4095 is not between 1 and 4094',
    ],
    [
      { vlanTrunk: [{ minID: 0, maxID: 5 }] },
      7,
      'invalid value for "vlanTrunk[0].minID": incorrect trunk minID parameter: 0 is not between 1 and 4094',
    ],
    [
      { vlanTrunk: [{ minID: 5, maxID: 4095 }] },
      7,
      'invalid value for "vlanTrunk[0].maxID": incorrect trunk maxID parameter: 4095 is not between 1 and 4094',
    ],
    [
      { vlanTrunk: [{ minID: 6, maxID: 5 }] },
      7,
      'invalid value for "vlanTrunk[0].minID": minID is greater than maxID in trunk parameter',
    ],
    [
      { vlanTrunk: [{ minID: 5 }] },
      7,
      'invalid value for "vlanTrunk[0].minID": minID and maxID should be configured simultaneously, maxID is missing',
    ],
    [
      { vlanTrunk: [{ maxID: 5 }] },
      7,
      'invalid value for "vlanTrunk[0].maxID": minID and maxID should be configured simultaneously, minID is missing',
    ],
    [{ enabledad: "no" }, 7, 'invalid value for "enabledad": expected true or false, found the string "no"'],
    [{ portIsolation: 0 }, 7, 'invalid value for "portIsolation": expected true or false, found the number 0'],
    [
      { preserveDefaultVlan: 0 },
      7,
      'invalid value for "preserveDefaultVlan": expected true or false, found the number 0',
    ],
    [
      { disableContainerInterface: true, ipam: { type: "x" } },
      7,
      'invalid value for "disableContainerInterface": cannot use IPAM when DisableContainerInterface flag is set: addresses on a link that is down are of no use',
    ],
    [{ ipam: "host-local" }, 7, 'invalid value for "ipam": expected an object, found the string "host-local"'],
    [{ ipam: { type: 5 } }, 7, 'invalid value for "ipam.type": expected a string, found the number 5'],
    [{ dns: { search: "x" } }, 7, 'invalid value for "dns.search": expected an array, found the string "x"'],
    [{ dns: { nameservers: [1] } }, 7, 'invalid value for "dns.nameservers[0]": expected a string, found the number 1'],
    [{ runtimeConfig: [] }, 7, 'invalid value for "runtimeConfig": expected an object, found an array'],
    [
      { runtimeConfig: { mac: "zz" } },
      7,
      'invalid value for "runtimeConfig.mac": "zz" is not an Ethernet address an interface can have',
    ],
    [
      { args: { cni: { mac: "01:00:00:00:00:01" } } },
      7,
      'invalid value for "args.cni.mac": "01:00:00:00:00:01" is not an Ethernet address an interface can have',
    ],
    [{ args: { cni: 5 } }, 7, 'invalid value for "args.cni": expected an object, found the number 5'],
    [
      { ipMasqBackend: "pf" },
      7,
      'invalid value for "ipMasqBackend": unknown ipmasq backend "pf": it is "nftables" or "iptables"',
    ],
    [
      { nonMasqueradeCIDRs: ["10.0.0.0/8", "x"] },
      7,
      'invalid value for "nonMasqueradeCIDRs[1]": "x" is no prefix such as 10.244.0.0/16',
    ],
    [
      { ipSpoofCheck: true },
      7,
      'invalid value for "ipSpoofCheck": a network without IPAM has no addresses to hold a pod to',
    ],
    [{ ipMasq: "yes" }, 7, 'invalid value for "ipMasq": expected true or false, found the string "yes"'],
  ])("%j", (config, code, message) => {
    const error = failure(config);
    expect({ code: error.code, message: error.message }).toEqual({ code, message });
  });

  test.each([
    ["MAC=zz", 'ARGS: MAC "zz" is not an Ethernet address an interface can have'],
    ["MAC=00:00:00:00:00:00", 'ARGS: MAC "00:00:00:00:00:00" is not an Ethernet address an interface can have'],
    ["FOO=1", 'ARGS: unknown args ["FOO=1"]'],
    ["mac=02:00:00:00:00:01", 'ARGS: unknown args ["mac=02:00:00:00:00:01"]'],
    ["MAC", 'ARGS: invalid pair "MAC"'],
    ["MAC=a=b", 'ARGS: invalid pair "MAC=a=b"'],
    ["IgnoreUnknown=maybe", "ARGS: boolean unmarshal error: invalid input maybe"],
  ])("CNI_ARGS %j", (args, message) => {
    const error = failure({}, args);
    expect({ code: error.code, message: error.message }).toEqual({ code: 4, message });
  });

  test("long values are cut", () => {
    expect(failure({ runtimeConfig: { mac: "z".repeat(1000) } }).message.length).toBeLessThan(200);
  });
});

test("DEL and GC need no more of a configuration than the name of its IPAM plugin", () => {
  expect(callWith({ mtu: "x", vlan: -5, ipam: { type: "host-local", ranges: 5 } }).config.ipamType()).toBe(
    "host-local",
  );
  expect(callWith({}).config.ipamType()).toBe("");
});
