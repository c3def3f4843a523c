import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Prefix, parsePrefix } from "../../lib/ip/address.ts";
import { attachmentNames } from "../../lib/state/names.ts";
import type { KernelObject } from "../../lib/state/objects.ts";
import type { BandwidthConfig, RateLimit } from "./config.ts";
import { bucketOf, planBandwidth, queueOf } from "./plan.ts";

const names = attachmentNames({ network: "n1", containerId: "a1", ifname: "eth0" });
const limit = (rateBits: number, burstBits: number | null = null): RateLimit => ({ rateBits, burstBits });

function plan(config: Partial<BandwidthConfig>, hostLink = "veth1"): KernelObject[] {
  const all = { ingress: null, egress: null, latencyMs: 25, choice: "all", subnets: [], inContainer: false } as const;
  return planBandwidth({ config: { ...all, ...config }, names, hostLink, containerLink: "eth0", mtu: 1500 });
}

function line(object: KernelObject): string {
  switch (object.kind) {
    case "shaper":
      return `${object.where}: limit ${object.link}`;
    case "ifb":
      return `${object.where}: ifb ${object.name}`;
    case "redirect":
      return `${object.where}: ${object.hook} of ${object.link} through ${object.ifb}`;
    default:
      return object.kind;
  }
}

describe("a plan", () => {
  test("is empty without limits", () => {
    expect(plan({})).toEqual([]);
  });

  test("limits what goes in on the host's end, and what comes out by way of an ifb", () => {
    expect(plan({ ingress: limit(1e6), egress: limit(1e6) }).map(line)).toEqual([
      "host: limit veth1",
      "host: ifb ifbe8e21930995e",
      "host: ingress of veth1 through ifbe8e21930995e",
    ]);
  });

  test("needs no ifb for what comes out if the container's end is to be used", () => {
    expect(plan({ ingress: limit(1e6), egress: limit(1e6), inContainer: true }).map(line)).toEqual([
      "host: limit veth1",
      "container: limit eth0",
    ]);
  });

  test("is all in the container without an end on the host", () => {
    expect(plan({ ingress: limit(1e6), egress: limit(1e6), inContainer: true }, "").map(line)).toEqual([
      "container: ifb ifbi8e21930995e",
      "container: ingress of eth0 through ifbi8e21930995e",
      "container: limit eth0",
    ]);
  });

  const subnets = ["10.0.0.0/8", "fd00::/8"].map((text) => parsePrefix(text) as Prefix);
  const matches = (objects: KernelObject[]) =>
    objects.flatMap((object) =>
      object.kind === "redirect"
        ? [object.matches.map((m) => `${m.rank} ${m.subnet === null ? "all" : m.end} ${m.shaped}`)]
        : [],
    );

  test("has an ifb for each direction where subnets are told apart, by the address of the other side", () => {
    const objects = plan({ ingress: limit(1e6), egress: limit(1e6), choice: "except", subnets });
    expect(objects.map(line)).toEqual([
      "host: ifb ifbi8e21930995e",
      "host: egress of veth1 through ifbi8e21930995e",
      "host: ifb ifbe8e21930995e",
      "host: ingress of veth1 through ifbe8e21930995e",
    ]);
    expect(matches(objects)).toEqual([
      ["0 source false", "1 source false", "2 all true"],
      ["0 destination false", "1 destination false", "2 all true"],
    ]);
    expect(matches(plan({ egress: limit(1e6), choice: "only", subnets }))).toEqual([
      ["0 destination true", "1 destination true", "3 all true", "4 all true"],
    ]);
  });
});

describe("a token bucket", () => {
  test("gets the rate at which full packets carry the limit besides Ethernet and IPv6 headers", () => {
    expect(bucketOf(limit(10_000_000), 1500, 25)).toEqual({
      ...{ rateBytesPerSecond: 1_296_233, burstBytes: 62_500, queueBytes: 32_406, packetBytes: 1514 },
    });
    expect(bucketOf(limit(8000), 68, 25).rateBytesPerSecond).toBe(1000);
  });

  test("has a burst of 50 ms or twenty packets if that is left to us, and one packet at least if not", () => {
    expect(bucketOf(limit(1_000_000), 1500, 25).burstBytes).toBe(30_280);
    expect(bucketOf(limit(1_000_000_000), 1500, 25).burstBytes).toBe(6_250_000);
    expect(bucketOf(limit(1_000_000, 80_000_000), 1500, 25).burstBytes).toBe(10_000_000);
    expect(bucketOf(limit(1_000_000, 8), 1500, 25).burstBytes).toBe(1514);
    expect(bucketOf(limit(1_000_000, Number.MAX_SAFE_INTEGER), 1500, 25).burstBytes).toBe(0xffffffff);
  });

  test("lets packets wait for the latency, but holds some", () => {
    expect(bucketOf(limit(1_000_000), 1500, 25).queueBytes).toBe(4 * 1514 + 256);
    expect(bucketOf(limit(100_000_000), 1500, 10).queueBytes).toBe(Math.ceil(12_962_329 / 100));
  });

  test("takes long packets whole where many of them may wait", () => {
    expect(bucketOf(limit(100_000_000), 1500, 25).packetBytes).toBe(1514);
    expect(bucketOf(limit(1_000_000_000), 1500, 25).packetBytes).toBe(0);
  });

  test("keeps within what the kernel counts, and near the number, whatever the limit", () => {
    const rate = fc.integer({ min: 1000, max: 1e15 });
    const burst = fc.option(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }));
    fc.assert(
      fc.property(
        rate,
        burst,
        fc.integer({ min: 576, max: 65535 }),
        fc.integer({ min: 1, max: 10_000 }),
        (r, b, mtu, ms) => {
          const bucket = bucketOf(limit(r, b), mtu, ms);
          const queue = queueOf(bucket, mtu, ms);
          for (const value of [...Object.values(bucket), ...Object.values(queue)])
            expect(Number.isSafeInteger(value)).toBe(true);
          for (const value of [bucket.burstBytes, bucket.queueBytes, ...Object.values(queue)]) {
            expect(value).toBeLessThanOrEqual(0xffffffff);
          }
          expect(bucket.rateBytesPerSecond).toBeGreaterThanOrEqual(r / 8);
          expect(bucket.rateBytesPerSecond).toBeLessThanOrEqual(Math.ceil((r / 8) * 1.1008));
          expect(bucket.burstBytes).toBeGreaterThanOrEqual(mtu + 14);
          expect(bucket.queueBytes).toBeGreaterThanOrEqual(4 * mtu);
        },
      ),
    );
  });
});
