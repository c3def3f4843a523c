import { describe, expect, test } from "vitest";
import { readConfig } from "../../lib/cni/config.ts";
import { CniError } from "../../lib/errors.ts";
import { formatAddress, formatPrefix } from "../../lib/ip/address.ts";
import { readStatic } from "./config.ts";

function config(more: object, cniVersion = "1.1.0") {
  return readConfig(new TextEncoder().encode(JSON.stringify({ cniVersion, name: "net", ...more })));
}

/** "10.0.0.5/24 10.0.0.1" for each address. */
function ips(more: object, args = "", version = "1.1.0"): string[] {
  return readStatic(config(more, version), args).ips.map(
    ({ address, gateway }) => formatPrefix(address) + (gateway === null ? "" : ` ${formatAddress(gateway)}`),
  );
}

function errorOf(more: object, args = "", version = "1.1.0"): CniError {
  try {
    ips(more, args, version);
  } catch (error) {
    if (error instanceof CniError) return error;
    throw error;
  }
  throw new Error("it was taken");
}

const V4 = { address: "10.0.0.5/24", gateway: "10.0.0.1" };
const V6 = { address: "fd00::5/64", gateway: "fd00::1" };
const IPAM = { ipam: { type: "static", addresses: [V4, V6] } };
const runtime = (...list: unknown[]) => ({ runtimeConfig: { ips: list } });
const args = (...list: unknown[]) => ({ args: { cni: { ips: list } } });

describe("the addresses are", () => {
  test("those of the configuration, in its order", () => {
    expect(ips(IPAM)).toEqual(["10.0.0.5/24 10.0.0.1", "fd00::5/64 fd00::1"]);
    expect(ips({ ipam: { addresses: [{ address: "10.0.0.5/32" }] } })).toEqual(["10.0.0.5/32"]);
    expect(ips({ ipam: { addresses: [{ address: "10.0.0.5/31", gateway: "169.254.1.1" }] } })).toEqual([
      "10.0.0.5/31 169.254.1.1",
    ]);
    expect(ips({ ipam: {} })).toEqual([]);
  });

  test("with those of CNI_ARGS behind them", () => {
    expect(ips(IPAM, "IP=10.0.1.7/24")).toEqual(["10.0.0.5/24 10.0.0.1", "fd00::5/64 fd00::1", "10.0.1.7/24"]);
    expect(ips({ ipam: {} }, "IP=10.0.1.7/24, fd01::7/64;GATEWAY=10.0.1.1, fd01::1;MAC=02:00:00:00:00:01")).toEqual([
      "10.0.1.7/24 10.0.1.1",
      "fd01::7/64 fd01::1",
    ]);
  });

  test("or those of args.cni, or rather those of runtimeConfig, instead of all others", () => {
    expect(ips({ ...IPAM, ...args("10.9.0.2/16") }, "IP=10.0.1.7/24")).toEqual(["10.9.0.2/16"]);
    expect(ips({ ...IPAM, ...args("10.9.0.2/16"), ...runtime("10.8.0.2/16") })).toEqual(["10.8.0.2/16"]);
    expect(ips({ ...IPAM, ...args("10.9.0.2/16"), ...runtime() })).toEqual(["10.9.0.2/16"]);
  });

  test("with the gateway that is configured for their network", () => {
    expect(ips({ ...IPAM, ...runtime("10.0.0.9/24", "fd00::9/64", "10.1.0.9/24") })).toEqual([
      "10.0.0.9/24 10.0.0.1",
      "fd00::9/64 fd00::1",
      "10.1.0.9/24",
    ]);
    expect(ips({ ...IPAM, ...runtime("10.0.0.9/24") }, "GATEWAY=10.0.0.254")).toEqual(["10.0.0.9/24 10.0.0.254"]);
    /* Another network, though it is around the address. */
    expect(ips({ ...IPAM, ...runtime("10.0.0.9/16") })).toEqual(["10.0.0.9/16"]);
  });

  test("with the prefix length of the configured network, if they have none", () => {
    expect(ips({ ...IPAM, ...runtime("10.0.0.9") })).toEqual(["10.0.0.9/24 10.0.0.1"]);
    expect(ips(IPAM, "IP=fd00::9")).toContain("fd00::9/64 fd00::1");
    expect(errorOf({ ...IPAM, ...runtime("10.3.0.9") }).message).toBe(
      "an entry in the 'ips' field is NOT in CIDR notation, got: '10.3.0.9'",
    );
  });

  test("not doubled by two sources that agree", () => {
    expect(ips(IPAM, "IP=10.0.0.5/24")).toEqual(["10.0.0.5/24 10.0.0.1", "fd00::5/64 fd00::1"]);
    const { message } = errorOf(IPAM, "IP=10.0.0.5/16");
    expect(message).toBe("address 10.0.0.5 is given twice: as 10.0.0.5/24 and as 10.0.0.5/16");
  });
});

test("a gateway of CNI_ARGS that no address has is told", () => {
  const { unusedGateways } = readStatic(config(IPAM), "GATEWAY=10.0.0.2,192.0.2.1");
  expect(unusedGateways.map((gateway) => formatAddress(gateway))).toEqual(["192.0.2.1"]);
});

describe("what is refused", () => {
  const addresses = (...list: unknown[]) => ({ ipam: { addresses: list } });
  test.each([
    [{}, "", 7, "IPAM config missing 'ipam' key"],
    [runtime("10.0.0.5/24"), "", 7, "IPAM config missing 'ipam' key"],
    [addresses({}), "", 7, "the 'address' field is expected to be in CIDR notation, got: ''"],
    [
      addresses({ address: "10.0.0.5" }),
      "",
      7,
      "the 'address' field is expected to be in CIDR notation, got: '10.0.0.5'",
    ],
    [addresses({ address: "10.0.0.5/33" }), "", 7, "got: '10.0.0.5/33'"],
    [addresses({ ...V4, gateway: "zz" }), "", 7, '"ipam.addresses[0].gateway": "zz" is not an IP address'],
    [
      addresses(V4, { ...V6, gateway: "10.0.0.1" }),
      "",
      7,
      '"ipam.addresses[1].address": fd00::5/64 has a gateway of the other',
    ],
    [addresses({ address: "224.0.0.1/24" }), "", 7, "224.0.0.1 is a multicast address"],
    [addresses({ address: "ff02::1/64" }), "", 7, "ff02::1 is a multicast address"],
    [addresses({ address: "0.0.0.0/0" }), "", 7, "0.0.0.0 is no interface's address"],
    [{ ...IPAM, ...runtime("x") }, "", 7, "an entry in the 'ips' field is NOT in CIDR notation, got: 'x'"],
    [{ ...IPAM, ...runtime("224.0.0.9/24") }, "", 7, '"runtimeConfig.ips[0]": 224.0.0.9 is a multicast address'],
    [{ ...IPAM, ...args("10.0.0.5/24", "::/64") }, "", 7, '"args.cni.ips[1]": :: is no interface\'s address'],
    [{ ...IPAM, ...runtime(5) }, "", 7, "runtimeConfig.ips[0]"],
    [IPAM, "IP=10.0.1.7", 4, "the 'ip' field is expected to be in CIDR notation, got: '10.0.1.7'"],
    [IPAM, "IP=10.0.1.7/24,", 4, "the 'ip' field is expected to be in CIDR notation, got: ''"],
    [IPAM, "GATEWAY=x", 4, "invalid gateway address: x"],
    [IPAM, "WHAT=1", 4, 'unknown args ["WHAT=1"]'],
    [{ ipam: { routes: [{ dst: "0.0.0.0/0", gw: "fd00::1" }] } }, "", 7, "gateway of the other IP version"],
    [{ ipam: { addresses: [V4], dns: { nameservers: 5 } } }, "", 7, "ipam.dns.nameservers"],
  ])("%j, CNI_ARGS %j", (more, cniArgs, code, text) => {
    const error = errorOf(more, cniArgs);
    expect(error.code).toBe(code);
    expect(error.message).toContain(text);
  });

  test("two addresses of a family before CNI 0.3.0", () => {
    const two = addresses(V4, { address: "10.0.1.5/24" });
    expect(errorOf(two, "", "0.2.0").message).toBe("CNI version 0.2.0 does not support more than 1 address per family");
    expect(ips(IPAM, "", "0.2.0")).toHaveLength(2);
    expect(ips(two, "", "0.3.0")).toHaveLength(2);
  });
});

test("what is replaced may be wrong: other suites take it", () => {
  expect(ips({ ipam: { addresses: [{ address: "nonsense" }] }, ...runtime("10.0.0.9/24") })).toEqual(["10.0.0.9/24"]);
});
