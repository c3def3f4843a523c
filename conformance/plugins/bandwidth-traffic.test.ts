/** What a limit lets through, measured by iperf3 between a pod and a server behind the node. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { average, both, CRIO_BURST, ShapedNode } from "./bandwidth-lab.ts";

let lab: ShapedNode;

beforeEach(async () => {
  lab = await ShapedNode.create();
  await lab.serve();
});

afterEach(async () => {
  await lab.remove();
});

const DIRECTIONS = ["ingress", "egress"] as const;

describe("the rate", () => {
  /* 1 Mbit/s lets 80 packets through in a second: it takes some seconds until one more or less does not count. */
  test.each([
    [1, 8, ["tcp 4", "udp 6"]],
    [10, 3, ["tcp 4", "tcp 6", "udp 4", "udp 6"]],
    [100, 3, ["tcp 6", "udp 4"]],
    [400, 3, ["tcp 4"]],
  ] as const)(
    "of %d Mbit/s is held after the first second, and that has the burst besides",
    async (...given) => {
      const [megabits, seconds, kinds] = given;
      const pod = await lab.pod(both(megabits * 1e6));
      const burst = Math.max(0.05, (30_280 * 8) / (megabits * 1e6));
      for (const kind of kinds) {
        const protocol = kind.startsWith("tcp") ? "tcp" : "udp";
        const family = kind.endsWith("4") ? 4 : 6;
        for (const direction of DIRECTIONS) {
          const [first = 0, ...rest] = await lab.send(pod, direction, { protocol, family, megabits, seconds });
          const what = `${megabits} Mbit/s ${kind} ${direction}`;
          expect(average(rest) / megabits, what).toBeGreaterThan(0.95);
          expect(average(rest) / megabits, what).toBeLessThan(1.05);
          expect(first / megabits, what).toBeLessThan(1.05 + burst);
        }
      }
    },
    240_000,
  );

  test("is not exceeded with the burst that runtimes send, where seconds at full speed would be", async () => {
    const pod = await lab.pod(both(10e6, CRIO_BURST));
    for (const direction of DIRECTIONS) {
      const [first = 0] = await lab.send(pod, direction, { protocol: "tcp", family: 4, megabits: 10, seconds: 2 });
      expect(first).toBeLessThan(11.5);
    }
  }, 60_000);

  test("may be exceeded by a burst that was asked for", async () => {
    const pod = await lab.pod(both(10e6, 40e6));
    for (const direction of DIRECTIONS) {
      const rates = await lab.send(pod, direction, { protocol: "tcp", family: 4, megabits: 10, seconds: 3 });
      expect(rates[0]).toBeGreaterThan(40);
      expect(rates[0]).toBeLessThan(54);
      /* Whoever pauses may catch up later, so what counts is the sum. */
      expect(rates.reduce((sum, rate) => sum + rate, 0)).toBeLessThan(40 + 3 * 11);
    }
  }, 60_000);

  test("is held if the container's own side is used", async () => {
    const pod = await lab.pod(both(20e6), { shapeIn: "container" });
    for (const direction of DIRECTIONS) {
      const [, ...rest] = await lab.send(pod, direction, { protocol: "tcp", family: 4, megabits: 20, seconds: 3 });
      expect(average(rest)).toBeGreaterThan(18.5);
      expect(average(rest)).toBeLessThan(21);
    }
  }, 60_000);
});

describe("waiting", () => {
  test.each([
    [10, 25],
    [100, 25],
    [50, 5],
  ])(
    "at %d Mbit/s takes no longer than %d ms",
    async (megabits, latency) => {
      const pod = await lab.pod(both(megabits * 1e6), { latency });
      for (const direction of DIRECTIONS) {
        const sending = lab.send(pod, direction, { protocol: "tcp", family: 4, megabits, seconds: 3 });
        const text = await pod.netns.exec("ping", ["-n", "-i", "0.05", "-w", "2", "198.51.100.2"], { reject: false });
        await sending;
        const times = [...text.matchAll(/time=([0-9.]+)/g)].map((match) => Number(match[1])).toSorted((a, b) => a - b);
        expect(times.length).toBeGreaterThan(10);
        /* All but the slowest: a busy machine holds one up now and then. */
        expect(times[Math.floor(times.length * 0.9)]).toBeLessThan(latency + 5);
      }
    },
    60_000,
  );
});

describe("subnets", () => {
  const transfer = (family: 4 | 6) => ({ protocol: "tcp", family, megabits: 10, seconds: 2 }) as const;

  test("that are exempt are not limited, others are", async () => {
    const pod = await lab.pod(both(10e6), { unshapedSubnets: ["fd88:1::/64", "203.0.113.0/24"] });
    for (const direction of DIRECTIONS) {
      expect(average(await lab.send(pod, direction, transfer(6)))).toBeGreaterThan(50);
      expect(average(await lab.send(pod, direction, transfer(4)))).toBeLessThan(11.5);
    }
  }, 60_000);

  test("that are named are limited, others are not", async () => {
    const pod = await lab.pod(both(10e6), { shapedSubnets: ["198.51.100.0/24"] });
    for (const direction of DIRECTIONS) {
      expect(average(await lab.send(pod, direction, transfer(4)))).toBeLessThan(11.5);
      expect(average(await lab.send(pod, direction, transfer(6)))).toBeGreaterThan(50);
    }
  }, 60_000);
});
