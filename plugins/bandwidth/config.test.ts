import { describe, expect, test } from "vitest";
import type { Call } from "../../lib/cni/plugin.ts";
import { CniError } from "../../lib/errors.ts";
import { formatPrefix } from "../../lib/ip/address.ts";
import { configuredCall } from "../../testbed/configured-call.ts";
import { readBandwidthConfig } from "./config.ts";

const callWith = (config: string): Call => configuredCall("bandwidth", config);

const read = (config: object) =>
  readBandwidthConfig(
    callWith(
      JSON.stringify(config)
        .replace(/^\{(.)/, ",$1")
        .slice(0, -1),
    ),
  );
const nothing = () => readBandwidthConfig(callWith(""));
const runtime = (bandwidth: object, rest: object = {}) => ({ runtimeConfig: { bandwidth }, ...rest });

function failure(config: object): CniError {
  try {
    read(config);
  } catch (error) {
    if (error instanceof CniError) return error;
    throw error;
  }
  throw new Error(`accepted: ${JSON.stringify(config)}`);
}

describe("limits", () => {
  test("are none without any", () => {
    expect(nothing()).toEqual({
      ...{ ingress: null, egress: null, latencyMs: 25, choice: "all", subnets: [], inContainer: false },
    });
    expect(read({ ingressRate: 0, ingressBurst: 0, egressRate: 0, egressBurst: 0 })).toEqual(nothing());
    expect(read({ ingressRate: null })).toEqual(nothing());
  });

  test("are read from the configuration", () => {
    const config = read({ ingressRate: 8000, ingressBurst: 80000, egressRate: 1e6, egressBurst: 2e6, latency: 50 });
    expect(config.ingress).toEqual({ rateBits: 8000, burstBits: 80000 });
    expect(config.egress).toEqual({ rateBits: 1e6, burstBits: 2e6 });
    expect(config.latencyMs).toBe(50);
  });

  test("are read from the runtime's, unless the configuration has one of its own, and be it 0", () => {
    const given = { ingressRate: 8000, ingressBurst: 80000, latency: 10 };
    expect(read(runtime(given))).toMatchObject({ ingress: { rateBits: 8000 }, egress: null, latencyMs: 10 });
    expect(read(runtime(given, { egressRate: 0 })).ingress).toBeNull();
    expect(read(runtime(given, { egressRate: 9000 }))).toMatchObject({ ingress: null, egress: { rateBits: 9000 } });
    expect(read(runtime(given, { latency: 7 })).latencyMs).toBe(7);
  });

  test.each([4294967295, 34359738360, 34359738359, 2147483647, 0])("with a burst of %d leave it to us", (burst) => {
    expect(read(runtime({ egressRate: 1e7, egressBurst: burst })).egress).toEqual({ rateBits: 1e7, burstBits: null });
  });

  test("without a burst leave it to us", () => {
    expect(read({ ingressRate: 1e7 }).ingress).toEqual({ rateBits: 1e7, burstBits: null });
  });

  test("may be as high, and bursts as large, as Kubernetes can say", () => {
    const config = readBandwidthConfig(
      callWith(',"ingressRate":1000000000000000,"ingressBurst":18446744073709551615,"egressRate":1000'),
    );
    expect(config.ingress).toEqual({ rateBits: 1e15, burstBits: Number.MAX_SAFE_INTEGER });
    expect(config.egress?.rateBits).toBe(1000);
  });

  test.each<[object, RegExp]>([
    [{ ingressBurst: 123 }, /"ingressBurst": if burst is set, rate must also be set/],
    [{ egressRate: 0, egressBurst: 123 }, /"egressBurst": if burst is set, rate must also be set/],
    [runtime({ egressBurst: 1 }), /"runtimeConfig.bandwidth.egressBurst"/],
    [{ ingressRate: 10 }, /"ingressRate": 10 is not between 1000 and 1000000000000000: rates are in bits a second/],
    [{ ingressRate: 2e15 }, /"ingressRate"/],
    [{ ingressRate: -1 }, /"ingressRate": -1 is not between/],
    [{ ingressRate: 1.5 }, /expected a whole number/],
    [{ ingressRate: "10M" }, /expected a whole number, found the string "10M"/],
    [{ latency: 0 }, /"latency": 0 is not between 1 and 10000/],
    [{ shapeIn: "pod" }, /"shapeIn": unrecognized "pod": expected "host" or "container"/],
    [{ runtimeConfig: { bandwidth: 5 } }, /"runtimeConfig.bandwidth": expected an object/],
  ])("%j are refused", (config, message) => {
    const error = failure(config);
    expect(error.code).toBe(7);
    expect(error.message).toMatch(message);
  });
});

describe("subnets", () => {
  const shown = (config: object) => {
    const { choice, subnets } = read(config);
    return [choice, ...subnets.map(formatPrefix)];
  };

  test("are those to shape or those to leave alone", () => {
    expect(shown({ shapedSubnets: ["10.1.2.3/8", "fd00::1/64"] })).toEqual(["only", "10.0.0.0/8", "fd00::/64"]);
    expect(shown({ unshapedSubnets: ["10.0.0.0/8"] })).toEqual(["except", "10.0.0.0/8"]);
    expect(shown(runtime({ unshapedSubnets: ["10.0.0.0/8"] }))).toEqual(["except", "10.0.0.0/8"]);
    expect(shown({ shapedSubnets: [], unshapedSubnets: [] })).toEqual(["all"]);
  });

  test("are refused if they are none, or both", () => {
    expect(failure({ unshapedSubnets: ["10.0.0.0/8", "hello"] }).message).toBe(
      'invalid value for "unshapedSubnets[1]": bad subnet "hello" provided, expected one like 10.0.0.0/8',
    );
    expect(failure({ shapedSubnets: ["10.0.0.0/8"], unshapedSubnets: ["10.0.0.0/8"] }).message).toMatch(
      /cannot be set at the same time/,
    );
  });
});
