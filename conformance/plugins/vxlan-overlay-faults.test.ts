/**
 * Faults at every step of a reconciliation, by strace: the plugin is killed before, or gets an error from, each system call
 * of a kind. One healthy call afterwards makes the node as if nothing had happened.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import { binDirectory, callEnvironment, expectSuccess, noted } from "../../testbed/harness.ts";
import { type Cluster, type Node, withCluster } from "./overlay-lab.ts";

/** More calls of one kind than a reconciliation makes. */
const MANY = 200;

/** STATUS under strace with these options; what strace wrote. */
async function traced(cluster: Cluster, node: Node, ...options: readonly string[]): Promise<string> {
  const log = join(cluster.directory, "trace");
  const strace = ["strace", "-o", log, ...options];
  await execa("nsenter", [`--net=${node.netns.path}`, "--", ...strace, join(binDirectory, "vxlan-overlay")], {
    env: callEnvironment({ plugin: "vxlan-overlay", command: "STATUS" }, binDirectory),
    extendEnv: false,
    input: JSON.stringify(cluster.overlayConfig(node)),
    reject: false,
    timeout: 20_000,
  });
  return readFile(log, "utf8");
}

/** STATUS with a fault as strace has it, "sendto:signal=KILL:when=3": whether it got as far as the fault. */
async function statusWithFault(cluster: Cluster, node: Node, at: string): Promise<boolean> {
  const log = await traced(cluster, node, "-e", `trace=${at.slice(0, at.indexOf(":"))}`, "-e", `inject=${at}`);
  return /INJECTED|killed by SIGKILL/.test(log);
}

/** What changes nothing outside the process: being killed before it is being killed before what comes next. */
const PURE = [
  "mmap",
  "munmap",
  "brk",
  "read",
  "rt_sigaction",
  "rt_sigprocmask",
  "sigaltstack",
  "arch_prctl",
  "set_tid_address",
];

/** What a node holds for the overlay, its packet filter's words among it. */
async function held(cluster: Cluster, node: Node): Promise<string[]> {
  const table = await node.netns.exec("nft", ["--stateless", "list", "table", "inet", "podwire_overlay1"]);
  return [...(await cluster.held(node)), ...table.split(/[\s,]+/).sort()];
}

/** Two lists that differ in all a list can differ in. */
function lists(cluster: Cluster) {
  const [one, two, three, four] = [1, 2, 3, 4].map((number) => cluster.record(number));
  if (one === undefined || two === undefined || three === undefined || four === undefined)
    throw new Error("no records");
  return [
    [one, two, three],
    [
      one,
      { ...two, nodeIP: "172.31.0.22" },
      { ...four, podCIDRs: three.podCIDRs },
      { ...three, podCIDRs: ["10.244.9.0/24"] },
    ],
  ] as const;
}

describe.each(["classic", "gpe"] as const)("a change of the peers (%s)", (datapath) => {
  test.each([false, true])(
    "killed at any system call, then one healthy call (device to be made: %s)",
    (withoutDevice) =>
      withCluster({ nodes: 1, datapath }, async (cluster) => {
        const node = cluster.node(1);
        const [from, to] = lists(cluster);
        const harm = async (): Promise<void> => {
          await cluster.writePeers(from);
          await cluster.tick(node);
          await cluster.writePeers(to);
          if (withoutDevice) await node.netns.ip("link", "del", "overlay1");
        };
        await harm();
        const calls = (await traced(cluster, node)).split("\n").flatMap((line) => /^(\w+)\(/.exec(line)?.[1] ?? []);
        expect(calls.filter((name) => name === "sendto").length).toBeGreaterThan(10);
        const wanted = await held(cluster, node);
        const met = new Map<string, number>();
        /* The first one starts the program, the last one ends it. */
        for (const name of calls.slice(1, -1)) {
          const ordinal = (met.get(name) ?? 0) + 1;
          met.set(name, ordinal);
          if (PURE.includes(name)) continue;
          await harm();
          await statusWithFault(cluster, node, `${name}:signal=KILL:when=${ordinal}`);
          expectSuccess(await cluster.call(node, "STATUS"));
          expect(await held(cluster, node), `${name} ${ordinal}`).toEqual(wanted);
        }
        expect(met.size).toBeGreaterThan(8);
      }),
  );

  test.each(["sendto:error=ENOBUFS", "recvfrom:error=ENOBUFS"])(
    "with %s at each call, then one healthy call",
    (fault) =>
      withCluster({ nodes: 1, datapath }, async (cluster) => {
        const node = cluster.node(1);
        const [from, to] = lists(cluster);
        await cluster.writePeers(to);
        await cluster.tick(node);
        const wanted = await held(cluster, node);
        for (const withoutDevice of [false, true]) {
          for (let n = 1; ; n += 1) {
            expect(n).toBeLessThan(MANY);
            await cluster.writePeers(from);
            await cluster.tick(node);
            await cluster.writePeers(to);
            if (withoutDevice) await node.netns.ip("link", "del", "overlay1");
            const met = await statusWithFault(cluster, node, `${fault}:when=${n}`);
            expectSuccess(await cluster.call(node, "STATUS"));
            expect(await held(cluster, node), `${fault} at call ${n}`).toEqual(wanted);
            if (met) continue;
            expect(n).toBeGreaterThan(3);
            break;
          }
        }
      }),
  );
});

test.each(["open", "read"])("a disk that fails to %s the list of peers: those known are kept", (what) =>
  withCluster({ nodes: 1 }, async (cluster) => {
    const node = cluster.node(1);
    const [from, to] = lists(cluster);
    await cluster.writePeers(from);
    await cluster.tick(node);
    const known = await held(cluster, node);
    await cluster.writePeers(to);
    const inject = `inject=${what === "open" ? "open,openat" : "read,pread64"}:error=EIO`;
    const through = ["/usr/bin/strace", "-qq", "-o", "/dev/null", "-P", cluster.peersFile, "-e", inject];
    const msg = new RegExp(`${what}.*peers\\.ndjson: input/output error`);
    expect(noted(await cluster.call(node, "STATUS", {}, { through }))).toMatch(msg);
    expectSuccess(await cluster.call(node, "GC", {}, { through }));
    expect(await held(cluster, node)).toEqual(known);
    await cluster.tick(node);
    expect(await held(cluster, node)).not.toEqual(known);
  }),
);
