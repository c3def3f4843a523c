import { describe, expect, test } from "vitest";
import type { Call } from "../../lib/cni/plugin.ts";
import { CniError } from "../../lib/errors.ts";
import { NO_SETTINGS } from "../../lib/state/former.ts";
import { configuredCall } from "../../testbed/configured-call.ts";
import { dataDirOf, readTuningConfig } from "./config.ts";

interface Variables {
  readonly ifname?: string;
  readonly args?: string;
}

const callWith = (config: string, { ifname = "eth0", args = "" }: Variables = {}): Call =>
  configuredCall("tuning", config, { CNI_IFNAME: ifname, CNI_ARGS: args });

const membersOf = (config: object): string =>
  Object.entries(config)
    .map(([key, value]) => `,${JSON.stringify(key)}:${JSON.stringify(value)}`)
    .join("");
const read = (config: object, variables: Variables = {}) => readTuningConfig(callWith(membersOf(config), variables));
const args = (cni: object) => ({ args: { cni } });

function failure(config: object | string, variables: Variables = {}): CniError {
  try {
    readTuningConfig(callWith(typeof config === "string" ? config : membersOf(config), variables));
  } catch (error) {
    if (error instanceof CniError) return error;
    throw error;
  }
  throw new Error(`accepted: ${JSON.stringify(config)}`);
}

test("nothing is asked for by a configuration without options", () => {
  const nothing = { sysctls: [], link: NO_SETTINGS, dataDir: "/run/cni/tuning" };
  expect(read({})).toEqual(nothing);
  expect(read({ mac: "", mtu: 0, promisc: false, allmulti: null, dataDir: "", sysctl: {} })).toEqual(nothing);
});

describe("attributes of the link", () => {
  test("are read", () => {
    const wanted = { mac: "02-00-00-00-00-AA", mtu: 1400, promisc: true, allmulti: false, txQLen: 0 };
    expect(read(wanted).link).toEqual({
      ...{ mac: "02:00:00:00:00:aa", promiscuous: true, mtu: 1400, allMulticast: false, transmitQueue: 0 },
    });
  });

  test("are those of args.cni before all others, also if they take a wish back", () => {
    const own = { mac: "02:00:00:00:00:01", mtu: 1400, promisc: true, allmulti: true, txQLen: 5 };
    const none = { mac: "", mtu: 0, promisc: false, allmulti: false, txQLen: 0 };
    expect(read({ ...own, ...args(none) }).link).toEqual({ ...NO_SETTINGS, allMulticast: false, transmitQueue: 0 });
    expect(read({ ...own, ...args({ mtu: null }) }).link.mtu).toBe(1400);
    expect(read(args(own)).link).toEqual(read(own).link);
  });

  test("the MAC is that of args.cni, then runtimeConfig, CNI_ARGS, the configuration", () => {
    const mac = (n: number): string => `02:00:00:00:00:0${n}`;
    const all = { mac: mac(1), runtimeConfig: { mac: mac(3) }, ...args({ mac: mac(4) }) };
    const variables = { args: `IgnoreUnknown=1;MAC=${mac(2)}` };
    expect(read(all, variables).link.mac).toBe(mac(4));
    expect(read({ ...all, args: {} }, variables).link.mac).toBe(mac(3));
    expect(read({ ...all, args: {}, runtimeConfig: {} }, variables).link.mac).toBe(mac(2));
    expect(read({ mac: mac(1) }).link.mac).toBe(mac(1));
  });

  test.each<[object, RegExp]>([
    [{ mac: "x" }, /"mac": invalid args x for MAC addr/],
    [{ mac: "01:00:5e:00:00:01" }, /invalid args 01:00:5e:00:00:01 for MAC addr/],
    [{ mac: 5 }, /"mac": expected a string/],
    [args({ mac: "zz:00:00:00:00:00" }), /"args.cni.mac": invalid args zz:00:00:00:00:00 for MAC addr/],
    [{ runtimeConfig: { mac: "02:00" } }, /"runtimeConfig.mac": invalid args/],
    [{ mtu: 67 }, /"mtu": 67 is not between 68 and 65535/],
    [{ mtu: -1 }, /"mtu"/],
    [args({ mtu: 70000 }), /"args.cni.mtu": 70000 is not between/],
    [{ txQLen: -1 }, /"txQLen": -1 is not between/],
    [{ promisc: "yes" }, /"promisc": expected true or false/],
    [{ allmulti: 1 }, /"allmulti": expected true or false/],
    [{ dataDir: "run" }, /"dataDir": expected the absolute path of a directory, found "run"/],
    [{ dataDir: "/run/" }, /"dataDir"/],
  ])("%j are refused", (config, message) => {
    expect(failure(config)).toMatchObject({ code: 7, message: expect.stringMatching(message) });
  });

  test("a MAC in CNI_ARGS that is none is refused", () => {
    const error = failure({}, { args: "MAC=00" });
    expect(error).toMatchObject({ code: 4, message: expect.stringMatching(/invalid args 00 for MAC addr/) });
  });
});

describe("sysctls", () => {
  const shown = (config: object, variables: Variables = {}) =>
    read(config, variables).sysctls.map(({ path, value }) => `${path.join("/")}=${value}`);

  test("keep the order of the configuration; dots and slashes separate", () => {
    const sysctl = { "net.core.somaxconn": "500", "net/ipv4/ip_forward": "1", "net.ipv4.tcp_rmem": "1 2 3" };
    expect(shown({ sysctl })).toEqual(["net/core/somaxconn=500", "net/ipv4/ip_forward=1", "net/ipv4/tcp_rmem=1 2 3"]);
  });

  test("IFNAME is the interface, dots and all, the first time", () => {
    const sysctl = { "net.ipv4.conf.IFNAME.arp_filter": "1", "net.ipv6.conf.IFNAME.IFNAME": "1" };
    expect(shown({ sysctl }, { ifname: "eth0.100" })).toEqual([
      "net/ipv4/conf/eth0.100/arp_filter=1",
      "net/ipv6/conf/eth0.100/IFNAME=1",
    ]);
  });

  test("IFNAME stays where there is no interface: STATUS", () => {
    const call = callWith(',"sysctl":{"net.ipv4.conf.IFNAME.arp_filter":"1"}');
    const [sysctl] = readTuningConfig({ ...call, request: { ...call.request, ifname: "" } }).sysctls;
    expect(sysctl?.path).toEqual(["net", "ipv4", "conf", "IFNAME", "arp_filter"]);
  });

  test("those of args.cni take the place of the configuration's, or come behind them, or stand alone", () => {
    const sysctl = { "net.core.somaxconn": "500", "net.ipv4.ip_forward": "1" };
    const more = args({ sysctl: { "net/ipv4/ip_forward": "0", "net.core.optmem_max": "9" } });
    expect(shown({ sysctl, ...more })).toEqual([
      "net/core/somaxconn=500",
      "net/ipv4/ip_forward=0",
      "net/core/optmem_max=9",
    ]);
    expect(shown(more)).toEqual(["net/ipv4/ip_forward=0", "net/core/optmem_max=9"]);
  });

  test.each<[string, string]>([
    ["kernel.shmmax", "kernel/shmmax"],
    ["net", "net"],
    ["net.", "net/"],
    ["net.core..x", "net/core//x"],
    ["/net/core/somaxconn", "/net/core/somaxconn"],
    ["net/../kernel/shmmax", "net////kernel/shmmax"],
    ["net.core.a b", "net/core/a b"],
    ["", ""],
    [`net.${"x".repeat(300)}`, `net/${"x".repeat(73)}...`],
  ])("the key %j is refused", (key, told) => {
    const error = failure({ sysctl: { [key]: "1" } });
    expect(error).toMatchObject({ code: 7, message: `invalid net sysctl key: "${told}"` });
  });

  test.each([
    ',"sysctl":{"net.core.somaxconn":"1","net.core.somaxconn":"2"}',
    ',"sysctl":{"net.core.somaxconn":"1","net/core/somaxconn":"1"}',
    ',"args":{"cni":{"sysctl":{"net.core.somaxconn":"1","net.core.somaxconn":"2"}}}',
  ])("a key that is there twice is refused: %s", (config) => {
    expect(failure(config).message).toMatch(/duplicated sysctl keys are not allowed/);
  });

  test("too many are refused", () => {
    const sysctl = Object.fromEntries(Array.from({ length: 1001 }, (_, i) => [`net.core.a${i}`, "1"]));
    expect(failure({ sysctl }).message).toBe('invalid value for "sysctl": 1001 settings, at most 1000 are taken');
  });

  test.each<[unknown, RegExp]>([
    [5, /"sysctl.net.core.somaxconn": expected a string, such as "1", found the number 5/],
    [null, /found null/],
    ["x".repeat(5000), /longer than 4096 characters/],
    ["1\n2", /one line/],
  ])("the value %j is refused", (value, message) => {
    expect(failure({ sysctl: { "net.core.somaxconn": value } }).message).toMatch(message);
  });
});

test("the directory of the records is found in a configuration that is wrong otherwise", () => {
  expect(dataDirOf(callWith(',"mtu":"x","dataDir":"/var/lib/x"'))).toBe("/var/lib/x");
  for (const wrong of ["5", '"x"', '"/x/"', "null", '"/"']) {
    expect(dataDirOf(callWith(`,"dataDir":${wrong}`))).toBe("/run/cni/tuning");
  }
});
